"""Rules that look at rooms, each on a design that keeps it and one that breaks it; findings name level and room."""

import copy
import re

import pytest
from designs import BRIEF, brief, good_design, house, level_of, room, set_in, stair

from housebrain_core.house.measures import NBC
from housebrain_core.house.room_rules import find_unreached
from housebrain_core.house.rules import RULES, check_design

LIVING = room("A", "livingRoom", (0, 0, 11, 10))  # 110 ft2
HALL = room("A", "hall", (0, 0, 20, 5))
COOL = {"climate_and_site": {"climate_zone": "Temperate"}}  # windows of an eighth of the floor


def bedroom(*box, **more) -> dict:
    return room("B", "bedroom", box, **more)


def kitchen(*box, kind="kitchen") -> dict:
    return room("K", kind, box)


def bath(*box, kind="bathroom") -> dict:
    return room("W", kind, box)


PAIRS = {
    "footprint_in_setbacks": (  # 30 ft from front to rear, 24 ft across
        brief(),
        house([bedroom(0, 0, 30, 24)], total_area=720),
        house([bedroom(0, 0, 30, 12), kitchen(0, 12, 10, 13)], total_area=490),
        "level 1, kitchen K: 1 ft beyond; the setbacks leave 30 x 24 ft, the level is 30 x 25 ft",
    ),
    "height_limit": (
        brief(floors=2),
        house([LIVING], [bedroom(0, 0, 11, 10)], height=9, building_codes={"max_height_ft": 18}),
        house([LIVING], [bedroom(0, 0, 11, 10)], height=10, building_codes={"max_height_ft": 18}),
        "20 ft high, allowed 18 ft",
    ),
    "room_counts": (
        brief(rooms=[("kitchen", 1, 50)], bedrooms=1, bathrooms=1),
        house([bedroom(0, 0, 10, 12), kitchen(10, 0, 8, 10), bath(10, 10, 8, 5)]),
        house([bedroom(0, 0, 10, 12), kitchen(10, 0, 8, 10), bath(10, 10, 8, 5, kind="store")]),
        "0 bathroom, the brief asks for 1",
    ),
    "habitable_area": (
        brief(),
        house([LIVING, bedroom(11, 0, 9, 9)]),
        house([LIVING, bedroom(11, 0, 8, 10)]),
        "level 1, bedroom B: 80 ft2, needs 80.7",
    ),
    "habitable_width": (
        brief(),
        house([LIVING, bedroom(11, 0, 7, 13)]),
        house([LIVING, bedroom(11, 0, 6.8, 13)]),
        "level 1, bedroom B: 6.8 ft wide, needs 6.88",
    ),
    "kitchen_size": (
        brief(),
        house([kitchen(0, 0, 6, 9)]),
        house([kitchen(0, 0, 5.8, 10)]),
        "level 1, kitchen K: 5.8 ft wide, needs 5.9",
    ),
    "bathroom_size": (
        brief(),
        house([bath(0, 0, 4, 5)]),
        house([bath(0, 0, 4, 4.8)]),
        "level 1, bathroom W: 19.2 ft2, needs 19.3",
    ),
    "daylight": (  # 120 / 8 = 15 ft2
        brief(),
        house([bedroom(0, 0, 10, 12, windows=[("north", 2, 3, 5)])], **COOL),
        house([bedroom(0, 0, 10, 12, windows=[("north", 2, 3, 4)])], **COOL),
        "level 1, bedroom B: 12 ft2 of windows for 120 ft2, needs 15.0 ft2 (0.125)",
    ),
    "ceiling_height": (
        brief(),
        house([LIVING], height=9.1),
        house([LIVING], height=9),
        "level 1: 9 ft high, needs 9.02 ft",
    ),
    "stairs": (
        brief(floors=2),
        house([HALL], [bedroom(0, 0, 10, 12)], stairs=[stair(0, 0, 14, 4)]),
        house([HALL], [bedroom(0, 0, 10, 12)]),
        "level 1: 0 stairs to level 2",
    ),
    "no_overlap_connected": (
        brief(),
        house([LIVING, bedroom(11, 0, 10, 10)], total_area=210),
        house([LIVING, bedroom(10, 0, 10, 10)], total_area=210),
        "level 1, livingRoom A and bedroom B overlap by 1 x 10 ft",
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_rule_of_rooms_passes_one_design_and_fails_another(name):
    asked, passing, failing, finding = PAIRS[name]
    assert check_design(asked, passing)[name] == []
    assert check_design(asked, failing)[name] == [finding]


def test_a_kitchen_with_a_table_needs_more_and_a_toilet_alone_less():
    found = check_design(brief(), house([kitchen(0, 0, 6.5, 13, kind="kitchen_dining")]))["kitchen_size"]
    assert found == ["level 1, kitchen_dining K: 6.5 ft wide, needs 6.88"]
    assert check_design(brief(), house([bath(0, 0, 3, 4, kind="toilet")]))["bathroom_size"] == []
    assert check_design(brief(), house([bath(0, 0, 3, 4)]))["bathroom_size"] == [
        "level 1, bathroom W: 12 ft2, needs 19.3",
        "level 1, bathroom W: 3 ft wide, needs 3.93",
    ]


def test_too_few_rooms_and_levels_name_those_that_are_there():
    found = check_design(brief(bedrooms=2, floors=2), house([LIVING, bedroom(11, 0, 9, 9)]))["room_counts"]
    assert found == [
        "1 levels, the brief asks for 2 floors",
        "level 1, bedroom B: 1 bedroom, the brief asks for 2",
    ]


def test_each_stair_limit_is_checked_in_the_room_that_holds_the_stair():
    """Risers = 10 / 0.6234 = 16.04; half of 15.04 treads of 0.8202 ft = 6.17 ft."""
    expected = [
        "level 1, hall A: its stairs to level 2 are 2.9 ft wide, need 2.95 ft",
        "level 1, hall A: its stairs to level 2 are 6.1 ft long, need 6.2 ft",
    ]
    above = [bedroom(0, 0, 10, 12)]
    with_stair = house([HALL, kitchen(0, 5, 30, 20)], above, stairs=[stair(1, 1, 2.9, 6.1)])
    assert check_design(brief(floors=2), with_stair)["stairs"] == expected
    rooms = [room("A", "staircase", (0, 0, 6.1, 2.9))]  # a room of stairs without a stair in it
    assert check_design(brief(floors=2), house(rooms, above))["stairs"] == [
        line.replace("hall A", "staircase A") for line in expected
    ]


def test_a_room_that_no_door_leads_to_is_found():
    design = set_in(good_design(), "levels.0.rooms.2.doors", [])
    findings = check_design(BRIEF, design)["no_overlap_connected"]
    assert findings == ["level 1, bathroom C: none of 3 rooms leads there"]


def test_areas_that_do_not_add_up_name_no_room():
    findings = check_design(BRIEF, good_design() | {"total_area": 1200})["no_overlap_connected"]
    assert findings == ["all rooms together 1000 ft2, total area is 1200 ft2"]


BREAKS = {
    "far_limit": ("building_codes.max_buildable_area", 900),
    "footprint_in_setbacks": ("levels.0.rooms.1.bounds.width", 25),
    "ground_coverage": ("total_area", 2100),  # 1,050 of 1,600 ft2
    "height_limit": ("building_codes.max_height_ft", 19),
    "parking": ("building_codes.parking_required", 3),
    "garage_consistent": ("exterior_specifications.garage_type", "None"),
    "cost_in_budget": ("construction_cost", 900_001),
    "brief_area_fit": ("total_area", 429),  # 2 x 100 + 150 + 80 = 430
    "climate_consistent": ("climate_and_site.climate_zone", "Tropical"),
    "septic_water_table": ("climate_and_site.water_table", "High"),
    "exits": ("building_codes.fire_safety.fire_exits", 1),
    "room_counts": ("levels.1.rooms.1.type", "study"),
    "habitable_area": ("levels.1.rooms.1.bounds.height", 8),
    "habitable_width": ("levels.1.rooms.1.bounds.width", 6.8),
    "kitchen_size": ("levels.0.rooms.1.bounds.width", 5.8),
    "bathroom_size": ("levels.0.rooms.2.bounds.height", 1.9),
    "daylight": ("levels.0.rooms.0.windows", []),
    "ceiling_height": ("levels.1.height", 9),
    "stairs": ("levels.0.stairs", []),
    "no_overlap_connected": ("levels.0.rooms.1.bounds.x", 14.9),
}


HOUSE_RULES = (
    "far_limit", "ground_coverage", "height_limit", "parking", "garage_consistent", "cost_in_budget", "brief_area_fit",
    "climate_consistent", "septic_water_table", "exits",
)  # fmt: skip
"""Rules about the whole house, whatever its rooms are."""


def check_names(rule: str, finding: str, design: dict) -> None:
    """A finding has a number or a value, and names rooms only where one matters."""
    names = {f"{r['type']} {r['id']}" for level in design["levels"] for r in level["rooms"]}
    rest = re.sub("|".join(map(re.escape, sorted(names, key=len, reverse=True))), "", finding)
    if rule in HOUSE_RULES:
        assert rest == finding and "level" not in finding, finding
    else:
        assert re.search(r"\d", re.sub(r"level \d+,", "", rest)), finding


@pytest.mark.parametrize("name", BREAKS)
def test_a_rule_about_the_house_names_no_room(name):
    asked, design = copy.deepcopy(BRIEF), set_in(good_design(), *BREAKS[name])
    if name == "exits":
        asked["basicDetails"]["floors"] = 3
    findings = check_design(asked, design)[name]
    assert findings and set(BREAKS) == {rule.name for rule in RULES}
    for finding in findings:
        check_names(name, finding, design)


def test_findings_of_generated_houses_do_so_too(samples):
    """Limits that nothing keeps break the rules that have a limit, in houses of many shapes."""
    strict = {name: 0.0 if name in ("coverage", "far_tolerance", "overlap") else 1e4 for name in NBC}
    broken = set()
    for sample in samples:
        asked = copy.deepcopy(sample["input"])
        asked["basicDetails"] |= {"bedrooms": 20, "budget": 0}
        design = copy.deepcopy(sample["output"])
        design["climate_and_site"] |= {"climate_zone": "Tropical", "snow_load": "Heavy", "water_table": "High"}
        design["climate_and_site"]["utilities"]["sewer"] = "Septic"
        for name, findings in check_design(asked, design, strict).items():
            for finding in findings or ():
                check_names(name, finding, design)
                broken.add(name)
    assert len(broken) >= 13, broken


HALL_ROOM = ("hall", 0, 0, 10, 4, [])
BEDROOM_ROOM = ("bedroom", 0, 4, 10, 12, [("south", 2, 3)])


def test_a_door_joins_the_rooms_on_both_sides_of_its_wall():
    assert find_unreached(level_of(HALL_ROOM, BEDROOM_ROOM)) == []


@pytest.mark.parametrize("door", [("north", 2, 3), ("south", 11, 3), ("west", 0, 3), ("up", 0, 3)])
def test_a_door_in_another_wall_or_beyond_it_joins_nothing(door):
    apart = level_of(HALL_ROOM, BEDROOM_ROOM[:5] + ([door],), ("kitchen", 0, -10, 10, 10, [("north", 1, 3)]))
    assert [room.type for room in find_unreached(apart)] == ["bedroom"]


def test_a_level_without_doors_leaves_nobody_out():
    assert find_unreached(level_of(HALL_ROOM, ("bedroom", 50, 50, 10, 10, []))) == []
