"""Whether a folder is an adapter, and what its trainer wrote down of it; no weights are opened."""

import re
from pathlib import Path

from housebrain_core.adapters.archives import CONFIG, RUN, SIZE_LIMITS, WEIGHTS, explain_missing
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
        inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
        if inside and not (folder / MANIFEST).is_file():
            raise AdapterError(
                f"{folder} is no adapter but holds {', '.join(inside[:5])}: name these, such as {folder / inside[0]}."
            )
        raise AdapterError(explain_missing(folder, [path.name for path in folder.iterdir()], missing))
    for name, limit in SIZE_LIMITS.items():
        if (folder / name).is_file() and (folder / name).stat().st_size > limit:
            raise AdapterError(f"{folder / name} has {(folder / name).stat().st_size} bytes; at most {limit} are read.")


def check_model(folder: Path) -> None:
    """Raises AdapterError for what is neither the folder of an adapter nor that of a whole model, saying what it is."""
    if not folder.is_dir():
        kind = f"{'a zip: unpack it first' if folder.suffix == '.zip' else 'a file'}. Give the folder of a model"
        raise AdapterError(f"{folder}: {f'that is {kind}' if folder.exists() else 'there is no such folder'}.")
    if not any((folder / name).is_file() for name in (CONFIG, "config.json")):
        check_folder(folder)


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
