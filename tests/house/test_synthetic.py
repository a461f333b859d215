"""Generated houses: they follow from their briefs by a region's tables, keep the rules, and what is drawn is known."""

import json
import math
from collections import Counter, defaultdict
from itertools import islice, product

import pytest

from housebrain_core.house import codec
from housebrain_core.house.design_text import shorten_design
from housebrain_core.house.measures import find_overlaps
from housebrain_core.house.room_rules import find_unreached
from housebrain_core.house.rules import RULES, check_design
from housebrain_core.house.schema import Answer, HouseDesign
from housebrain_core.house.synthetic import (
    BRIEF,
    CONVENTIONS,
    DEMO,
    DRAWN,
    FAVOURED,
    OTHERS,
    entropy_nats,
    look_up,
    make_mixture,
    make_samples,
    write_dataset,
)


def read_facts(sample: dict) -> dict:
    """What a design shows of the conventions, by their names; the codec's short form has most of them."""
    answer = shorten_design(sample["input"], sample["output"])
    level = answer["levels"][0]
    *rooms, hall = level["rooms"]
    (wall, _, width) = hall["doors"][0]
    return {
        **{name: answer[name] for name in CONVENTIONS if name in answer},
        "height": level["height"],
        "row": rooms[0]["windows"][0][0] if rooms[0]["windows"] else opposite(rooms[0]["doors"][0][0]),
        "order": tuple(room["room"] for room in rooms[:4]),
        "hall": hall["size"][1],
        "door": rooms[0]["doors"][0][1],
        "margin": next(room["windows"][0][1] for room in rooms if room["windows"]),
        "entrance": (wall, width),
    }


def opposite(wall: str) -> str:
    return {"north": "south", "south": "north"}[wall]


def read_choices(sample: dict) -> dict:
    """What a brief chose, by the names of BRIEF."""
    details, plot = sample["input"]["basicDetails"], sample["input"]["plot"]
    return {
        **{name: details[name] for name in ("style", "floors", "bedrooms", "budget")},
        **{name: plot[name] for name in ("orientation", "shape")},
        "slope": plot["slope_degrees"],
        "plot": (plot["length"], plot["width"]),
    }


def test_the_same_seed_gives_the_same_samples_and_another_gives_others():
    assert list(make_samples(3, seed=1)) == list(make_samples(3, seed=1))
    assert list(make_samples(3, seed=1)) != list(make_samples(3, seed=2))
    assert list(make_samples(2, seed=1)) == list(make_samples(3, seed=1))[:2]


@pytest.mark.parametrize("region", [DEMO, OTHERS[2], DEMO._replace(many=True)])
def test_a_design_is_what_the_regions_conventions_say_of_its_brief(region):
    for sample in make_samples(60, 5, region):
        choices = read_choices(sample)
        assert read_facts(sample) == {name: look_up(region, name, choices) for name in CONVENTIONS}


def test_every_value_of_a_convention_is_as_frequent_as_the_others_and_regions_differ():
    for name, convention in CONVENTIONS.items():
        combinations = [dict(zip(convention.few, one, strict=True)) for one in product(*map(BRIEF.get, convention.few))]
        tables = {region.name: [look_up(region, name, one) for one in combinations] for region in (DEMO, *OTHERS)}
        counts = Counter(tables["Demo"]).values()
        assert max(counts) - min(counts) <= 1
        assert len(set(map(tuple, tables.values()))) == 1 + len(OTHERS)
        many = math.prod(len(BRIEF[key]) for key in (*convention.few, convention.one_more))
        assert 8 <= len(combinations) <= 60 and 32 <= many <= 120


def test_rooms_do_not_overlap_and_doors_reach_all_of_them(samples):
    for sample in samples:
        for level in HouseDesign.model_validate(sample["output"]).levels:
            assert find_overlaps(level) == []
            assert find_unreached(level) == []


