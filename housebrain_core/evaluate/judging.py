"""What a model's answers are worth: parse rates with intervals, rules, exactness, distribution, and pairs of models."""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable
from itertools import combinations
from typing import Any, Literal, NamedTuple, get_origin

from pydantic import ValidationError

from housebrain_core.evaluate.results import (
    DistributionResult,
    FieldResult,
    LossResult,
    PairResult,
    RatesResult,
    RuleResult,
    RulesResult,
    SameResult,
)
from housebrain_core.house import codec
from housebrain_core.house.briefs import is_brief
from housebrain_core.house.codec import DesignError
from housebrain_core.house.design_text import shorten_design
from housebrain_core.house.json_text import NEVER_TRUSTED, StrictJSONError, repaired_parse, same, strict_json_parse
from housebrain_core.house.rules import RULES, Findings, check_or_none, score_rules, total_score
from housebrain_core.house.schema import Answer, HouseDesign
from housebrain_core.llm.decoding import Answered, read_answer
from housebrain_core.llm.losses import Interval, Losses, compare_losses, ratio_interval, wilson_interval

HARD = [rule.name for rule in RULES if rule.kind == "hard"]
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
    """Strictly an `Answer`; a design written out in full is none, though it may be read. Of other data: any value."""
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
        design = read_answer(brief, answer)
        kind = "ok"
    except DesignError as error:
        design = None
        kind = error.kind
    house = is_brief(brief)
    valid = kind == "ok" and (not house or _is_answer(repaired))
    mended = house and verdict not in NEVER_TRUSTED and _is_answer(repaired)
    rules = check_or_none(brief, design, limits) if house and design else None
    return Judged(kind, verdict == "ok", repaired is not None, valid, valid or mended, rules, design)


def describe_rates(judged: list[Judged]) -> RatesResult:
    """Parse and validity rates, with their intervals."""
    counts = {name: sum(getattr(one, name) for one in judged) for name in RATES}
    counts = {"invalid_json": len(judged) - counts["strict_parse"], **counts}
    intervals = {name: wilson_interval(count, len(judged)) for name, count in counts.items()}
    return RatesResult(intervals=intervals, **{name: count / len(judged) for name, count in counts.items()})


def describe_loss(losses: Losses | None, floor: float | None) -> LossResult:
    """Validation loss, and how far it is above the known floor.

    Args:
        losses: of the validation samples; None where the model does not tell.
        floor: entropy of the data in nats per sample, where it is known.
    """
    if losses is None:
        return LossResult()
    samples = len(losses.tokens)
    floor_per_token = None if floor is None else floor * samples / sum(losses.tokens)
    return LossResult(
        loss_nats_per_token=losses.mean,
        loss_interval=ratio_interval(losses.nats, losses.tokens),
        loss_nats_per_sample=sum(losses.nats) / samples,
        floor_nats_per_token=floor_per_token,
        loss_above_floor=None if floor_per_token is None else losses.mean - floor_per_token,
    )


def describe_rules(results: list[dict[str, Findings] | None]) -> RulesResult:
    """Rule scores over the designs that could be checked; hard and soft rules also apart.

    Args:
        results: one for each answer, None where it is no design that could be checked.
    """
    checked = [result for result in results if result is not None]
    scores = score_rules(checked)
    return RulesResult(
        checked=len(checked),
        rules={name: RuleResult(**score._asdict(), share=score.share) for name, score in scores.items()},
        rule_score=total_score(scores).share,
        hard_score=total_score(scores, "hard").share,
        soft_score=total_score(scores, "soft").share,
        all_hard=sum(not any(result[name] for name in HARD) for result in checked) / len(results),
    )


def describe_same(
    briefs: list[dict],
    designs: list[dict | None],
    references: list[dict],
    drawn: Collection[str],
    losses: Losses | None,
) -> SameResult:
    """How many answers are what the reference is.

    Args:
        briefs: that were answered.
        designs: one for each brief, None where the answer is none.
        references: the design of the validation sample of each brief.
        drawn: fields of an `Answer` that do not follow from the brief and are left out.
        losses: of the validation samples.
    """
    pairs = list(zip(briefs, designs, references, strict=True))
    alike = sum(design is not None and _is_same(brief, design, other, drawn) for brief, design, other in pairs)
    rooms = [_rooms_of(reference) for reference in references]
    matched = sum((_rooms_of(design) & wanted).total() for design, wanted in zip(designs, rooms, strict=True) if design)
    count = sum(wanted.total() for wanted in rooms)
    return SameResult(
        same=alike / len(briefs),
        same_interval=wilson_interval(alike, len(briefs)),
        rooms=matched / count if count else None,
        most_probable=sum(losses.exact) / len(losses.exact) if losses else None,
    )


