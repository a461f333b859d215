"""Samples as columns: the values of each field of briefs and designs over all samples, numbered; and their entropy."""

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from housebrain_core.data.fields import Sample
from housebrain_core.house.codec import dumps

ECHO = "(the brief itself)"
"""Stands for a value of a design that is the whole brief."""
ABSENT = "(absent)"
"""Stands for a field that a sample does not have."""
VOCABULARY = 200
"""Distinct values up to which a field is a closed vocabulary."""
BINS = 16
"""Equal-count bins of numbers that have more distinct values than that."""


@dataclass(frozen=True, eq=False)
class Column:
    """One field over all samples; sample i has values[codes[i]]."""

    name: str
    """Path such as input.plot.length; a list's length is the column `<path> (count)`."""
    values: list
    """Distinct values: all text, booleans, integers or floats; mixed and nested ones are JSON text."""
    codes: np.ndarray
    """(samples,) of integers."""

    @property
    def in_brief(self) -> bool:
        """Whether the field is one of the brief, and not of the design."""
        return self.name.startswith("input")

    @property
    def whole(self) -> bool:
        """Whether all values are integers."""
        return type(self.values[0]) is int

    @property
    def closed(self) -> bool:
        """Whether the values are few enough to be a vocabulary."""
        return len(self.values) <= VOCABULARY

    @property
    def numeric(self) -> bool:
        """Whether all values are numbers, and not text or booleans."""
        return type(self.values[0]) in (int, float)

    @cached_property
    def numbers(self) -> np.ndarray:
        """(samples,) of float64; only for a numeric column."""
        return np.array(self.values, np.float64)[self.codes]

    @cached_property
    def bins(self) -> np.ndarray:
        """(samples,) codes of few values: many numbers are put into bins of equal count, open text into one."""
        if len(self.values) <= BINS or (self.closed and not self.numeric):
            return self.codes
        if not self.numeric:
            return np.zeros_like(self.codes)
        edges = np.unique(np.quantile(self.numbers, np.linspace(0, 1, BINS + 1)[1:-1]))
        return np.searchsorted(edges, self.numbers, side="right")


class _Field:
    """A field that grows sample by sample: its values so far, and which of them each sample has."""

    def __init__(self) -> None:
        self.places: dict[tuple[type, Any], int] = {}
        self.codes = array("i")

    def put(self, value: Any, sample: int) -> None:
        """Sets the value of a sample; those before it that have none get ABSENT."""
        missing = sample - len(self.codes)
        if missing:
            self.codes.extend([self._place(ABSENT)] * missing)
        self.codes.append(self._place(value))

    def _place(self, value: Any) -> int:
        return self.places.setdefault((type(value), value), len(self.places))


def make_columns(samples: Iterable[Sample]) -> list[Column]:
    """Turns samples into columns, one at a time, so that only distinct values stay in memory.

    Args:
        samples: of which `input` and `output` are looked at, whatever their structure.

    Returns:
        A column for each field that a brief or a design has; lists are values, with their length beside them.
    """
    fields: dict[str, _Field] = defaultdict(_Field)
    count = 0
    for sample in samples:
        _put("input", sample["input"], None, count, fields)
        _put("output", sample["output"], sample["input"], count, fields)
        count += 1
    return [_make_column(name, field, count) for name, field in fields.items()]


def _put(path: str, value: Any, brief: Any, sample: int, fields: dict[str, _Field]) -> None:
    """Puts the leaves of a value into their fields."""
    if isinstance(value, dict) and value:
        if brief is None or value != brief:
            for key, item in value.items():
                _put(f"{path}.{key}", item, brief, sample, fields)
            return
        value = ECHO
    elif isinstance(value, list) and value:
        fields[f"{path} (count)"].put(len(value), sample)
    if isinstance(value, dict | list):
        value = dumps(value)
    fields[path].put(value, sample)


def _make_column(name: str, field: _Field, count: int) -> Column:
    if len(field.codes) < count:
        field.put(ABSENT, count - 1)
    values = _as_one_kind([value for _, value in field.places])
    numbered = {value: number for number, value in enumerate(dict.fromkeys(values))}
    renumbered = np.array([numbered[value] for value in values], np.int32)
    return Column(name, list(numbered), renumbered[np.frombuffer(field.codes, np.intc)])


def _as_one_kind(values: list) -> list:
    """The values where they are all text, booleans or numbers of 64 bits; anything else as JSON text."""
    kinds = {type(value) for value in values}
    if kinds in ({str}, {bool}):
        return values
    if kinds <= {int, float} and all(abs(value) < 2**63 for value in values):
        return values if len(kinds) == 1 else [float(value) for value in values]
    return [value if type(value) is str else dumps(value) for value in values]


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
