"""The demo's end: a table in plain words, a sentence that concludes, and what is said where the order is another."""

import json

import pytest

from housebrain_core.commands.demo_results import (
    AB_AVERAGE,
    EVERYTHING,
    NAMES,
    ONE_MERGE,
    ROUNDS,
    DemoResult,
    Row,
    draw_houses,
    read_result,
)
from housebrain_core.evaluate.first_house import BASE
from housebrain_core.evaluate.results import DistributionResult, Evaluation, ModelResult, RatesResult, ReferenceResult
from housebrain_core.house import codec
from housebrain_core.house.synthetic import entropy_nats, write_dataset

SPLITS = ("split 1 alone", "split 2 alone")


def rows(**changes: Row) -> dict[str, Row]:
    """Figures that fall from the base to everything, with changes by the names of adapters."""
    losses = {
        BASE: 0.9,
        SPLITS[0]: 0.3,
        SPLITS[1]: 0.4,
        AB_AVERAGE: 0.5,
        ONE_MERGE: 0.25,
        ROUNDS: 0.1,
        EVERYTHING: 0.01,
    }
    exact = {BASE: 0.0, SPLITS[0]: 0.2, SPLITS[1]: 0.3, AB_AVERAGE: 0.0, ONE_MERGE: 0.01, ROUNDS: 0.5, EVERYTHING: 0.95}
    figures = {name: Row(120, loss, exact[name], 0.5, 0.9) for name, loss in losses.items()} | changes
    return {NAMES.get(name, name): row for name, row in figures.items()}


def result(**changes: Row) -> DemoResult:
    return DemoResult(rows(**changes), SPLITS, reference_hard=0.98, designs=64)


def test_the_table_has_the_planner_first_and_a_line_for_each_model():
    lines = [line.split("  ") for line in str(result().table()).splitlines()]
    assert lines[1][0] == "the planner" and lines[1][-1].strip() == "98.0%"
    assert [line[0] for line in lines[2:]] == [BASE, *SPLITS, *NAMES.values()]
    assert [cell.strip() for cell in lines[-1] if cell.strip()] == [
        "everything at once", "120", "0.010", "95.0%", "50.0%", "90.0%",
    ]  # fmt: skip


def test_models_in_order_are_no_problem_and_the_end_says_what_they_show():
    assert result().problems() == [] and "NOTE" not in str(result())
    assert "a split alone gets 25% of the designs exactly right, and the one merge of them 1%" in " ".join(
        result().conclude().split()
    )
    assert "the same 120 steps give 50%" in " ".join(result().conclude().split())


def test_models_in_another_order_are_said():
    worse = Row(120, 0.3, 0.2, 0.5, 0.9)
    order, exactness = result(**{ROUNDS: worse}).problems()
    assert order == "the loss of three rounds is not below that of one merge"
    assert exactness == "three rounds are not better than a split alone and one merge"
    assert str(result(**{ROUNDS: worse})).count("NOTE: ") == 2


SCORES = {"checked": 1, "rules": {}, "rule_score": 1.0, "hard_score": 1.0, "soft_score": 1.0, "all_hard": 1.0}
RATES = ("invalid_json", "strict_parse", "repaired_parse", "schema_valid", "schema_valid_repaired")
MODEL = ModelResult(
    loss_nats_per_token=0.5, loss_interval=(0.4, 0.6), loss_nats_per_sample=20.0, floor_nats_per_token=None,
    loss_above_floor=None, rates=RatesResult(**dict.fromkeys(RATES, 1.0), intervals={}), kinds={}, exactness={},
    distribution=DistributionResult(designs=0, fields={}), tokens_per_second=1.0, same=0.25, same_interval=(0.1, 0.4),
    rooms=0.5, most_probable=0.3, **SCORES,
)  # fmt: skip
"""Judged: 40 tokens a sample."""


@pytest.fixture
def folder(tmp_path):
    """What a demo leaves, as far as its end reads it: 2 splits, one leg each, and answers to one brief."""
    write_dataset(tmp_path / "housebrain_splits", 2, 2)
    sample = json.loads(min((tmp_path / "housebrain_splits" / "validation").iterdir()).read_text())
    names = ("tiny-0", "hb-colab-01", "hb-kaggle-02", AB_AVERAGE, ONE_MERGE, EVERYTHING, ROUNDS)
    answers = [
        codec.dumps({"model": name, "brief": sample["input"], "text": text, "tokens": 9, "complete": True})
        for name, text in zip(names, ["{}", *[codec.encode(sample).completion] * 6], strict=True)
    ]
    (tmp_path / "evaluation.jsonl").write_text("\n".join(answers))
    evaluation = Evaluation(
        data="housebrain_splits", loss_samples=1, samples=1, constrained=False, drawn=["soil"], limits={},
        reference=ReferenceResult(exactness={}, **SCORES), pairs=[],
        models=dict.fromkeys(names, MODEL),
    )  # fmt: skip
    (tmp_path / "evaluation.json").write_text(evaluation.model_dump_json())
    for name in ("apart/models/hb-colab-01", "apart/models/hb-kaggle-02", f"apart/models/{EVERYTHING}",
                 "models/hb-colab-01-leg-1", "models/hb-kaggle-02-leg-1"):  # fmt: skip
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").write_text("{}")
    return tmp_path


def test_what_a_demo_leaves_becomes_rows_with_the_steps_of_all_people(folder, monkeypatch):
    steps = type("Steps", (), {"steps": 40})
    monkeypatch.setattr("housebrain_core.commands.demo_results.read_run", lambda text: steps)
    found = read_result(folder, "tiny-0")
    assert {name: row.steps for name, row in found.rows.items()} == {
        BASE: 0, SPLITS[0]: 40, SPLITS[1]: 40, "A and B averaged apart": 80, "one merge": 80, "three rounds": 80,
        "everything at once": 40,
    }  # fmt: skip
    assert found.splits == SPLITS and (found.reference_hard, found.designs) == (1.0, 1)
    row = found.rows["one merge"]
    assert row.above == pytest.approx(0.5 - entropy_nats() / 40) and (row.exact, row.rooms) == (0.25, 0.5)


@pytest.mark.slow
def test_the_first_house_is_drawn_by_four_even_where_an_answer_is_no_design(folder):
    draw_houses(folder, "tiny-0")
    assert (folder / "houses.png").read_bytes().startswith(b"\x89PNG")
