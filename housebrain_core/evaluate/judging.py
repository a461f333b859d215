"""What a model's answers are worth: parse rates with intervals, rules, exactness, distribution, and pairs of models."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from typing import Any, Literal, NamedTuple, get_origin

from pydantic import ValidationError

from housebrain_core.house import codec
from housebrain_core.house.codec import DesignError
from housebrain_core.house.json_text import NEVER_TRUSTED, StrictJSONError, repaired_parse, strict_json_parse
from housebrain_core.house.rules import RULES, Findings, check_design, score_rules, total_score
from housebrain_core.house.schema import Answer
from housebrain_core.llm.decoding import Answered, read_answer

RATES = ("strict_parse", "repaired_parse", "schema_valid", "schema_valid_repaired")
DERIVED = ("total_area", "construction_cost", "cooling", "heating", "insulation", "floor_area_ratio")
"""Fields that code derives; an answer should leave them out, or give the very same value."""
FREE = (
    *(name for name, field in Answer.model_fields.items()
      if get_origin(field.annotation) is Literal and name not in DERIVED),
    "garage_spaces", "max_height", "parking", "fire_exits", "features",
)  # fmt: skip
"""Fields that do not follow from the brief, with few values each."""


class Judged(NamedTuple):
    """One answer, judged."""

    kind: str
    """"ok", "schema", or why the text is not JSON."""
    strict_parse: bool
    repaired_parse: bool
    schema_valid: bool
    """Strictly an `Answer`; a design written out in full is none, though it may be read."""
    schema_valid_repaired: bool
    rules: dict[str, Findings] | None
    """None where there is no design, or one of a shape that the rules do not know."""
    design: dict | None


def judge(brief: dict, answer: Answered, limits: dict[str, float] | None = None) -> Judged:
    """One answer: how it parses strictly and repaired, whether it is an Answer, and which rules it keeps."""
    repaired, verdict = repaired_parse(answer.text)
    if not answer.complete:
        verdict = "truncated"
    try:
        design, kind = read_answer(brief, answer), "ok"
    except DesignError as error:
        design, kind = None, error.kind
    valid = kind == "ok" and _is_answer(repaired)
    mended = verdict not in NEVER_TRUSTED and _is_answer(repaired)
    rules = check_or_none(brief, design, limits) if design else None
    return Judged(kind, verdict == "ok", repaired is not None, valid, valid or mended, rules, design)


def check_or_none(brief: dict, design: dict, limits: dict[str, float] | None = None) -> dict[str, Findings] | None:
    """Rule findings, or None where brief or design is of a shape that the rules do not know."""
    try:
        return check_design(brief, design, limits)
    except ValidationError:
        return None


def describe_rates(judged: list[Judged]) -> dict[str, Any]:
    """Shares in [0, 1], strict and repaired never mixed, and under `intervals` their 95 % intervals."""
    counts = {name: sum(getattr(one, name) for one in judged) for name in RATES}
    counts = {"invalid_json": len(judged) - counts["strict_parse"], **counts}
    intervals = {name: wilson_interval(count, len(judged)) for name, count in counts.items()}
    return {**{name: count / len(judged) for name, count in counts.items()}, "intervals": intervals}


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927): right also for few samples and shares of 0 or 1."""
    z, share = 1.96, count / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def ratio_interval(values: list[float], weights: list[float]) -> tuple[float, float]:
    """95 % interval of sum(values) / sum(weights) over samples, by linearisation."""
    ratio, count = sum(values) / sum(weights), len(values)
    if count < 2:
        return ratio, ratio
    squares = sum((value - ratio * weight) ** 2 for value, weight in zip(values, weights, strict=True))
    spread = 1.96 * math.sqrt(squares * count / (count - 1)) / sum(weights)
    return ratio - spread, ratio + spread


def describe_loss(nats: list[float], tokens: list[int], floor: float | None) -> dict[str, Any]:
    """Validation loss, and how far it is above the known floor.

    Args:
        nats: summed cross-entropy of each sample.
        tokens: learned tokens of each sample, the EOS included.
        floor: entropy of the data in nats per sample, where it is known.
    """
    loss = sum(nats) / sum(tokens)
    floor_per_token = None if floor is None else floor * len(tokens) / sum(tokens)
    return {
        "loss_nats_per_token": loss,
        "loss_interval": ratio_interval(nats, tokens),
        "loss_nats_per_sample": sum(nats) / len(nats),
        "floor_nats_per_token": floor_per_token,
        "loss_above_floor": None if floor_per_token is None else loss - floor_per_token,
    }


def describe_rules(results: list[dict[str, Findings] | None]) -> dict[str, Any]:
    """Rule scores over the designs that could be checked; hard and soft rules also apart."""
    checked = [result for result in results if result is not None]
    scores = score_rules(checked)
    return {
        "checked": len(checked),
        "rules": {name: {**score._asdict(), "share": score.share} for name, score in scores.items()},
        "rule_score": total_score(scores).share,
        "hard_score": total_score(scores, "hard").share,
        "soft_score": total_score(scores, "soft").share,
    }


def design_score(rules: dict[str, Findings]) -> float | None:
    """Share of the applicable rules that one design keeps."""
    applicable = [found for found in rules.values() if found is not None]
    return sum(not found for found in applicable) / len(applicable) if applicable else None


