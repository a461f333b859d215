"""The merged update added to the full weights of the base model, streamed: a tensor at a time.

Each weight is W + s B A in float32, rounded once to float16. Everything else is copied. A 4-bit base is refused:
re-quantising keeps 0.2 to 6 % of a typical update (measured).
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.adapters.archives import CONFIG, RUN
from housebrain_core.adapters.tensors import TensorInfo, write_tensors
from housebrain_core.config import MergeConfig
from housebrain_core.errors import ConfigError
from housebrain_core.export.base_weights import StoredTensor, find_base_folder, read_base, stores_transposed
from housebrain_core.export.nf4 import dequantised
from housebrain_core.manifests import MANIFEST, seal, to_json, write_atomically
from housebrain_core.merge.compute import ComputedMerge, Pair, Recipe, compute_merge
from housebrain_core.merge.merge import merge_output, needs_choice, opened_adapters, report_computed
from housebrain_core.merge.merged_files import describe_recipe, merge_card, reference_adapter
from housebrain_core.merge.result import NEGLIGIBLE, MergeRecord, describe_inputs
from housebrain_core.merge.strategies import STRATEGIES
from housebrain_core.texts import say
from housebrain_core.train.base_models import INDEX, SINGLE, read_base_config

SHARD_BYTES = 250_000_000
"""Of a file of weights, at most, unless one tensor is larger: small, so that an upload that breaks is soon repeated."""
ROWS = 512
"""Rows of a matrix that are in float32 at once."""
NOT_COPIED = (MANIFEST, CONFIG, RUN, "merge.json", "trainer_state.json")
"""Files of a base folder that tell of an adapter or of how that folder was made, which is not how this one was."""
LARGEST = torch.finfo(torch.float16).max
VIEWS = {"fp16": "the base as it is", "nf4-dequant": "the base as 4-bit training saw it (NF4, dequantised)"}
Report = Callable[[str], None]


@dataclass(frozen=True)
class BaseView:
    """Which base model the update was added to."""

    name: str
    revision: str
    view: str
    """A key of `VIEWS`."""


@dataclass(frozen=True, kw_only=True)
class FullModelResult(MergeRecord):
    """The merge.json of a full model."""

    base: BaseView
    rounding: dict[str, float]
    """Module -> norm of what rounding to float16 changed, as a share of the update's norm, in its first rows."""
    validation_losses: dict[str, float]
    """View -> nats per token, where they were measured."""


def merge_into_base(config: MergeConfig, report: Report = say) -> FullModelResult:
    """Writes a full model: the base plus the merged update, in float16.

    Args:
        config: `into_base` names the base; rank auto means full here, which costs nothing.
        report: gets lines of progress.

    Returns:
        The contents of merge.json.

    Raises:
        AdapterError: an adapter is damaged, they do not belong together, or do not fit the base.
        ConfigError: the base is another one, is quantised, has no safetensors, or does not fit into float16.
    """
    if needs_choice(config):
        raise ConfigError(
            "--into-base adds a merge that is chosen already. Choose it by merging into an adapter first, then: "
            "housebrain merge --models THAT_ADAPTER --into-base BASE --output FOLDER"
        )
    output = merge_output(config, "model")
    with opened_adapters(config, report) as adapters, output as staging:
        result = _write_model(config, adapters, staging, report)
    for notice in result.notices:
        report(notice)
    report(f"done: {config.output}")
    return result


