"""A merge worked out in small matrices, where its rank and its error are known; then written a module at a time.

An adapter's update of a module is D = s B A, with s = alpha / rank. The merge is a mean of these updates, never of
A and B apart: mean(B) mean(A) is another matrix.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.adapters.comparison import (
    RELATED_TWIN_COSINE,
    TWIN_COSINE,
    Geometry,
    UpdateVerdict,
    judge_updates,
    moves_from_last,
)
from housebrain_core.adapters.updates import (
    AUTO_RANKS,
    Decomposition,
    ModuleUpdates,
    Spectrum,
    choose_rank,
    decompose,
    read_factors,
    read_updates,
)
from housebrain_core.errors import AdapterError
from housebrain_core.merge.strategies import STRATEGIES

Pair = tuple[np.ndarray, np.ndarray]
"""B (out_features, rank) with the scaling in it, A (rank, in_features)."""


class Recipe(NamedTuple):
    """What is to be computed."""

    strategy: str
    """Its name in `STRATEGIES`."""
    weights: list[float]
    """Of each adapter."""
    scale: float = 1.0
    """Factor of the result."""
    density: float = 0.5
    """For the strategy ties."""
    outer_rate: float = 1.0
    """How far the merge moves from what the adapters were trained from; 1 is to their mean."""

    def weigh_members(self, has_start: bool) -> list[float]:
        """The weights of the adapters, and of their start where there is one: start + rate x (mean - start)."""
        weights = [self.outer_rate * weight for weight in self.weights]
        return [*weights, 1 - self.outer_rate] if has_start else weights

    def describe(self, adapters: list[Adapter]) -> str:
        """Strategy, weights and scale, in a line."""
        shown = ", ".join(f"{a.name} {w:.4f}" for a, w in zip(adapters, self.weights, strict=True))
        further = f"; {self.outer_rate:g} times as far from their start" if self.outer_rate != 1 else ""
        return f"{self.strategy}: {shown}" + (f"; scale {self.scale:.3g}" if self.scale != 1 else "") + further


@dataclass(frozen=True)
class ComputedMerge:
    """A merge in small matrices: rank and error are known, and nothing is written yet."""

    adapters: list[Adapter]
    members: list[Adapter]
    """What is summed: the adapters, and what they were trained from where it is at hand."""
    recipe: Recipe
    rank: int
    modules: dict[str, Decomposition]
    """Of the merged update of each module."""
    geometry: Geometry
    """Of the adapters' updates; of how they moved, where their start is at hand."""
    verdicts: list[UpdateVerdict]
    """On them; none is refused."""
    mean_error: float
    """Relative Frobenius distance of the strategy's update from the exact weighted mean."""

    @property
    def spectra(self) -> list[Spectrum]:
        """Of all modules."""
        return [module.spectrum for module in self.modules.values()]

    @property
    def lost_share(self) -> float:
        """What truncation to the rank loses of the energy of all modules, 0 to 1."""
        energy = sum(spectrum.energy for spectrum in self.spectra)
        return sum(spectrum.lost(self.rank) for spectrum in self.spectra) / energy if energy else 0.0

    def factors(self, module: str) -> Pair:
        """The merged factors of one module, at the rank of the merge."""
        b, a = read_factors(self.members, module)
        merged = self.modules[module]
        b = b @ merged.left[:, : self.rank]
        a = merged.right[: self.rank] @ a
        missing = self.rank - b.shape[1]
        return np.pad(b, ((0, 0), (0, missing))), np.pad(a, ((0, missing), (0, 0)))


def compute_merge(
    adapters: list[Adapter], recipe: Recipe, rank: int | str, start: Adapter | None = None
) -> ComputedMerge:
    """Works out a merge, one module at a time.

    Args:
        adapters: checked, of the same modules.
        recipe: what to compute.
        rank: a number, "full" (lossless) or "auto"; see `updates.choose_rank`.
        start: what all of them were trained from, where it is at hand; a fresh LoRA initialisation is zero, and none.

    Raises:
        AdapterError: an adapter is untrained, or two are the same.
    """
    keep = rank if isinstance(rank, int) else {"auto": AUTO_RANKS[-1]}.get(rank)
    members = [*adapters, *([start] if start else [])]
    weights = recipe.weigh_members(bool(start))
    modules = {}
    inner = np.zeros((len(members),) * 2)
    distance, square = 0.0, 0.0
    with threadpool_limits(1):  # more threads make small matrices slower, on a busy machine a thousand times
        for module in sorted(adapters[0].shapes):
            updates = read_updates(members, module)
            coefficients = STRATEGIES[recipe.strategy].combine(updates, weights, recipe.density)
            modules[module] = decompose(updates, recipe.scale * coefficients, keep)
            inner += updates.inner
            errors = _compare_with_mean(updates, coefficients, recipe)
            distance, square = distance + errors[0], square + errors[1]
    geometry = Geometry(moves_from_last(inner) if start else inner)
    with_split = [adapter.name for adapter in adapters if adapter.split]
    verdicts = judge_updates(
        [adapter.name for adapter in adapters], geometry, with_split, _twin_cosine(adapters, start)
    )
    _refuse(adapters, verdicts)
    chosen = choose_rank(rank, [module.spectrum for module in modules.values()])
    if keep and chosen > keep:  # auto, where 64 are not enough
        return compute_merge(adapters, recipe, chosen, start)
    error = math.sqrt(distance / square) if square else 0.0
    return ComputedMerge(adapters, members, recipe, chosen, modules, geometry, verdicts, error)


def _compare_with_mean(updates: ModuleUpdates, coefficients: np.ndarray, recipe: Recipe) -> tuple[float, float]:
    """Squared distance of a strategy's update from the exact weighted mean, and the squared norm of that."""
    if STRATEGIES[recipe.strategy].is_sum:
        return 0.0, 0.0
    mean = updates.weighted_sum(recipe.weights)
    return updates.square_norm(coefficients - mean), updates.square_norm(mean)


def _twin_cosine(adapters: list[Adapter], start: Adapter | None) -> float:
    """Above which two updates are one: nearer to 1 where all began at one adapter, and what they share stays in."""
    related = any(adapter.run and adapter.run.parent_sha256 for adapter in adapters)
    return RELATED_TWIN_COSINE if related and not start else TWIN_COSINE


def _refuse(adapters: list[Adapter], verdicts: list[UpdateVerdict]) -> None:
    pairs = zip(adapters, verdicts, strict=True)
    problems = [f"{adapter.name} is {why}" for adapter, verdict in pairs for why in verdict.refused]
    if problems:
        raise AdapterError("these adapters cannot be merged:\n  " + "\n  ".join(problems))
