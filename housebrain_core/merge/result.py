"""merge.json: what was merged, how, and what it cost, as a typed record."""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from housebrain_core.adapters.adapter import SplitOf
from housebrain_core.adapters.comparison import missing_splits
from housebrain_core.adapters.compatibility import describe_doubts, describe_mixed_data
from housebrain_core.adapters.run import Run
from housebrain_core.adapters.updates import mean_spectrum
from housebrain_core.config import MergeConfig
from housebrain_core.display.results import Shown
from housebrain_core.llm.losses import Difference
from housebrain_core.merge.compute import ComputedMerge

FORMAT = 2
"""Version of merge.json. 0.1.0 wrote files without one, which count as format 1."""
PLACE = ("plan", "leg", "legs", "parent_sha256")
"""Fields of a run, a merge and their manifests that say where it stands in a plan."""
NEGLIGIBLE = 0.01
"""Share of the best split's gain over the base up to which a merge that is worse counts as equal."""


@dataclass(frozen=True)
class MergeInput:
    """An adapter of the merge."""

    name: str
    sha256: str
    """Of its weights."""
    weight: float
    split: SplitOf | None
    checked: bool
    """Whether it came with a manifest of our trainer."""
    norm: float
    """Frobenius norm of its whole update."""
    cosine_to_others: float | None
    """Between its update and the mean of the others; None for one alone."""


@dataclass(frozen=True)
class MergedModule:
    """What truncation to the rank did to one module."""

    norm: float
    """Frobenius norm of the update before."""
    retained_energy: float
    """Share of the squared norm, in [0, 1]."""
    relative_error: float
    """Relative Frobenius distance."""


@dataclass(frozen=True)
class Evaluation:
    """A validation loss that was measured to choose weights or scale."""

    coefficients: list[float]
    """Weight times scale of each adapter."""
    loss: float
    """Nats per token."""


@dataclass(frozen=True)
class Validation:
    """Whether merging was better than the best split."""

    losses: dict[str, float]
    """Model -> validation loss in nats per token, on the samples that judge."""
    best_split: str
    difference: Difference
    """Merge minus best split."""
    verdict: str
    """In words."""
    samples: int
    """Samples that judge."""
    chosen_on: int
    """Other samples, on which weights or scale were chosen."""
    evaluations: list[Evaluation]
    exact: dict[str, float] = field(default_factory=dict)
    """Model -> share of those samples whose answer it knows exactly, fields left out that do not follow from briefs."""
    rival: str = ""
    """The best of the other ways to merge that were measured; empty where none was."""
    rival_difference: Difference | None = None
    """Merge minus that one."""

    def describe_rival(self) -> str:
        """Says in a sentence whether another way to merge would have been better; nothing where none was measured."""
        if self.rival_difference is None:
            return ""
        mean, low, high = self.rival_difference
        size = f"{abs(mean):.4f} nats per token (95 % interval of the difference {low:+.4f} to {high:+.4f})"
        if low > 0:
            return f"Merged by {self.rival} it would be better by {size}: merge again with the strategy {self.rival}."
        if high < 0:
            return f"No other way to merge did better: the next, {self.rival}, is worse by {size}."
        return (
            f"No other way to merge is better beyond chance: the nearest, {self.rival}, is {size} away. Keep this one."
        )

    @property
    def is_worse(self) -> bool:
        """Whether the merge is worse than the best split, beyond chance and a hundredth of what training gained."""
        return is_worse(self.difference, self.losses["base"] - self.losses[self.best_split])


def is_worse(difference: Difference, gain: float) -> bool:
    """Whether a merge is worse than the best split.

    Args:
        difference: loss of the merge minus that of the best split, in nats per token.
        gain: loss of the base minus that of the best split.
    """
    return difference.low > 0 and difference.mean > NEGLIGIBLE * gain


