"""An adapter folder as untrusted input: checked before anything is computed, then read module by module.

Folders come back from other people's accounts. Only safetensors and JSON are opened, as data; pickles never.
What cannot be merged exactly is refused with the reason.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import numpy as np

from housebrain_core.adapters.adapter_config import BRANCHES, check_ranks, read_config, scaling_of
from housebrain_core.adapters.archives import name_all, name_of
from housebrain_core.adapters.folders import CONFIG, WEIGHTS, check_folder, check_model, read_record
from housebrain_core.adapters.run import Run
from housebrain_core.adapters.tensors import (
    TensorInfo,
    explain_tensors,
    is_copy_of_base,
    read_header,
    read_matrices,
    read_tensor_name,
)
from housebrain_core.errors import AdapterError, ConfigError
from housebrain_core.manifests import sha256_of
from housebrain_core.settings import is_url

VALUE_LIMIT = 1e6
"""Largest magnitude of a weight; trained ones are below 10."""
SIGN_OF_4BIT = re.compile(r"4-?bit|nf4", re.IGNORECASE)
"""In the name of a base model that is quantised already, as Unsloth's are (bnb-4bit)."""


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


class StoredModule(NamedTuple):
    """What the file of weights calls the factors of a module, and their sizes."""

    a: str
    b: str
    shape: ModuleShape


@dataclass(frozen=True)
class Adapter:
    """A checked adapter. Tensors are read on demand, so that many adapters fit into little memory."""

    folder: Path
    base_model: str | None
    """Id on the Hub, or a path as its person had it; None where it is not known."""
    revision: str | None
    """Of the base model: a commit of the Hub, or the content hash of a folder; None where it is not known."""
    scaling: dict[str, float]
    """Module -> alpha / rank (alpha / sqrt(rank) for rslora); the update is scaling x B @ A."""
    stored: dict[str, StoredModule]
    """Module -> its factors in the file."""
    sha256: str
    """Of the weights."""
    run: Run | None
    """run.json of our trainer, or None for an ordinary PEFT folder."""
    name: str
    """What its folder or zip is called, with as much of the path as tells it from the others."""
    task_type: str | None = None
    """PEFT's word for what the model does, such as CAUSAL_LM."""
    fan_in_fan_out: bool = False
    """Whether the base stores its weights transposed, (in_features, out_features), as GPT-2 does."""
    doubts: tuple[str, ...] = field(default=())
    """What is not known of its base model though somebody may think so."""

    @cached_property
    def shapes(self) -> dict[str, ModuleShape]:
        """Module -> its sizes."""
        return {module: stored.shape for module, stored in self.stored.items()}

    @property
    def base(self) -> str:
        """The base model and its revision in words."""
        return f"{self.base_model or 'an unknown base'} at {self.revision or 'an unknown revision'}"

    @property
    def public_base(self) -> str | None:
        """What its base model is called in what leaves this machine: of a path, which may name a user, the end."""
        name = self.base_model
        path = PureWindowsPath(name or "")  # it knows both slashes
        return path.name if name and (path.anchor or name.startswith(("~", "."))) else name

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
        """Whether the base was NF4 in training: as its run says, else where the name of its base does."""
        return self.run.settings.load_in_4bit if self.run else bool(SIGN_OF_4BIT.search(self.base_model or ""))

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
        b, a = self.matrices(module)
        b *= np.float32(self.scaling[module])
        return b, a

    def matrices(self, module: str) -> tuple[np.ndarray, np.ndarray]:
        """`factors` as they are stored: B without the scaling."""
        names = [self.stored[module].b, self.stored[module].a]
        b, a = read_matrices(self.folder / WEIGHTS, names)
        for name, matrix in zip(names, (b, a), strict=True):
            if not (matrix.min() >= -VALUE_LIMIT and matrix.max() <= VALUE_LIMIT):  # NaN fails every comparison
                raise AdapterError(
                    f"{self.name}: {name} holds NaN, infinity or values beyond {VALUE_LIMIT:g}. Its training failed; "
                    "train that split again, or leave it out."
                )
        return b, a


def read_adapter(folder: Path, accept_plain: bool = False, given: Path | str | None = None) -> Adapter:
    """Checks an adapter folder and opens it.

    Args:
        folder: as `housebrain train` wrote it, or any PEFT LoRA folder.
        accept_plain: accept a folder without our manifest.
        given: what a person gave, where that was unpacked into the folder; messages name it.

    Returns:
        The adapter; of its weights only the header was read, and their hash compared or made.

    Raises:
        AdapterError: naming what is wrong with it.
    """
    try:
        return _read_adapter(folder, accept_plain)
    except AdapterError as error:
        raise AdapterError(str(error).replace(str(folder), str(given or folder))) from None


