"""How predictable a dataset's designs are: the least loss that any model can reach on them.

The chain rule bounds the entropy of a design by the sum over its fields, each given the one brief field or
earlier design field that tells most about it. The sum is an estimate from above: what only several fields
together tell is not looked for, but for products of two numbers (an area times a ratio).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

WIDE = 256
"""A number with more distinct values than this is treated as a quantity, not as a choice."""
BINS = 10
"""Quantile bins of a number with many values when it is used to predict a choice."""
MEASURABLE = 0.02
"""Nats; a smaller gain from a predictor is taken for chance, and the field for independent of it."""


class Field(NamedTuple):
    """What is known about one field of the designs; entropies in nats per sample."""

    name: str
    kind: str
    """constant, copied, derived, choice, quantity, or unknown."""
    values: int
    """Distinct values."""
    entropy: float | None
    """By itself; None for a text or list with too many values to estimate."""
    conditional: float | None
    """Given the best single predictor, with the gain expected by chance taken off; quantities have one estimate."""
    source: str
    """What it is derived from or depends on most, as a formula or field name; empty when on nothing."""
    brief_information: float
    """Largest mutual information with a field of the brief, chance taken off."""


@dataclass
class Columns:
    """The leaves of all briefs and designs as columns of codes."""

    count: int = 0
    codes: dict[str, list[int] | list[np.ndarray]] = field(default_factory=dict)
    """Codes of single samples, or arrays of codes where `merge` put columns together."""
    values: dict[str, dict[Any, int]] = field(default_factory=dict)

    def add(self, brief: Any, design: Any) -> None:
        """Adds a sample; a field that it lacks has code 0."""
        for name, value in [*leaves(brief, "input"), *leaves(design, "output", brief)]:
            known = self.values.setdefault(name, {None: 0})
            column = self.codes.setdefault(name, [])
            if len(column) < self.count:
                column.extend([0] * (self.count - len(column)))
            column.append(known.setdefault((type(value), value), len(known)))
        self.count += 1

    def merge(self, other: "Columns") -> None:
        """Appends the columns that another process collected with `add`."""
        for name in {**self.values, **other.values}:
            known = self.values.setdefault(name, {None: 0})
            parts = self.codes.setdefault(name, [np.zeros(self.count, np.int32)])
            table = np.array([known.setdefault(key, len(known)) for key in other.values.get(name, (None,))], np.int32)
            local = other.codes.get(name, [])
            parts.append(table[np.array(local + [0] * (other.count - len(local)), dtype=np.int32)])
        self.count += other.count

    def arrays(self) -> dict[str, np.ndarray]:
        """Every column as one array of codes."""
        result = {}
        for name, parts in self.codes.items():
            if parts and isinstance(parts[0], np.ndarray):
                result[name] = np.concatenate(parts)
            else:
                result[name] = np.array(parts + [0] * (self.count - len(parts)), dtype=np.int32)
        return result


def leaves(value: Any, name: str, echo: Any = None) -> Iterator[tuple[str, Any]]:
    """The leaves of a JSON value by path; lists as a hash, and an echo of the brief as one constant leaf."""
    if isinstance(value, dict):
        if echo is not None and value == echo:
            yield name, "echo of the brief"
            return
        for key, part in value.items():
            yield from leaves(part, f"{name}.{key}", echo)
    elif isinstance(value, list):
        yield name, hash(str(value))
    else:
        yield name, value


def describe_fields(columns: Columns) -> list[Field]:
    """Every field of the designs, in order."""
    coded = columns.arrays()
    numbers = {name: array for name in coded if (array := _numbers(columns.values[name], coded[name])) is not None}
    predictors = {name: _binned(name, coded, numbers) for name in coded if name.startswith("input.")}
    fields = []
    for name in (name for name in coded if name.startswith("output")):
        fields.append(_describe(name, coded, numbers, predictors))
        predictors[name] = _binned(name, coded, numbers)
    return fields


def floor_of(fields: list[Field]) -> float | None:
    """The least loss in nats per sample, or None where a field cannot be estimated."""
    parts = [item.conditional for item in fields]
    return None if not parts or None in parts else round(sum(parts), 3)


def _describe(name: str, coded: dict, numbers: dict, predictors: dict) -> Field:
    codes = coded[name]
    counts = np.bincount(codes)
    distinct = int((counts > 0).sum())
    if distinct == 1:
        return Field(name, "constant", 1, 0.0, 0.0, "", 0.0)
    formula = _formula(name, coded, numbers, predictors)
    if formula:
        return Field(name, "derived", distinct, _entropy(counts), 0.0, formula, 0.0)
    if distinct > WIDE or 10 * distinct > codes.size:
        if name not in numbers or codes.size < 1000:
            return Field(name, "unknown", distinct, None, None, "", 0.0)
        rest, source = _quantity(numbers[name], {other: numbers[other] for other in predictors if other in numbers})
        return Field(name, "quantity", distinct, None, rest, source, 0.0)
    gains = {
        other: _information(codes, array)
        for other, array in predictors.items()
        if 10 * distinct * (int(array.max()) + 1) <= codes.size  # fewer samples per cell measure only chance
    }
    best = max(gains, key=gains.get, default="")
    entropy = _entropy(counts)
    gain = min(gains.get(best, 0.0), entropy)
    gain = gain if gain > MEASURABLE else 0.0
    told = max((value for other, value in gains.items() if other.startswith("input.")), default=0.0)
    kind = "derived" if entropy - gain < 1e-3 * entropy else "choice"
    return Field(name, kind, distinct, entropy, entropy - gain, best if gain else "", max(told, 0.0))


def _formula(name: str, coded: dict, numbers: dict, predictors: dict) -> str:
    """An exact formula for a field: a copy of another, or a rounded multiple of it."""
    if name not in numbers:
        return ""
    target = numbers[name]
    for other in predictors:
        source = numbers.get(other)
        if source is None or np.unique(source).size < 2:
            continue
        if np.array_equal(target, source):
            return f"copy of {other}"
        if (source > 0).all() and np.unique(target).size > WIDE:
            factor = round(float(np.median(target / source)), 3)
            if factor and np.array_equal(np.trunc(source * factor), target):
                return f"int({factor:g} x {other})"
    return ""


def _quantity(target: np.ndarray, numbers: dict[str, np.ndarray]) -> tuple[float, str]:
    """Entropy in nats of a number given the number, or product of two, that it is most nearly a multiple of."""
    scales = {"": np.ones(target.size)} | {name: array for name, array in numbers.items() if (array > 0).all()}
    names = list(scales)
    pairs = [(one, two) for index, one in enumerate(names) for two in names[index:] if one != two or not one]
    estimates = {}
    for one, two in pairs:
        scale = scales[one] * scales[two]
        ratio = target / scale
        counts, edges = np.histogram(ratio, bins=200)
        estimates[one, two] = _entropy(counts) + math.log(edges[1] - edges[0]) + float(np.log(scale).mean())
    best = min(estimates, key=estimates.get)
    step = next((step for step in (1, 0.1, 0.01, 0.001) if np.allclose(target / step, np.round(target / step))), 1e-4)
    return max(0.0, estimates[best] - math.log(step)), " x ".join(name for name in best if name)


def _numbers(values: dict, codes: np.ndarray) -> np.ndarray | None:
    """The numbers of a column, or None where a value is missing or is none."""
    table = [math.nan, *(key[1] for key in list(values)[1:])]
    if not all(type(value) in (int, float) and abs(value) < 1e15 for value in table[1:]) or not codes.all():
        return None
    return np.array(table)[codes]


def _binned(name: str, coded: dict, numbers: dict) -> np.ndarray:
    if name not in numbers or coded[name].max() <= 3 * BINS:
        return coded[name]
    return np.digitize(numbers[name], np.quantile(numbers[name], np.linspace(0, 1, BINS + 1)[1:-1]))


def _entropy(counts: np.ndarray) -> float:
    """Plug-in entropy in nats with the Miller-Madow correction."""
    counts = counts[counts > 0]
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum() + (counts.size - 1) / (2 * counts.sum()))


def _information(one: np.ndarray, other: np.ndarray) -> float:
    """Mutual information in nats; the corrections of the three entropies take off what chance gives."""
    joint = np.bincount(one.astype(np.int64) * (int(other.max()) + 1) + other)
    cells = (np.bincount(one) > 0).sum() * (np.bincount(other) > 0).sum()
    plain = joint[joint > 0]
    shares = plain / plain.sum()
    together = float(-(shares * np.log(shares)).sum()) + (min(int(cells), plain.size) - 1) / (2 * int(plain.sum()))
    return _entropy(np.bincount(one)) + _entropy(np.bincount(other)) - together
