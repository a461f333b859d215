"""Rooms on a plane: overlaps, doors that join, and names in findings; worked out by hand."""

import pytest

from housebrain_core.house.geometry import area, extent, name_levels, name_rooms, overlaps, unreached, where
from housebrain_core.house.schema import Level


def level(*rooms, number=1):
    """A level of (type, x, y, width, height, doors) rooms."""
    return Level.model_validate(
        {
            "level_number": number,
            "rooms": [
                {
                    "id": f"L{number}-{index}",
                    "type": kind,
                    "bounds": {"x": x, "y": y, "width": width, "height": height},
                    "doors": [dict(zip(("wall", "position", "width"), door, strict=True)) for door in doors],
                }
                for index, (kind, x, y, width, height, doors) in enumerate(rooms, 1)
            ],
        }
    )


HALL = ("hall", 0, 0, 10, 4, [])
BEDROOM = ("bedroom", 0, 4, 10, 12, [("south", 2, 3)])


def test_rooms_that_touch_do_not_overlap_and_those_that_share_area_do():
    assert overlaps(level(HALL, BEDROOM)) == []
    shifted = ("bedroom", 8, 3, 10, 12, [])
    (one, other, wide, high), = overlaps(level(HALL, shifted))  # fmt: skip
    assert (one.type, other.type, wide, high) == ("hall", "bedroom", 2, 1)


def test_a_door_joins_the_rooms_on_both_sides_of_its_wall():
    assert unreached(level(HALL, BEDROOM)) == []


@pytest.mark.parametrize("door", [("north", 2, 3), ("south", 11, 3), ("west", 0, 3), ("up", 0, 3)])
def test_a_door_in_another_wall_or_beyond_it_joins_nothing(door):
    apart = level(HALL, BEDROOM[:5] + ([door],), ("kitchen", 0, -10, 10, 10, [("north", 1, 3)]))
    assert [room.type for room in unreached(apart)] == ["bedroom"]


def test_a_level_without_doors_leaves_nobody_out():
    assert unreached(level(HALL, ("bedroom", 50, 50, 10, 10, []))) == []


def test_extent_and_area_are_in_feet():
    rooms = level(HALL, BEDROOM).rooms
    assert extent([room.bounds for room in rooms]) == (10, 16)
    assert [area(room.bounds) for room in rooms] == [40, 120]


def test_findings_name_the_largest_rooms_first_and_count_the_others():
    house = level(HALL, BEDROOM, ("storage", 20, 0, 2, 2, []), ("closet", 30, 0, 1, 1, []), number=2)
    assert where(house, house.rooms[0]) == "level 2, hall L2-1"
    named = "level 2, bedroom L2-2 (120 ft2), hall L2-1 (40 ft2), storage L2-3 (4 ft2) and 1 more"
    assert name_rooms(house) == named
    assert name_rooms(house, [], named=1) == "level 2, no rooms"
    assert name_levels([house]) == "level 2, bedroom L2-2 (120 ft2) and 3 more"