def _read_adapter(folder: Path, accept_plain: bool) -> Adapter:
    check_folder(folder)
    run, digest = read_record(folder, accept_plain)
    config = read_config(folder)
    header = read_header(folder / WEIGHTS)
    copies = [name for name in header if is_copy_of_base(name, header)]
    stored = _read_modules(folder, {name: info for name, info in header.items() if name not in copies})
    ranks = {module: one.shape.rank for module, one in stored.items()}
    check_ranks(folder, config, ranks)
    revision = config.get("revision") or None
    moving = revision in BRANCHES
    return Adapter(
        folder=folder,
        base_model=(config.get("base_model_name_or_path") or "").strip() or None,
        revision=None if moving else revision,
        scaling={module: scaling_of(config, module, rank) for module, rank in ranks.items()},
        stored=stored,
        sha256=digest or sha256_of(folder / WEIGHTS),
        run=run,
        name=name_of(folder),
        task_type=config.get("task_type") or None,
        fan_in_fan_out=bool(config.get("fan_in_fan_out")),
        doubts=tuple(
            [f"its base is named by the branch {revision}, which may have moved since"] * moving
            + [f"{name} is in its file too, and left out: it is taken to be as the base has it" for name in copies[:1]]
        ),
    )


def try_adapters(
    folders: Mapping[Path, Path | AdapterError], accept_plain: bool = False, names: Mapping[Path, str] | None = None
) -> Iterator[Adapter | AdapterError]:
    """`read_adapter` for each folder, a refusal as a value, so that all reasons can be reported together.

    Args:
        folders: path as a person gave it -> its folder, or why there is none; see `archives.unpacked`.
        accept_plain: see `read_adapter`.
        names: path -> what to call its adapter; see `names.name_all`, which also makes them when None.

    Yields:
        Adapters whose names differ, and refusals that name the path as it was given.
    """
    names = names or name_all(list(folders))
    for given, folder in folders.items():
        try:
            if isinstance(folder, AdapterError):
                yield folder
            else:
                yield replace(read_adapter(folder, accept_plain, given), name=names[given])
        except AdapterError as error:
            yield error


def check_base_settings(models: Sequence[Path | str], base_model: str | None, load_in_4bit: bool) -> None:
    """Refuses folders that are no models, and settings of base models that would do nothing.

    Args:
        models: folders, or addresses of servers.
        base_model: as it was given.
        load_in_4bit: as it was given.

    Raises:
        AdapterError: a folder is neither an adapter nor a whole model.
        ConfigError: an adapter has its base, or a model is whole.
    """
    if all(map(is_url, models)) and (base_model or load_in_4bit):
        raise ConfigError(
            f"base_model and load_in_4bit would do nothing: {', '.join(map(str, models))} is on a server, which has "
            "loaded it already. Leave them out."
        )
    folders = [Path(model) for model in models if not is_url(model)]
    for folder in folders:
        check_model(folder)
    adapters = [(folder / CONFIG).is_file() for folder in folders]
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


def _read_modules(folder: Path, header: dict[str, TensorInfo]) -> dict[str, StoredModule]:
    """Module -> its factors, from the header of the weights; no tensor is read."""
    sides: dict[str, dict[str, str]] = {}
    problems = explain_tensors(header)
    for name in header:
        module, side = read_tensor_name(name) or ("", "")
        other = sides.setdefault(module, {}).setdefault(side, name) if module else name
        if other != name:
            problems.append(f"{name} and {other} are the same factor, of two adapters in one file")
    for module, names in sides.items():
        if set(names) != {"A", "B"}:
            problems.append(f"{module} has only lora_{''.join(names)}")
        elif not problems and header[names["A"]].shape[0] != header[names["B"]].shape[1]:
            ranks = header[names["A"]].shape[0], header[names["B"]].shape[1]
            problems.append(f"{module}: A has rank {ranks[0]}, B has rank {ranks[1]}")
    if not sides and not problems:
        problems.append("there is no LoRA weight in it")
    if problems:
        raise AdapterError(f"{folder / WEIGHTS}: " + "; ".join(problems[:10]))
    return {module: _stored(header, names["A"], names["B"]) for module, names in sorted(sides.items())}


def _stored(header: dict[str, TensorInfo], a: str, b: str) -> StoredModule:
    rank, in_features = header[a].shape
    return StoredModule(a, b, ModuleShape(header[b].shape[0], in_features, rank))
