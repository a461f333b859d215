"""A plan's legs by arithmetic: who takes which steps, and the learning rate over all of them."""

import pytest

from housebrain_core.legs import Leg, Place, TrainingPlan, plan_relay, plan_rounds, rate_share

WARMUP = 0.03


def plan(legs: tuple[Leg, ...], splits: int = 6) -> TrainingPlan:
    return TrainingPlan(splits=splits, legs=legs)


@pytest.mark.parametrize(
    "legs", [plan_rounds(6, 1), plan_rounds(6, 3), plan_rounds(6, 6, 0.06), plan_relay(6)], ids=len
)
def test_all_legs_together_take_the_steps_of_the_plan(legs):
    one = plan(legs)
    total = 0
    for number, leg in enumerate(legs, 1):
        for person in leg.people:
            before, after = one.steps(person, number, 96)
            total += after - before
    assert total == pytest.approx(6 * 96, abs=2 * len(legs))


def test_a_split_goes_on_in_its_data_where_its_leg_before_ended():
    one = plan(plan_rounds(6, 3))
    assert [one.steps(4, number, 100) for number in (1, 2, 3)] == [(0, 33), (33, 67), (67, 100)]


def test_the_person_of_the_common_start_goes_on_after_it_and_the_others_begin_at_their_first_sample():
    one = plan(plan_rounds(6, 2, common_start=0.04))
    assert [one.steps(1, number, 100) for number in (1, 2, 3)] == [(0, 24), (24, 72), (72, 120)]
    assert [one.steps(2, number, 100) for number in (2, 3)] == [(0, 48), (48, 96)]
    assert 2 not in one.leg(1).people


def test_a_relay_takes_every_split_once_and_merges_nothing():
    one = plan(plan_relay(6))
    assert [one.steps(person, person, 96) for person in range(1, 7)] == [(0, 96)] * 6
    assert one.merges == 0


@pytest.mark.parametrize(
    ("splits", "legs", "groups"),
    [
        (6, 4, [(1,), (2,), (3, 4), (5, 6)]),
        (6, 3, [(1, 2), (3, 4), (5, 6)]),
        (7, 3, [(1, 2), (3, 4), (5, 6, 7)]),
        (5, 1, [(1, 2, 3, 4, 5)]),
    ],
)
def test_a_relay_in_fewer_legs_takes_every_split_once_and_merges_those_of_one_leg(splits, legs, groups):
    one = plan(plan_relay(splits, legs), splits)
    assert [leg.people for leg in one.legs] == groups
    for number, leg in enumerate(one.legs, 1):
        assert {one.steps(person, number, 96) for person in leg.people} == {(0, 96)}


def test_the_rate_warms_up_once_stays_and_decays_in_the_last_leg_only():
    one = plan(plan_rounds(6, 3))
    rates = []
    for leg in (1, 2, 3):
        first, last = one.steps(1, leg, 99)
        rates += [rate_share(step, first, last, 99, WARMUP, Place(plan=one, leg=leg)) for step in range(first, last)]
    assert rates[0] == 0
    assert rates[1] == pytest.approx(1 / (WARMUP * 99))
    assert rates[3:66] == [1.0] * 63
    assert rates[66:] == pytest.approx([1 - step / 33 for step in range(33)])


def test_the_rate_of_a_relay_falls_over_all_of_it():
    one = plan(plan_relay(3), splits=3)
    places = [Place(plan=one, leg=leg) for leg in (1, 2, 3)]
    rates = [rate_share(step, 0, 10, 10, 0.1, place) for place in places for step in range(10)]
    assert rates[0] == 0
    assert rates[1:] == pytest.approx([1 - step / 30 for step in range(1, 30)])
    assert rate_share(10, 0, 10, 10, 0.1, places[-1]) == pytest.approx(0)


def test_the_rate_of_a_relay_that_merges_stays_until_its_last_leg():
    one = plan(plan_relay(6, 4))
    assert {rate_share(step, 0, 10, 10, 0, Place(plan=one, leg=3)) for step in range(10)} == {1.0}
    rates = [rate_share(step, 0, 10, 10, 0, Place(plan=one, leg=4)) for step in range(10)]
    assert rates == pytest.approx([1 - step / 10 for step in range(10)])


def test_a_plan_that_ends_early_gets_one_short_last_leg_of_everybody_and_keeps_its_name():
    one = plan(plan_rounds(6, 4))
    ended = one.ended_early(done=2)
    assert ended.id == one.id
    assert ended.legs[:2] == one.legs[:2]
    assert ended.legs[2:] == (Leg(people=(1, 2, 3, 4, 5, 6), share=0.05),)
    assert Place(plan=ended, leg=3).is_last


def test_plans_are_named_by_what_they_are():
    assert plan(plan_rounds(6, 3)).id == plan(plan_rounds(6, 3)).id
    assert plan(plan_rounds(6, 3)).id != plan(plan_rounds(6, 2)).id
    assert TrainingPlan.model_validate(plan(plan_relay(3), 3).model_dump(mode="json")) == plan(plan_relay(3), 3)


def test_a_person_is_told_the_next_leg_of_their_split():
    common = plan(plan_rounds(6, 2, common_start=0.1))
    first = Place(plan=common, leg=1)
    assert [first.next_leg(1), first.next_leg(4)] == [2, 2]
    assert [first.load_of(1), first.load_of(4)] == [pytest.approx(0.6), 0]
    assert "Then wait for leg_2.zip" in first.next_step(1) and "--finish" not in first.next_step(1)
    assert "housebrain round --finish" in first.next_step(1, learned=True)
    relay = Place(plan=plan(plan_relay(6)), leg=2)
    assert relay.next_leg(1) is None and relay.next_step(2).endswith("This split is done.")
    assert Place(plan=common, leg=3).next_step(4) == "This was the last leg: send the adapter in."
