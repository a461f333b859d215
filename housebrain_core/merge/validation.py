"""What a merge is worth, measured: losses of many weightings with the base model loaded once.

All adapters are loaded as one, their factors side by side: its update is B diag(c) A, so that another weighting is
another factor for each column of B, set in place. Where weights are chosen by loss, they are chosen on one half of the
validation sample and everything is judged on the other.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.config import MergeConfig
from housebrain_core.errors import ConfigError
from housebrain_core.house.codec import Example
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.llm.losses import Difference, Losses, compare_losses
from housebrain_core.manifests import seal
from housebrain_core.merge.compute import Pair, Recipe, compute_merge
from housebrain_core.merge.merged_files import write_adapter
from housebrain_core.merge.result import Evaluation, Validation, is_worse
from housebrain_core.merge.strategies import STRATEGIES
from housebrain_core.splits.encode import read_drawn_fields, read_validation

EVALUATIONS = 40
"""Losses that a search measures at most."""
SCALES = (1.0, 0.6, 0.8, 1.2, 1.4, 1.6)


@dataclass(frozen=True)
class Column:
    """B of one module, as the base model holds it, with the columns of all adapters."""

    parameter: torch.nn.Parameter
    original: torch.Tensor
    adapter: torch.Tensor
    """The number of the adapter that each column belongs to."""


class Bench:
    """The base model with all adapters on it, and the validation sample.

    Args:
        config: where model and data are.
        adapters: in the order of the weights.
        choosing: whether weights or scale are going to be chosen by loss.
        report: gets lines of progress.

    Raises:
        ConfigError: there are too few samples to choose by.
    """

    def __init__(
        self, config: MergeConfig, adapters: list[Adapter], choosing: bool, report: Callable[[str], None]
    ) -> None:
        self.config = config
        self.adapters = adapters
        self.report = report
        examples = read_validation(config.data)
        self.drawn = read_drawn_fields(config.data)
        if choosing and len(examples) < 4:
            raise ConfigError(f"{config.data} has {len(examples)} validation samples; choosing by loss needs 4.")
        self.choosing = examples[::2] if choosing else []
        self.judging = examples[1::2] if choosing else examples
        if choosing:
            report(f"chosen by loss on {len(self.choosing)} samples, judged on the other {len(self.judging)}")
        self._scratch = tempfile.TemporaryDirectory(prefix="housebrain-")
        self.scratch = Path(self._scratch.name)
        self.widths = [max(shape.rank for shape in adapter.shapes.values()) for adapter in adapters]
        self.together = self._write_together()
        self.llm = HouseBrainLLM(self.together, config.base_model, report=report)
        self.columns = self._find_columns()
        self.evaluations: list[Evaluation] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._scratch.cleanup()

    def losses(self, weights: list[float], examples: list[Example]) -> Losses:
        """Loss of each example under the sum of w_i D_i."""
        self.llm.use(self.together)
        for column in self.columns:
            factors = torch.tensor(weights, dtype=column.original.dtype)[column.adapter]
            column.parameter.data.copy_(column.original * factors.to(column.original.device))
        return self.llm.losses(examples, self.drawn)

    def choose(self, strategy: str, weights: list[float], scale: float | str) -> tuple[list[float], float]:
        """Weights (sum 1) and scale with the lowest loss on the choosing half, within 40 evaluations.

        Args:
            strategy: its name.
            weights: to start from.
            scale: a number, or "auto".

        Raises:
            ConfigError: the scale of this strategy cannot be chosen.
        """
        start = 1.0 if isinstance(scale, str) else scale
        if strategy == "search":
            coefficients = minimise([weight * start for weight in weights], self._evaluate)
            return [c / sum(coefficients) for c in coefficients], sum(coefficients)
        if strategy == "greedy":
            weights = greedy_soup(self._evaluate, len(weights))
        return weights, self._choose_scale(strategy, weights) if scale == "auto" else start

    def judge(self, merged: Path, recipe: Recipe) -> Validation:
        """Whether merging was better than the best split, and by how much.

        Args:
            merged: the folder of the merged adapter.
            recipe: how it was made.
        """
        measured = self._measure_all(merged, recipe)
        losses = {name: loss.mean for name, loss in measured.items()}
        best = min((adapter.name for adapter in self.adapters), key=lambda name: losses[name])
        difference = compare_losses(measured["merged"], measured[best])
        verdict = describe_difference(best, difference, losses["base"] - losses[best])
        self.report(verdict)
        rival = min(filter(STRATEGIES.__contains__, losses), key=losses.__getitem__, default="")
        validation = Validation(
            rival=rival,
            rival_difference=compare_losses(measured["merged"], measured[rival]) if rival else None,
            losses=losses,
            exact={name: each.exact_share for name, each in measured.items()},
            best_split=best,
            difference=difference,
            verdict=verdict,
            samples=len(self.judging),
            chosen_on=len(self.choosing),
            evaluations=self.evaluations,
        )
        if rival:
            self.report(validation.describe_rival())
        return validation

    def _evaluate(self, coefficients: list[float]) -> float:
        """Validation loss on the choosing half."""
        value = self.losses(coefficients, self.choosing).mean
        self.evaluations.append(Evaluation(coefficients, value))
        shown = " ".join(f"{c:.3f}" for c in coefficients)
        self.report(f"evaluation {len(self.evaluations)}: {value:.4f} nats per token with {shown}")
        return value

    def _choose_scale(self, strategy: str, weights: list[float]) -> float:
        if not STRATEGIES[strategy].is_sum:
            raise ConfigError(f"--scale auto is for sums of updates, not for {strategy}. Give a number.")
        losses = {scale: self._evaluate([scale * weight for weight in weights]) for scale in SCALES}
        scale = min(losses, key=lambda scale: losses[scale])
        if scale in (min(SCALES), max(SCALES)):
            self.report(f"WARNING: {scale} is the last scale that was tried; the best may lie beyond. Try --scale N.")
        return scale

    def _measure_all(self, merged: Path, recipe: Recipe) -> dict[str, Losses]:
        """Losses on the judging samples: of the base, each adapter, the other strategies, and the merge."""
        measured = {"base": self._report("base", self.losses([0.0] * len(self.adapters), self.judging))}
        for adapter, weights in zip(self.adapters, np.eye(len(self.adapters)).tolist(), strict=True):
            measured[adapter.name] = self._report(adapter.name, self.losses(weights, self.judging))
        for name in self._other_strategies(recipe) if self.config.compare else ():
            measured[name] = self._measure_folder(name, self._merge_by(name))
        measured["merged"] = self._measure_folder("merged", merged)
        return measured

    def _measure_folder(self, name: str, folder: Path) -> Losses:
        self.llm.use(folder)
        return self._report(name, self.llm.losses(self.judging, self.drawn))

    def _report(self, name: str, losses: Losses) -> Losses:
        exact = f"{losses.exact_share:.1%} exactly right"
        self.report(f"validation loss {losses.mean:.4f} nats per token, {exact}  {name}")
        return losses

    def _other_strategies(self, recipe: Recipe) -> list[str]:
        """Strategies that need no search, to compare with."""
        names = ["average", "ties"]
        if all(adapter.run and adapter.run.tokens for adapter in self.adapters):
            names.append("weighted")
        if len({shape.rank for adapter in self.adapters for shape in adapter.shapes.values()}) == 1:
            names.append("ab-average")
        return [name for name in names if name != recipe.strategy]

    def _merge_by(self, name: Any) -> Path:
        """The folder of an adapter merged by another strategy."""
        plain = MergeConfig(models=self.config.models, strategy=name)
        recipe = Recipe(name, STRATEGIES[name].weigh(self.adapters, plain), 1.0, self.config.density)
        merge = compute_merge(self.adapters, recipe, self.config.rank)
        folder = self.scratch / name
        folder.mkdir()
        write_adapter(folder, self.adapters, merge.rank, merge.factors)
        seal(folder, "adapter", finished=True)
        return folder

    def _write_together(self) -> Path:
        """All adapters as one, padded with zeros to the same rank in every module."""
        folder = self.scratch / "together"
        folder.mkdir()
        write_adapter(folder, self.adapters, sum(self.widths), self._padded_factors)
        seal(folder, "adapter", finished=True)
        return folder

    def _padded_factors(self, module: str) -> Pair:
        sides_b, sides_a = [], []
        for adapter, width in zip(self.adapters, self.widths, strict=True):
            b, a = adapter.factors(module)
            missing = width - b.shape[1]
            sides_b.append(np.pad(b, ((0, 0), (0, missing))))
            sides_a.append(np.pad(a, ((0, missing), (0, 0))))
        return np.concatenate(sides_b, axis=1), np.concatenate(sides_a)

    def _find_columns(self) -> list[Column]:
        name = self.llm.model.active_adapter
        adapter = torch.arange(len(self.widths)).repeat_interleave(torch.tensor(self.widths))
        return [
            Column(parameter, parameter.detach().clone(), adapter)
            for key, parameter in self.llm.model.named_parameters()
            if f".lora_B.{name}." in key
        ]


def greedy_soup(loss: Callable[[list[float]], float], count: int) -> list[float]:
    """Adapters by their own loss, each kept if the mean with it is not worse (Wortsman et al. 2022, arXiv 2203.05482).

    Args:
        loss: of coefficients, one per adapter.
        count: number of adapters.

    Returns:
        Equal weights for those kept, zero for the rest.
    """

    def mean_of(members: list[int]) -> list[float]:
        return [1 / len(members) if index in members else 0.0 for index in range(count)]

    alone = {index: loss(mean_of([index])) for index in range(count)}
    order = sorted(alone, key=lambda index: alone[index])
    kept, best = order[:1], alone[order[0]]
    for index in order[1:]:
        value = loss(mean_of([*kept, index]))
        if value <= best:
            kept, best = [*kept, index], value
    return mean_of(kept)


def minimise(start: list[float], loss: Callable[[list[float]], float], evaluations: int = EVALUATIONS) -> list[float]:
    """Coefficients with a low loss by compass search: all scaled together, then each alone, up and down in turns.

    Multiplicative steps keep them positive; the step halves when no direction helps. Cheap and deterministic, in the
    spirit of LoRAHub (Huang et al. 2023, arXiv 2307.13269).
    """
    best, lowest = start, loss(start)
    step, left = 0.4, evaluations - 1
    directions = [set(range(len(start)))]
    if len(start) > 1:
        directions += [{index} for index in range(len(start))]
    while left > 0 and step > 0.02:
        improved = False
        for members in directions:
            for factor in (1 + step, 1 / (1 + step)):
                if left == 0:
                    return best
                trial = [c * factor if index in members else c for index, c in enumerate(best)]
                value, left = loss(trial), left - 1
                if value < lowest:
                    best, lowest, improved = trial, value, True
                    break
        step = step if improved else step / 2
    return best


def describe_difference(best: str, difference: Difference, gain: float) -> str:
    """The verdict in one line; a merge that is worse by more than a hundredth of what training gained is said loudly.

    Args:
        best: name of the best split.
        difference: loss of the merge minus that of the best split, in nats per token.
        gain: loss of the base minus that of the best split.
    """
    size = f"{abs(difference.mean):.4f} nats per token"
    interval = f"95 % interval of the difference {difference.low:+.4f} to {difference.high:+.4f}"
    if difference.high < 0:
        return f"the merge is better than the best split, {best}, by {size} ({interval})"
    if is_worse(difference, gain):
        return f"WARNING: THE MERGE IS WORSE than the best split, {best}, by {size} ({interval})"
    if difference.low > 0:
        return (
            f"the merge is practically equal to the best split, {best}: its loss is {size} higher, "
            f"{difference.mean / gain:.1%} of the {gain:.4f} that {best} gained over the base ({interval})"
        )
    return f"the merge and the best split, {best}, cannot be told apart on this sample ({interval})"
