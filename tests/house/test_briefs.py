"""A brief is checked as a whole, and gives one prompt however it was written."""

import pytest
from outside import real_samples

from housebrain_core.errors import DataError
from housebrain_core.house import codec
from housebrain_core.house.briefs import check_brief, check_briefs, is_brief
from housebrain_core.house.schema import HouseBrief

BRIEF = {
    "plot": {
        "setbacks_ft": {"rear": 5.0, "front": 5, "left": 3, "right": 3},
        "width": 30,
        "length": 40.0,
        "unit": "ft",
    },
    "basicDetails": {
        "floors": 1,
        "bedrooms": 2,
        "totalArea": 1200.0,
        "unit": "sqft",
        "bathrooms": 1,
        "style": "Modern",
    },
    "roomBreakdown": [{"count": 1, "type": "kitchen", "minArea": 80}],
}


def test_order_of_keys_and_kind_of_numbers_do_not_change_the_prompt():
    turned = {key: BRIEF[key] for key in reversed(BRIEF)}
    prompts = {codec.write_prompt(check_brief(brief)) for brief in (BRIEF, turned, HouseBrief.model_validate(BRIEF))}
    assert len(prompts) == 1
    assert '"brief"' not in prompts.pop()  # the short form that training taught


def test_generated_briefs_are_what_training_saw(samples):
    for sample in samples:
        assert codec.dumps(check_brief(sample["input"])) == codec.dumps(sample["input"])


def test_real_briefs_are_what_training_saw(shared):
    refused = 0
    for sample in real_samples(shared, "validation", 4000):
        try:
            assert codec.dumps(check_brief(sample["input"])) == codec.dumps(sample["input"])
        except DataError as error:
            assert "leave nothing of the plot" in str(error)
            refused += 1
    assert refused < 10


def test_all_problems_are_reported_at_once_in_the_users_names_and_units():
    brief = {
        "basicDetails": {"totalArea": -5, "unit": "sqm", "bedrooms": "two", "budget": -1},
        "plot": {"length": 0, "unit": "m", "setbacks_ft": {"front": -3}},
        "roomBreakdown": [{"count": 0}],
    }
    with pytest.raises(DataError) as refused:
        check_brief(brief)
    text = str(refused.value)
    for line in (
        "basicDetails.totalArea = -5 sqm: should be greater than 0",
        "basicDetails.bedrooms = 'two': should be a valid integer",
        "basicDetails.budget = -1 of your currency",
        "plot.length = 0 m: should be greater than 0",
        "plot.setbacks_ft.front = -3 ft",
        "roomBreakdown.0.type is missing",
        "roomBreakdown.0.count = 0",
    ):
        assert line in text, text


def test_setbacks_that_leave_nothing_are_refused():
    brief = {
        **BRIEF,
        "plot": {"length": 10, "width": 3, "unit": "m", "setbacks_ft": {"front": 5, "left": 6, "right": 4}},
    }
    with pytest.raises(
        DataError, match=r"left 6 ft and right 4 ft leave nothing of the plot's width of 3 m"
    ) as refused:
        check_brief(brief)
    assert "length" not in str(refused.value)


def doubts_of(brief):
    (checked,), problems = check_briefs([brief])
    assert problems == []
    return checked.doubts


def test_many_briefs_are_checked_at_once_and_their_problems_numbered():
    usable, problems = check_briefs([BRIEF, {}, {"basicDetails": {"totalArea": 0, "bedrooms": 1}}])
    assert [checked.plain for checked in usable] == [check_brief(BRIEF)]
    assert problems == [
        "brief 2: basicDetails is missing",
        "brief 3: basicDetails.totalArea = 0 sqft: should be greater than 0",
    ]


def test_numbers_that_do_not_go_together_are_doubted_not_refused(samples):
    brief = check_brief(
        {
            "basicDetails": {"totalArea": 400, "unit": "sqm", "bedrooms": 3, "floors": 2},
            "plot": {"length": 10, "width": 15, "unit": "m"},
            "roomBreakdown": [
                {"type": "master_bedroom", "count": 1, "minArea": 400},
                {"type": "bedroom", "count": 4, "minArea": 10},
            ],
        }
    )
    assert doubts_of(brief) == [
        "basicDetails.bedrooms = 3, but roomBreakdown has 5",
        "the rooms need 440 sqm together, but basicDetails.totalArea = 400 sqm",
        "basicDetails.totalArea = 400 sqm, but 2 floors on the whole plot have 300",
    ]
    brief["basicDetails"] |= {"totalArea": 300, "bedrooms": 5}
    brief["roomBreakdown"][0]["minArea"] = 200
    assert doubts_of(brief) == []
    assert doubts_of({"basicDetails": {"totalArea": 1, "bedrooms": 9}}) == [], "nothing to compare with"


def test_something_else_is_no_brief():
    for brief in ([], "a house", {}, None):
        with pytest.raises(DataError):
            check_brief(brief)


def test_what_is_meant_as_a_brief_is_told_from_the_input_of_other_data():
    assert is_brief({"plot": {}}) and is_brief({"basicDetails": None, "more": 1})
    assert not any(map(is_brief, ("A house", {"rooms": []}, {}, [], None, 3)))
