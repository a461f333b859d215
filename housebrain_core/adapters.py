"""An adapter folder as untrusted input: checked before anything is computed, then read module by module.

Folders come back from other people's accounts. Only adapter_config.json and adapter_model.safetensors are
opened, as data; pickles never. What cannot be merged exactly is refused with the reason.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from housebrain_core.errors import AdapterError, HouseBrainError
from housebrain_core.manifests import MANIFEST, check_files, read_manifest, sha256_of

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_TENSOR = re.compile(r"base_model\.model\.([A-Za-z_][\w.]*)\.lora_([AB])\.weight")
_DTYPES = ("F16", "BF16", "F32")
REFUSED_OPTIONS = {
    "use_dora": "DoRA's magnitudes cannot be averaged as updates",
    "lora_bias": "bias terms are not part of the update B @ A",
    "modules_to_save": "whole trained modules are not part of the update B @ A",
    "trainable_token_indices": "trained embeddings are not part of the update B @ A",
    "target_parameters": "LoRA on bare parameters is not supported",
    "layer_replication": "replicated layers change the base model",
    "megatron_config": "Megatron layers are not supported",
    "fan_in_fan_out": "transposed layers are not supported",
    "alora_invocation_tokens": "activated LoRA depends on the prompt",
    "eva_config": "EVA changes the initial update",
    "corda_config": "CorDA changes the base model",
}
"""Options of PEFT that change what an adapter means, and why each is refused."""
REFUSED_INITS = ("pissa", "olora", "corda", "loftq")


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
    sha256: str
    """Of the weights."""
    run: dict[str, Any] | None
    """run.json of our trainer, or None for an ordinary PEFT folder."""

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def split(self) -> tuple | None:
        """(dataset, number of splits, split) that it was trained on, where that is known."""
        data = (self.run or {}).get("data") or {}
        return (data.get("dataset"), data.get("splits"), data["split_id"]) if data.get("split_id") else None

    def factors(self, modules: list[str]) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """Reads (module, B, A) in float32: B is (out_features, rank) times the scaling, A is (rank, in_features).

        Raises:
            AdapterError: a value is not finite.
        """
        with safe_open(self.folder / WEIGHTS, framework="pt") as file:
            for module in modules:
                b, a = (file.get_tensor(f"base_model.model.{module}.lora_{side}.weight").float() for side in "BA")
                if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
                    raise AdapterError(
                        f"{self.folder}: {module} holds NaN or infinity. Its training failed; train that split again, "
                        "or leave it out."
                    )
                yield module, b * self.scaling[module], a


def read_adapter(folder: Path, accept_plain: bool = False) -> Adapter:
    """Checks an adapter folder and opens it.

    Args:
        folder: as `housebrain train` wrote it, or any PEFT LoRA folder.
        accept_plain: accept a folder without our manifest.

    Raises:
        AdapterError: naming everything that is wrong with it.
    """
    if not folder.is_dir():
        raise AdapterError(f"{folder} does not exist. Give the folders that came back from training.")
    if not (folder / WEIGHTS).is_file() and (folder / "adapter_model.bin").is_file():
        raise AdapterError(f"{folder} holds adapter_model.bin, a pickle that could run code; it is not opened.")
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise AdapterError(f"{folder} lacks {' and '.join(missing)}; it is not a whole adapter. Copy it again.")
    run = _read_run(folder, accept_plain)
    config = _read_config(folder)
    shapes = _read_shapes(folder)
    scaling = {module: _scaling(config, module, rank) for module, (_, _, rank) in shapes.items()}
    _check_ranks(folder, config, shapes)
    return Adapter(
        folder=folder,
        base_model=str(config.get("base_model_name_or_path")),
        revision=config.get("revision"),
        scaling=scaling,
        shapes=shapes,
        sha256=sha256_of(folder / WEIGHTS),
        run=run,
    )


def check_mergeable(adapters: list[Adapter]) -> None:
    """Refuses adapters that do not belong together, with all reasons at once.

    Raises:
        AdapterError: another base model or revision, other target modules, the same split or the same file twice,
            an unfinished or untrained adapter.
    """
    problems = []
    for what, value in (("base model", lambda a: a.base_model), ("revision of it", lambda a: a.revision)):
        problems += _differences(what, {adapter.name: value(adapter) for adapter in adapters})
    modules = {adapter.name: frozenset(adapter.shapes) for adapter in adapters}
    common = max(modules.values(), key=list(modules.values()).count)
    for name, own in modules.items():
        if own != common:
            odd = sorted(own ^ common)
            problems.append(f"{name} adapts other modules ({len(odd)} differ, such as {odd[0]})")
    sizes: dict[tuple, str] = {}
    for adapter in adapters:
        for module, (out, inner, _) in adapter.shapes.items():
            first = sizes.setdefault((module,), f"{out}x{inner}")
            if first != f"{out}x{inner}":
                problems.append(f"{adapter.name}: {module} is {out}x{inner}, elsewhere {first}")
                break
    problems += _repeated("the same split", {a.name: a.split for a in adapters if a.split})
    problems += _repeated("the same weights", {a.name: a.sha256 for a in adapters})
    for adapter in adapters:
        if adapter.run and not adapter.run["finished"]:
            problems.append(f"{adapter.name} is not finished: {adapter.run['why_it_ended']}")
        if all(not b.any() for _, b, _ in adapter.factors(sorted(adapter.shapes))):
            problems.append(f"{adapter.name} is untrained: every B is zero")
    if problems:
        raise AdapterError(
            "these adapters cannot be merged:\n  " + "\n  ".join(problems) + "\nLeave the odd ones out of --models."
        )


def _read_run(folder: Path, accept_plain: bool) -> dict[str, Any] | None:
    """run.json, after every file was compared with the manifest."""
    if not (folder / MANIFEST).is_file():
        if accept_plain:
            return None
        raise AdapterError(
            f"{folder} has no {MANIFEST}: it is unfinished, or was not trained by HouseBrain. "
            "An ordinary PEFT folder is accepted with --accept-plain; its origin and data then stay unchecked."
        )
    try:
        manifest = read_manifest(folder, "adapter")
        check_files(folder, manifest)
        return json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (HouseBrainError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AdapterError(f"{error}".rstrip(".") + ". Copy the adapter folder again.") from None


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(f"{folder / CONFIG} is not JSON ({error}).") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else type(config).__name__
        raise AdapterError(f"{folder} is a {kind} adapter; only LORA can be merged.")
    problems = [f"{name}: {why}" for name, why in REFUSED_OPTIONS.items() if config.get(name)]
    if config.get("bias", "none") != "none":
        problems.append(f"bias={config['bias']!r}: bias terms are not part of the update B @ A")
    init = config.get("init_lora_weights")
    if isinstance(init, str) and init.lower().startswith(REFUSED_INITS):
        problems.append(f"init_lora_weights={init!r}: it changes the base model, so the update is not B @ A alone")
    for name in ("r", "lora_alpha"):
        if type(config.get(name)) not in (int, float) or not 0 < config[name] <= 2**16:
            problems.append(f"{name}={config.get(name)!r}: expected a positive number")
    for name in ("alpha_pattern", "rank_pattern"):
        pattern = config.get(name) or {}
        if not isinstance(pattern, dict) or any(type(v) not in (int, float) or v <= 0 for v in pattern.values()):
            problems.append(f"{name}: expected module names with positive numbers")
    if problems:
        raise AdapterError(f"{folder} cannot be merged exactly:\n  " + "\n  ".join(problems))
    return config


def _read_shapes(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Module -> (out, in, rank) from the header of the weights; no tensor is read."""
    sides: dict[str, dict[str, list[int]]] = {}
    problems = []
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - a safetensors file is no dict
                part, match = file.get_slice(name), _TENSOR.fullmatch(name)
                if not match:
                    problems.append(f"{name} is no LoRA weight")
                elif part.get_dtype() not in _DTYPES:
                    problems.append(f"{name} has type {part.get_dtype()}; expected one of {', '.join(_DTYPES)}")
                elif len(part.get_shape()) != 2 or 0 in part.get_shape():
                    problems.append(f"{name} has shape {part.get_shape()}; expected a matrix")
                else:
                    sides.setdefault(match[1], {})[match[2]] = part.get_shape()
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{folder / WEIGHTS} is damaged ({error}). Copy it again.") from None
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


