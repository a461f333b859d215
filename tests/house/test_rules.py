"""Each of the 20 rules on a small design that keeps it and one that breaks it, and how results are counted.

What the pairs compare is worked out by hand from the rule's formula; those that look at rooms are in test_room_rules.
"""

import copy

import pytest
from designs import BRIEF, brief, good_design
from test_room_rules import PAIRS as ROOM_PAIRS

from housebrain_core.house.rules import RULES, check_design, score_rules, total_score


def outside(kind, spaces, needed=0) -> dict:
    return {"exterior_specifications": {"garage_type": kind, "garage_spaces": spaces},
            "building_codes": {"parking_required": needed}}  # fmt: skip


def site(climate, snow, roof) -> dict:
    return {
        "climate_and_site": {"climate_zone": climate, "snow_load": snow},
        "exterior_specifications": {"roofing": roof},
    }


def ground(sewer, table) -> dict:
    return {"climate_and_site": {"utilities": {"sewer": sewer}, "water_table": table}}


def codes(**values) -> dict:
    return {"building_codes": values}


PAIRS = {
    "far_limit": (  # 0.8 x 1,200 ft2 x 1.01 = 969.6 ft2
        brief(),
        {"total_area": 969, **codes(floor_area_ratio=0.8, max_buildable_area=970)},
        {"total_area": 980, **codes(floor_area_ratio=0.8, max_buildable_area=1200)},
        "total area 980 ft2, allowed 970 ft2",
    ),
    "footprint_in_setbacks": (  # 30 x 24 ft = 720 ft2 on each of two floors
        brief(floors=2),
        {"total_area": 1440},
        {"total_area": 1442},
        "footprint 721 ft2, the setbacks leave 30 x 24 ft",
    ),
    "ground_coverage": (  # 0.65 x 1,200 = 780 ft2
        brief(),
        {"total_area": 780},
        {"total_area": 900},
        "covers 75% of the plot, allowed 65%",
    ),
    "height_limit": (  # three storeys of 10 ft
        brief(floors=3),
        codes(max_height_ft=30),
        codes(max_height_ft=29),
        "30 ft high, allowed 29 ft",
    ),
    "parking": (brief(), outside("Carport", 2, 2), outside("Carport", 1, 2), "1 garage spaces, 2 required"),
    "garage_consistent": (brief(), outside("None", 0), outside("None", 1), "garage type None with 1 spaces"),
    "cost_in_budget": (
        brief(budget=540_000),
        {"construction_cost": 540_000},
        {"construction_cost": 540_001},
        "cost 540,001, budget 540,000",
    ),
    "brief_area_fit": (  # 2 x 100 + 150 = 350 ft2
        brief(rooms=[("bedroom", 2, 100), ("livingRoom", 1, 150)]),
        {"total_area": 350},
        {"total_area": 349},
        "the brief's rooms need 350 ft2 of 349 ft2",
    ),
    "climate_consistent": (
        brief(),
        site("Cold", "Heavy", "Slate"),
        site("Tropical", "Light", "Slate"),
        "snow load Light in a Tropical climate",
    ),
    "septic_water_table": (
        brief(),
        ground("Septic", "Medium"),
        ground("Septic", "High"),
        "sewer Septic, water table High",
    ),
    "exits": (
        brief(floors=3),
        codes(fire_safety={"fire_exits": 2}),
        codes(fire_safety={"fire_exits": 1}),
        "1 fire exits for 3 floors, needs 2",
    ),
}


def test_there_are_twenty_rules_each_with_formula_unit_source_kind_and_a_pair_of_designs():
    assert len(RULES) == 20 and {rule.name for rule in RULES} == set(PAIRS) | set(ROOM_PAIRS)
    for rule in RULES:
        assert rule.formula and rule.unit and rule.source
        assert rule.kind in ("hard", "soft") and rule.needs in ("flat", "geometry", "either")
        assert (rule.name in PAIRS) == (rule.needs != "geometry") and (rule.name in ROOM_PAIRS) == (
            rule.needs != "flat"
        )


@pytest.mark.parametrize("name", PAIRS)
def test_a_flat_rule_passes_one_design_and_fails_another(name):
    asked, passing, failing, finding = PAIRS[name]
    assert check_design(asked, passing)[name] == []
    assert check_design(asked, failing)[name] == [finding]


def test_the_other_side_of_a_two_sided_rule_is_checked_too():
    assert check_design(brief(), site("Cold", "Heavy", "Flat_Roof"))["climate_consistent"] == [
        "a flat roof under heavy snow"
    ]
    assert check_design(brief(), outside("Attached", 0))["garage_consistent"] == ["garage type Attached with 0 spaces"]
    assert check_design(brief(floors=2), codes(fire_safety={"fire_exits": 1}))["exits"] == []


def test_the_good_design_keeps_all_twenty():
    assert check_design(BRIEF, good_design()) == {rule.name: [] for rule in RULES}


def test_a_flat_design_leaves_the_geometry_rules_out():
    found = check_design(BRIEF, good_design() | {"levels": []})
    assert [rule.name for rule in RULES if found[rule.name] is None] == [r.name for r in RULES if r.needs == "geometry"]


def test_nothing_applies_to_an_empty_design():
    assert set(check_design({"basicDetails": {"totalArea": 1000, "bedrooms": 1}}, {}).values()) == {None}


def test_square_metres_and_metres_are_converted():
    asked = brief((40, 40), [("kitchen", 1, 99)], unit="sqm", totalArea=100)  # 1,076 ft2
    design = good_design() | {"total_area": 100, "levels": []}
    assert check_design(asked, design)["brief_area_fit"] == []
    assert check_design(asked, design)["footprint_in_setbacks"] == ["footprint 1076 ft2, the setbacks leave 30 x 34 ft"]
    asked["plot"]["unit"] = "m"
    assert check_design(asked, design)["footprint_in_setbacks"] == []
    asked["roomBreakdown"][0]["minArea"] = 101
    assert check_design(asked, design)["brief_area_fit"] == ["the brief's rooms need 1087.15 ft2 of 1076.39 ft2"]


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


def test_the_generated_references_keep_what_their_planner_promises(samples):
    results = [check_design(sample["input"], sample["output"]) for sample in samples]
    scores = score_rules(results)
    for name in ("no_overlap_connected", "stairs", "habitable_area", "cost_in_budget", "ceiling_height"):
        assert scores[name].share == 1.0, [result[name] for result in results if result[name]][:3]
