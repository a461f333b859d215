"""Entropies and mutual information of numbered values, in nats, from their frequencies."""

import math

import numpy as np


def entropy_of(counts: np.ndarray) -> float:
    """The plug-in entropy of frequencies.

    Args:
        counts: how often each value occurs; any shape, at least one above 0.

    Returns:
        Nats per sample, at least 0.
    """
    shares = counts[counts > 0] / counts.sum()
    return max(0.0, float(-(shares * np.log(shares)).sum()))


def entropy_of_codes(codes: np.ndarray) -> float:
    """The entropy of numbered values (or of booleans), in nats per sample."""
    return entropy_of(np.bincount(codes.astype(np.int64)))


def mutual_information(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """How much one numbered column tells about another.

    Under independence 2 N MI is chi-squared with (rows - 1)(columns - 1) degrees of freedom (the G-test; Sokal and
    Rohlf, Biometry, 1981); the mean of that is subtracted as the bias of a finite sample.

    Args:
        one: (samples,) integers from 0.
        other: (samples,) integers from 0.

    Returns:
        (nats less the bias, at least 0; standard deviations beyond independence).
    """
    rows = int(one.max()) + 1
    columns = int(other.max()) + 1
    table = np.bincount(one.astype(np.int64) * columns + other, minlength=rows * columns).reshape(rows, columns)
    raw = entropy_of(table.sum(0)) + entropy_of(table.sum(1)) - entropy_of(table)
    freedom = max(1, (np.count_nonzero(table.sum(1)) - 1) * (np.count_nonzero(table.sum(0)) - 1))
    statistic = 2 * len(one) * raw
    return max(0.0, raw - freedom / (2 * len(one))), (statistic - freedom) / math.sqrt(2 * freedom)


def differential_entropy(values: np.ndarray) -> float:
    """The entropy of a continuous variable in nats, from a histogram of 64 equal-width bins."""
    counts, edges = np.histogram(values, bins=64)
    return entropy_of(counts) + math.log(max(edges[1] - edges[0], 1e-12))
