"""What a round shows: the warning first, the legs, the picture, who is missing, and what to do next."""

from pathlib import Path

import pytest

from housebrain_core.display.plots import Picture
from housebrain_core.display.results import Table
from housebrain_core.legs import TrainingPlan, plan_rounds
from housebrain_core.rounds.overview import RoundResult, draw_legs
from housebrain_core.rounds.state import LegLosses, RoundsState, SentAdapter, first_state

PLAN = TrainingPlan(dataset="d" * 64, splits=2, legs=plan_rounds(2, 3))


def sent(leg: int) -> tuple[SentAdapter, ...]:
    names = [(n, f"hb-kaggle-{n:02d}-leg-{leg}") for n in (1, 2)]
    return tuple(
        SentAdapter(split_id=n, name=name, sha256="a" * 64, steps=50 * n, validation_loss=0.4) for n, name in names
    )


def ended(state: RoundsState, merged: float, warning: str = "") -> RoundsState:
    """The state after its newest leg, with invented losses."""
    adapters = sent(state.current.number)
    splits = {adapter.name: 0.5 + adapter.split_id / 10 for adapter in adapters}
    losses = LegLosses(base=2.0, splits=splits, merged=merged, best_split=adapters[0].name, verdict="",
                       exact={adapters[0].name: 0.25, "merged": 0.5})  # fmt: skip
    return state.with_current(sent=adapters, missing=(), merged_sha256="b" * 64, losses=losses, warning=warning)


def result_of(state: RoundsState) -> RoundResult:
    return RoundResult(state, Path("rounds"), Path("models/housebrain-merged"), ("merged already: x",), None)


def after_first_leg(warning: str = "") -> RoundsState:
    state = ended(first_state(PLAN, None), 0.7, warning).with_next_leg("c" * 64)
    return state.model_copy(update={"floor": 0.1})


def test_a_merge_that_is_worse_than_its_best_split_is_the_first_thing_shown():
    parts = list(result_of(after_first_leg("WARNING: THE MERGE IS WORSE than ...")).outputs())
    assert parts[0].startswith("WARNING: THE MERGE IS WORSE")
    assert parts[1] == "merged already: x"
    assert next(iter(result_of(after_first_leg()).outputs())) == "merged already: x"


def test_the_parts_are_tables_of_legs_and_people_a_picture_and_the_next_step():
    _, legs, picture, people, following = result_of(after_first_leg()).outputs()
    assert isinstance(legs, Table) and isinstance(people, Table) and isinstance(picture, Picture)
    assert legs.rows[0] == ("1 of 3", "2", "-", "150", "0.6500", "0.6000", "0.7000", "25.0%", "50.0%")
    assert legs.rows[1] == ("2 of 3", "0", "1, 2", "0", "-", "-", "-", "-", "-")
    assert legs.notes[1] == "no model's loss can be below 0.1000, the entropy of the data"
    assert people.columns[0] == "split in leg 2" and people.rows[1] == ("2", "missing", "-", "-")
    assert following.startswith("NEXT: leg 2 of 3, trained by split 1, 2. Each of them gets rounds/leg_2.zip to attach")
    assert "rounds/leg_1 is not a finished model" in following


def test_before_the_first_adapters_people_need_bundle_and_notebook():
    state = first_state(PLAN, None)
    assert draw_legs(state) is None
    legs, people, following = list(result_of(state).outputs())[1:]
    assert legs.notes == () and [row[1] for row in people.rows] == ["missing", "missing"]
    assert "gets a bundle and a notebook" in following and "finished model" not in following


def test_at_the_end_there_is_the_model_and_nobody_is_asked_for_more():
    state = after_first_leg()
    state = ended(ended(state, 0.4).with_next_leg("e" * 64), 0.3)
    parts = list(result_of(state).outputs())
    assert parts[-1].startswith("DONE: leg 3 of 3 has ended") and "models/housebrain-merged" in parts[-1]
    assert len([part for part in parts if isinstance(part, Table)]) == 1


def test_the_picture_has_base_splits_merges_and_the_floor_over_the_steps_of_all():
    state = ended(after_first_leg(), 0.4)
    figure = draw_legs(state)
    assert figure is not None
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines["merged"].get_xdata()) == [0, 150, 300]
    assert list(lines["merged"].get_ydata()) == [2.0, 0.7, 0.4]
    assert lines["mean split"].get_ydata() == pytest.approx([0.65, 0.65])
    assert lines["best split"].get_ydata() == pytest.approx([0.6, 0.6])
    assert list(lines["entropy of the data"].get_ydata()) == [0.1, 0.1]
    assert figure.alt == "Validation loss after each leg, in nats per token; merged: 0.7000, 0.4000."
    assert figure.png() == draw_legs(state).png()
