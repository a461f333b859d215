"""A full model of a base model and adapters: on which view of the base, what rounding cost, and its merge.json."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.config import MergeConfig
from housebrain_core.errors import ConfigError
from housebrain_core.export.base_weights import find_base_folder
from housebrain_core.export.finishing import finish
from housebrain_core.export.settings import ExportConfig
from housebrain_core.export.streaming import stream
from housebrain_core.export.verification import Source
from housebrain_core.manifests import seal, to_json, write_atomically
from housebrain_core.merge.compute import ComputedMerge, Recipe, compute_merge
from housebrain_core.merge.merge import merge_output, needs_choice, opened_adapters, report_computed
from housebrain_core.merge.merged_files import describe_recipe, reference_adapter
from housebrain_core.merge.result import NEGLIGIBLE, MergeRecord, describe_inputs
from housebrain_core.merge.strategies import STRATEGIES
from housebrain_core.texts import say

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
    dtype: str
    """Type of the weights: "keep" is the base's own."""
    rounding: dict[str, float]
    """Module -> norm of what rounding changed, as a share of the update's norm, in its first rows."""
    validation_losses: dict[str, float]
    """View -> nats per token, where they were measured."""

    @property
    def type_name(self) -> str:
        """The type of the weights in words."""
        return "the base's own type" if self.dtype == "keep" else self.dtype

    def describe(self) -> str:
        """What the model is, for its card."""
        return (
            f"{describe_recipe(self)}. Added at rank {self.rank} to {VIEWS[self.base.view]}, revision "
            f"{self.base.revision}, and rounded once to {self.type_name}: rounding changed at most "
            f"{max(self.rounding.values()):.1%} of an update. Load it as any other model; no adapter is needed."
        )


def merge_into_base(config: MergeConfig, report: Report = say) -> FullModelResult:
    """Writes a full model: the base plus the merged update, in float16. `export_model` does it in any type.

    Args:
        config: `into_base` names the base; rank auto means full here, which costs nothing.
        report: gets lines of progress.

    Returns:
        The contents of merge.json.

    Raises:
        AdapterError: an adapter is damaged, they do not belong together, or do not fit the base.
        ConfigError: the base is another one, is quantised, has no safetensors, or does not fit into float16.
        ExportError: the model does not answer as its adapters do.
    """
    if needs_choice(config):
        raise ConfigError(
            "--into-base adds a merge that is chosen already. Choose it by merging into an adapter first, then: "
            "housebrain export --model THAT_ADAPTER --as full --output FOLDER"
        )
    output = merge_output(config, "model")
    with opened_adapters(config, report) as adapters, output as staging:
        report("--into-base is export's full now: housebrain export --model MERGED --as full --dtype float16")
        result, source = write_weights(config, adapters, staging, "float16", report)
        settings = ExportConfig(model=config.output, format="full", dtype="float16", **_shared(config))
        finish(staging, source, result.describe(), result.notices, settings, report)
        seal_model(staging, result, source)
    for notice in result.notices:
        report(notice)
    report(f"done: {config.output}")
    return result


def write_weights(
    config: MergeConfig, adapters: list[Adapter], staging: Path, dtype: str, report: Report
) -> tuple[FullModelResult, Source]:
    """Writes weights, config.json and merge.json of a full model.

    Args:
        config: `into_base` names the base.
        adapters: checked.
        staging: an empty folder.
        dtype: of the weights: a key of torch such as "float16", or "keep" for the base's own.
        report: gets lines of progress.

    Returns:
        The contents of merge.json, and what the model is made of.
    """
    folder, revision = find_base_folder(str(config.into_base), adapters)
    weights = STRATEGIES[config.strategy].weigh(adapters, config)
    recipe = Recipe(config.strategy, weights, float(config.scale), config.density)
    merge = compute_merge(adapters, recipe, "full" if config.rank == "auto" else config.rank)
    report_computed(merge, report)
    view, rounding, losses = _write_better_view(folder, merge, config, staging, dtype, report)
    result = FullModelResult(
        **describe_inputs(config, merge),
        base=BaseView(reference_adapter(adapters).public_base or folder.name, revision, view),
        dtype=dtype,
        rounding=rounding,
        validation_losses=losses,
    )
    result = replace(result, warning=_warn_if_worse(result, adapters))
    worst = max(rounding, key=lambda module: rounding[module])
    report(f"rounding to {result.type_name} is at most {rounding[worst]:.1%} of the update ({worst})")
    if rounding[worst] > 0.1:
        report(
            f"WARNING: {result.type_name} rounds off more than a tenth of an update; serving base and adapter apart "
            "keeps it" + (", and so does --dtype float16 or float32." if dtype == "keep" else ".")
        )
    write_atomically(staging / "merge.json", to_json(result.to_dict()))
    return result, Source(merge, folder, result.base.name, revision, view == "nf4-dequant")


def seal_model(folder: Path, result: FullModelResult, source: Source) -> None:
    """Writes the manifest of a full model, last."""
    merged_from = [adapter.sha256 for adapter in source.adapters]
    seal(folder, "model", merged_from=merged_from, base=asdict(result.base), **result.place)


def _shared(config: MergeConfig) -> dict[str, Any]:
    """Settings of a merge that an export has too, where somebody gave them."""
    return {"data": config.data} if "data" in config.model_fields_set else {}


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


def _write_better_view(
    base: Path, merge: ComputedMerge, config: MergeConfig, staging: Path, dtype: str, report: Report
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
        rounding[view] = stream(base, merge, view, dtype, folder, report)
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
