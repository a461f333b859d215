"""rounds.json: what it says, what follows from it, and files that cannot be it."""

import json

import pytest
from adapter_files import make_trained

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.errors import DataError
from housebrain_core.legs import Place, TrainingPlan, plan_rounds
from housebrain_core.rounds.state import FILE, LegLosses, first_state, leg_file, leg_folder, read_state, write_state

PLAN = TrainingPlan(dataset="d" * 64, splits=3, legs=plan_rounds(3, 2, common_start=0.1))


def test_a_plan_begins_with_its_first_people_and_goes_on_with_the_next(tmp_path):
    state = first_state(PLAN, None)
    assert state.people == (1,) and state.current.missing == (1,) and not state.is_finished
    state = state.with_sent([read_adapter(make_trained(tmp_path / "hb-1", 1))])
    assert state.current.missing == () and state.current.sent[0].name == "hb-1"
    state = state.with_current(merged_sha256="a" * 64).with_next_leg("b" * 64)
    assert state.people == (1, 2, 3) and state.current.missing == (1, 2, 3) and not state.is_finished
    assert state.place == Place(plan=PLAN, leg=2, parent_sha256="b" * 64)
    last = state.with_next_leg("c" * 64).with_current(merged_sha256="d" * 64)
    assert last.is_finished and last.place.is_last


def test_what_was_written_is_read_again_and_not_written_twice(tmp_path):
    state = first_state(PLAN, "a" * 64)
    write_state(tmp_path, state)
    before = (tmp_path / FILE).stat().st_mtime_ns
    write_state(tmp_path, state)
    assert (tmp_path / FILE).stat().st_mtime_ns == before
    assert read_state(tmp_path) == state
    assert json.loads((tmp_path / FILE).read_text())["format"] == 1
    assert read_state(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ('{"format": 1, "plan"', "is not JSON"),
        ('{"format": 2}', "is of format 2; this code reads format 1"),
        ('{"format": 1, "legs": []}', "cannot be used: plan: Field required"),
        ("[]", "is no JSON object"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ("\ufeff{}".encode("utf-16"), "is UTF-16 text"),
        ({"legs": []}, "legs: Tuple should have at least 1 item"),
        ({"legs": [{"number": 2, "parent_sha256": None, "missing": [1]}]}, "legs are not those of its plan"),
        ({"legs": [{"number": 1, "parent_sha256": None, "missing": [1]}] * 9}, "legs are not those of its plan"),
    ],
)
def test_a_damaged_or_newer_file_is_refused_with_what_to_do(contents, said, tmp_path):
    if isinstance(contents, dict):
        contents = json.dumps(first_state(PLAN, None).model_dump(mode="json") | contents)
    (tmp_path / FILE).write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    with pytest.raises(DataError, match=said) as refused:
        read_state(tmp_path)
    assert "newer version" in str(refused.value) or "Take it from a backup" in str(refused.value)


def test_the_mean_split_is_the_mean_of_the_losses(tmp_path):
    losses = LegLosses(base=2.0, splits={"a": 1.0, "b": 0.5}, merged=0.7, best_split="b", verdict="worse")
    assert losses.mean_split == 0.75
    assert (leg_folder(tmp_path, 2), leg_file(tmp_path, 2)) == (tmp_path / "leg_2", tmp_path / "leg_2.zip")
