"""Briefs made short and whole again: what is derived is left out, rooms are grouped, and odd briefs are left alone."""

import copy

import pytest
from outside import real_samples

from housebrain_core.house.brief_text import expand_brief, shorten_brief

BRIEF = {
    "basicDetails": {
        "totalArea": 1200, "unit": "sqft", "bedrooms": 2, "bathrooms": 1, "floors": 1, "budget": 900000,
        "style": "Modern",
    },
    "plot": {
        "length": 40, "width": 30, "unit": "ft", "orientation": "N",
        "setbacks_ft": {"front": 5, "rear": 5, "left": 3, "right": 3},
    },
    "roomBreakdown": [
        {"type": "master_bedroom", "count": 1, "minArea": 120},
        {"type": "bedroom", "count": 1, "minArea": 100},
        {"type": "storage", "count": 4, "minArea": 6.5},
        {"type": "bedroom", "count": 0, "minArea": 1},
    ],
}  # fmt: skip


def brief(**details):
    made = copy.deepcopy(BRIEF)
    made["roomBreakdown"].pop()
    made["basicDetails"] |= details
    return made


def test_what_follows_from_plot_and_rooms_is_left_out_and_comes_back():
    short = shorten_brief(brief())
    assert not {"totalArea", "unit", "bedrooms", "bathrooms"} & set(short)
    assert short["plot"] == [40, 30] and short["setbacks"] == [5, 5, 3, 3]
    assert short["rooms"] == {"master_bedroom": 120, "bedroom": 100, "storage": "4x6.5"}
    assert expand_brief(short) == brief()


def test_what_does_not_follow_is_said():
    odd = brief(totalArea=999, bathrooms=3)
    short = shorten_brief(odd)
    assert (short["totalArea"], short["bathrooms"]) == (999, 3)
    assert expand_brief(short) == odd


def test_rooms_that_cannot_be_grouped_are_written_out():
    short = shorten_brief(BRIEF)
    assert "rooms" not in short and short["roomBreakdown"] == BRIEF["roomBreakdown"]
    assert expand_brief(short) == BRIEF


@pytest.mark.parametrize(
    "odd",
    [
        None, [], {}, {"basicDetails": {}}, BRIEF | {"more": 1}, BRIEF | {"plot": []},
        BRIEF | {"plot": BRIEF["plot"] | {"owner": "me"}}, BRIEF | {"basicDetails": {"totalArea": 1200}},
    ],
)  # fmt: skip
def test_a_brief_of_another_shape_has_no_short_form(odd):
    assert shorten_brief(odd) is None


def test_real_briefs_come_back(shared):
    for sample in real_samples(shared, "train", 200):
        assert expand_brief(shorten_brief(sample["input"])) == sample["input"]
