"""What a merge is worth, measured: losses of many weightings with the base model loaded once.

All adapters are loaded as one, their factors stacked: its update is B_cat diag(c) A_cat, so that another weighting
is another factor for each column of B, set in place. Where weights are chosen by loss, they are chosen on one half
of the validation sample and everything is judged on the other.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.config import MergeConfig
from housebrain_core.errors import ConfigError
from housebrain_core.llm.llm import HouseBrainLLM, check_sanity
from housebrain_core.manifests import seal, to_json, write_atomically
from housebrain_core.merge.planning import Recipe, merged_factors, merged_run, plan_merge, write_adapter
from housebrain_core.merge.strategies import STRATEGIES
from housebrain_core.splits.encode import read_validation

EVALUATIONS = 40
"""Losses that a search measures at most."""
SCALES = (0.6, 0.8, 1.2, 1.4, 1.6)
RESAMPLES = 2000
NEGLIGIBLE = 0.01
"""Share of the best split's gain over the base up to which a merge that is worse counts as equal."""


class Bench:
    """The base model with all adapters on it, and the validation sample.

    Args:
        config: where model and data are.
        adapters: in the order of the weights.
        choosing: whether weights or scale are going to be chosen by loss.
        report: gets lines of progress.
    """

    def __init__(self, config: MergeConfig, adapters: list[Adapter], choosing: bool, report: Callable[[str], None]):
        self.config, self.adapters, self.report = config, adapters, report
        examples = read_validation(config.data)
        if choosing and len(examples) < 4:
            raise ConfigError(f"{config.data} has {len(examples)} validation samples; choosing by loss needs 4.")
        self.choosing = examples[::2] if choosing else []
        self.judging = examples[1::2] if choosing else examples
        if choosing:
            report(f"chosen by loss on {len(self.choosing)} samples, judged on the other {len(self.judging)}")
        self._scratch = tempfile.TemporaryDirectory(prefix="housebrain-")
        self.scratch = Path(self._scratch.name)
        self.stacked = self._write_stack()
        self.llm = HouseBrainLLM(self.stacked, config.base_model, report=report)
        self.columns = self._find_columns()
        self.evaluations: list[dict[str, Any]] = []

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *error) -> None:
        self._scratch.cleanup()

    def losses(self, weights: list[float], examples: list) -> tuple[list[float], list[int]]:
        """Summed nats and learned tokens of each example, under sum of w_i D_i."""
        self.llm.use(self.stacked)
        for parameter, original, owner in self.columns:
            parameter.data.copy_(original * torch.tensor(weights, dtype=original.dtype)[owner].to(original.device))
        return self.llm.losses(examples)

    def choose(self, strategy: str, weights: list[float], scale: float | str) -> tuple[list[float], float]:
        """Weights (sum 1) and scale with the lowest loss on the choosing half, within 40 evaluations."""

        def loss(coefficients: list[float]) -> float:
            sums, tokens = self.losses(coefficients, self.choosing)
            value = sum(sums) / sum(tokens)
            self.evaluations.append({"coefficients": coefficients, "loss": value})
            shown = " ".join(f"{c:.3f}" for c in coefficients)
            self.report(f"evaluation {len(self.evaluations)}: {value:.4f} nats per token with {shown}")
            return value

        if strategy == "greedy":
            weights = greedy_soup(loss, len(weights))
        if strategy == "search":
            coefficients = minimise([weight * (1.0 if scale == "auto" else scale) for weight in weights], loss)
            return [c / sum(coefficients) for c in coefficients], sum(coefficients)
        if scale == "auto":
            if STRATEGIES[strategy].combine is not STRATEGIES["average"].combine:
                raise ConfigError(f"--scale auto is for sums of updates, not for {strategy}. Give a number.")
            found = {s: loss([s * w for w in weights]) for s in (1.0, *SCALES)}
            scale = min(found, key=found.get)
            if scale in (min(found), max(found)):
                self.report(
                    f"WARNING: {scale} is the last scale that was tried; the best may lie beyond. Try --scale N."
                )
        return weights, scale

    def judge(self, merged: Path, recipe: Recipe) -> dict[str, Any]:
        """Whether merging was better than the best split, and by how much.

        Returns:
            losses: model -> nats per token on the judging samples; difference: merge minus best split, with its 95 %
            interval; verdict in words; answer: what a generated design parsed to.
        """
        alone = torch.eye(len(self.adapters)).tolist()
        measured = {"base": self._measure("base", lambda: self.losses([0.0] * len(alone), self.judging))}
        for adapter, weights in zip(self.adapters, alone, strict=True):
            measured[adapter.name] = self._measure(adapter.name, lambda w=weights: self.losses(w, self.judging))
        for name, folder in self._others(recipe):
            measured[name] = self._measure(name, lambda f=folder: self._losses_of(f))
        measured["merged"] = self._measure("merged", lambda: self._losses_of(merged))
        answer = check_sanity(self.llm)
        self.report("a generated design " + ("parses" if answer == "ok" else f"does not parse ({answer})"))
        losses = {name: sum(sums) / sum(tokens) for name, (sums, tokens) in measured.items()}
        best = min((adapter.name for adapter in self.adapters), key=losses.get)
        difference = bootstrap(measured["merged"], measured[best])
        verdict = describe_difference(best, difference, losses["base"] - losses[best])
        self.report(verdict)
        return {
            "losses": losses,
            "best_split": best,
            "difference": difference,
            "verdict": verdict,
            "answer": answer,
            "samples": len(self.judging),
            "chosen_on": len(self.choosing),
            "evaluations": self.evaluations,
        }

    def _measure(self, name: str, losses: Callable) -> tuple[list[float], list[int]]:
        sums, tokens = losses()
        self.report(f"validation loss {sum(sums) / sum(tokens):.4f} nats per token  {name}")
        return sums, tokens

    def _losses_of(self, folder: Path) -> tuple[list[float], list[int]]:
        self.llm.use(folder)
        return self.llm.losses(self.judging)

    def _others(self, recipe: Recipe) -> list[tuple[str, Path]]:
        """Adapters merged by the other strategies that need no search, for comparison."""
        made = []
        for name in ("average", "weighted", "ties", "ab-average") if self.config.compare else ():
            ranks = {rank for a in self.adapters for _, _, rank in a.shapes.values()}
            if name == recipe.strategy or (name == "ab-average" and len(ranks) > 1):
                continue
            if name == "weighted" and not all((a.run or {}).get("tokens") for a in self.adapters):
                continue
            plain = MergeConfig(models=self.config.models, strategy=name)
            other = Recipe(name, STRATEGIES[name].weigh(self.adapters, plain), 1.0, self.config.density)
            plan = plan_merge(self.adapters, other, self.config.rank)
            folder = self.scratch / name
            folder.mkdir()
            write_adapter(folder, self.adapters, plan.rank, lambda m, p=plan: merged_factors(self.adapters, p, m))
            made.append((name, folder))
        return made

    def _write_stack(self) -> Path:
        """All adapters as one, padded with zeros to the same rank in every module."""
        folder = self.scratch / "stacked"
        folder.mkdir()
        self.widths = [max(rank for _, _, rank in adapter.shapes.values()) for adapter in self.adapters]

        def factors(module: str) -> tuple[torch.Tensor, torch.Tensor]:
            pad = torch.nn.functional.pad
            pairs = [adapter.factors(module) for adapter in self.adapters]
            missing = [width - b.shape[1] for width, (b, _) in zip(self.widths, pairs, strict=True)]
            return (
                torch.cat([pad(b, (0, m)) for m, (b, _) in zip(missing, pairs, strict=True)], dim=1),
                torch.cat([pad(a, (0, 0, 0, m)) for m, (_, a) in zip(missing, pairs, strict=True)]),
            )

        write_adapter(folder, self.adapters, sum(self.widths), factors)
        write_atomically(folder / "run.json", to_json(merged_run(self.adapters)))
        seal(folder, "adapter", finished=True)
        return folder

    def _find_columns(self) -> list[tuple[torch.nn.Parameter, torch.Tensor, torch.Tensor]]:
        """(B of a module as loaded, its original values, the adapter that owns each column)."""
        name = self.llm.model.active_adapter
        owner = torch.arange(len(self.widths)).repeat_interleave(torch.tensor(self.widths))
        return [
            (parameter, parameter.detach().clone(), owner)
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
    order = sorted(alone, key=alone.get)
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
    best, lowest, step, left = start, loss(start), 0.4, evaluations - 1
    directions = [set(range(len(start))), *({index} for index in range(len(start)))][: None if len(start) > 1 else 1]
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


def bootstrap(one: tuple[list[float], list[int]], other: tuple[list[float], list[int]]) -> dict[str, float]:
    """Loss of one model minus another's on the same samples, nats per token, with its 95 % interval.

    Paired bootstrap over samples, 2,000 resamples, fixed seed (Efron 1979).
    """
    gaps = torch.tensor(one[0], dtype=torch.float64) - torch.tensor(other[0], dtype=torch.float64)
    tokens = torch.tensor(one[1], dtype=torch.float64)
    drawn = torch.randint(len(gaps), (RESAMPLES, len(gaps)), generator=torch.Generator().manual_seed(0))
    means = gaps[drawn].sum(1) / tokens[drawn].sum(1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return {"mean": float(gaps.sum() / tokens.sum()), "low": low, "high": high}


def describe_difference(best: str, difference: dict[str, float], gain: float) -> str:
    """The verdict in one line; a merge that is worse by more than a hundredth of what training gained is said loudly.

    Args:
        best: name of the best split.
        difference: loss of the merge minus that of the best split; see `bootstrap`.
        gain: loss of the base minus that of the best split.
    """
    size = f"{abs(difference['mean']):.4f} nats per token"
    interval = f"95 % interval of the difference {difference['low']:+.4f} to {difference['high']:+.4f}"
    if difference["high"] < 0:
        return f"the merge is better than the best split, {best}, by {size} ({interval})"
    if difference["low"] > 0 and difference["mean"] <= NEGLIGIBLE * gain:
        return (
            f"the merge is practically equal to the best split, {best}: its loss is {size} higher, "
            f"{difference['mean'] / gain:.1%} of the {gain:.4f} that {best} gained over the base ({interval})"
        )
    if difference["low"] > 0:
        return (
            f"WARNING: THE MERGE IS WORSE than the best split, {best}, by {size} ({interval}). "
            f"Use {best} alone, or --strategy greedy, or look for a bad adapter with: housebrain inspect"
        )
    return f"the merge and the best split, {best}, cannot be told apart on this sample ({interval})"
