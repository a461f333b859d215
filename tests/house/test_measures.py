"""Limits with unit and source, two sets of them and a person's own; and rooms measured in feet, by hand."""

import json

import pytest
from designs import BRIEF, good_design, level_of, set_in

from housebrain_core.errors import ConfigError
from housebrain_core.house.measures import IRC, NBC, area_of, extent_of, find_overlaps, read_limits, values_of
from housebrain_core.house.rules import check_design


def test_the_irc_has_other_limits_than_the_nbc():
    design = set_in(good_design(), "levels.1.height", 8)
    assert check_design(BRIEF, design)["ceiling_height"]
    assert check_design(BRIEF, design, values_of(IRC))["ceiling_height"] == []
    assert set(IRC) == set(NBC) and all(limit.unit and limit.source for limit in (NBC | IRC).values())


def test_own_limits_replace_only_what_they_name(tmp_path):
    path = tmp_path / "limits.json"
    path.write_text(json.dumps({"coverage": 0.3, "storey": [11, "ft", "our office"]}))
    limits = read_limits(str(path))
    assert limits["storey"] == (11, "ft", "our office") and limits["coverage"].unit == "share of the plot"
    assert limits["coverage"].source == str(path) and limits["ceiling"] == NBC["ceiling"]
    flat = good_design() | {"levels": []}
    assert check_design(BRIEF, flat, values_of(limits))["ground_coverage"] == ["covers 31% of the plot, allowed 30%"]


def test_all_wrong_limits_are_reported_at_once(tmp_path):
    path = tmp_path / "limits.json"
    path.write_text(json.dumps({"coverag": 0.3, "storey": "ten", "ceiling": -1}))
    with pytest.raises(ConfigError, match="(?s)coverag: there is no.*storey.* got ten\n.*ceiling.*-1"):
        read_limits(str(path))
    with pytest.raises(ConfigError, match="neither one of NBC, IRC nor"):
        read_limits("NCB")


HALL = ("hall", 0, 0, 10, 4, [])
BEDROOM = ("bedroom", 0, 4, 10, 12, [("south", 2, 3)])


def test_rooms_that_touch_do_not_overlap_and_those_that_share_area_do():
    assert find_overlaps(level_of(HALL, BEDROOM)) == []
    shifted = ("bedroom", 8, 3, 10, 12, [])
    (overlap,) = find_overlaps(level_of(HALL, shifted))
    assert (overlap.one.type, overlap.other.type, overlap.width, overlap.height) == ("hall", "bedroom", 2, 1)
    assert (overlap.x, overlap.y) == (8, 3) and str(overlap) == "hall L1-1 and bedroom L1-2 overlap by 2 x 1 ft"


def test_extent_and_area_are_in_feet():
    rooms = level_of(HALL, BEDROOM).rooms
    assert extent_of([room.bounds for room in rooms])[2:] == (10, 16)
    assert [area_of(room.bounds) for room in rooms] == [40, 120]
