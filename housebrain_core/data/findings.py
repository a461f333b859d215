"""What each field of the designs is: constant, copied, derivable, or a free choice; and how many nats it holds.

Statistics over columns; no field is known by name. A dependence is believed when the mutual information is far
beyond what as many independent samples would show: under independence 2 N MI is chi-squared with
(r - 1)(c - 1) degrees of freedom (the G-test; Sokal and Rohlf, Biometry, 1981), and the same bias is subtracted.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from housebrain_core.data.columns import ECHO
from housebrain_core.data.entropies import (
    differential_entropy,
    entropy_of,
    entropy_of_misses,
    entropy_of_values,
    mutual_information,
)

EXACT = 0.999
"""Share of the samples that a formula has to hit to count as found."""
NEAR = 0.6
"""Share above which a formula is used for the entropy, with what it misses counted as noise."""
VOCABULARY = 200
"""Distinct values up to which a field is a closed vocabulary."""
BINS = 16
"""Equal-count bins of numbers with more values than that, where dependence is measured."""
SIGMAS = 8.0
"""Standard deviations beyond chance from which a dependence is believed; thousands of pairs are looked at."""


class Column(NamedTuple):
    """A field, numbered: values[codes] is the field."""

    name: str
    values: list
    codes: np.ndarray
    numbers: np.ndarray | None
    whole: bool


@dataclass
class Finding:
    """What one field of the designs is. Entropies in nats per sample."""

    name: str
    kind: str
    """constant, copied, derivable, nearly derivable, choice, number or free text."""
    text: str
    distinct: int
    entropy: float
    """Of the field by itself."""
    free: float | None
    """What is left when brief, formulas and earlier fields are known; None where it cannot be estimated."""
    depends_on: str | None = None
    """The field that tells most about it, where that is beyond chance."""
    information: float = 0.0
    """Mutual information with that field, less what chance would show."""
    brief_field: str | None = None
    brief_information: float = 0.0
    """The largest mutual information with a field of the brief, less chance; with `brief_sigmas`."""
    brief_sigmas: float = 0.0
    top: list[tuple[Any, float]] = field(default_factory=list)
    """The most frequent values and their shares."""


def number_column(name: str, array: pa.ChunkedArray) -> Column:
    encoded = array.combine_chunks().dictionary_encode()
    numeric = not (pa.types.is_string(array.type) or pa.types.is_boolean(array.type))
    values = encoded.dictionary.to_pylist()
    codes = np.frombuffer(encoded.indices.buffers()[1], np.int32, len(array))  # np.asarray would import pandas
    numbers = np.array(values, np.float64)[codes] if numeric else None
    return Column(name, values, codes, numbers, pa.types.is_integer(array.type))


def study_fields(fields: dict[str, pa.ChunkedArray]) -> list[Finding]:
    """Looks at every field of the designs, in their order.

    Args:
        fields: path -> values, as columns.read_columns makes them; paths begin with input. or output.
    """
    columns = [number_column(name, array) for name, array in fields.items()]
    brief = [column for column in columns if column.name.startswith("input")]
    outputs = [c for c in columns if c.name.startswith("output") and not c.name.endswith("(count)")]
    findings: dict[str, Finding] = {}
    derived: set[str] = set()
    for target in outputs:
        # A later field may explain an earlier one (an area its ratio), but never in a circle.
        known = brief + [c for c in outputs if c.name != target.name and c.name not in derived]
        finding = _look_up(target, brief, known)
        if finding.kind in ("copied", "derivable", "nearly derivable"):
            derived.add(target.name)
        findings[target.name] = finding
    earlier: list[Column] = []
    for target in outputs:
        if findings[target.name].kind == "open":
            findings[target.name] = _measure(target, brief, earlier)
            earlier.append(target)
    return list(findings.values())


def entropy_floor(findings: list[Finding]) -> float:
    """Nats per sample that no honest model gets below: what is left of every field, summed.

    Fields of free text or nested structure count as zero, so that the sum is a lower bound where there are any.
    """
    return float(sum(finding.free or 0.0 for finding in findings))


def _look_up(target: Column, brief: list[Column], known: list[Column]) -> Finding:
    """Constant, copied or derivable; else a finding of kind "open"."""
    entropy = entropy_of(np.bincount(target.codes))
    about = {"name": target.name, "distinct": len(target.values), "entropy": entropy, "top": _top(target)}
    if len(target.values) == 1:
        value = target.values[0]
        if value == ECHO:
            return Finding(kind="copied", text="a copy of the whole brief", free=0.0, **about)
        shown = {"[]": "always empty", "{}": "always empty"}.get(value, f"always {value!r}")
        return Finding(kind="constant", text=shown, free=0.0, **about)
    best = max(formulas(target, brief, known), key=lambda formula: formula[0], default=(0.0, "", 0.0, "derivable"))
    share, text, rest, kind = best
    if share >= EXACT:
        exactly = "" if share >= 1 else f" in {share:.2%} of the samples"
        return Finding(kind=kind, text=text + exactly, free=rest, **about)
    if share >= NEAR:
        text = f"{text} in {share:.1%} of the samples"
        return Finding(kind="nearly derivable", text=text, free=rest, **about)
    return Finding(kind="open", text="", free=None, **about)


def formulas(target: Column, brief: list[Column], known: list[Column]) -> Iterator[tuple[float, str, float, str]]:
    """(share of samples that it hits, the formula, entropy of what it misses, kind) for each formula that may fit."""
    inside = {column.name for column in brief}
    for source in known:
        if len(source.values) == 1:
            continue
        kind = "copied" if source.name in inside else "derivable"
        hits = _equal(target, source)
        if hits is not None and hits.mean() > NEAR:
            yield float(hits.mean()) + 1e-9, f"equal to {source.name}", entropy_of_misses(hits), kind
        if 1 < len(source.values) <= VOCABULARY and _decides(source, target):
            yield 1.0, _describe_table(target, source), 0.0, "derivable"
    if target.numbers is None or len(target.values) < 3:
        return
    numeric = [c for c in known if c.numbers is not None and len(c.values) > 2]
    for source in numeric:
        yield from _scaled(target, source.numbers, source.name)
    for one, other in permutations(numeric, 2):
        if one.name < other.name:
            yield from _scaled(target, one.numbers * other.numbers, f"{one.name} x {other.name}")
        with np.errstate(divide="ignore", invalid="ignore"):
            yield from _scaled(target, one.numbers / other.numbers, f"{one.name} / {other.name}")


def _scaled(target: Column, base: np.ndarray, name: str) -> Iterator[tuple[float, str, float, str]]:
    """int(c x base), round(c x base) or c x base, with a constant of few digits read off the data."""
    few = slice(0, 2000)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = target.numbers[few] / base[few]
    ratios = np.sort(ratios[np.isfinite(ratios)])
    if _is_spread(ratios):
        return
    low, middle, high = np.quantile(ratios, [0.1, 0.5, 0.9]) if len(ratios) else (0, 0, 0)
    if middle == 0 or (high - low) > 0.05 * abs(middle):
        return
    digits = 0 if target.whole else 2
    for factor in {float(f"{middle:.{places}g}") for places in (1, 2, 3)}:  # rounding hides the last digits
        scaled = base * factor
        label = name if factor == 1 else f"{factor:g} x {name}"
        tries = {f"int({label})": np.trunc(scaled), f"round({label}, {digits})": np.round(scaled, digits)}
        for text, guess in {**tries, label: scaled}.items():
            if np.isclose(guess[few], target.numbers[few], rtol=1e-12, atol=1e-9).mean() > NEAR:
                hits = np.isclose(guess, target.numbers, rtol=1e-12, atol=1e-9)
                yield float(hits.mean()), text, entropy_of_values(np.round(target.numbers - guess, 6)), "derivable"


def _is_spread(ratios: np.ndarray) -> bool:
    """Whether quantiles of sorted values, which take far longer, will be apart for sure: most pairs of fields are."""
    if len(ratios) < 20:
        return False
    last = len(ratios) - 1
    inner = ratios[math.floor(0.9 * last)] - ratios[math.ceil(0.1 * last)]
    return bool(inner > 0.05 * max(abs(ratios[last // 2]), abs(ratios[-(-last // 2)])))


def _equal(target: Column, source: Column) -> np.ndarray | None:
    """Where two columns of one kind are equal."""
    if (target.numbers is None) != (source.numbers is None) or target.whole != source.whole:
        return None
    if target.numbers is not None:
        return target.numbers == source.numbers
    if len(target.values) > 10 * len(source.values) or len(source.values) > 10 * len(target.values):
        return None
    place = {value: code for code, value in enumerate(source.values) if type(value) is not bool}
    return np.array([place.get(value, -1) for value in target.values])[target.codes] == source.codes


def _decides(source: Column, target: Column) -> bool:
    """Whether each value of the source goes with one value of the target."""
    first = np.zeros(len(source.values), dtype=target.codes.dtype)
    first[source.codes] = target.codes
    return bool((first[source.codes] == target.codes).all())


def _describe_table(target: Column, source: Column) -> str:
    """A lookup in words: a template where the source's value is part of the text, else the pairs."""
    pairs = dict(zip(source.codes[:100_000].tolist(), target.codes[:100_000].tolist(), strict=True))
    shown = {source.values[one]: target.values[other] for one, other in pairs.items()}
    templates = {str(value).replace(str(key), "{}") for key, value in shown.items()}
    if len(templates) == 1:
        return f"{templates.pop()!r} with {source.name}"
    table = ", ".join(f"{key}: {value}" for key, value in sorted(shown.items(), key=str)[:8])
    return f"follows from {source.name} ({table}{', ...' if len(shown) > 8 else ''})"


