"""Briefs and designs are read with tolerance, answers without: the same shape that the grammar allows."""

import pytest
from pydantic import ValidationError

from housebrain_core.house import codec
from housebrain_core.house.schema import Answer, HouseBrief, HouseDesign


@pytest.fixture
def answer(samples):
    """The answer of a generated design, as a dictionary."""
    return codec.strict_json_parse(codec.encode(samples[0]).completion)


def test_generated_briefs_designs_and_answers_are_read(samples, answer):
    for sample in samples:
        assert HouseBrief.model_validate(sample["input"]).basicDetails.totalArea is not None
        assert HouseDesign.model_validate(sample["output"]).has_geometry
    assert Answer.model_validate(answer)


def test_a_brief_needs_area_and_bedrooms_a_design_nothing_and_both_may_hold_more():
    assert HouseBrief.model_validate({"basicDetails": {"totalArea": 900, "bedrooms": 1}, "view": 1}).roomBreakdown == []
    with pytest.raises(ValidationError, match="bedrooms"):
        HouseBrief.model_validate({"basicDetails": {"totalArea": 900}})
    assert not HouseDesign.model_validate({"architect": "x"}).has_geometry


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wall", "Cardboard"),
        ("garage_spaces", 10),
        ("garage_spaces", 1.5),
        ("parking", True),
        ("levels", [{"height": 9, "rooms": []}]),
        ("features", ["moat"]),
        ("surprise", 1),
        ("total_area", None),
    ],
)
def test_an_answer_of_another_shape_is_refused(name, value, answer):
    with pytest.raises(ValidationError):
        Answer.model_validate(answer | {name: value})


def test_what_code_derives_need_not_be_written_and_all_else_must(answer):
    schema = Answer.model_json_schema()
    optional = set(Answer.model_fields) - set(schema["required"])
    assert {"total_area", "construction_cost", "cooling", "heating", "insulation", "levels"} <= optional
    for name in schema["required"]:
        with pytest.raises(ValidationError, match=name):
            Answer.model_validate({key: value for key, value in answer.items() if key != name})
