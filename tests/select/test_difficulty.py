"""Difficulty and nearness of briefs, by hand."""

import copy

import numpy as np
import pytest

from housebrain_core.house.briefs import SANITY_BRIEF
from housebrain_core.house.schema import HouseBrief
from housebrain_core.select.difficulty import difficulty_parts, nearest_rows, read_brief


def changed(**plot) -> dict:
    brief = copy.deepcopy(SANITY_BRIEF)
    brief["plot"] |= plot
    return brief


def test_the_difficulty_is_the_mean_of_its_parts():
    """The plot is 40 x 30 ft with setbacks 5 + 5 and 3 + 3: 30 x 24 = 720 of 1,200 ft2 are left."""
    brief = changed() | {"roomBreakdown": [{"type": "bedroom", "count": 2, "minArea": 90}]}
    parts = difficulty_parts(HouseBrief.model_validate(brief))
    assert parts == pytest.approx({"floors": 0, "shape": 0, "setbacks": 0.4, "area": 0.25})
    assert read_brief(brief).difficulty == pytest.approx(0.65 / 4)


def test_more_floors_an_odd_shape_wider_setbacks_and_more_rooms_are_more_difficult():
    easy = read_brief(SANITY_BRIEF).difficulty
    wider = {"front": 9, "rear": 9, "left": 3, "right": 3}
    for brief in (
        changed(shape="L_Shape"),
        changed(setbacks_ft=wider),
        changed() | {"basicDetails": SANITY_BRIEF["basicDetails"] | {"floors": 3}},
        changed() | {"roomBreakdown": [{"type": "bedroom", "minArea": 300}]},
    ):
        assert easy < read_brief(brief).difficulty <= 1


def test_what_a_brief_does_not_say_is_left_out_of_the_mean():
    brief = {"basicDetails": {"totalArea": 1000, "bedrooms": 1, "floors": 6}}
    assert difficulty_parts(HouseBrief.model_validate(brief)) == {"floors": 1}
    assert read_brief("design me a house") is None


def test_the_nearest_brief_is_the_same_one_and_a_word_counts_as_a_standard_deviation():
    wanted = read_brief(SANITY_BRIEF)
    others = np.array([wanted.numbers] * 4)
    others[1, 3] += 3
    others[2, 3] += 1
    words = np.array([wanted.words] * 4)
    words[3, 0] = "Gothic"
    assert list(nearest_rows(wanted, others, words, 4)) == [0, 2, 3, 1]
    assert list(nearest_rows(wanted, others, words, 1)) == [0]