def _measure(target: Column, brief: list[Column], earlier: list[Column]) -> Finding:
    """A field that nothing decides: how free it is, and what it depends on."""
    entropy = entropy_of(np.bincount(target.codes))
    found = Finding(target.name, "choice", "", len(target.values), entropy, entropy, top=_top(target))
    closed = len(target.values) <= VOCABULARY
    if not closed and target.numbers is None:
        found.kind, found.free = "free text", None
    for source in [*brief, *earlier]:
        if len(source.values) > 1 and (source.numbers is not None or len(source.values) <= VOCABULARY):
            _note_dependence(found, *mutual_information(_bins(target), _bins(source)), source, source in brief)
    if not closed and target.numbers is not None:
        found.kind, found.free = "number", _number_entropy(target, brief)
    elif closed:
        found.free = max(0.0, entropy - found.information)
    found.text = _describe_choice(found)
    return found


def _note_dependence(found: Finding, information: float, sigmas: float, source: Column, inside: bool) -> None:
    if inside and sigmas > found.brief_sigmas:
        found.brief_field, found.brief_information, found.brief_sigmas = source.name, information, sigmas
    if sigmas > SIGMAS and information > found.information:
        found.depends_on, found.information = source.name, information


def _describe_choice(found: Finding) -> str:
    if found.kind == "free text":
        return f"{found.distinct:,} different texts or structures"
    what = f"one of {found.distinct}" if found.kind == "choice" else f"a number with {found.distinct:,} values"
    if found.brief_sigmas > SIGMAS:
        return f"{what}; depends on {found.brief_field}"
    other = f", depends on {found.depends_on}" if found.depends_on else ""
    return f"{what}, independent of every field of the brief{other}"


