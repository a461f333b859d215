"""How the updates of adapters compare: their lengths and angles, and which look untrained, the same, or odd."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from statistics import median

import numpy as np

from housebrain_core.adapters.adapter import Adapter

TWIN_COSINE = 0.9999
"""Cosine above which two updates are the same one, sent twice."""
RELATED_TWIN_COSINE = 1 - 1e-6
"""The same for updates that were trained from one adapter, which stay close to it and so to each other."""
STANDSTILL = 1e-6
"""Length of a move, in lengths of what was started from, that is rounding and no training."""
NORM_RANGE = (0.25, 4.0)
"""Norms of updates, in medians, outside which an adapter is an outlier: a bad run, or a poisoned one."""
UNTRAINED = "untrained: every B is zero, or as it was when training began"
LOW_COSINE = 0.3
"""Share of the median cosine to the others below which an adapter is an outlier: other data, or another start."""


@dataclass(frozen=True)
class Geometry:
    """Lengths and angles of whole updates, all modules together."""

    inner: np.ndarray
    """Frobenius inner products (adapters, adapters)."""

    @property
    def norms(self) -> list[float]:
        """Frobenius norm of each update."""
        return np.sqrt(np.clip(self.inner.diagonal(), 0, None)).tolist()

    @property
    def cosines(self) -> np.ndarray:
        """(adapters, adapters); zero for an update that is zero."""
        return self.inner / np.clip(np.outer(self.norms, self.norms), 1e-300, None)

    @property
    def cosines_to_others(self) -> list[float | None]:
        """Of each update to the mean of the others; None for one alone."""
        if len(self.inner) < 2:
            return [None]
        with_sum = self.inner.sum(1)
        towards = with_sum - self.inner.diagonal()
        others = np.clip(self.inner.sum() - 2 * with_sum + self.inner.diagonal(), 0, None)
        products = np.asarray(self.norms) * np.sqrt(others)
        return [float(inner / product) if product else 0.0 for inner, product in zip(towards, products, strict=True)]


@dataclass(frozen=True)
class UpdateVerdict:
    """What is wrong with the update of one adapter, in words; nothing of either kind when it looks like the others."""

    refused: tuple[str, ...] = ()
    """Reasons not to merge it: untrained, or a twin of another."""
    odd: tuple[str, ...] = ()
    """Reasons to look at it: an outlier."""


def moves_from_last(inner: np.ndarray) -> np.ndarray:
    """How updates moved from the one that they were trained from.

    Args:
        inner: Frobenius inner products of updates (adapters + 1, adapters + 1); the last is the others' start.

    Returns:
        Inner products of their differences from the last (adapters, adapters); zero for one that did not move.
    """
    count = len(inner) - 1
    differences = np.hstack([np.eye(count), -np.ones((count, 1))])
    moves = differences @ inner @ differences.T
    still = moves.diagonal() <= STANDSTILL**2 * inner[-1, -1]
    moves[still] = 0
    moves[:, still] = 0
    return moves


def judge_updates(
    names: list[str], geometry: Geometry, with_split: Collection[str], twin_cosine: float = TWIN_COSINE
) -> list[UpdateVerdict]:
    """What is wrong with each update, in the order of `names`.

    Args:
        names: of the adapters.
        geometry: of their updates, or of how these moved from where they started.
        with_split: names of those whose split is known; only of these are twins surely one split sent twice.
        twin_cosine: above which two are the same update.
    """
    norms = geometry.norms
    towards = geometry.cosines_to_others
    verdicts = []
    for index, norm in enumerate(norms):
        if not norm:
            verdicts.append(UpdateVerdict(refused=(UNTRAINED,)))
            continue
        twins = [names[other] for other in range(index) if geometry.cosines[index, other] > twin_cosine]
        certain = [twin for twin in twins if {twin, names[index]} <= set(with_split)]
        refused = [f"the same update as {twin}: one split submitted twice" for twin in certain]
        odd = [f"the same update as {twin}, which so counts twice" for twin in twins if twin not in certain]
        odd += [*_judge_norm(names, norms, index), *_judge_direction(towards, index)]
        verdicts.append(UpdateVerdict(tuple(refused), tuple(odd)))
    return verdicts


def missing_splits(adapters: list[Adapter]) -> list[int]:
    """Numbers of the splits that were cut and that none of the adapters was trained on."""
    splits = {adapter.split for adapter in adapters if adapter.split}
    count = max((split.of or 0 for split in splits), default=0)
    return sorted(set(range(1, count + 1)) - {split.number for split in splits})


def _judge_norm(names: list[str], norms: list[float], index: int) -> list[str]:
    typical = median([norm for norm in norms if norm])
    if NORM_RANGE[0] <= norms[index] / typical <= NORM_RANGE[1]:
        return []
    if len(names) == 2:
        other = 1 - index
        ratio = norms[index] / norms[other] if norms[other] else math.inf
        return [f"outlier: its norm is {ratio:.3g} times that of {names[other]}"]
    return [f"outlier: its norm is {norms[index] / typical:.3g} times the median"]


def _judge_direction(towards: list[float | None], index: int) -> list[str]:
    cosine = towards[index]
    if cosine is None:
        return []
    if cosine < 0:
        return [f"outlier: it points away from the others (cosine {cosine:.2f})"]
    typical = median([other or 0.0 for other in towards])
    if cosine < LOW_COSINE * typical:
        return [f"outlier: it points elsewhere (cosine {cosine:.2f}, the median is {typical:.2f})"]
    return []
