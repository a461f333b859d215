"""The bar on a terminal: nothing is lost with it or without it, and the total is asked for only when it is shown."""

import sys

from housebrain_core.progress import with_bar


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
