"""The ways to merge: how much each adapter counts, and how the weighted updates become one. Pure functions.

`weigh` gets the adapters and the settings and returns weights; `combine` gets pairs (B, A) of one module and weights
and returns the merged update D (out_features, in_features). It is applied to far smaller pairs: see `coefficients_of`.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.adapters.algebra import Pair, Stack, root
from housebrain_core.adapters.archives import name_of
from housebrain_core.config import MergeConfig
from housebrain_core.errors import AdapterError


def equal_weights(adapters: list[Adapter], config: MergeConfig) -> list[float]:
    """1 / N each: the uniform soup of Wortsman et al. 2022 (arXiv 2203.05482), on updates."""
    return [1 / len(adapters)] * len(adapters)


def own_weights(adapters: list[Adapter], config: MergeConfig) -> list[float]:
    """w_i / sum w: by tokens or samples trained on, as federated averaging does (McMahan et al. 2017, arXiv
    1602.05629), by 1 / validation loss, or as given in the order of `models`.

    Raises:
        AdapterError: an adapter does not say what it would be weighted by.
    """
    if config.weights:
        given = dict(zip(map(name_of, config.models), config.weights, strict=True))
        values = [given[adapter.name] for adapter in adapters]
    elif config.weigh_by == "validation_loss":
        values = [1 / _from_run(adapter, "validation_loss") for adapter in adapters]
    else:
        values = [_from_run(adapter, config.weigh_by) for adapter in adapters]
    return [value / sum(values) for value in values]


def best_alone(adapters: list[Adapter], config: MergeConfig) -> list[float]:
    """1 for the adapter with the lowest loss on the common validation sample, the first by split among equals.

    Raises:
        AdapterError: an adapter does not say its validation loss.
    """
    losses = [_from_run(adapter, "validation_loss") for adapter in adapters]
    winner = losses.index(min(losses))
    return [float(index == winner) for index in range(len(adapters))]


def sum_updates(pairs: Iterable[Pair], weights: list[float], density: float = 1.0) -> torch.Tensor:
    """sum w_i B_i A_i, exactly: task arithmetic on updates (Ilharco et al. 2023, arXiv 2212.04089)."""
    total = None
    for weight, (b, a) in zip(weights, pairs, strict=True):
        if total is None:
            total = b.new_zeros(len(b), a.shape[1])
        total.addmm_(b, a, alpha=weight)
    return total


def average_factors(pairs: Iterable[Pair], weights: list[float], density: float = 1.0) -> torch.Tensor:
    """(sum w_i B_i)(sum w_i A_i), which is not the mean of the updates; for comparison only.

    Known as FedIT (Zhang et al. 2023, arXiv 2305.05644); its error is the covariance of B and A over adapters.

    Raises:
        AdapterError: the ranks differ.
    """
    pairs = list(pairs)
    if len({b.shape[1] for b, _ in pairs}) > 1:
        raise AdapterError("ab-average needs adapters of one rank: it adds their factors. Use --strategy average.")
    sums = [sum(w * pair[side] for w, pair in zip(weights, pairs, strict=True)) for side in (0, 1)]
    return sums[0] @ sums[1]


def trim_elect_merge(pairs: Iterable[Pair], weights: list[float], density: float) -> torch.Tensor:
    """TIES (Yadav et al. 2023, arXiv 2306.01708): of each update the `density` largest entries are kept, each entry's
    sign is elected by the weighted sum, and the weighted mean is taken over the adapters that agree with it.

    In core coordinates, because entries of A and B apart have no meaning of their own. For splits that are not
    alike; on alike splits it deletes signal (research: 56-87 % of the gap left, the exact mean 21 %).
    """
    pairs = list(pairs)

    def trimmed() -> Iterator[tuple[float, torch.Tensor]]:
        """Weights and updates, worked out again for each walk over them: all at once would be N times as large."""
        for weight, (b, a) in zip(weights, pairs, strict=True):
            update = b @ a
            size, count = update.abs(), max(1, math.ceil(density * update.numel()))
            if update.numel():
                update[size < size.flatten().kthvalue(update.numel() - count + 1).values] = 0
            yield weight, update

    sign = torch.sign(sum(weight * update for weight, update in trimmed()))
    merged, total = torch.zeros_like(sign), torch.zeros_like(sign)
    for weight, update in trimmed():
        agree = (torch.sign(update) == sign) & (sign != 0)
        merged += weight * update * agree
        total += weight * agree
    return merged / torch.where(total > 0, total, 1)


class Strategy(NamedTuple):
    """A way to merge."""

    weigh: Callable[[list[Adapter], MergeConfig], list[float]]
    combine: Callable[[Iterable[Pair], list[float], float], torch.Tensor] = sum_updates
    measured: bool = False
    """Whether the weights are found by measuring validation losses (validation.py), starting from `weigh`."""
    linear: bool = True
    """Whether `combine` is linear in the B's and in the A's, so that any coordinates do."""


STRATEGIES = {
    "average": Strategy(equal_weights),
    "weighted": Strategy(own_weights),
    "best": Strategy(best_alone),
    "greedy": Strategy(equal_weights, measured=True),
    "search": Strategy(equal_weights, measured=True),
    "ties": Strategy(equal_weights, trim_elect_merge, linear=False),
    "ab-average": Strategy(equal_weights, average_factors),
}


def coefficients_of(strategy: Strategy, stacked: Stack, weights: list[float], density: float = 1.0) -> torch.Tensor:
    """C of the merged update B_cat C A_cat of one module (algebra.py): (R, R), or its diagonal (R) for a plain sum."""
    if strategy.combine is sum_updates:
        return stacked.diagonal(weights)
    if strategy.linear:
        return strategy.combine(stacked.selections(), weights, density)
    b, a = root(stacked.gram_b.clone()), root(stacked.gram_a.clone())
    core = strategy.combine(stacked.cores(b, a), weights, density)
    return b.solve(a.solve(core.T).T)


def _from_run(adapter: Adapter, name: str) -> float:
    value = (adapter.run or {}).get(name)
    if type(value) not in (int, float) or not math.isfinite(value) or value <= 0:
        raise AdapterError(
            f"{adapter.folder} does not say its {name.replace('_', ' ')} (run.json). Use --strategy average, "
            "or train that split with HouseBrain."
        )
    return value
