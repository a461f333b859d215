"""Losses of a model on samples, and the 95 % intervals of what is computed from samples. Needs no torch."""

import json
import math
from collections.abc import Collection
from typing import Any, NamedTuple


class Losses(NamedTuple):
    """Loss of a model on each of some known completions."""

    nats: list[float]
    """Cross-entropy of each completion, summed over its learned tokens."""
    tokens: list[int]
    """Learned tokens of each completion, the end-of-text token included."""
    exact: list[bool] = []
    """Whether the most probable token was the right one everywhere in a completion, drawn fields left out."""

    @property
    def mean(self) -> float:
        """Validation loss in nats per token."""
        return sum(self.nats) / sum(self.tokens)

    @property
    def exact_share(self) -> float:
        """Share of the completions that are exactly right, in [0, 1]."""
        return sum(self.exact) / len(self.exact) if self.exact else 0.0


def tokens_in_fields(tokenizer: Any, completion: str, fields: Collection[str]) -> list[bool]:
    """For each token of a completion, the end-of-text token included, whether it has a part of a field's value.

    Args:
        tokenizer: of the base model.
        completion: an object as compact JSON, as `codec` writes it.
        fields: names of top-level fields.
    """
    places = tokenizer(completion, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    spans = _spans_of(completion, fields) if fields else []
    return [*(any(start < b and a < end for a, b in spans) for start, end in places), False]


def _spans_of(completion: str, fields: Collection[str]) -> list[tuple[int, int]]:
    """Start and end of the value of each of these fields, in characters."""
    decoder = json.JSONDecoder()
    spans = []
    place = 1
    while place < len(completion):
        name, end = decoder.raw_decode(completion, place)
        _, place_after = decoder.raw_decode(completion, end + 1)
        if name in fields:
            spans.append((end + 1, place_after))
        place = place_after + 1
    return spans


class Interval(NamedTuple):
    """A 95 % confidence interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """Validation loss of one model minus that of another, in nats per token, with its 95 % interval."""

    mean: float
    low: float
    high: float


def compare_losses(one: Losses, other: Losses) -> Difference:
    """How much higher one model's loss is than another's on the same samples, sample by sample.

    Args:
        one: its tokens count.
        other: of the same completions in the same order.
    """
    gaps = [a - b for a, b in zip(one.nats, other.nats, strict=True)]
    return Difference(sum(gaps) / sum(one.tokens), *ratio_interval(gaps, one.tokens))


def ratio_interval(values: list[float], weights: list[float] | list[int]) -> Interval:
    """95 % interval of sum(values) / sum(weights), where each sample has a value and a weight.

    By linearisation of the ratio (Cochran 1977, Sampling Techniques, 6.4); a single sample has no width.
    """
    count = len(values)
    ratio = sum(values) / sum(weights)
    if count < 2:
        return Interval(ratio, ratio)
    squares = sum((value - ratio * weight) ** 2 for value, weight in zip(values, weights, strict=True))
    spread = 1.96 * math.sqrt(squares * count / (count - 1)) / sum(weights)
    return Interval(ratio - spread, ratio + spread)


def wilson_interval(count: int, total: int) -> Interval:
    """95 % interval of the share count / total (Wilson 1927): right also for few samples and shares of 0 or 1."""
    z = 1.96
    share = count / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return Interval(max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale))
