"""Each of the 20 rules on a hand-made design that keeps it and one that breaks it, and how results are counted."""

import copy
import json
import re

import pytest

from housebrain_core.errors import ConfigError
from housebrain_core.limits import IRC, NBC, read_limits, values_of
from housebrain_core.rules import RULES, check_design, score_rules, total_score

BRIEF = {
    "basicDetails": {"totalArea": 1000, "bedrooms": 2, "bathrooms": 1, "floors": 2, "budget": 900_000},
    "plot": {"length": 40, "width": 40, "setbacks_ft": {"front": 5, "rear": 5, "left": 3, "right": 3}},
    "roomBreakdown": [
        {"type": "bedroom", "count": 2, "minArea": 100},
        {"type": "livingRoom", "count": 1, "minArea": 150},
        {"type": "kitchen", "count": 1, "minArea": 80},
    ],
}


def room(name, kind, box, doors=(), windows=()):
    bounds = dict(zip(("x", "y", "width", "height"), box, strict=True))
    doors = [dict(zip(("wall", "position", "width"), door, strict=True)) for door in doors]
    windows = [dict(zip(("wall", "position", "width", "height"), window, strict=True)) for window in windows]
    return {"id": name, "type": kind, "bounds": bounds, "doors": doors, "windows": windows}


def good_design() -> dict:
    """Two levels of 25 x 20 ft, everything right: 20 rules kept."""
    below = [
        room("A", "livingRoom", (0, 0, 15, 20), [("east", 2, 3)], [("west", 4, 10, 5)]),
        room("B", "kitchen", (15, 0, 10, 12), (), [("east", 2, 4, 4)]),
        room("C", "bathroom", (15, 12, 10, 8), [("west", 2, 3)]),
    ]
    above = [
        room("D", "bedroom", (0, 0, 15, 20), [("east", 2, 3)], [("west", 4, 10, 5)]),
        room("E", "bedroom", (15, 0, 10, 20), (), [("east", 4, 8, 5)]),
    ]
    stair = {"floor_from": 1, "floor_to": 2, "bounds": {"x": 1, "y": 1, "width": 4, "height": 14}}
    return {
        "levels": [
            {"level_number": 1, "height": 10, "rooms": below, "stairs": [stair]},
            {"level_number": 2, "height": 10, "rooms": above},
        ],
        "total_area": 1000,
        "construction_cost": 540_000,
        "exterior_specifications": {"roofing": "Tile", "garage_type": "Attached", "garage_spaces": 2},
        "climate_and_site": {"climate_zone": "Temperate", "snow_load": "Light", "water_table": "Low",
                             "utilities": {"sewer": "Septic"}},
        "building_codes": {"floor_area_ratio": 0.8, "max_buildable_area": 1200, "max_height_ft": 30,
                           "parking_required": 2, "fire_safety": {"fire_exits": 1}},
    }  # fmt: skip


def set_in(path: str, value):
    """A change of the design: "levels.0.rooms.1.bounds.width" = value."""

    def change(brief: dict, design: dict) -> None:
        *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        place = design
        for key in parents:
            place = place[key]
        place[last] = value

    return change


def ask_for_third_floor(brief, design):
    brief["basicDetails"]["floors"] = 3


BREAKS = {
    "far_limit": set_in("building_codes.max_buildable_area", 900),
    "footprint_in_setbacks": set_in("levels.0.rooms.1.bounds.width", 25),
    "ground_coverage": set_in("total_area", 2100),  # 1,050 of 1,600 ft2
    "height_limit": set_in("building_codes.max_height_ft", 19),
    "parking": set_in("building_codes.parking_required", 3),
    "garage_consistent": set_in("exterior_specifications.garage_type", "None"),
    "cost_in_budget": set_in("construction_cost", 900_001),
    "brief_area_fit": set_in("total_area", 429),  # 2 x 100 + 150 + 80 = 430
    "climate_consistent": set_in("climate_and_site.climate_zone", "Tropical"),
    "septic_water_table": set_in("climate_and_site.water_table", "High"),
    "exits": ask_for_third_floor,
    "room_counts": set_in("levels.1.rooms.1.type", "study"),
    "habitable_area": set_in("levels.1.rooms.1.bounds.height", 8),  # 80 of 80.7 ft2
    "habitable_width": set_in("levels.1.rooms.1.bounds.width", 6.8),
    "kitchen_size": set_in("levels.0.rooms.1.bounds.width", 5.8),
    "bathroom_size": set_in("levels.0.rooms.2.bounds.height", 1.9),  # 19 of 19.3 ft2
    "daylight": set_in("levels.0.rooms.0.windows", []),
    "ceiling_height": set_in("levels.1.height", 9),
    "stairs": set_in("levels.0.stairs", []),
    "no_overlap_connected": set_in("levels.0.rooms.1.bounds.x", 14.9),
}
ROOMS = ("footprint_in_setbacks", *(rule.name for rule in RULES if rule.needs == "geometry"))


def test_there_are_twenty_rules_each_with_formula_unit_source_and_kind():
    assert len({rule.name for rule in RULES}) == 20 == len(BREAKS)
    for rule in RULES:
        assert rule.formula and rule.unit and rule.source
        assert rule.kind in ("hard", "soft") and rule.needs in ("flat", "geometry", "either")


def test_the_good_design_keeps_all_twenty():
    assert check_design(BRIEF, good_design()) == {rule.name: [] for rule in RULES}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_rule_is_found_with_numbers(name):
    brief, design = copy.deepcopy(BRIEF), good_design()
    BREAKS[name](brief, design)
    findings = check_design(brief, design)[name]
    assert findings
    if name in ROOMS:
        assert all(re.match(r"(.*\()?level \d|\d bedroom \(level \d", finding) for finding in findings), findings
    if name not in ("climate_consistent", "septic_water_table"):
        assert all(re.search(r"\d", finding) for finding in findings), findings


