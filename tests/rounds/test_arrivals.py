"""Adapters sorted by leg: those that count, those that are left out, and the first reason of those that cannot be."""

import pytest
from adapter_files import make_trained, tensors

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.adapters.run import DataRecord
from housebrain_core.errors import AdapterError
from housebrain_core.legs import TrainingPlan, plan_rounds
from housebrain_core.rounds.arrivals import find_problems, sort_arrivals
from housebrain_core.rounds.state import first_state

PLAN = TrainingPlan(dataset="d" * 64, splits=3, legs=plan_rounds(3, 3))
START = "a" * 64


def arrive(tmp_path, split_id: int, leg: int = 2, **run):
    place = {"plan": PLAN.id, "leg": leg, "legs": 3, "parent_sha256": START} | run
    return make_trained(tmp_path / f"hb-{split_id}-{leg}", split_id, tensors(10 * leg + split_id), **place)


def in_second_leg(*merged):
    """The state in the second leg, where these adapters were merged in the first."""
    first = first_state(PLAN, None).with_sent([read_adapter(folder) for folder in merged])
    return first.with_current(merged_sha256="b" * 64).with_next_leg(START)


def sort(folders, state):
    return sort_arrivals({folder: folder for folder in folders}, state)


def test_each_adapter_finds_its_place(tmp_path):
    merged, late = (arrive(tmp_path, split_id, 1, parent_sha256=None) for split_id in (1, 2))
    two, one = arrive(tmp_path, 2), arrive(tmp_path, 1)
    arrivals = sort([merged, late, two, one], in_second_leg(merged))
    assert [adapter.name for adapter in arrivals.adapters] == ["hb-1-2", "hb-2-2"]
    assert arrivals.left_out[0] == "merged already in leg 1: hb-1-1"
    assert arrivals.left_out[1].startswith("too late for leg 1") and "hb-2-1" in arrivals.left_out[1]


def test_after_the_last_leg_everything_is_merged_or_late(tmp_path):
    plan = TrainingPlan(dataset="d" * 64, splits=3, legs=plan_rounds(3, 1))
    place = {"plan": plan.id, "leg": 1, "legs": 1}
    one, two = (make_trained(tmp_path / f"hb-{split_id}", split_id, **place) for split_id in (1, 2))
    state = first_state(plan, None).with_sent([read_adapter(one)]).with_current(merged_sha256="b" * 64)
    arrivals = sort([one, two], state)
    assert arrivals.adapters == [] and len(arrivals.left_out) == 2


def test_adapters_of_other_bases_and_zips_that_are_none_are_told_together(tmp_path):
    one = arrive(tmp_path, 1)
    damaged = {one: one, tmp_path / "two.zip": AdapterError("two.zip is damaged")}
    with pytest.raises(AdapterError, match="two.zip is damaged\nNothing was changed"):
        sort_arrivals(damaged, in_second_leg())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"leg": 1}, None),
        ({"plan": None}, "was trained without a plan"),
        ({"plan": "x"}, "was trained for the plan x"),
        ({"data": DataRecord(dataset="e" * 64, split_id=1, splits=3)}, "was trained on the dataset eeeeeeee"),
        ({"leg": 3}, "is of leg 3, and leg 2 has not ended"),
        ({"parent_sha256": None}, "started from a fresh LoRA initialisation; leg 2 starts from aaaaaaaa"),
        ({"legs": 9}, "was trained as leg 2 of 9. The plan now ends with leg 3"),
        ({"finished": False, "why_it_ended": "interrupted"}, "is not finished: interrupted"),
    ],
)
def test_the_first_reason_is_the_one_to_tell(change, said, tmp_path):
    adapter = read_adapter(arrive(tmp_path, 1, **change))
    found = next(find_problems(adapter, in_second_leg()), None)
    assert (found is None) if said is None else (said in found)
