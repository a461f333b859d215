"""Whether a folder is an adapter, and what its trainer wrote down of it; no weights are opened."""

import re
from pathlib import Path

from housebrain_core.adapters.archives import CONFIG, RUN, SIZE_LIMITS, WEIGHTS
from housebrain_core.adapters.run import Run, read_run
from housebrain_core.adapters.tensors import read_json
from housebrain_core.data.contents import explain_file
from housebrain_core.errors import AdapterError, DataError
from housebrain_core.manifests import MANIFEST, check_files, read_manifest
from housebrain_core.texts import as_given


def check_folder(folder: Path) -> None:
    """Refuses a folder that is no adapter, before any of its files is opened.

    Args:
        folder: anything that a person gave.

    Raises:
        AdapterError: what it is instead, and what to do.
    """
    if not folder.is_dir():
        what = "is a file, neither a folder nor a .zip" if folder.exists() else "does not exist"
        content = explain_file(folder) if folder.is_file() else None
        raise AdapterError(
            f"{folder} {what}{f'; it {content}' if content else ''}. "
            "Give the folders or zips that came back from training."
        )
    links = [name for name in SIZE_LIMITS if (folder / name).is_symlink()]
    if links:
        raise AdapterError(f"{folder}: {', '.join(links)} are links; copy the files themselves (cp -rL).")
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise AdapterError(_explain_missing(folder, missing))
    for name, limit in SIZE_LIMITS.items():
        if (folder / name).is_file() and (folder / name).stat().st_size > limit:
            raise AdapterError(f"{folder / name} has {(folder / name).stat().st_size} bytes; at most {limit} are read.")


def _explain_missing(folder: Path, missing: list[str]) -> str:
    """What a folder without weights or configuration is, and what to do."""
    if (folder / "adapter_model.bin").is_file():
        return (
            f"{folder} holds adapter_model.bin, a pickle that could run code; it is not opened. "
            f"If you trust who made it: housebrain convert {folder}"
        )
    if shards := sorted(path.name for path in folder.glob("adapter_model-*-of-*.safetensors")):
        return (
            f"{folder} holds its weights in {len(shards)} files, {shards[0]} and so on; expected is {WEIGHTS}. "
            'Save it in one: model.save_pretrained(folder, max_shard_size="100GB").'
        )
    inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
    if inside and not (folder / MANIFEST).is_file():
        return f"{folder} is no adapter but holds {', '.join(inside[:5])}: name these, such as {folder / inside[0]}."
    if (folder / "config.json").is_file() and CONFIG in missing:
        return f"{folder} is a whole model, not an adapter; models are not merged. Give what LoRA training saved."
    if gguf := sorted(path.name for path in folder.glob("*.gguf")):
        return f"{folder} holds {gguf[0]}, for llama.cpp. Ask for what training saved, {WEIGHTS} and {CONFIG}."
    return f"{folder} lacks {' and '.join(missing)}; it is not a whole adapter. Copy it again."


def read_record(folder: Path, accept_plain: bool) -> tuple[Run | None, str | None]:
    """The run.json of a folder, after every file was compared with the manifest.

    Args:
        folder: see `check_folder`.
        accept_plain: accept a folder without our manifest.

    Returns:
        The run, and the sha256 of the weights; None for both where there is no manifest.

    Raises:
        AdapterError: there is no manifest, or files differ from it.
    """
    if not (folder / MANIFEST).is_file():
        if accept_plain:
            return None, None
        raise AdapterError(
            f"{folder} has no {MANIFEST}: it is unfinished, or was not trained by HouseBrain. "
            "An ordinary PEFT folder is accepted with --accept-plain; its origin and data then stay unchecked."
        )
    try:
        read_json((folder / MANIFEST).read_bytes())
        files = read_manifest(folder, "adapter")["files"]
        strange = [name for name in files if not re.fullmatch(r"[\w.-]{1,100}", name) or (folder / name).is_symlink()]
        if strange or not {WEIGHTS, CONFIG, RUN} <= set(files):
            raise DataError(f"{folder / MANIFEST} lists {as_given(strange or sorted(files))}; expected plain files")
        opened = {name: expected for name, expected in files.items() if name in SIZE_LIMITS}
        check_files(folder, {"files": opened})  # what is never opened need not be there: a zip is unpacked without it
        return read_run((folder / RUN).read_bytes()), files[WEIGHTS]["sha256"]
    except (DataError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = str(error).rstrip(".").removesuffix(". Copy the adapter folder again")
    raise AdapterError(f"{folder}: {why}. Copy the adapter folder again.")
