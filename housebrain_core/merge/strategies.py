"""The ways to merge: how much each adapter counts, and how the weighted updates become one. Pure functions.

`weigh` gets the adapters and the settings and returns weights; `combine` gets one module of all adapters in small
matrices and the weights, and returns coefficients C (R, R) of the merged update B C A (adapters/updates.py).
"""

import math
from collections.abc import Callable, Iterable
from statistics import median
from typing import NamedTuple

import numpy as np

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.adapters.archives import name_all
from housebrain_core.adapters.updates import ModuleUpdates, root
from housebrain_core.config import MergeConfig
from housebrain_core.errors import AdapterError


def equal_weights(adapters: list[Adapter], config: MergeConfig) -> list[float]:
    """1 / N each: the uniform soup of Wortsman et al. 2022 (arXiv 2203.05482), on updates."""
    return [1 / len(adapters)] * len(adapters)


def relative_weights(adapters: list[Adapter], config: MergeConfig) -> list[float]:
    """w_i / sum w: by tokens, samples or 1 / validation loss, or as given in the order of `models`.

    By what was trained on is federated averaging (McMahan et al. 2017, arXiv 1602.05629).

    Raises:
        AdapterError: an adapter does not say what it would be weighted by, or says what is hard to believe.
    """
    if config.weights:
        names = name_all(list(dict.fromkeys(config.models)))
        given = {names[path]: weight for path, weight in zip(config.models, config.weights, strict=True)}
        values = [given[adapter.name] for adapter in adapters]
    elif config.weigh_by == "validation_loss":
        values = [1 / loss for loss in _from_runs(adapters, "validation_loss", config)]
    else:
        values = _from_runs(adapters, config.weigh_by, config)
    return [value / sum(values) for value in values]


def best_alone(adapters: list[Adapter], config: MergeConfig) -> list[float]:
    """1 for the adapter with the lowest loss on the common validation sample, the first by split among equals.

    Raises:
        AdapterError: an adapter does not say its validation loss, or says what is hard to believe.
    """
    losses = _from_runs(adapters, "validation_loss", config)
    winner = losses.index(min(losses))
    return [float(index == winner) for index in range(len(adapters))]


def sum_updates(updates: ModuleUpdates, weights: list[float], density: float) -> np.ndarray:
    """sum w_i B_i A_i, exactly: task arithmetic on updates (Ilharco et al. 2023, arXiv 2212.04089)."""
    return updates.weighted_sum(weights)


def average_factors(updates: ModuleUpdates, weights: list[float], density: float) -> np.ndarray:
    """(sum w_i B_i)(sum w_i A_i), which is not the mean of the updates; for comparison only.

    Known as FedIT (Zhang et al. 2023, arXiv 2305.05644); its error is the covariance of B and A over adapters.

    Raises:
        AdapterError: the ranks differ.
    """
    if len(set(updates.ranks)) > 1:
        raise AdapterError("ab-average needs adapters of one rank: it adds their factors. Use --strategy average.")
    sums = np.concatenate([weight * np.eye(updates.ranks[0]) for weight in weights])
    return sums @ sums.T


def elect_signs(updates: ModuleUpdates, weights: list[float], density: float) -> np.ndarray:
    """TIES on the cores of the updates, because entries of A and B apart have no meaning of their own."""
    x, x_inverse = root(updates.gram_b)
    y, y_inverse = root(updates.gram_a)
    ends = np.cumsum(updates.ranks).tolist()
    columns = [slice(end - rank, end) for end, rank in zip(ends, updates.ranks, strict=True)]
    cores = (x[:, place] @ y[:, place].T for place in columns)  # one at a time, all would be N times as large
    return x_inverse @ trim_elect_merge(cores, weights, density) @ y_inverse.T


