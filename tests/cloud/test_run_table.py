"""What a person sees of runs: a row for each, lines where nobody sees a table, and a log of all of it."""

import pytest
from fake_training import make_job

from housebrain_core.cloud import run_table
from housebrain_core.cloud.notebook_run import RECORD, Outcome, Record
from housebrain_core.cloud.run_table import RunTable
from housebrain_core.display.progress import TrainingState, write_state
from housebrain_core.manifests import write_atomically


@pytest.fixture
def job(tmp_path):
    return make_job(tmp_path)


@pytest.fixture
def table(job, tmp_path):
    return RunTable([job], "2 of 3", tmp_path / "runs" / "run.log")


def start(job, attempt: int = 1) -> None:
    """Writes what a run writes when it begins, and after its third step."""
    job.folder.mkdir(parents=True, exist_ok=True)
    job.output.mkdir(parents=True, exist_ok=True)
    write_atomically(job.folder / RECORD, Record(machine="node-3, GPU 0", worker=1, attempt=attempt).model_dump_json())
    state = TrainingState(name=job.name, phase="training", step=3, planned=9, curve=[(3, 0.25)], seconds_left=120)
    write_state(job.output, state)


def test_a_row_says_where_a_run_is_and_how_far(table, job):
    assert table.cells(job) == ("1", "2 of 3", "", "", "", "", "waiting")
    start(job)
    table.update()
    assert table.cells(job) == ("1", "2 of 3", "node-3, GPU 0", "3 of 9", "0.2500", "2 min", "training")
    start(job, attempt=2)
    table.update()
    assert table.cells(job)[-1] == "training, attempt 2"
    table.end(Outcome(job.name, "failed", "no memory"))
    assert table.cells(job)[-2:] == ("", "failed, attempt 2")
    assert table.draw().row_count == 1


def test_what_an_earlier_command_left_is_not_shown_as_if_it_went_on(job, tmp_path):
    start(job)
    table = RunTable([job], "", tmp_path / "runs" / "run.log")
    table.update()
    assert table.cells(job) == ("1", "", "", "", "", "", "waiting")


def test_without_a_terminal_there_are_lines_now_and_then_and_all_are_logged(table, job, capsys, tmp_path, monkeypatch):
    start(job)
    with table.shown():
        table.update()
        table.update()
        monkeypatch.setattr(run_table, "LINE_SECONDS", -1.0)
        table.update()
        table.end(Outcome(job.name, "finished"))
        table.update()
    lines = [
        "hb-kaggle-01: attempt 1 on node-3, GPU 0",
        "hb-kaggle-01: training, step 3 of 9, loss 0.2500, 2 min left",
        "hb-kaggle-01: finished",
    ]
    assert capsys.readouterr().out.splitlines() == lines
    assert [line[20:] for line in (tmp_path / "runs" / "run.log").read_text().splitlines()] == lines


def test_on_a_terminal_the_table_is_shown(table, job, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    table.console = run_table.Console(force_terminal=True, width=100)
    start(job)
    with table.shown():
        table.update()
        table.say("a line that stays")
    shown = capsys.readouterr().out
    assert "a line that stays" in shown and "node-3, GPU 0" in shown and "3 of 9" in shown
