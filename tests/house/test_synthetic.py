"""Generated houses: the same seed gives the same ones, rooms lie side by side, and the entropy is what is drawn."""

import json
import math
from collections import Counter

from housebrain_core.house import codec
from housebrain_core.house.measures import find_overlaps
from housebrain_core.house.room_rules import find_unreached
from housebrain_core.house.schema import HouseDesign
from housebrain_core.house.synthetic import CHOICES, entropy_nats, make_other_layouts, make_samples, write_dataset


def test_the_same_seed_gives_the_same_samples_and_another_gives_others():
    assert list(make_samples(3, seed=1)) == list(make_samples(3, seed=1))
    assert list(make_samples(3, seed=1)) != list(make_samples(3, seed=2))
    assert list(make_samples(2, seed=1)) == list(make_samples(3, seed=1))[:2]


def test_rooms_do_not_overlap_and_doors_reach_all_of_them(samples):
    for sample in samples:
        for level in HouseDesign.model_validate(sample["output"]).levels:
            assert find_overlaps(level) == []
            assert find_unreached(level) == []


def test_other_layouts_are_houses_too_and_not_the_demos():
    others = list(make_other_layouts(5, seed=4))
    assert all(codec.decode(one["input"], codec.encode(one).completion) == one["output"] for one in others)
    assert len({json.dumps(one["output"]["levels"]) for one in others}) == 5


def test_a_favourite_is_drawn_seven_times_in_ten():
    drawn = Counter(sample["output"]["climate_and_site"]["climate_zone"] for sample in make_samples(600, seed=9))
    assert 0.62 < max(drawn.values()) / 600 < 0.78


def test_the_entropy_is_that_of_the_favourites():
    two, six = (-0.7 * math.log(0.7) - 0.3 * math.log(0.3 / others) for others in (1, 5))
    assert entropy_nats() > sum(two for _ in CHOICES)
    sixes = [name for name, choices in CHOICES.items() if len(choices) == 6]
    assert sixes and six > two


def test_a_dataset_folder_has_a_file_for_each_sample(tmp_path):
    write_dataset(tmp_path, train=3, validation=2)
    train, validation = (sorted((tmp_path / part).glob("*.json")) for part in ("train", "validation"))
    assert (len(train), len(validation)) == (3, 2)
    sample = json.loads(train[0].read_text(encoding="utf-8"))
    assert sample["id"] == train[0].stem and {"input", "output"} <= set(sample)
    assert {path.name for path in train}.isdisjoint(path.name for path in validation)