def trim_elect_merge(updates: Iterable[np.ndarray], weights: list[float], density: float) -> np.ndarray:
    """TIES (Yadav et al. 2023, arXiv 2306.01708).

    Of each update the largest entries are kept, each entry's sign is elected by the weighted sum, and the weighted mean
    is taken over the adapters that agree with it. For splits that are not alike; on alike splits it deletes signal
    (measured: 56-87 % of the gap to training on all data left, the exact mean 21 %).

    Args:
        updates: matrices of one size, at least one.
        weights: one for each, at least 0.
        density: share of the entries that are kept, in (0, 1].

    Returns:
        The merged matrix.
    """
    above, below = _Side(), _Side()  # the positive and the negative entries
    for weight, update in zip(weights, updates, strict=True):
        trimmed = _keep_largest(update, density)
        above.add(weight, trimmed, trimmed > 0)
        below.add(weight, trimmed, trimmed < 0)
    elected = np.sign(above.total + below.total)
    return np.select([elected > 0, elected < 0], [above.mean(), below.mean()], 0.0)


class _Side:
    """The entries of one sign, of all adapters."""

    def __init__(self) -> None:
        self.total: np.ndarray | float = 0.0
        self.weight: np.ndarray | float = 0.0

    def add(self, weight: float, update: np.ndarray, members: np.ndarray) -> None:
        """Counts the entries of an update that are members."""
        self.total = self.total + weight * update * members
        self.weight = self.weight + weight * members

    def mean(self) -> np.ndarray:
        """The weighted mean; zero where no adapter counts."""
        return self.total / np.where(self.weight > 0, self.weight, 1)


class Strategy(NamedTuple):
    """A way to merge."""

    weigh: Callable[[list[Adapter], MergeConfig], list[float]]
    combine: Callable[[ModuleUpdates, list[float], float], np.ndarray] = sum_updates
    measured: bool = False
    """Whether the weights are chosen by measuring validation losses (validation.py), starting from `weigh`."""

    @property
    def is_sum(self) -> bool:
        """Whether the merged update is the weighted sum of the updates."""
        return self.combine is sum_updates


STRATEGIES = {
    "average": Strategy(equal_weights),
    "weighted": Strategy(relative_weights),
    "best": Strategy(best_alone),
    "greedy": Strategy(equal_weights, measured=True),
    "search": Strategy(equal_weights, measured=True),
    "ties": Strategy(equal_weights, elect_signs),
    "ab-average": Strategy(equal_weights, average_factors),
}


def _keep_largest(update: np.ndarray, density: float) -> np.ndarray:
    """An update with all but its largest entries set to zero."""
    if not update.size:
        return update
    size = np.abs(update)
    count = max(1, math.ceil(density * update.size))
    smallest = np.partition(size, update.size - count, axis=None)[update.size - count]
    return np.where(size < smallest, 0, update)


FAR = {"tokens": 20.0, "samples": 20.0, "validation_loss": 3.0}
"""Field of run.json -> how many times the median of the others, or what part of it, is believed without being asked.
Splits are alike in size, and losses on one validation sample differ by a few percent."""


def _from_runs(adapters: list[Adapter], name: str, config: MergeConfig) -> list[float]:
    """A field of every run.json; what is far from the others is believed only when a person says so."""
    values = [_from_run(adapter, name) for adapter in adapters]
    odd = []
    for index, adapter in enumerate(adapters):
        others = [float(value) for value in values[:index] + values[index + 1 :]]
        typical = median(others) if others else float(values[index])
        if not 1 / FAR[name] <= float(values[index]) / typical <= FAR[name]:
            odd.append(f"{adapter.name} says {values[index]:.4g}, the others {typical:.4g}")
    if odd and not config.accept_outliers:
        raise AdapterError(
            f"{name.replace('_', ' ')} (run.json), which the weights are made of, is hard to believe:\n  "
            + "\n  ".join(odd)
            + "\nLeave an adapter out with --exclude, use --strategy average, or believe them with --accept-outliers."
        )
    return values


def _from_run(adapter: Adapter, name: str) -> float:
    value = getattr(adapter.run, name, None)
    if not value:
        raise AdapterError(
            f"{adapter.name} does not say its {name.replace('_', ' ')} (run.json). Use --strategy average, "
            "or train that split with HouseBrain."
        )
    return value