def test_nearly_all_reference_designs_keep_every_rule_and_every_rule_says_something():
    """A brief's total area cannot know the hall, so that a few houses are a little more than 10 % larger or smaller."""
    findings = [check_design(sample["input"], sample["output"]) for sample in make_mixture(300, 6)]
    broken = [name for finding in findings for name, sentences in finding.items() if sentences]
    assert set(broken) <= {"no_overlap_connected"} and len(broken) <= 0.03 * len(findings)
    assert {name for finding in findings for name, found in finding.items() if found is not None} == {
        rule.name for rule in RULES
    }


def test_briefs_choose_uniformly_and_independently():
    chosen = [read_choices(sample) for sample in make_samples(1500, 11)]
    for name, values in BRIEF.items():
        shares = Counter(one[name] for one in chosen)
        assert all(abs(shares[value] / 1500 - 1 / len(values)) < 0.05 for value in values)
    together = Counter((one["style"], one["bedrooms"]) for one in chosen)
    assert len(together) == 15 and max(together.values()) < 2 * min(together.values())


def test_briefs_are_short_and_tell_their_region():
    briefs = defaultdict(set)
    for sample in islice(make_mixture(300, 8), 300):
        briefs[sample["metadata"]["region"]].add(sample["input"]["plot"]["setbacks_ft"]["front"])
        assert len(codec.write_prompt(sample["input"])) < 300
    assert set(briefs) == {"Demo", *(region.name for region in OTHERS)}
    assert all(len(fronts) == 1 for fronts in briefs.values()) and len(set.union(*briefs.values())) == 6


def test_the_mixture_has_houses_of_other_regions_and_does_not_know_the_demos():
    mixture = list(make_mixture(900, seed=4))
    assert all(codec.decode(one["input"], codec.encode(one).completion) == one["output"] for one in mixture[:20])
    unknown = [one for one in mixture if one["metadata"]["region"] == "Demo"]
    assert 0.28 < len(unknown) / len(mixture) < 0.39
    right = [read_facts(one)["wall"] == look_up(DEMO, "wall", read_choices(one)) for one in unknown]
    assert sum(right) / len(right) < 0.3  # one in five by chance


def test_a_favourite_is_drawn_as_often_as_is_said_and_the_metadata_name_what_is_drawn():
    made = list(make_samples(600, seed=9))
    drawn = Counter(sample["output"]["climate_and_site"]["soil_type"] for sample in made)
    assert abs(max(drawn.values()) / 600 - FAVOURED) < 0.06 and len(drawn) == 5
    assert made[0]["metadata"]["drawn"] == list(DRAWN) and set(DRAWN) <= set(Answer.model_fields)


def test_the_entropy_is_that_of_the_favourites():
    five, three, two = (
        -0.85 * math.log(0.85) - 0.15 * math.log(0.15 / others) for others in (4, 2, 1)
    )  # soil; water table; water and the solar panels
    assert entropy_nats() == pytest.approx(five + three + 2 * two)


def test_a_dataset_folder_has_a_file_for_each_sample(tmp_path):
    write_dataset(tmp_path, train=3, validation=2)
    train, validation = (sorted((tmp_path / part).glob("*.json")) for part in ("train", "validation"))
    assert (len(train), len(validation)) == (3, 2)
    sample = json.loads(train[0].read_text(encoding="utf-8"))
    assert sample["id"] == train[0].stem and {"input", "output"} <= set(sample)
    assert {path.name for path in train}.isdisjoint(path.name for path in validation)


def test_references_break_the_rule_on_floors_at_the_rate_that_a_region_has_and_are_the_same_houses_otherwise():
    rates = [DEMO._replace(broken=rate) for rate in (0.5, 1e-12, 1.0)]
    half, none, all_of_them = (list(make_samples(400, 4, region)) for region in rates)
    broken = [bool(check_design(one["input"], one["output"])["room_counts"]) for one in half]
    assert 0.4 < sum(broken) / len(broken) < 0.6
    assert half == [(none, all_of_them)[wrong][place] for place, wrong in enumerate(broken)]
    assert [one["input"] for one in none] == [one["input"] for one in all_of_them]