@pytest.mark.parametrize(
    ("change", "rule", "finding"),
    [
        ("levels.1.rooms.1.bounds.height", "habitable_area", "level 2, bedroom E: 80 ft2, needs 80.7"),
        ("levels.1.height", "ceiling_height", "level 2, its 2 rooms: 8 ft high, needs 9.02 ft"),
        ("levels.0.rooms.1.bounds.x", "no_overlap_connected",
         "level 1, livingRoom A and kitchen B overlap by 7 x 12 ft"),
    ],
)  # fmt: skip
def test_findings_say_level_room_and_numbers(change, rule, finding):
    design = good_design()
    set_in(change, 8)(BRIEF, design)
    assert check_design(BRIEF, design)[rule][0] == finding


def test_a_missing_type_of_room_names_the_levels_without_it():
    design = good_design()
    set_in("levels.0.rooms.1.type", "store")(BRIEF, design)
    assert check_design(BRIEF, design)["room_counts"] == ["0 kitchen (none on level 1, 2), the brief asks for 1"]


def test_each_stair_limit_is_checked():
    design = good_design()
    design["levels"][0]["stairs"][0]["bounds"] = {"x": 1, "y": 1, "width": 2.9, "height": 6.1}
    # risers = 10 / 0.6234 = 16.04; half of 15.04 treads of 0.8202 ft = 6.17 ft
    assert check_design(BRIEF, design)["stairs"] == [
        "level 1, stairs to level 2: 2.9 ft wide, needs 2.95 ft",
        "level 1, stairs to level 2: 6.1 ft long, needs 6.2 ft",
    ]


def test_a_room_that_no_door_leads_to_is_found():
    design = good_design()
    design["levels"][0]["rooms"][2]["doors"] = []
    findings = check_design(BRIEF, design)["no_overlap_connected"]
    assert findings == ["level 1, bathroom C: none of 3 rooms leads there"]


def test_a_flat_design_leaves_the_geometry_rules_out():
    design = good_design() | {"levels": []}
    found = check_design(BRIEF, design)
    assert [rule.name for rule in RULES if found[rule.name] is None] == [r.name for r in RULES if r.needs == "geometry"]


def test_nothing_applies_to_an_empty_design():
    assert set(check_design({"basicDetails": {"totalArea": 1000, "bedrooms": 1}}, {}).values()) == {None}


def test_square_metres_and_metres_are_converted():
    brief = copy.deepcopy(BRIEF)
    brief["basicDetails"] |= {"unit": "sqm", "totalArea": 100}  # 1,076 ft2
    brief["roomBreakdown"] = [{"type": "kitchen", "count": 1, "minArea": 99}]
    design = good_design() | {"total_area": 100, "levels": []}
    assert check_design(brief, design)["brief_area_fit"] == []
    assert check_design(brief, design)["footprint_in_setbacks"] == []
    brief["roomBreakdown"][0]["minArea"] = 101
    assert check_design(brief, design)["brief_area_fit"]


def test_not_applicable_is_counted_apart():
    whole, flat = check_design(BRIEF, good_design()), check_design(BRIEF, good_design() | {"levels": []})
    broken = copy.deepcopy(whole) | {"stairs": ["level 1: ..."]}
    scores = score_rules([whole, flat, broken])
    assert scores["stairs"] == (1, 2, 1) and scores["stairs"].share == 0.5
    assert scores["parking"] == (3, 3, 0)
    total = total_score(scores)
    assert total.applicable == 20 + 11 + 20 and total.passed == total.applicable - 1 and total.not_applicable == 9
    hard, soft = total_score(scores, "hard"), total_score(scores, "soft")
    assert hard.applicable + soft.applicable == total.applicable and soft.passed == soft.applicable


def test_the_irc_has_other_limits_than_the_nbc():
    design = good_design()
    design["levels"][1]["height"] = 8
    assert check_design(BRIEF, design)["ceiling_height"]
    assert check_design(BRIEF, design, values_of(IRC))["ceiling_height"] == []
    assert set(IRC) == set(NBC) and all(limit.unit and limit.source for limit in (NBC | IRC).values())


def test_own_limits_replace_only_what_they_name(tmp_path):
    path = tmp_path / "limits.json"
    path.write_text(json.dumps({"coverage": 0.3, "storey": [11, "ft", "our office"]}))
    limits = read_limits(str(path))
    assert limits["storey"] == (11, "ft", "our office") and limits["coverage"].unit == "share of the plot"
    assert limits["ceiling"] == NBC["ceiling"]
    assert check_design(BRIEF, good_design(), values_of(limits))["ground_coverage"] == [
        "covers 31% of the plot, allowed 30%"
    ]


def test_all_wrong_limits_are_reported_at_once(tmp_path):
    path = tmp_path / "limits.json"
    path.write_text(json.dumps({"coverag": 0.3, "storey": "ten", "ceiling": -1}))
    with pytest.raises(ConfigError, match="(?s)coverag: there is no.*storey.*'ten'.*ceiling.*-1"):
        read_limits(str(path))
    with pytest.raises(ConfigError, match="neither one of NBC, IRC nor"):
        read_limits("NCB")


def test_the_generated_references_keep_what_their_planner_promises(samples):
    results = [check_design(sample["input"], sample["output"]) for sample in samples]
    scores = score_rules(results)
    for name in ("no_overlap_connected", "stairs", "habitable_area", "cost_in_budget", "ceiling_height"):
        assert scores[name].share == 1.0, [result[name] for result in results if result[name]][:3]