def describe_exactness(briefs: list[dict], texts: list[str]) -> dict[str, float | None]:
    """For each derivable field the share of valid answers whose design has the derived value."""
    exact: Counter[str] = Counter()
    valid = 0
    for brief, text in zip(briefs, texts, strict=True):
        short = _read_valid(text)
        if short is None:
            continue
        valid += 1
        derived = codec.dumps({key: value for key, value in short.items() if key not in DERIVED})
        for name in DERIVED:
            exact[name] += name not in short or _same_design(brief, text, derived, name, short[name])
    return {name: exact[name] / valid if valid else None for name in DERIVED}


def count_values(texts: Iterable[str]) -> dict[str, Counter]:
    """How often each free field has each value, its first one in a text; also in texts that are not whole answers."""
    counts: dict[str, Counter] = {name: Counter() for name in FREE}
    for text in texts:
        first = {match["name"]: match["value"] for match in reversed(list(_FIELD.finditer(text)))}
        for name in FREE:
            if name in first:
                counts[name][first[name]] += 1
    return counts


_FIELD = re.compile(rf'"(?P<name>{"|".join(FREE)})":(?P<value>"[^"]{{0,40}}"|\d{{1,9}}|\[[^\[\]]*\])')


def describe_distribution(own: dict[str, Counter], training: dict[str, Counter]) -> dict[str, Any]:
    """How far the free fields are from the training data's, field by field.

    Returns:
        designs (texts with the field most often found); fields: name -> distance (total variation in [0, 1]),
        entropy (nats) beside the training data's; distance: mean over fields, expected_distance: what as many honest
        draws would have, entropy_ratio: of all fields, near 1 for an honest model, near 0 where it always answers
        the same.
    """
    fields, expected = {}, []
    for name in FREE:
        if not own[name] or not training[name]:
            continue
        shares, reference, draws = _shares(own[name]), _shares(training[name]), own[name].total()
        distance = 0.5 * sum(abs(shares.get(v, 0) - reference.get(v, 0)) for v in {*shares, *reference})
        fields[name] = {"distance": distance, "entropy": _entropy(shares), "training_entropy": _entropy(reference)}
        expected.append(0.5 * sum(math.sqrt(2 * p * (1 - p) / (math.pi * draws)) for p in reference.values()))
    if not fields:
        return {"designs": 0, "fields": {}}
    total = sum(field["training_entropy"] for field in fields.values())
    return {
        "designs": max(counts.total() for counts in own.values()),
        "fields": fields,
        "distance": sum(field["distance"] for field in fields.values()) / len(fields),
        "expected_distance": sum(expected) / len(fields),
        "entropy_ratio": sum(field["entropy"] for field in fields.values()) / total if total else None,
    }


class Evaluated(NamedTuple):
    """What models are compared by: losses of the samples, judged answers of the briefs."""

    nats: list[float]
    tokens: list[int]
    judged: list[Judged]


def compare_models(models: dict[str, Evaluated]) -> list[dict[str, Any]]:
    """Every pair of models on the same briefs.

    Returns:
        For each pair: loss_difference (first less second, nats per token of the first) with its 95 % interval,
        lower_loss (share of samples where the first is better), valid_only_first and valid_only_second (briefs),
        rule_difference over the briefs where both gave a design, with its interval and their number.
    """
    return [_compare(one, other, models[one], models[other]) for one, other in combinations(models, 2)]


def _compare(first: str, second: str, one: Evaluated, other: Evaluated) -> dict[str, Any]:
    gaps = [a - b for a, b in zip(one.nats, other.nats, strict=True)]
    both = [(a, b) for a, b in zip(one.judged, other.judged, strict=True)]
    scores = [(design_score(a.rules), design_score(b.rules)) for a, b in both if a.rules and b.rules]
    rules = [a - b for a, b in scores if a is not None and b is not None]
    return {
        "first": first,
        "second": second,
        "loss_difference": sum(gaps) / sum(one.tokens),
        "loss_interval": ratio_interval(gaps, one.tokens),
        "lower_loss": sum(gap < 0 for gap in gaps) / len(gaps),
        "valid_only_first": sum(a.schema_valid and not b.schema_valid for a, b in both),
        "valid_only_second": sum(b.schema_valid and not a.schema_valid for a, b in both),
        "rule_difference": sum(rules) / len(rules) if rules else None,
        "rule_interval": ratio_interval(rules, [1.0] * len(rules)) if rules else None,
        "rule_pairs": len(rules),
    }


def rule_table() -> list[dict[str, str]]:
    """The rules' names, formulas, units and sources, for a report."""
    return [{k: v for k, v in rule._asdict().items() if k != "check"} for rule in RULES]


def _read_valid(text: str) -> dict | None:
    try:
        value = strict_json_parse(text)
    except StrictJSONError:
        return None
    return value if _is_answer(value) else None


def _same_design(brief: dict, text: str, derived: str, name: str, value: Any) -> bool:
    """Whether code derives the very value that the answer wrote out."""
    try:
        return codec.decode(brief, derived[:-1] + f",{codec.dumps({name: value})[1:]}") == codec.decode(brief, derived)
    except DesignError:  # the brief lacks what the field is derived from
        return True


def _is_answer(value: dict | None) -> bool:
    try:
        Answer.model_validate(value)
    except ValidationError:
        return False
    return True


def _shares(counts: Counter) -> dict[str, float]:
    return {value: count / counts.total() for value, count in counts.items()}


def _entropy(shares: dict[str, float]) -> float:
    return -sum(p * math.log(p) for p in shares.values())
