"""An adapter folder as untrusted input: checked before anything is computed, then read module by module.

Folders come back from other people's accounts. Only safetensors and JSON are opened, as data; pickles never.
What cannot be merged exactly is refused with the reason.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from housebrain_core.adapters.adapter_config import check_config, check_ranks, scaling_of
from housebrain_core.adapters.archives import CONFIG, RUN, SIZE_LIMITS, WEIGHTS
from housebrain_core.adapters.run import Run, read_run
from housebrain_core.adapters.tensors import TensorInfo, read_header, read_json, read_matrices
from housebrain_core.errors import AdapterError, ConfigError, DataError
from housebrain_core.manifests import MANIFEST, check_files, read_manifest, sha256_of

VALUE_LIMIT = 1e6
"""Largest magnitude of a weight; trained ones are below 10."""
TENSOR_NAME = re.compile(r"base_model\.model\.([A-Za-z_]\w*(?:\.\w+){0,15})\.lora_([AB])\.weight")
DTYPES = ("F16", "BF16", "F32")


class ModuleShape(NamedTuple):
    """The sizes of one adapted module."""

    out_features: int
    in_features: int
    rank: int


class SplitOf(NamedTuple):
    """What an adapter was trained on."""

    dataset: str | None
    """Hash of the whole dataset."""
    of: int | None
    """Splits that it was cut into."""
    number: int
    """Which of them, from 1."""


@dataclass(frozen=True)
class Adapter:
    """A checked adapter. Tensors are read on demand, so that many adapters fit into little memory."""

    folder: Path
    base_model: str
    revision: str | None
    """Of the base model: a commit of the Hub, or the content hash of a folder."""
    scaling: dict[str, float]
    """Module -> alpha / rank (alpha / sqrt(rank) for rslora); the update is scaling x B @ A."""
    shapes: dict[str, ModuleShape]
    sha256: str
    """Of the weights."""
    run: Run | None
    """run.json of our trainer, or None for an ordinary PEFT folder."""

    @property
    def name(self) -> str:
        """What its folder is called."""
        return self.folder.name

    @property
    def base_content(self) -> str | None:
        """Content hash of the base model, where the run recorded it."""
        return self.run.base.content if self.run and self.run.base else None

    @property
    def dataset(self) -> str | None:
        """Hash of the dataset that it was trained on, where that is known."""
        return self.run.data.dataset if self.run else None

    @property
    def split(self) -> SplitOf | None:
        """What it was trained on, where that is known."""
        data = self.run.data if self.run else None
        return SplitOf(data.dataset, data.splits, data.split_id) if data and data.split_id else None

    @property
    def trained_in_4bit(self) -> bool:
        """Whether the base was NF4 in training; a plain adapter is taken to be QLoRA."""
        return self.run.settings.load_in_4bit if self.run else True

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Module -> (out_features, in_features)."""
        return {module: (shape.out_features, shape.in_features) for module, shape in self.shapes.items()}

    def factors(self, module: str) -> tuple[np.ndarray, np.ndarray]:
        """Reads a module's factors in float32; its update is their product.

        Returns:
            B (out_features, rank) times the scaling, and A (rank, in_features).

        Raises:
            AdapterError: a value is not finite, or beyond what training can give.
        """
        names = [f"base_model.model.{module}.lora_{side}.weight" for side in "BA"]
        b, a = read_matrices(self.folder / WEIGHTS, names)
        for name, matrix in zip(names, (b, a), strict=True):
            if not (matrix.min() >= -VALUE_LIMIT and matrix.max() <= VALUE_LIMIT):  # NaN fails every comparison
                raise AdapterError(
                    f"{self.folder}: {name} holds NaN, infinity or values beyond {VALUE_LIMIT:g}. Its training failed; "
                    "train that split again, or leave it out."
                )
        b *= np.float32(self.scaling[module])
        return b, a


def read_adapter(folder: Path, accept_plain: bool = False) -> Adapter:
    """Checks an adapter folder and opens it.

    Args:
        folder: as `housebrain train` wrote it, or any PEFT LoRA folder.
        accept_plain: accept a folder without our manifest.

    Returns:
        The adapter; of its weights only the header was read, and their hash compared or made.

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
    shapes = _read_shapes(folder, read_header(folder / WEIGHTS))
    check_ranks(folder, config, {module: shape.rank for module, shape in shapes.items()})
    return Adapter(
        folder=folder,
        base_model=str(config.get("base_model_name_or_path")),
        revision=config.get("revision"),
        scaling={module: scaling_of(config, module, shape.rank) for module, shape in shapes.items()},
        shapes=shapes,
        sha256=digest or sha256_of(folder / WEIGHTS),
        run=run,
    )


def try_adapters(
    folders: Iterable[Path | AdapterError], accept_plain: bool = False
) -> Iterator[Adapter | AdapterError]:
    """`read_adapter` for each folder, a refusal as a value, so that all reasons can be reported together."""
    for folder in folders:
        try:
            yield folder if isinstance(folder, AdapterError) else read_adapter(folder, accept_plain)
        except AdapterError as error:
            yield error


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


def _read_run(folder: Path, accept_plain: bool) -> tuple[Run | None, str | None]:
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
        files = read_manifest(folder, "adapter")["files"]
        strange = [name for name in files if not re.fullmatch(r"[\w.-]{1,100}", name) or (folder / name).is_symlink()]
        if strange or not {WEIGHTS, CONFIG, RUN} <= set(files):
            raise DataError(f"{folder / MANIFEST} lists {strange or sorted(files)!r}; expected plain files")
        opened = {name: expected for name, expected in files.items() if name in SIZE_LIMITS}
        check_files(folder, {"files": opened})  # what is never opened need not be there: a zip is unpacked without it
        return read_run((folder / RUN).read_bytes()), files[WEIGHTS]["sha256"]
    except (DataError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = str(error).rstrip(".").removesuffix(". Copy the adapter folder again")
    raise AdapterError(f"{folder}: {why}. Copy the adapter folder again.")


def _read_shapes(folder: Path, header: dict[str, TensorInfo]) -> dict[str, ModuleShape]:
    """Module -> sizes from the header of the weights; no tensor is read."""
    sides: dict[str, dict[str, tuple[int, ...]]] = {}
    problems = []
    for name, info in header.items():
        match = TENSOR_NAME.fullmatch(name[:250])
        if not match:
            problems.append(f"{name[:120]!r} is no LoRA weight")
        elif info.dtype not in DTYPES:
            problems.append(f"{name} has type {info.dtype}; expected one of {', '.join(DTYPES)}")
        elif len(info.shape) != 2 or 0 in info.shape:
            problems.append(f"{name} has shape {list(info.shape)}; expected a matrix")
        else:
            sides.setdefault(match[1], {})[match[2]] = info.shape
    for module, shapes in sides.items():
        if set(shapes) != {"A", "B"}:
            problems.append(f"{module} has only lora_{''.join(shapes)}")
        elif shapes["A"][0] != shapes["B"][1]:
            problems.append(f"{module}: A has rank {shapes['A'][0]}, B has rank {shapes['B'][1]}")
    if not sides:
        problems.append("there is no LoRA weight in it")
    if problems:
        raise AdapterError(f"{folder / WEIGHTS}: " + "; ".join(problems[:10]))
    return {module: ModuleShape(s["B"][0], s["A"][1], s["A"][0]) for module, s in sorted(sides.items())}