@dataclass(frozen=True, kw_only=True)
class MergeRecord:
    """What merge.json says of any merge."""

    format: int = FORMAT
    strategy: str
    rank: int
    scale: float
    density: float | None
    """For the strategy ties."""
    error_of_strategy: float
    """Relative Frobenius distance of the strategy's update from the exact weighted mean."""
    inputs: list[MergeInput]
    outer_rate: float = 1.0
    """How far the merge moved from what the inputs were trained from; 1 is to their mean."""
    plan: str | None
    """Id of the plan that the inputs were trained for, where they agree."""
    leg: int | None
    """Leg of that plan."""
    warning: str = ""
    """That the merge is worse than its best split, and what to do instead; empty where it is not, or unmeasured."""
    inherited: list[str] = field(default_factory=list)
    """Warnings of inputs that are merges themselves."""
    legs: int | None
    """Legs of that plan."""
    parent_sha256: str | None
    """sha256 of the adapter that the inputs started from, where they agree."""
    selection: str | None = None
    """What the inputs were trained on was chosen from and how, where they agree; None where nothing was chosen."""

    @property
    def place(self) -> dict[str, Any]:
        """Where the merge stands in a plan, for the manifest."""
        return {name: getattr(self, name) for name in PLACE}

    @property
    def is_unfinished(self) -> bool:
        """Whether other legs of its plan come after it."""
        return bool(self.leg and self.legs and self.leg < self.legs)

    def what_instead(self, best: str) -> str:
        """What to do where a merge is worse than its best split, given by its name."""
        if self.is_unfinished:
            return f"Go on with the plan: later legs bring back what a merge loses. Until then use {best} alone."
        return (
            f"Use {best} alone. To get more than that, train on in more legs (housebrain split --rounds 3) or in a "
            "relay, one person after another, which loses nothing (--relay); or look for a bad adapter with housebrain "
            "inspect, which --strategy greedy leaves out."
        )

    @property
    def notices(self) -> list[str]:
        """What whoever uses the result has to know first."""
        unfinished = (
            f"NOT A FINISHED MODEL: this is leg {self.leg} of {self.legs} of a plan, and the learning rate has not "
            "fallen to zero yet. The plan's next step: housebrain round"
        )
        return [line for line in (self.warning, *self.inherited, unfinished * self.is_unfinished) if line]

    def to_dict(self) -> dict[str, Any]:
        """The contents of merge.json; in capitals, what sorts first."""
        return ({"NOTICE": self.notices} if self.notices else {}) | asdict(self)


@dataclass(frozen=True, kw_only=True)
class MergeResult(Shown, MergeRecord):
    """The merge.json of a merged adapter."""

    rank_setting: int | str
    cosines: list[list[float]]
    """Between the updates of the inputs, in their order."""
    warnings: list[str]
    """What a person should look at though it does not stop the merge."""
    retained_energy: float
    """Share of the squared norm of all modules that truncation to the rank kept."""
    relative_error: float
    """Relative Frobenius distance that truncation made."""
    spectrum: list[float]
    """Singular values over all modules, relative to the first."""
    modules: dict[str, MergedModule]
    validation: Validation | None = None

    def outputs(self) -> list[Any]:
        """The notices, what the validation comes to where there was one, and the merged update's singular values."""
        from housebrain_core.display import plots

        spectrum = plots.spectrum({"merged": self.spectrum}, rank=self.rank)
        if self.validation is None:
            return [*self.notices, spectrum]
        said = [] if self.warning else [f"{self.validation.verdict[0].upper()}{self.validation.verdict[1:]}."]
        said += [line for line in [self.validation.describe_rival()] if line]
        if not self.notices:
            said.append("Next: judge its designs with notebook 4, or housebrain evaluate.")
        losses = dict(sorted(self.validation.losses.items(), key=lambda item: item[1]))
        return [*self.notices, *(["\n".join(said)] if said else []), plots.loss_bars(losses), spectrum]

    def to_dict(self) -> dict[str, Any]:
        """The contents of merge.json; without a validation there is no such key."""
        contents = super().to_dict()
        if self.validation is None:
            del contents["validation"]
        else:
            for name in ("difference", "rival_difference"):
                value = getattr(self.validation, name)
                contents["validation"][name] = value and value._asdict()
        return contents


