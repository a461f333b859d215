"""The ways to train side by side: hours, days and files by arithmetic, and figures that say where they come from."""

import json
from pathlib import Path

import pytest

from housebrain_core import cli
from housebrain_core.config import PlanConfig, SplitConfig
from housebrain_core.legs import TrainingPlan, plan_relay, plan_rounds
from housebrain_core.rounds.choices import MEASURED, Choice, Comparison, compare_choices, plan_choice
from housebrain_core.splits import costs
from housebrain_core.splits.costs import Range
from housebrain_core.splits.split import split_dataset


def compare(splits: Path, **settings) -> Comparison:
    return compare_choices(PlanConfig(splits=splits, **settings), report=lambda line: None)


def choice_of(legs, hours: float, splits: int = 6) -> Choice:
    return plan_choice("way", TrainingPlan(splits=splits, legs=legs), Range(hours, hours))


@pytest.fixture(autouse=True)
def _no_tokenizer(monkeypatch):
    monkeypatch.setattr(costs, "find_file", lambda name, file: None)  # it may be in somebody's cache


def test_one_merge_takes_the_sessions_of_one_split_and_a_file_of_everybody():
    one = choice_of(plan_rounds(6, 1), 20.0)
    assert (one.hours_each, one.days, one.files_each) == ((20, 20), (3, 3), (1, 1))


def test_rounds_take_the_same_hours_and_at_least_a_day_each():
    three = choice_of(plan_rounds(6, 3), 6.0)
    assert three.hours_each == pytest.approx((6, 6))
    assert (three.legs, three.days, three.files_each) == (3, (3, 3), (3, 3))
    assert choice_of(plan_rounds(6, 3), 27.0).days == (6, 6), "legs of 9 hours need two sessions of 8.5 each"


def test_a_common_start_costs_its_person_hours_and_a_file_more():
    way = choice_of(plan_rounds(6, 2, 0.1), 10.0)
    assert way.hours_each == pytest.approx((15, 15)), "6 hours alone, then 9 with everybody"
    assert (way.legs, way.files_each) == (3, (2, 3))


def test_a_relay_takes_everybodys_sessions_in_a_row():
    way = choice_of(plan_relay(6), 20.0)
    assert (way.hours_each, way.days, way.files_each) == ((20, 20), (18, 18), (1, 1))


def test_a_weeks_quota_bounds_the_days():
    assert choice_of(plan_rounds(6, 1), 60.0).days == (14, 14)
    assert choice_of(plan_rounds(6, 1), 30.0).days == (4, 4)


def test_every_way_of_the_issue_is_there_with_what_was_measured_of_it(splits):
    made = compare(splits)
    assert [choice.name for choice in made.choices] == list(MEASURED)
    assert {choice.name for choice in made.choices} >= {"one merge", "3 rounds", "common start, 6 rounds", "relay"}
    for choice in made.choices:
        assert choice.measured is not None
        for least, most in choice.measured:
            assert -1 <= least <= most <= 1.05, "a relay may end a little below everything"
    text = str(made)
    assert "A common start is as long as training a split once" in text
    assert "Measured on tiny networks (benchmarks/README.md)" in text and "(assumed)" in text
    assert made.advice in text


def test_a_rented_gpu_has_a_price_where_the_person_gives_one(splits):
    free = compare(splits)
    assert all(choice.price is None for choice in free.choices) and "price" not in str(free)
    made = compare(splits, price_per_hour=2.0, rented="h100")
    *people, rented = made.choices
    assert all(choice.price is None for choice in people)
    assert rented.price == pytest.approx(rented.hours_each.times(2.0))
    assert rented.days == (1, 1) and "one rented GPU, h100" in str(made)
    assert rented.hours_each[1] < compare(splits, rented="l4").choices[-1].hours_each[1]


def test_a_base_of_unknown_size_gets_no_hours_on_a_rented_gpu(splits):
    made = compare(splits, base_model="somebody/model", tokens_per_second=100.0)
    assert made.choices[0].hours_each is not None and made.choices[-1].hours_each is None
    assert "one rented GPU, a100     -" in str(made)


def test_one_split_alone_has_an_estimate_and_no_choice(splits):
    made = compare(splits / "split_01.zip")
    assert made.choices == [] and "gap closed" not in str(made)
    assert "tokens per second" in str(made)


def test_a_plan_of_its_own_is_a_way_too(dataset, tmp_path):
    config = SplitConfig(
        source=dataset, output=tmp_path / "out", splits=3, rounds=4, common_start=0, training=["max_steps=60"]
    )
    split_dataset(config, report=lambda line: None)
    own = compare(tmp_path / "out").choices[-2]
    assert (own.name, own.legs, own.measured) == ("these splits' own plan", 4, None)


def test_json_on_the_command_line_is_json_and_nothing_else(splits, capsys):
    cli.run_command(["plan", "--splits", str(splits), "--json", "--price-per-hour", "1.5"])
    written = json.loads(capsys.readouterr().out)
    ways = {choice["choice"]: choice for choice in written["choices"]}
    assert ways["3 rounds"]["gap_closed"] == {
        "small_splits": list(MEASURED["3 rounds"][0]),
        "large_splits": [0.1, 0.12],
    }
    assert ways["3 rounds"]["legs"] == 3 and ways["one rented GPU"]["price"][0] > 0
    assert "tiny networks" in written["gap_source"] and written["advice"]
    assert [split["name"] for split in written["splits"]] == ["split_01", "split_02", "split_03"]
