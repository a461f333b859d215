"""How far something is: the picture of a run, its lines, and the bar on a terminal, with which nothing is lost."""

import re
import sys
from types import SimpleNamespace

import pytest

from housebrain_core import platforms
from housebrain_core.display import progress
from housebrain_core.display.progress import with_bar


def test_without_a_terminal_the_steps_pass_and_the_total_is_not_asked_for(capsys):
    asked = []
    assert list(with_bar(iter("abc"), lambda: asked.append(1), "work")) == ["a", "b", "c"]
    assert asked == []
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar_on_standard_error_that_counts_sizes(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert list(with_bar([2, 3], lambda: 5, "reading files", size=lambda step: step)) == [2, 3]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "reading files" in captured.err and "5/5" in captured.err


def test_the_bar_has_colours_unless_they_are_not_wanted(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    coloured = re.compile(r"\x1b\[[1-9][0-9;]*m")
    list(with_bar(range(3), lambda: 3, "reading"))
    assert coloured.search(capsys.readouterr().err)
    monkeypatch.setenv("NO_COLOR", "1")
    list(with_bar(range(3), lambda: 3, "reading"))
    plain = capsys.readouterr().err
    assert "reading" in plain and not coloured.search(plain)


STATE = progress.TrainingState(
    name="hb-kaggle-04",
    phase="training",
    step=40,
    planned=160,
    seconds_left=5400,
    tokens_per_second=3120,
    curve=[(5, 2.0), (40, 0.5)],
    validation=[(30, 0.6)],
    floor=0.3,
    saved=30,
    memory=(9.1, 15.0),
)


def test_the_picture_of_a_run_says_in_words_what_it_shows():
    words = repr(progress.draw_progress(STATE))
    assert words == (
        "hb-kaggle-04: training, step 40 of 160, loss 0.5000, validation loss 0.6000, 1.5 h left. "
        "saved at step 30  ·  3,120 tokens/s  ·  GPU memory 9.1 of 15.0 GB."
    )
    assert progress.draw_progress(STATE).png() != progress.draw_progress(progress.TrainingState(name="hb")).png()


def test_the_state_of_a_run_is_read_as_it_was_written_and_damage_is_no_state(tmp_path):
    assert progress.read_state(tmp_path) is None
    progress.write_state(tmp_path, STATE)
    assert progress.read_state(tmp_path) == STATE
    assert repr(progress.draw_training(tmp_path)) == repr(progress.draw_progress(STATE))
    (tmp_path / progress.FILE).write_text("{")
    assert "its progress is not recorded, step 0 of 0" in repr(progress.draw_training(tmp_path))
    assert progress.read_state(tmp_path) is None


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.seconds)
    return now


def train_for_hours(watch, clock, folder, hours=9, step_seconds=10):
    """What a run of many hours reports: a line every five steps, a checkpoint every ten minutes."""
    steps = hours * 3600 // step_seconds
    for step in range(5, steps + 1, 5):
        clock.seconds += 5 * step_seconds
        progress.write_state(folder, STATE.model_copy(update={"step": step, "planned": steps}))
        watch(f"step {step} of {steps}  loss 0.5000")
        if step % 60 == 0:
            watch(f"saved checkpoint-{step}")


def test_on_a_terminal_every_line_is_printed(clock, tmp_path):
    lines = []
    train_for_hours(progress.Watch(tmp_path, lines.append), clock, tmp_path, hours=1)
    assert len(lines) == 72 + 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "most"),
    [
        ({"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, 0),
        ({"HOUSEBRAIN_PROGRESS": "lines"}, 700),
        ({"KAGGLE_KERNEL_RUN_TYPE": "Batch"}, 700),
    ],
)
def test_a_notebook_updates_one_picture_and_prints_a_line_a_minute_where_nobody_watches(
    variables, most, monkeypatch, clock, tmp_path
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(platforms.WORKING, "kaggle", tmp_path)
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    shown = []
    monkeypatch.setattr(progress, "draw_progress", lambda state: state)  # drawing is another test's
    monkeypatch.setattr(progress.Watch, "_show", lambda watch, picture: shown.append(picture))
    monkeypatch.setattr("os.fsync", lambda handle: None)  # 700 times is what takes long here
    lines = []
    watch = progress.Watch(tmp_path, lines.append)
    train_for_hours(watch, clock, tmp_path)
    assert len(shown) == 9 * 72
    assert (most > 0) == bool(lines)
    assert len(lines) <= most
    watch("stopping: finishing this step, then saving")
    assert lines[-1].startswith("stopping")


def test_a_new_phase_is_drawn_at_once_and_the_same_one_after_some_seconds(monkeypatch, clock, tmp_path):
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    shown = []
    monkeypatch.setattr(progress.Watch, "_show", lambda watch, picture: shown.append(repr(picture).split(",")[0]))
    watch = progress.Watch(tmp_path, lambda line: None)
    for step, phase in ((1, "training"), (2, "training"), (2, "measuring")):
        progress.write_state(tmp_path, STATE.model_copy(update={"step": step, "phase": phase}))
        watch(f"step {step} of 160")
    assert shown == ["hb-kaggle-04: training", "hb-kaggle-04: measuring"]