def _is_same(brief: dict, design: dict, reference: dict, drawn: Collection[str]) -> bool:
    """Whether two designs for a brief are equal, but for the drawn fields."""
    one, other = (shorten_design(brief, value) for value in (design, reference))
    if one is None or other is None:
        return same(design, reference)
    return all(same(one.get(name), other.get(name)) for name in {*one, *other}.difference(drawn))


def _rooms_of(design: dict) -> Counter[tuple]:
    """Level, type and bounds of each room; none where the design has another shape."""
    try:
        levels = HouseDesign.model_validate(design).levels
    except ValidationError:
        return Counter()
    places = ((level.level_number, room.type, room.bounds) for level in levels for room in level.rooms)
    return Counter((number, kind, box.x, box.y, box.width, box.height) for number, kind, box in places)


def design_score(rules: dict[str, Findings]) -> float | None:
    """Share of the applicable rules that one design keeps."""
    applicable = [findings for findings in rules.values() if findings is not None]
    return sum(not findings for findings in applicable) / len(applicable) if applicable else None


def describe_exactness(briefs: list[dict], texts: list[str]) -> dict[str, float | None]:
    """Derivable field -> share of valid answers whose design has the derived value; None without valid answers."""
    exact: Counter[str] = Counter()
    valid = 0
    for brief, text in zip(briefs, texts, strict=True):
        try:
            short = strict_json_parse(text)
        except StrictJSONError:
            continue
        if not _is_answer(short):
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


def describe_distribution(answers: dict[str, Counter], training: dict[str, Counter]) -> DistributionResult:
    """How far the free fields of answers are from the training data's.

    Args:
        answers: field -> value -> how often, as `count_values` counts them.
        training: the same of training completions.
    """
    fields = {}
    expected = []
    for name in FREE:
        if not answers[name] or not training[name]:
            continue
        shares = _shares(answers[name])
        reference = _shares(training[name])
        distance = 0.5 * sum(abs(shares.get(v, 0) - reference.get(v, 0)) for v in {*shares, *reference})
        fields[name] = FieldResult(distance=distance, entropy=_entropy(shares), training_entropy=_entropy(reference))
        expected.append(_expected_distance(reference, answers[name].total()))
    if not fields:
        return DistributionResult(designs=0, fields={})
    training_entropy = sum(field.training_entropy for field in fields.values())
    entropy = sum(field.entropy for field in fields.values())
    return DistributionResult(
        designs=max(counts.total() for counts in answers.values()),
        fields=fields,
        distance=sum(field.distance for field in fields.values()) / len(fields),
        expected_distance=sum(expected) / len(fields),
        entropy_ratio=entropy / training_entropy if training_entropy else None,
    )


def _expected_distance(shares: dict[str, float], draws: int) -> float:
    """Mean distance of so many draws from the distribution that they are drawn from, for many draws."""
    return 0.5 * sum(math.sqrt(2 * p * (1 - p) / (math.pi * draws)) for p in shares.values())


class Evaluated(NamedTuple):
    """What models are compared by: losses of the samples, judged answers of the briefs."""

    losses: Losses | None
    judged: list[Judged]


def compare_models(models: dict[str, Evaluated]) -> list[PairResult]:
    """Every pair of models, on the same samples and briefs."""
    return [_compare(one, other, models[one], models[other]) for one, other in combinations(models, 2)]


def _compare(first: str, second: str, one: Evaluated, other: Evaluated) -> PairResult:
    difference, lower = None, []
    if one.losses and other.losses:
        difference = compare_losses(one.losses, other.losses)
        lower = [a < b for a, b in zip(one.losses.nats, other.losses.nats, strict=True)]
    both = list(zip(one.judged, other.judged, strict=True))
    scores = [(design_score(a.rules), design_score(b.rules)) for a, b in both if a.rules and b.rules]
    rules = [a - b for a, b in scores if a is not None and b is not None]
    return PairResult(
        first=first,
        second=second,
        loss_difference=difference and difference.mean,
        loss_interval=difference and Interval(difference.low, difference.high),
        lower_loss=sum(lower) / len(lower) if lower else None,
        valid_only_first=sum(a.schema_valid and not b.schema_valid for a, b in both),
        valid_only_second=sum(b.schema_valid and not a.schema_valid for a, b in both),
        rule_difference=sum(rules) / len(rules) if rules else None,
        rule_interval=ratio_interval(rules, [1.0] * len(rules)) if rules else None,
        rule_pairs=len(rules),
    )


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