def _bins(column: Column) -> np.ndarray:
    """Codes of a column, of few values: numbers with many go into bins of equal count, text beyond 200 in one."""
    if len(column.values) <= BINS or (column.numbers is None and len(column.values) <= VOCABULARY):
        return column.codes
    if column.numbers is None:
        return np.zeros_like(column.codes)
    edges = np.unique(np.quantile(column.numbers, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.searchsorted(edges, column.numbers, side="right")


REPEATS = 10
"""Samples per distinct value from which frequencies give the entropy of a number."""


def _number_entropy(target: Column, brief: list[Column]) -> float:
    """Entropy of a number given the brief: the least over its own and its ratios to the brief's numbers.

    t = r x s with r independent of s has h(t | s) = h(r) + E[ln s]; in steps of the number's own unit.
    """
    values = target.numbers
    unit = 1.0 if target.whole else 10.0 ** -_decimals(target.values)
    estimates = [differential_entropy(values) - math.log(unit)]
    if len(values) >= REPEATS * len(target.values):  # of values seen but once it would be ln(samples), far too little
        estimates.append(entropy_of(np.bincount(target.codes)))
    for source in brief:
        if source.numbers is not None and source.numbers.min() > 0 and len(source.values) > BINS:
            ratio = differential_entropy(values / source.numbers)
            estimates.append(ratio + float(np.log(source.numbers).mean()) - math.log(unit))
    return max(0.0, min(estimates))


def _decimals(values: list) -> int:
    return max(len(repr(float(value)).partition(".")[2]) for value in values[:1000])


def _top(column: Column) -> list[tuple[Any, float]]:
    counts = np.bincount(column.codes, minlength=len(column.values))
    order = np.argsort(-counts, kind="stable")[:8]
    return [(column.values[code], float(counts[code] / len(column.codes))) for code in order if counts[code]]
