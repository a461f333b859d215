"""The first validation brief as base, adapter and reference answer it: always the same one, failures shown too."""

import copy

import pytest

from housebrain_core.display.plots import Picture
from housebrain_core.evaluate.first_house import (
    BASE,
    MODEL,
    REFERENCE,
    FirstHouse,
    count_same,
    draw_first_house,
    read_first_brief,
)
from housebrain_core.house import codec
from housebrain_core.house.codec import DesignError
from housebrain_core.house.synthetic import make_samples


@pytest.fixture(scope="module")
def sample():
    return next(make_samples(1, seed=3))


def test_a_barely_trained_adapter_and_its_base_are_shown_as_what_they_wrote(adapters, splits, base):
    house = draw_first_house(adapters[0], splits / "split_01.zip", str(base))
    assert list(house.answers) == [BASE, MODEL, REFERENCE]
    brief, completion = read_first_brief(splits)
    assert house.brief == brief
    assert house.answers[REFERENCE] == codec.decode(brief, completion)
    picture, sentence = house.outputs()
    assert isinstance(picture, Picture) and picture.png().startswith(b"\x89PNG")
    assert "base model: no design" in picture.alt or "base model" in sentence
    assert sentence.startswith("The first validation brief. base model: ")


def test_the_brief_is_the_same_in_all_bundles(splits):
    assert len({str(read_first_brief(splits / f"split_{n:02d}.zip")) for n in (1, 2, 3)}) == 1


def test_rooms_count_when_type_and_place_are_the_reference_s(sample):
    reference = sample["output"]
    assert count_same(reference, reference)[:2] == (count_same(reference, reference)[1],) * 2
    rooms = sum(len(level["rooms"]) for level in reference["levels"])
    moved = copy.deepcopy(reference)
    moved["levels"][0]["rooms"][0]["bounds"]["x"] += 1
    assert count_same(moved, reference) == (rooms - 1, rooms, "rooms")


def test_without_rooms_the_values_of_the_specification_count():
    reference = {"materials": {"wall": "Brick", "roof": "Tile"}, "building_codes": {"parking": 2}}
    design = {"materials": {"wall": "Brick", "roof": "Slate"}, "building_codes": {"parking": 2}}
    assert count_same(design, reference) == (2, 3, "values")


def test_what_is_no_design_is_named_with_its_kind_and_drawn_as_text(sample):
    failed = DesignError("the answer is not JSON", "unbalanced", '{"wall":"$Brick$')
    house = FirstHouse(sample["input"], {BASE: failed, REFERENCE: sample["output"]})
    assert house.describe() == "The first validation brief. base model: no design (unbalanced)."
    assert "no design: unbalanced" in house.draw().alt and "$Brick$" in house.draw().alt
    assert house.draw().png().startswith(b"\x89PNG")