def _write_model(config: MergeConfig, adapters: list[Adapter], staging: Path, report: Report) -> FullModelResult:
    folder, revision = find_base_folder(str(config.into_base), adapters)
    weights = STRATEGIES[config.strategy].weigh(adapters, config)
    recipe = Recipe(config.strategy, weights, float(config.scale), config.density)
    merge = compute_merge(adapters, recipe, "full" if config.rank == "auto" else config.rank)
    report_computed(merge, report)
    view, rounding, losses = _write_better_view(folder, merge, config, staging, report)
    result = FullModelResult(
        **describe_inputs(config, merge),
        base=BaseView(reference_adapter(adapters).base_model or folder.name, revision, view),
        rounding=rounding,
        validation_losses=losses,
    )
    result = replace(result, warning=_warn_if_worse(result, adapters))
    worst = max(rounding, key=lambda module: rounding[module])
    report(f"rounding to float16 is at most {rounding[worst]:.1%} of the update ({worst})")
    if rounding[worst] > 0.1:
        report("WARNING: float16 rounds off more than a tenth of an update; serving base and adapter apart keeps it.")
    write_atomically(staging / "merge.json", to_json(result.to_dict()))
    write_atomically(staging / "README.md", describe_full_model(result))
    merged_from = [adapter.sha256 for adapter in adapters]
    seal(staging, "model", merged_from=merged_from, base=asdict(result.base), **result.place)
    return result


def _warn_if_worse(result: FullModelResult, adapters: list[Adapter]) -> str:
    """What to say first where the model is worse than its best split was at the end of its own training."""
    recorded = {a.name: a.run.validation_loss for a in adapters if a.run and a.run.validation_loss is not None}
    if len(adapters) < 2 or not recorded or not result.validation_losses:
        return ""
    best = min(recorded, key=lambda name: recorded[name])
    loss = result.validation_losses[result.base.view]
    if loss <= (1 + NEGLIGIBLE) * recorded[best]:
        return ""
    return (
        f"WARNING: THE MERGE IS WORSE than the best split, {best}: {loss:.4f} nats per token, and {best} had "
        f"{recorded[best]:.4f} when its training ended. {result.what_instead(best)}"
    )


def describe_full_model(result: FullModelResult) -> str:
    """README.md of a base model with a merge in its weights."""
    text = (
        f"{describe_recipe(result)}. Added at rank {result.rank} to {VIEWS[result.base.view]}, revision "
        f"{result.base.revision}, and rounded once to float16: rounding changed at most "
        f"{max(result.rounding.values()):.1%} of an update. Load it as any other model; no adapter is needed."
    )
    return merge_card(result.base.name, "transformers", text, result)


def _write_better_view(
    base: Path, merge: ComputedMerge, config: MergeConfig, staging: Path, report: Report
) -> tuple[str, dict[str, float], dict[str, float]]:
    """Writes the model of the view asked for; with validation and view auto both, and the one of lower loss stays.

    Returns:
        The view, what rounding changed in it, and the validation loss of each view measured.
    """
    views = [config.base_view]
    if config.base_view == "auto":
        in_4bit = all(adapter.trained_in_4bit for adapter in merge.adapters)
        views = ["nf4-dequant", "fp16"] if in_4bit else ["fp16"]
        views = views if config.run_validation else views[:1]
        better = ", and the better of them stays" if len(views) > 1 else ""
        unsaid = not in_4bit and not all(adapter.run for adapter in merge.adapters)
        why = "nothing says that all were trained in 4 bits" if unsaid else "what the adapters were trained on"
        report(f"base view {' and '.join(views)}: {why}{better}")
    rounding, losses = {}, {}
    for view in views:
        folder = staging / f".{view}"
        folder.mkdir()
        rounding[view] = stream(base, merge, view, folder, report)
        if config.run_validation:
            losses[view] = _validation_loss(folder, config.data)
            report(f"validation loss {losses[view]:.4f} nats per token  base view {view}")
    kept = min(views, key=lambda view: losses.get(view, 0))
    for path in (staging / f".{kept}").iterdir():
        path.rename(staging / path.name)
    for view in views:
        shutil.rmtree(staging / f".{view}")
    return kept, rounding[kept], losses


def _validation_loss(folder: Path, data: Path) -> float:
    """Nats per token of a full model, which is loaded whole."""
    from housebrain_core.llm.llm import HouseBrainLLM
    from housebrain_core.splits.encode import read_validation

    return HouseBrainLLM(folder).losses(read_validation(data)).mean


