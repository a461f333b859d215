"""Formulas that give a field of the designs from the others: equal, a lookup, or a multiple of numbers."""

from collections.abc import Iterator
from itertools import permutations
from typing import Any, Literal, NamedTuple

import numpy as np

from housebrain_core.data.columns import Column, entropy_of, entropy_of_codes

NEAR = 0.6
"""Share of the samples above which a formula counts at all."""
FIRST = slice(0, 2000)
"""Samples on which a formula is tried before it is tried on all."""
SHOWN_CHARACTERS = 60
"""Of each value in the text of a lookup."""
MAX_SPREAD = 0.05
"""Width of the middle 80 % of ratios over their median, up to which they may be one factor."""


EVIDENCE = 20.0
"""Nats: a formula is believed where a field without any relation would hit so many samples with a chance below
exp(-20), two in a billion; thousands of formulas are tried. Each sample counts the field's entropy, and of a lookup
only those whose value was there before."""


class Formula(NamedTuple):
    """A formula for a field, and how well it does."""

    share: float
    """Of the samples that it hits, in [0, 1]; a hair more where a field is simply equal, which reads best."""
    text: str
    rest: float
    """Entropy of what it misses, in nats per sample."""
    kind: Literal["copied", "derivable"]


def best_formula(target: Column, sources: list[Column]) -> Formula | None:
    """The formula that hits most samples; None where none hits at least 60 %."""
    entropy = entropy_of_codes(target.codes)
    if not entropy:
        return None
    needed = EVIDENCE / entropy  # samples that have to be hit
    best = max(_find_formulas(target, sources, needed), key=lambda formula: formula.share, default=None)
    return best if best and best.share >= NEAR and best.share * len(target.codes) >= needed else None


def _find_formulas(target: Column, sources: list[Column], needed: float) -> Iterator[Formula]:
    """All formulas that may fit; a lookup only where more samples than `needed` repeat a value of its source."""
    varying = [source for source in sources if len(source.values) > 1]
    for source in varying:
        yield from _equal(target, source)
        again = len(source.codes) - len(source.values)  # samples whose value of the source was there before
        if source.closed and again >= needed and _decides(source, target):
            yield Formula(1.0, _describe_lookup(target, source), 0.0, "derivable")
    if not target.numeric or len(target.values) < 3:
        return
    numeric = [source for source in varying if source.numeric and len(source.values) > 2]
    for source in numeric:
        yield from _multiples(target, source.numbers, source.name)
    for one, other in permutations(numeric, 2):
        if one.name < other.name:
            yield from _multiples(target, one.numbers * other.numbers, f"{one.name} x {other.name}")
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = one.numbers / other.numbers
        yield from _multiples(target, ratio, f"{one.name} / {other.name}")


def _equal(target: Column, source: Column) -> Iterator[Formula]:
    """The formula "equal to", for two columns of one kind; booleans agree by chance too often."""
    value_type = type(target.values[0])
    if value_type is bool or value_type is not type(source.values[0]):
        return
    if target.numeric:
        hits = target.numbers == source.numbers
    elif max(len(target.values), len(source.values)) > 10 * min(len(target.values), len(source.values)):
        return
    else:
        places = {value: code for code, value in enumerate(source.values)}
        hits = np.array([places.get(value, -1) for value in target.values])[target.codes] == source.codes
    if hits.mean() > NEAR:
        kind = "copied" if source.in_brief else "derivable"
        yield Formula(float(hits.mean()) + 1e-9, f"equal to {source.name}", entropy_of_codes(hits), kind)


def _decides(source: Column, target: Column) -> bool:
    """Whether each value of the source goes with one value of the target."""
    partner = np.zeros(len(source.values), dtype=target.codes.dtype)
    partner[source.codes] = target.codes
    return bool((partner[source.codes] == target.codes).all())


def _describe_lookup(target: Column, source: Column) -> str:
    """A lookup in words: a template where the source's value is part of the text, else the pairs."""
    pairs = dict(zip(source.codes[:100_000].tolist(), target.codes[:100_000].tolist(), strict=True))
    shown = {source.values[one]: target.values[other] for one, other in pairs.items()}
    templates = {str(value).replace(str(key), "{}") for key, value in shown.items()}
    if len(templates) == 1:
        return f"{templates.pop()!r} with {source.name}"
    if any(len(str(key)) > SHOWN_CHARACTERS for key in shown):  # nested values say nothing in a table
        return f"follows from {source.name}"
    table = ", ".join(f"{_short(key)}: {_short(value)}" for key, value in sorted(shown.items(), key=str)[:8])
    return f"follows from {source.name} ({table}{', ...' if len(shown) > 8 else ''})"


def _short(value: Any) -> str:
    """A value in a table; nested ones are long."""
    text = str(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 4]} ..."


def _multiples(target: Column, base: np.ndarray, name: str) -> Iterator[Formula]:
    """The formulas c x base, int(c x base) and round(c x base), with a constant c of few digits read off the data."""
    middle = _common_ratio(target.numbers[FIRST], base[FIRST])
    if middle is None:
        return
    digits = 0 if target.whole else 2
    for factor in {float(f"{middle:.{places}g}") for places in (1, 2, 3)}:  # rounding hides the last digits
        scaled = base * factor
        label = name if factor == 1 else f"{factor:g} x {name}"
        guesses = {
            f"int({label})": np.trunc(scaled),
            f"round({label}, {digits})": np.round(scaled, digits),
            label: scaled,
        }
        for text, guess in guesses.items():
            if _hits(guess[FIRST], target.numbers[FIRST]).mean() <= NEAR:
                continue
            rest = entropy_of(np.unique(np.round(target.numbers - guess, 6), return_counts=True)[1])
            yield Formula(float(_hits(guess, target.numbers).mean()), text, rest, "derivable")


def _common_ratio(values: np.ndarray, base: np.ndarray) -> float | None:
    """The median of values / base where the ratios are close together; None where they are not."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = values / base
    ratios = ratios[np.isfinite(ratios)]
    if not len(ratios):
        return None
    low, middle, high = np.quantile(ratios, [0.1, 0.5, 0.9], method="nearest").tolist()
    return None if middle == 0 or high - low > MAX_SPREAD * abs(middle) else middle


def _hits(guess: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.isclose(guess, values, rtol=1e-12, atol=1e-9)