def describe_merge(config: MergeConfig, merge: ComputedMerge, validation: Validation | None = None) -> MergeResult:
    """Puts together what a merge did: inputs by sha256, weights, rank, and what truncation cost in each module."""
    modules = {}
    for module, decomposition in merge.modules.items():
        spectrum = decomposition.spectrum
        lost = spectrum.share_lost(merge.rank)
        modules[module] = MergedModule(math.sqrt(spectrum.energy), 1 - lost, math.sqrt(lost))
    result = MergeResult(
        **describe_inputs(config, merge),
        rank_setting=config.rank,
        cosines=merge.geometry.cosines.tolist(),
        warnings=find_warnings(merge),
        retained_energy=1 - merge.lost_share,
        relative_error=math.sqrt(merge.lost_share),
        spectrum=mean_spectrum(merge.spectra),
        modules=modules,
        validation=validation,
    )
    if not validation or not validation.is_worse:
        return result
    return replace(result, warning=f"{validation.verdict}. {result.what_instead(validation.best_split)}")


def describe_inputs(config: MergeConfig, merge: ComputedMerge) -> dict[str, Any]:
    """The fields of a `MergeRecord`."""
    adapters, geometry = merge.adapters, merge.geometry
    columns = zip(adapters, merge.recipe.weights, geometry.norms, geometry.cosines_to_others, strict=True)
    return {
        "strategy": config.strategy,
        "rank": merge.rank,
        "scale": merge.recipe.scale,
        "outer_rate": merge.recipe.outer_rate,
        "density": config.density if config.strategy == "ties" else None,
        "error_of_strategy": merge.mean_error,
        "inputs": [
            MergeInput(adapter.name, adapter.sha256, weight, adapter.split, adapter.run is not None, norm, cosine)
            for adapter, weight, norm, cosine in columns
        ],
        "inherited": [f"{a.name}: {a.run.warning}" for a in adapters if a.run and a.run.warning],
        "selection": common_value([adapter.run.data.selection for adapter in adapters if adapter.run]),
        **common_place([adapter.run for adapter in adapters if adapter.run]),
    }


def common_place(runs: list[Run]) -> dict[str, Any]:
    """Where runs stand in a plan: the fields `PLACE`, None where the runs differ."""
    return {name: common_value([getattr(run, name) for run in runs]) for name in PLACE}


def common_value(values: list[Any]) -> Any:
    """The value that all have; None where they differ, or where there are none."""
    return values[0] if values and all(value == values[0] for value in values) else None


def find_warnings(merge: ComputedMerge) -> list[str]:
    """What a person should look at though it does not stop the merge."""
    adapters = merge.adapters
    pairs = zip(adapters, merge.verdicts, strict=True)
    lines = [f"{adapter.name}: {why}" for adapter, verdict in pairs for why in verdict.odd]
    plain = [adapter.name for adapter in adapters if not adapter.run]
    if plain:
        lines.append(f"{', '.join(plain)}: no manifest, so split, data, tokens and 4-bit settings were not checked")
    missing = missing_splits(adapters)
    if missing and not any(adapter.run and adapter.run.plan for adapter in adapters):  # a leg may be for few
        lines.append(f"nothing of split {', '.join(map(str, missing))} is in this merge")
    if mixed := describe_mixed_data(adapters):
        lines.append(mixed)
    lines += describe_doubts(adapters)
    in_4bit = [adapter.name for adapter in adapters if adapter.trained_in_4bit]
    if 0 < len(in_4bit) < len(adapters):
        lines.append(f"{', '.join(in_4bit)}: trained on the base in 4 bits, the others on the base as it is")
    return lines
