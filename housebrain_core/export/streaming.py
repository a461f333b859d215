"""The merged update added to the full weights of the base model, streamed: a tensor at a time.

Each weight is W + s B A in float32, rounded once to the type that is kept. Everything else is copied. A 4-bit base is
refused: re-quantising keeps 0.2 to 6 % of a typical update (measured).
"""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from housebrain_core.adapters.folders import CONFIG, RUN
from housebrain_core.adapters.tensors import TensorInfo, write_tensors
from housebrain_core.errors import ConfigError
from housebrain_core.export.base_weights import StoredTensor, read_base, stores_transposed
from housebrain_core.export.nf4 import dequantised
from housebrain_core.manifests import MANIFEST, to_json, write_atomically
from housebrain_core.merge.compute import ComputedMerge, Pair
from housebrain_core.texts import say
from housebrain_core.train.base_models import INDEX, SINGLE, read_base_config

SHARD_BYTES = 250_000_000
"""Of a file of weights, at most, unless one tensor is larger: small, so that an upload that breaks is soon repeated."""
ROWS = 512
"""Rows of a matrix that are in float32 at once."""
NOT_COPIED = (MANIFEST, CONFIG, RUN, "merge.json", "trainer_state.json")
"""Files of a base folder that tell of an adapter or of how that folder was made, which is not how this one was."""
DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
"""What safetensors calls the floating-point types."""
Report = Callable[[str], None]


def stream(
    base: Path, merge: ComputedMerge, view: str, dtype: str, output: Path, report: Report = say
) -> dict[str, float]:
    """Copies a base model with the update in it.

    Args:
        base: its folder.
        merge: what is added.
        view: "fp16" adds to the base as it is, "nf4-dequant" to the base as 4-bit training saw it.
        dtype: of the weights: "float16", "bfloat16", "float32", or "keep" for each tensor's own.
        output: an empty folder.
        report: gets lines of progress.

    Returns:
        Module -> norm of what rounding changed, as a share of the update's norm, in its first rows.

    Raises:
        AdapterError: the update does not fit the base.
        ConfigError: the base is quantised, has no safetensors, or does not fit into the type.
    """
    config = read_base_config(base)
    tensors = read_base(base, config, merge.adapters[0])
    rounding: dict[str, float] = {}
    vanished: dict[str, int] = {}
    add = partial(_add_update, merge=merge, view=view, transposed=stores_transposed(config), rounding=rounding)
    infos = {name: _stored_as(stored.info, dtype) for name, stored in tensors.items()}

    def read(name: str) -> np.ndarray:
        changed = _changed(tensors[name], name, DTYPES.get(infos[name].dtype), add, vanished)
        return (changed.view(torch.int16) if changed.dtype == torch.bfloat16 else changed).numpy()

    _write_shards(infos, read, output, report)
    if vanished:
        report(
            f"WARNING: {sum(vanished.values()):,} values of {len(vanished)} tensors of the base are too small for "
            f"{dtype} and became zero; base and adapter apart keep them."
        )
    if dtype != "keep":
        config.pop("torch_dtype", None)
        config["dtype"] = dtype
    write_atomically(output / "config.json", to_json(config))
    for path in sorted(base.iterdir()):
        other = path.name in NOT_COPIED or path.name.endswith(".index.json") or (output / path.name).exists()
        if path.suffix in (".json", ".txt", ".model", ".jinja") and not other:
            shutil.copyfile(path, output / path.name)
    return rounding


def _stored_as(info: TensorInfo, dtype: str) -> TensorInfo:
    """What a tensor becomes: another type if it is of floating-point numbers and one was asked for."""
    if dtype == "keep" or info.dtype not in DTYPES:
        return info
    return TensorInfo(next(name for name, kind in DTYPES.items() if kind == getattr(torch, dtype)), info.shape)


def _changed(
    stored: StoredTensor,
    name: str,
    dtype: torch.dtype | None,
    add: Callable[[str, torch.Tensor, torch.dtype], torch.Tensor],
    vanished: dict[str, int],
) -> torch.Tensor:
    """A tensor of the base in a type, with its update; `vanished` counts new zeros. No type: it is no number."""
    with safe_open(stored.file, "pt") as file:
        weight = file.get_tensor(name)
    if dtype is None:
        return weight
    nonzero = int(weight.count_nonzero()) if weight.dtype != dtype else 0
    weight = add(name, weight, dtype)
    lost = nonzero - int(weight.count_nonzero()) if nonzero else 0
    if lost > 0:
        vanished[name] = lost
    return weight


def _add_update(
    name: str,
    weight: torch.Tensor,
    dtype: torch.dtype,
    merge: ComputedMerge,
    view: str,
    transposed: bool,
    rounding: dict[str, float],
) -> torch.Tensor:
    """A tensor of the base in a type, with its update where it has one; `rounding` gets what rounding changed."""
    module = name.removesuffix(".weight")
    if not name.endswith(".weight") or module not in merge.modules:
        return _rounded(weight, dtype, name)
    turned = weight.T.contiguous() if transposed else weight
    merged, rounding[module] = _merged(turned, merge.factors(module), view, dtype)
    return merged.T.contiguous() if transposed else merged


def _merged(weight: torch.Tensor, factors: Pair, view: str, dtype: torch.dtype) -> tuple[torch.Tensor, float]:
    """W + B A in a type, and rounding's share of the update in the first rows."""
    b, a = (torch.from_numpy(factor) for factor in factors)
    weight = dequantised(weight) if view == "nf4-dequant" else weight
    merged = torch.empty(weight.shape, dtype=dtype)
    share = 0.0
    for start in range(0, len(weight), ROWS):
        rows = slice(start, start + ROWS)
        before = weight[rows].float()
        exact = torch.addmm(before, b[rows], a)
        merged[rows] = _rounded(exact, dtype, "a merged weight")
        if start == 0:
            size = float((exact - before).norm())
            share = float((merged[rows].float() - exact).norm()) / size if size else 0.0
    return merged, share


def _write_shards(
    infos: dict[str, TensorInfo], read: Callable[[str], np.ndarray], output: Path, report: Report
) -> None:
    """Writes tensors into files of at most `SHARD_BYTES`, and their index unless one file is enough."""
    shards: list[dict[str, TensorInfo]] = [{}]
    for name, info in infos.items():
        if shards[-1] and sum(other.nbytes for other in shards[-1].values()) + info.nbytes > SHARD_BYTES:
            shards.append({})
        shards[-1][name] = info
    places = {}
    for number, shard in enumerate(shards, 1):
        file = SINGLE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_tensors(output / file, shard, read)
        report(f"wrote {file}, {len(shard)} tensors")
        places |= dict.fromkeys(shard, file)
    if len(shards) > 1:
        total = sum(info.nbytes for info in infos.values())
        write_atomically(output / INDEX, to_json({"metadata": {"total_size": total}, "weight_map": places}))


def _rounded(tensor: torch.Tensor, dtype: torch.dtype, name: str) -> torch.Tensor:
    if tensor.dtype == dtype or not tensor.numel():
        return tensor.to(dtype)
    low, high = torch.aminmax(tensor)
    largest = torch.finfo(dtype).max
    if not max(-low, high) <= largest:
        kind = str(dtype).removeprefix("torch.")
        raise ConfigError(f"{name} has values beyond {largest:g}, the largest of {kind}; keep base and adapter apart.")
    return tensor.to(dtype)
