"""Whether a folder is an adapter, what it is in its place, and what its trainer wrote down of it.

Of weights at most the names are read. What other trainers and programs write is named, with what to do.
"""

import re
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path, PurePath
from typing import IO, NamedTuple, TypeVar

from housebrain_core.adapters.run import Run, read_run
from housebrain_core.adapters.tensors import explain_names, read_names
from housebrain_core.contents import LIMIT, explain_file
from housebrain_core.errors import AdapterError, DataError
from housebrain_core.manifests import MANIFEST, check_files, read_manifest
from housebrain_core.texts import as_given

WEIGHTS, CONFIG, RUN = "adapter_model.safetensors", "adapter_config.json", "run.json"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
SIZE_LIMITS = {WEIGHTS: 16 * 2**30, CONFIG: 2**20, RUN: LIMIT, MANIFEST: 2**20, **dict.fromkeys(TOKENIZER, 2**27)}
"""The only files of an adapter that are ever opened, and the bytes each may have."""
_P = TypeVar("_P", bound=PurePath)
UNREADABLE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError, DataError)
"""What reading a damaged or encrypted zip raises."""
CHECKPOINT = re.compile(r"checkpoint-\d+|invalid")


class Layout(NamedTuple):
    """How another trainer or program keeps an adapter."""

    name: re.Pattern[str]
    """Of one of its files or folders."""
    what: str
    advice: str


LAYOUTS = tuple(
    Layout(re.compile(name), what, advice)
    for name, what, advice in (
        (
            r"adapter_model-\d+-of-\d+\.safetensors",
            f"its weights in several files, where {WEIGHTS} is expected",
            'Save it in one: model.save_pretrained(folder, max_shard_size="100GB")',
        ),
        (
            r"adapter_model\.bin",
            "a pickle that could run code; it is not opened",
            "If you trust who made it: housebrain convert THAT FOLDER",
        ),
        (
            r"adapter_model-\d+-of-\d+\.bin|pytorch_model.*\.bin",
            "pickled weights, which could run code",
            f"Load it where it was trained, and save it with model.save_pretrained(folder), which writes {WEIGHTS}",
        ),
        (
            r"(\d+_)?adapters\.(safetensors|npz)",
            "an adapter of MLX-LM, whose matrices are transposed and whose settings have other names",
            f"Write it as PEFT does: A = lora_a.T and B = lora_b.T in {WEIGHTS}, r = rank, lora_alpha = scale x rank",
        ),
        (
            r"adapter_(model|\d+)\.pt",
            "an adapter as torchtune pickles it, to go on with training",
            f"Give {WEIGHTS} and {CONFIG}, which its FullModelHFCheckpointer writes for PEFT",
        ),
        (
            r"pytorch_lora_weights\.\w+",
            "an adapter of Diffusers, for a model that makes pictures",
            "Give one of a language model",
        ),
        (
            r"zero_to_fp32\.py|global_step\d+|pytorch_model_fsdp_\d+|.*\.distcp",
            "a training state that is spread over GPUs (DeepSpeed, FSDP)",
            "Load it where it was trained, and save it with trainer.save_model(folder)",
        ),
        (
            r"lit_model\.pth(\.lora)?",
            "weights as LitGPT pickles them, with query, key and value in one matrix",
            f"Train with a program that saves {WEIGHTS} and {CONFIG}",
        ),
        (r".*\.gguf", "a file for llama.cpp", f"Ask for what training saved, {WEIGHTS} and {CONFIG}"),
    )
)
"""The first one that fits is named."""


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
        if folder.suffix == ".safetensors" and not content and (alone := explain_alone(partial(folder.open, "rb"))):
            content = f"holds {alone}"
        raise AdapterError(
            f"{folder} {what}{f'; it {content}' if content else ''}. "
            "Give the folders or zips that came back from training."
        )
    links = [name for name in SIZE_LIMITS if (folder / name).is_symlink()]
    if links:
        raise AdapterError(f"{folder}: {', '.join(links)} are links; copy the files themselves (cp -rL).")
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        inside = [path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{CONFIG}")]
        inside = order_adapters([place.relative_to(folder) for place in inside if not place.is_symlink()])
        if inside and not (folder / MANIFEST).is_file():
            raise AdapterError(
                f"{folder} is no adapter but holds {', '.join(map(str, inside[:5]))}: name these, of checkpoints "
                f"the last, such as {folder / inside[0]}."
            )
        files = {path.name: partial(path.open, "rb") for path in folder.iterdir()}
        raise AdapterError(explain_missing(folder, files, missing))
    for name, limit in SIZE_LIMITS.items():
        if (folder / name).is_file() and (folder / name).stat().st_size > limit:
            raise AdapterError(f"{folder / name} has {(folder / name).stat().st_size} bytes; at most {limit} are read.")


def explain_missing(place: Path, files: Mapping[str, Callable[[], IO[bytes]]], missing: Collection[str]) -> str:
    """What a folder or zip without an adapter's weights or configuration is, and what to do.

    Args:
        place: as a person gave it.
        files: name -> what opens it, of all that is in it.
        missing: of the two files of an adapter.
    """
    names = sorted(files)
    for layout in LAYOUTS:
        if found := next(filter(layout.name.fullmatch, names), None):
            return f"{place} holds {found}: {layout.what}. {layout.advice}."
    if "config.json" in names and CONFIG in missing:
        return f"{place} is a whole model, not an adapter; models are not merged. Give what LoRA training saved."
    for name in names:
        if name.endswith(".safetensors") and (what := explain_alone(files[name])):
            return f"{place} holds {name}, {what}."
    shown = ", ".join(sorted(names)[:5]) or "nothing"
    return (
        f"{place} lacks {' and '.join(missing)}; it is not a whole adapter (it holds {shown}). Name the folder that "
        "holds both, or copy it again."
    )


def explain_alone(open_file: Callable[[], IO[bytes]]) -> str | None:
    """What a safetensors file without an adapter's configuration is, by the names of its tensors, and what to do."""
    try:
        with open_file() as file:
            names = read_names(file)
    except UNREADABLE:
        return None
    return (
        explain_names(names)
        or f"weights of an adapter without the {CONFIG} that its trainer wrote beside it: ask for both"
    )


def order_adapters(homes: Collection[_P]) -> list[_P]:
    """The adapters below a folder or in a zip: by number; checkpoints only where none is finished, last first."""
    finished = [home for home in homes if not any(map(CHECKPOINT.fullmatch, home.parts))]

    def numbers(home: _P) -> list[str | int]:
        return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", str(home))]

    return sorted(finished or homes, key=numbers, reverse=not finished)


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
        files = read_manifest(folder, "adapter")["files"]
        strange = [name for name in files if not re.fullmatch(r"[\w.-]{1,100}", name) or (folder / name).is_symlink()]
        if strange or not {WEIGHTS, CONFIG, RUN} <= set(files):
            raise DataError(f"{folder / MANIFEST} lists {as_given(strange or sorted(files))}. Copy it again.")
        opened = {name: expected for name, expected in files.items() if name in SIZE_LIMITS}
        check_files(folder, {"files": opened})  # what is never opened need not be there: a zip is unpacked without it
        return read_run(folder / RUN), files[WEIGHTS]["sha256"]
    except (DataError, OSError) as error:
        raise AdapterError(str(error)) from None
