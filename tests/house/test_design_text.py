"""Designs made short and whole again: what follows from the brief is left out, and other shapes are left alone."""

import copy

import pytest

from housebrain_core.house.design_text import derive_design, expand_design, shorten_design
from housebrain_core.house.schema import Answer


def test_generated_designs_come_back_and_their_answers_are_of_the_schema(samples):
    for sample in samples:
        answer = shorten_design(sample["input"], sample["output"])
        Answer.model_validate(answer)
        assert expand_design(sample["input"], answer) == sample["output"]


def test_what_follows_from_the_brief_is_left_out_until_it_differs(samples):
    brief, design = samples[0]["input"], copy.deepcopy(samples[0]["output"])
    assert "construction_cost" not in shorten_design(brief, design)
    design["construction_cost"] += 1
    answer = shorten_design(brief, design)
    assert answer["construction_cost"] == design["construction_cost"]
    assert expand_design(brief, answer) == design


def test_costs_shares_and_comfort_are_derived_by_rule():
    brief = {"basicDetails": {"totalArea": 1200, "budget": 900000}}
    derived = derive_design(brief, {"climate": "Hot_Dry", "max_area": 1799})
    assert derived["construction_cost"] == 540000
    assert derived["floor_area_ratio"] == 1.5
    assert (derived["cooling"], derived["heating"], derived["insulation"]) == ("High", "Low", "High")
    assert derive_design({}, {"climate": "Cold"})["heating"] == "High"
    assert "construction_cost" not in derive_design({}, {})


@pytest.mark.parametrize("odd", [None, [], {}, {"rooms": []}])
def test_a_design_of_another_shape_has_no_answer(odd, samples):
    assert shorten_design(samples[0]["input"], odd) is None


def test_keys_in_another_order_or_too_many_have_no_answer(samples):
    brief, design = samples[0]["input"], samples[0]["output"]
    assert shorten_design(brief, dict(reversed(design.items()))) is None
    assert shorten_design(brief, design | {"more": 1}) is None