def stream(base: Path, merge: ComputedMerge, view: str, output: Path, report: Report = say) -> dict[str, float]:
    """Copies a base model with the update in it.

    Returns:
        Module -> norm of what rounding to float16 changed, as a share of the update's norm, in its first rows.
    """
    config = read_base_config(base)
    tensors = read_base(base, config, merge.adapters[0])
    rounding: dict[str, float] = {}
    vanished: dict[str, int] = {}
    add = partial(_add_update, merge=merge, view=view, transposed=stores_transposed(config), rounding=rounding)
    infos = {name: _in_half(stored.info) for name, stored in tensors.items()}
    _write_shards(infos, lambda name: _changed(tensors[name], name, add, vanished).numpy(), output, report)
    if vanished:
        report(
            f"WARNING: {sum(vanished.values()):,} values of {len(vanished)} tensors of the base are too small for "
            "float16 and became zero; base and adapter apart keep them."
        )
    config.pop("torch_dtype", None)
    write_atomically(output / "config.json", to_json(config | {"dtype": "float16"}))
    for path in sorted(base.iterdir()):
        other = path.name in NOT_COPIED or path.name.endswith(".index.json") or (output / path.name).exists()
        if path.suffix in (".json", ".txt", ".model", ".jinja") and not other:
            shutil.copyfile(path, output / path.name)
    return rounding


def _in_half(info: TensorInfo) -> TensorInfo:
    """What a tensor becomes: float16 if it is of floating-point numbers."""
    return TensorInfo("F16", info.shape) if info.dtype.startswith(("F", "BF")) else info


def _changed(
    stored: StoredTensor, name: str, add: Callable[[str, torch.Tensor], torch.Tensor], vanished: dict[str, int]
) -> torch.Tensor:
    """A tensor of the base in float16, if it has a floating point, with its update; `vanished` counts new zeros."""
    with safe_open(stored.file, "pt") as file:
        weight = file.get_tensor(name)
    nonzero = int(weight.count_nonzero()) if weight.dtype in (torch.bfloat16, torch.float32) else 0
    weight = add(name, weight)
    lost = nonzero - int(weight.count_nonzero()) if nonzero else 0
    if lost > 0:
        vanished[name] = lost
    return weight


def _add_update(
    name: str, weight: torch.Tensor, merge: ComputedMerge, view: str, transposed: bool, rounding: dict[str, float]
) -> torch.Tensor:
    """A tensor of the base in float16, with its update where it has one; `rounding` gets what rounding changed."""
    module = name.removesuffix(".weight")
    if not name.endswith(".weight") or module not in merge.modules:
        return _to_half(weight, name) if weight.is_floating_point() else weight
    turned = weight.T.contiguous() if transposed else weight
    merged, rounding[module] = _merged(turned, merge.factors(module), view)
    return merged.T.contiguous() if transposed else merged


def _merged(weight: torch.Tensor, factors: Pair, view: str) -> tuple[torch.Tensor, float]:
    """W + B A in float16, and rounding's share of the update in the first rows."""
    b, a = (torch.from_numpy(factor) for factor in factors)
    weight = dequantised(weight) if view == "nf4-dequant" else weight
    merged = torch.empty(weight.shape, dtype=torch.float16)
    share = 0.0
    for start in range(0, len(weight), ROWS):
        rows = slice(start, start + ROWS)
        before = weight[rows].float()
        exact = torch.addmm(before, b[rows], a)
        merged[rows] = _to_half(exact, "a merged weight")
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


def _to_half(tensor: torch.Tensor, name: str) -> torch.Tensor:
    if tensor.dtype == torch.float16 or not tensor.numel():
        return tensor.half()
    low, high = torch.aminmax(tensor)
    if not max(-low, high) <= LARGEST:
        raise ConfigError(f"{name} has values beyond {LARGEST:g}, the largest of float16; keep base and adapter apart.")
    return tensor.half()