def _pattern(config: dict, name: str, module: str, default: float) -> float:
    """PEFT's rank_pattern and alpha_pattern: a key is a suffix of the module's name, or a regular expression."""
    for key, value in (config.get(name) or {}).items():
        if module == key or module.endswith(f".{key}"):
            return value
        try:
            if re.fullmatch(rf"(.*\.)?({key})", module):
                return value
        except re.error as error:
            raise AdapterError(f"{name} has the key {key!r}, which is no regular expression: {error}") from None
    return default


def _scaling(config: dict, module: str, rank: int) -> float:
    """The factor of B @ A in a module's update."""
    alpha = _pattern(config, "alpha_pattern", module, config["lora_alpha"])
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def _check_ranks(folder: Path, config: dict, shapes: dict[str, tuple[int, int, int]]) -> None:
    wrong = [
        f"{module} has rank {rank} instead of {expected:g}"
        for module, (_, _, rank) in shapes.items()
        if rank != (expected := _pattern(config, "rank_pattern", module, config["r"]))
    ]
    if wrong:
        raise AdapterError(f"{folder}: weights and {CONFIG} disagree: {'; '.join(wrong[:5])}")


def _differences(what: str, values: dict[str, Any]) -> list[str]:
    """One line when the values are not all equal: the minority, by name."""
    distinct = list(values.values())
    if all(value == distinct[0] for value in distinct):
        return []
    usual = max(distinct, key=distinct.count)
    odd = [f"{name} has {value}" for name, value in values.items() if value != usual]
    return [f"another {what}: {', '.join(odd)}; the others have {usual}"]


def _repeated(what: str, values: dict[str, Any]) -> list[str]:
    groups: dict[Any, list[str]] = {}
    for name, value in values.items():
        groups.setdefault(value, []).append(name)
    return [f"{what} twice: {' and '.join(names)}" for names in groups.values() if len(names) > 1]
