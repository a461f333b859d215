"""Samples looked at once: conditions in order, hashes, and the validation part kept apart."""

import json

import pytest

from housebrain_core.data.fields import USUAL
from housebrain_core.house import synthetic
from housebrain_core.house.rules import check_design
from housebrain_core.select.reading import Conditions, answers_path, hash_of, read_chosen, read_pool
from housebrain_core.settings import parse_condition


@pytest.fixture
def mixed(tmp_path):
    """Forty samples; one brief of the validation part is in train too."""
    samples = list(synthetic.make_samples(40, 5, synthetic.DEMO._replace(broken=0.5)))
    samples[7]["input"] = samples[39]["input"]
    for part, of in (("train", samples[:36]), ("validation", samples[36:])):
        (tmp_path / f"{part}.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in of))
    return tmp_path, samples


def test_a_training_sample_with_the_brief_of_a_validation_sample_is_left_out(mixed):
    folder, samples = mixed
    pool = read_pool(folder, Conditions(), USUAL)
    assert pool.count("train") == 36 and pool.count("validation") == 4
    assert samples[7]["id"] not in {row.id for row in pool.training()} and len(pool.training()) == 35


def test_conditions_are_asked_in_order_and_a_broken_rule_ends_them(mixed):
    folder, samples = mixed
    conditions = Conditions((parse_condition("input.basicDetails.floors=1"),), ("room_counts", "exits"))
    assert conditions.names() == [
        "input.basicDetails.floors=1",
        "the reference keeps room_counts",
        "the reference keeps exits",
    ]
    held = {row.id: row.held for row in read_pool(folder, conditions, USUAL).rows if row.part == "train"}
    for sample in samples[:36]:
        findings = check_design(sample["input"], sample["output"])
        one_floor = sample["input"]["basicDetails"]["floors"] == 1
        assert held[sample["id"]] == (0 if not one_floor else 1 if findings["room_counts"] else 3)
    assert len(set(held.values())) == 3


def test_nothing_is_said_to_keep_a_rule_that_is_no_house():
    applying: set[str] = set()
    text = {"id": "1", "input": "why?", "output": "because", "metadata": {}}
    assert Conditions(rules=("parking",)).count_held(text, applying) == 0 and not applying


def test_the_hash_of_a_source_follows_from_ids_and_contents(mixed):
    folder, samples = mixed
    before = read_pool(folder, Conditions(), USUAL).sha256()
    assert before == read_pool(folder, Conditions(rules=("room_counts",)), USUAL).sha256()
    samples[3]["output"]["total_area"] += 1
    (folder / "train.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples[:36]))
    assert read_pool(folder, Conditions(), USUAL).sha256() != before
    assert hash_of({"a": 1}) == hash_of({"a": 1}) != hash_of({"a": 1.0})


def test_chosen_samples_are_read_again_in_the_order_of_the_dataset(mixed):
    folder, samples = mixed
    wanted = {samples[20]["id"], samples[2]["id"], samples[38]["id"]}
    found = list(read_chosen(folder, wanted))
    assert found == [("train", samples[2]), ("train", samples[20]), ("validation", samples[38])]
    assert answers_path(folder / "chosen").name == "chosen.answers.jsonl"
