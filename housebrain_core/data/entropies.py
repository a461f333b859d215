"""Entropies and mutual information of numbered values, in nats, from their frequencies."""

import math

import numpy as np


def entropy_of(counts: np.ndarray) -> float:
    """Of the frequencies, in nats (plug-in)."""
    shares = counts[counts > 0] / counts.sum()
    return max(0.0, float(-(shares * np.log(shares)).sum()))


def entropy_of_misses(hits: np.ndarray) -> float:
    """Of whether a guess hits, given for each sample."""
    return entropy_of(np.bincount(hits.astype(np.int64)))


def entropy_of_values(values: np.ndarray) -> float:
    """Of numbers, by how often each of them is there."""
    return entropy_of(np.unique(values, return_counts=True)[1])


def mutual_information(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Mutual information of two numbered columns.

    Returns:
        (nats, less the bias of a finite sample and at least 0; standard deviations beyond independence).
    """
    rows, columns, count = int(one.max()) + 1, int(other.max()) + 1, len(one)
    table = np.bincount(one.astype(np.int64) * columns + other, minlength=rows * columns).reshape(rows, columns)
    raw = entropy_of(table.sum(0)) + entropy_of(table.sum(1)) - entropy_of(table.ravel())
    freedom = max(1, (np.count_nonzero(table.sum(1)) - 1) * (np.count_nonzero(table.sum(0)) - 1))
    return max(0.0, raw - freedom / (2 * count)), (2 * count * raw - freedom) / math.sqrt(2 * freedom)


def differential_entropy(values: np.ndarray) -> float:
    """Of a continuous variable, in nats, from a histogram of 64 equal-width bins."""
    counts, edges = np.histogram(values, bins=64)
    return entropy_of(counts) + math.log(max(edges[1] - edges[0], 1e-12))
