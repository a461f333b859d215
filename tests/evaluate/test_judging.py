"""Judging answers: strict and repaired are never mixed, and distances are those worked out by hand."""

import copy
import math
from collections import Counter

import pytest

from housebrain_core.evaluate.judging import (
    FREE,
    Evaluated,
    compare_models,
    count_values,
    describe_distribution,
    describe_exactness,
    describe_loss,
    describe_rates,
    describe_rules,
    describe_same,
    design_score,
    judge,
)
from housebrain_core.house import codec
from housebrain_core.house.rules import RULES
from housebrain_core.llm.decoding import Answered
from housebrain_core.llm.losses import Losses


@pytest.fixture
def brief(samples) -> dict:
    return samples[0]["input"]


@pytest.fixture
def text(samples) -> str:
    return codec.encode(samples[0]).completion


def judged(brief, text, complete=True):
    return judge(brief, Answered(text, 100, complete))


def test_a_whole_answer_is_valid_and_checked_by_the_rules(samples, brief, text):
    one = judged(brief, text)
    assert (one.kind, one.strict_parse, one.schema_valid) == ("ok", True, True)
    assert one.design == samples[0]["output"] and set(one.rules) == {rule.name for rule in RULES}


def test_a_fenced_answer_counts_as_repaired_and_never_as_strict(brief, text):
    one = judged(brief, f"```json\n{text}\n```")
    assert (one.strict_parse, one.schema_valid, one.design) == (False, False, None)
    assert one.repaired_parse and one.schema_valid_repaired


@pytest.mark.parametrize("change", [lambda text: text[:-40], lambda text: text.replace('"roof"', '"wall"', 1)])
def test_what_was_cut_or_repeats_a_key_is_never_valid_even_repaired(change, brief, text):
    one = judged(brief, change(text))
    assert not one.schema_valid and not one.schema_valid_repaired


def test_an_answer_at_the_limit_is_truncated_even_if_it_parses(brief, text):
    one = judged(brief, text, complete=False)
    assert one.kind == "truncated" and not one.strict_parse and not one.schema_valid_repaired


def test_rates_are_shares_of_all_answers(brief, text):
    rates = describe_rates([judged(brief, text), judged(brief, f"```json\n{text}\n```"), judged(brief, "no"),
                            judged(brief, "{}")])  # fmt: skip
    assert (rates.strict_parse, rates.invalid_json, rates.schema_valid) == (0.5, 0.5, 0.25)
    assert (rates.schema_valid_repaired, rates.repaired_parse) == (0.5, 0.75)
    assert rates.intervals["strict_parse"].low < 0.5 < rates.intervals["strict_parse"].high


def test_the_floor_is_per_token_beside_the_loss():
    result = describe_loss(Losses([20.0, 30.0], [10, 15]), floor=20.0)
    assert result.loss_nats_per_token == 2.0 and result.loss_nats_per_sample == 25.0
    assert result.floor_nats_per_token == pytest.approx(1.6) and result.loss_above_floor == pytest.approx(0.4)
    assert describe_loss(Losses([1.0], [1]), None).loss_above_floor is None


def test_a_designs_score_leaves_out_what_does_not_apply():
    assert design_score({"a": [], "b": None, "c": ["broken"]}) == 0.5
    assert design_score({"a": None}) is None
    result = describe_rules([{rule.name: [] for rule in RULES}, None])
    assert (result.checked, result.rule_score) == (1, 1.0)


def test_a_derived_field_is_exact_when_it_is_left_out_or_the_same(samples, brief, text):
    wrong = text[:-1] + f',"construction_cost":{samples[0]["output"]["construction_cost"] + 1}' + "}"
    same = text[:-1] + f',"construction_cost":{samples[0]["output"]["construction_cost"]}' + "}"
    shares = describe_exactness([brief] * 4, [text, wrong, same, "no answer"])
    assert shares["construction_cost"] == pytest.approx(2 / 3)
    assert shares["heating"] == 1.0
    assert describe_exactness([brief], ["no"])["heating"] is None


