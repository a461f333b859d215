"""An adapter folder as untrusted input: checked before anything is computed, then read module by module.

Folders come back from other people's accounts. Only safetensors and JSON are opened, as data; pickles never.
What cannot be merged exactly is refused with the reason.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from housebrain_core.adapters.adapter_config import check_config, check_ranks, scaling_of
from housebrain_core.adapters.archives import CONFIG, RUN, SIZE_LIMITS, WEIGHTS
from housebrain_core.adapters.parallel import map_ahead
from housebrain_core.adapters.tensors import Entry, TensorFile, read_header, read_json
from housebrain_core.errors import AdapterError, ConfigError, DataError
from housebrain_core.manifests import MANIFEST, check_files, read_manifest, sha256_of

VALUE_LIMIT = 1e6
"""Largest magnitude of a weight; trained ones are below 10."""
_TENSOR = re.compile(r"base_model\.model\.([A-Za-z_]\w*(?:\.\w+){0,15})\.lora_([AB])\.weight")
_DTYPES = ("F16", "BF16", "F32")

Finite = Annotated[float, Field(allow_inf_nan=False, ge=0)]


class RunData(BaseModel):
    """What run.json says of the data; None where it does not say."""

    model_config = ConfigDict(extra="allow", strict=True)

    dataset: str | None = None
    split_id: int | None = None
    splits: int | None = None


class Run(BaseModel):
    """What the merge needs of a run.json, checked; everything else in it is passed on unread."""

    model_config = ConfigDict(extra="allow", strict=True)

    finished: bool
    why_it_ended: Annotated[str, Field(max_length=500)] = ""
    tokens: Annotated[int, Field(ge=0)] | None = None
    samples: Annotated[int, Field(ge=0)] | None = None
    epochs: Finite | None = None
    train_loss: Finite | None = None
    validation_loss: Finite | None = None
    data: RunData = RunData()
    settings: dict[str, Any] = {}
    base: dict[str, Any] | None = None


@dataclass(frozen=True)
class Adapter:
    """A checked adapter. Tensors are read on demand, so that many adapters fit into little memory."""

    folder: Path
    base_model: str
    revision: str | None
    scaling: dict[str, float]
    """Module -> alpha / rank (alpha / sqrt(rank) for rslora); the update is scaling x B @ A."""
    shapes: dict[str, tuple[int, int, int]]
    """Module -> (out_features, in_features, rank)."""
    entries: dict[str, Entry]
    """Tensor -> where it lies in the file."""
    sha256: str
    """Of the weights."""
    run: dict[str, Any] | None
    """run.json of our trainer, or None for an ordinary PEFT folder."""

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def file(self) -> TensorFile:
        """The weights, opened when they are first read."""
        return TensorFile(self.folder / WEIGHTS)

    @property
    def dataset(self) -> str | None:
        """Hash of the dataset that it was trained on, where that is known."""
        return ((self.run or {}).get("data") or {}).get("dataset")

    @property
    def split(self) -> tuple | None:
        """(dataset, number of splits, split) that it was trained on, where that is known."""
        data = (self.run or {}).get("data") or {}
        return (data.get("dataset"), data.get("splits"), data["split_id"]) if data.get("split_id") else None

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Module -> (out_features, in_features)."""
        return {module: (out, inner) for module, (out, inner, _) in self.shapes.items()}

    def factors(self, module: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Reads a module's factors in float32; its update is their product.

        Returns:
            B (out_features, rank) times the scaling, and A (rank, in_features).

        Raises:
            AdapterError: a value is not finite, or beyond what training can give.
        """
        b, a = (self._read(f"base_model.model.{module}.lora_{side}.weight") for side in "BA")
        return b.mul_(self.scaling[module]), a  # the memory is ours

    def read_part(self, module: str, side: str, start: int, stop: int) -> torch.Tensor:
        """Columns of A (rank, stop - start) or rows of B (stop - start, rank), in float32 and without the scaling.

        Values are not checked here.
        """
        entry = self.entries[f"base_model.model.{module}.lora_{side}.weight"]
        return self.file.read_part(entry, start, stop, dim="BA".index(side)).float()

    def _read(self, name: str) -> torch.Tensor:
        tensor = self.file.read(self.entries[name]).float()
        low, high = torch.aminmax(tensor)
        if not (low >= -VALUE_LIMIT and high <= VALUE_LIMIT):  # NaN fails every comparison
            raise AdapterError(
                f"{self.folder}: {name} holds NaN, infinity or values beyond {VALUE_LIMIT:g}. Its training failed; "
                "train that split again, or leave it out."
            )
        return tensor


def read_adapter(folder: Path, accept_plain: bool = False) -> Adapter:
    """Checks an adapter folder and opens it.

    Args:
        folder: as `housebrain train` wrote it, or any PEFT LoRA folder.
        accept_plain: accept a folder without our manifest.

    Raises:
        AdapterError: naming what is wrong with it.
    """
    _check_folder(folder)
    run, digest = _read_run(folder, accept_plain)
    try:
        config = read_json((folder / CONFIG).read_bytes())
    except ValueError as error:
        raise AdapterError(f"{folder / CONFIG} is not JSON ({error}). Copy the adapter folder again.") from None
    problems = check_config(config)
    if problems:
        raise AdapterError(f"{folder} cannot be merged exactly:\n  " + "\n  ".join(problems[:20]))
    entries = read_header(folder / WEIGHTS)
    shapes = _read_shapes(folder, entries)
    check_ranks(folder, config, shapes)
    return Adapter(
        folder=folder,
        base_model=str(config.get("base_model_name_or_path")),
        revision=config.get("revision"),
        scaling={module: scaling_of(config, module, rank) for module, (_, _, rank) in shapes.items()},
        shapes=shapes,
        entries=entries,
        sha256=digest or sha256_of(folder / WEIGHTS),
        run=run,
    )


READERS = 8
"""Adapters checked at once: to hash one is to wait for the disk as long as for the processor."""


def try_adapters(
    folders: Iterable[Path | AdapterError], accept_plain: bool = False
) -> Iterator[Adapter | AdapterError]:
    """`read_adapter` for many at once, in order, each refusal as a value, so that all reasons are reported together."""

    def one(folder: Path | AdapterError) -> Adapter | AdapterError:
        try:
            return folder if isinstance(folder, AdapterError) else read_adapter(folder, accept_plain)
        except AdapterError as error:
            return error

    first = None
    for found in map_ahead(one, folders, READERS):
        first = first or (found if isinstance(found, Adapter) else None)
        yield _share(found, first) if isinstance(found, Adapter) else found


def _share(adapter: Adapter, other: Adapter) -> Adapter:
    """The adapter, with what is equal in the other held once: what a file has takes 0.2 MB, of 100 adapters 22."""
    names = ("scaling", "shapes", "entries")
    return replace(adapter, **{n: getattr(other, n) for n in names if getattr(adapter, n) == getattr(other, n)})


def check_base_settings(models: list[Path], base_model: str | None, load_in_4bit: bool) -> None:
    """Raises ConfigError for settings of base models that would do nothing: adapters have a base, models are whole."""
    adapters = [(folder / CONFIG).is_file() for folder in models if folder.is_dir()]
    if base_model and adapters and not any(adapters):
        raise ConfigError(
            f"base_model = {base_model!r} would do nothing: none of {', '.join(map(str, models))} is an adapter, and a "
            "whole model needs no base. Leave it out."
        )
    if load_in_4bit and adapters and all(adapters):
        raise ConfigError(
            f"load_in_4bit would do nothing: of {', '.join(map(str, models))} none is a whole model, and an adapter "
            "gets its base as it was trained on. Leave it out."
        )


def _check_folder(folder: Path) -> None:
    """Refuses a folder before any of its files is opened."""
    if not folder.is_dir():
        what = "is a file, neither a folder nor a .zip" if folder.exists() else "does not exist"
        raise AdapterError(f"{folder} {what}. Give the folders or zips that came back from training.")
    if not (folder / WEIGHTS).is_file() and (folder / "adapter_model.bin").is_file():
        raise AdapterError(
            f"{folder} holds adapter_model.bin, a pickle that could run code; it is not opened. "
            f"If you trust who made it: housebrain convert {folder}"
        )
    links = [name for name in SIZE_LIMITS if (folder / name).is_symlink()]
    if links:
        raise AdapterError(f"{folder}: {', '.join(links)} are links; copy the files themselves (cp -rL).")
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
    if missing and inside and not (folder / MANIFEST).is_file():
        raise AdapterError(f"{folder} is no adapter but holds {', '.join(inside[:5])}: name these, such as {folder}/*.")
    if missing:
        raise AdapterError(f"{folder} lacks {' and '.join(missing)}; it is not a whole adapter. Copy it again.")
    for name, limit in SIZE_LIMITS.items():
        if (folder / name).is_file() and (folder / name).stat().st_size > limit:
            raise AdapterError(f"{folder / name} has {(folder / name).stat().st_size} bytes; at most {limit} are read.")


def _read_run(folder: Path, accept_plain: bool) -> tuple[dict[str, Any] | None, str | None]:
    """run.json and the sha256 of the weights, after every file was compared with the manifest."""
    if not (folder / MANIFEST).is_file():
        if accept_plain:
            return None, None
        raise AdapterError(
            f"{folder} has no {MANIFEST}: it is unfinished, or was not trained by HouseBrain. "
            "An ordinary PEFT folder is accepted with --accept-plain; its origin and data then stay unchecked."
        )
    try:
        read_json((folder / MANIFEST).read_bytes())
        manifest = read_manifest(folder, "adapter")
        files = manifest.get("files")
        strange = [name for name in files if not re.fullmatch(r"[\w.-]{1,100}", name) or (folder / name).is_symlink()]
        if strange or not {WEIGHTS, CONFIG, RUN} <= set(files):
            raise DataError(f"{folder / MANIFEST} lists {strange or sorted(files)!r}; expected plain files")
        opened = {name: expected for name, expected in files.items() if name in SIZE_LIMITS}
        check_files(folder, {"files": opened})  # what is never opened need not be there: a zip is unpacked without it
        run = Run.model_validate(read_json((folder / RUN).read_bytes())).model_dump()
        return run, files[WEIGHTS]["sha256"]
    except ValidationError as error:
        first = error.errors()[0]
        why = f"{RUN}: {'.'.join(map(str, first['loc']))[:100]}: {first['msg']}"
    except (DataError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = str(error).rstrip(".")
    raise AdapterError(f"{folder}: {why}. Copy the adapter folder again.")


def _read_shapes(folder: Path, entries: dict[str, Entry]) -> dict[str, tuple[int, int, int]]:
    """Module -> (out, in, rank) from the header of the weights; no tensor is read."""
    sides: dict[str, dict[str, tuple[int, ...]]] = {}
    problems = []
    for name, entry in entries.items():
        match = _TENSOR.fullmatch(name[:250])
        if not match:
            problems.append(f"{name[:120]!r} is no LoRA weight")
        elif entry.dtype not in _DTYPES:
            problems.append(f"{name} has type {entry.dtype}; expected one of {', '.join(_DTYPES)}")
        elif len(entry.shape) != 2 or 0 in entry.shape:
            problems.append(f"{name} has shape {list(entry.shape)}; expected a matrix")
        else:
            sides.setdefault(match[1], {})[match[2]] = entry.shape
    for module, shapes in sides.items():
        if set(shapes) != {"A", "B"}:
            problems.append(f"{module} has only lora_{''.join(shapes)}")
        elif shapes["A"][0] != shapes["B"][1]:
            problems.append(f"{module}: A has rank {shapes['A'][0]}, B has rank {shapes['B'][1]}")
    if not sides:
        problems.append("there is no LoRA weight in it")
    if problems:
        raise AdapterError(f"{folder / WEIGHTS}: " + "; ".join(problems[:10]))
    return {module: (s["B"][0], s["A"][1], s["A"][0]) for module, s in sorted(sides.items())}