def test_an_answer_is_exact_where_only_drawn_fields_differ(samples, brief):
    reference = samples[0]["output"]
    other_soil = copy.deepcopy(reference)
    other_soil["climate_and_site"]["soil_type"] = (
        "Rocky" if reference["climate_and_site"]["soil_type"] != "Rocky" else "Clay"
    )
    other_wall = copy.deepcopy(reference)
    for section, field in (("materials", "exterior"), ("exterior_specifications", "exterior_wall")):
        other_wall[section][field] = "Concrete"
    designs = [reference, other_soil, other_wall, None]
    losses = Losses([1.0] * 4, [1] * 4, [True, True, True, False])
    result = describe_same([brief] * 4, designs, [reference] * 4, ["soil"], losses)
    assert (result.same, result.rooms, result.most_probable) == (0.5, 0.75, 0.75)
    assert result.same_interval.low < 0.5 < result.same_interval.high
    assert describe_same([brief] * 4, designs, [reference] * 4, [], losses).same == 0.25


def test_a_room_is_in_its_place_with_level_type_and_bounds(samples, brief):
    reference = samples[0]["output"]
    moved = copy.deepcopy(reference)
    moved["levels"][0]["rooms"][0]["bounds"]["x"] += 1
    moved["levels"][0]["rooms"][1]["type"] = "utility"
    count = sum(len(level["rooms"]) for level in reference["levels"])
    result = describe_same([brief], [moved], [reference], [], Losses([1.0], [1], [False]))
    assert result.rooms == pytest.approx((count - 2) / count)
    flat = reference | {"levels": []}
    assert describe_same([brief], [flat], [flat], [], Losses([1.0], [1], [False])).rooms is None


def test_any_json_may_be_a_design_and_is_compared_as_it_is(brief):
    odd = {"levels": 3, "rooms": None}
    result = describe_same([brief] * 2, [odd, {}], [odd, odd], ["soil"], Losses([1.0], [1], [True]))
    assert (result.same, result.rooms) == (0.5, None)


def test_all_hard_rules_count_over_all_answers_and_soft_ones_do_not():
    kept = {rule.name: [] for rule in RULES}
    soft = kept | {"daylight": ["dark"], "stairs": None}
    hard = kept | {"stairs": ["steep"]}
    assert describe_rules([kept, soft, hard, None]).all_hard == 0.5


def test_values_are_counted_once_per_text_even_if_it_is_cut():
    counts = count_values(['{"wall":"Brick","wall":"Wood","parking":2,"roof":"Ti', '{"wall":"Brick"'])
    assert counts["wall"] == {'"Brick"': 2} and counts["parking"] == {"2": 1} and not counts["roof"]
    assert set(counts) == set(FREE)


def test_distance_and_entropy_are_those_of_the_shares():
    empty = {name: Counter() for name in FREE}
    answers = empty | {"wall": Counter({"a": 1, "b": 1})}
    training = empty | {"wall": Counter({"a": 3, "b": 1})}
    result = describe_distribution(answers, training)
    assert result.distance == result.fields["wall"].distance == pytest.approx(0.25)
    assert result.fields["wall"].entropy == pytest.approx(math.log(2))
    assert result.designs == 2
    assert describe_distribution(empty, training).distance is None


def test_pairs_compare_losses_and_answers_on_the_same_samples(brief, text):
    good, bad = judged(brief, text), judged(brief, "no")
    models = {
        "one": Evaluated(Losses([1.0, 2.0], [1, 1]), [good, bad]),
        "other": Evaluated(Losses([2.0, 1.5], [1, 1]), [bad, bad]),
        "third": Evaluated(Losses([1.0, 2.0], [1, 1]), [good, good]),
    }
    first, second, _ = compare_models(models)
    assert (first.first, first.second) == ("one", "other")
    assert first.loss_difference == pytest.approx(-0.25) and first.lower_loss == 0.5
    assert (first.valid_only_first, first.valid_only_second, first.rule_pairs) == (1, 0, 0)
    assert (second.loss_difference, second.rule_difference, second.rule_pairs) == (0, 0, 1)


def test_text_answers_are_judged_by_whether_they_are_the_reference():
    texts = ['{"design":"It is 4."}', '{"design":"It is 5."}', "It is 4."]
    judged = [judge("What is 2+2?", Answered(text, 5, True)) for text in texts]
    assert [one.kind for one in judged] == ["ok", "ok", "no_json"]
    assert [one.schema_valid for one in judged] == [True, True, False] and judged[0].rules is None
    designs = [one.design for one in judged]
    result = describe_same(["q"] * 3, designs, ["It is 4."] * 3, [], Losses([1.0], [1], [True]))
    assert result.same == pytest.approx(1 / 3) and result.rooms is None
