"""benchmarks/survival.py: one case of each kind in CI, all of them in the long form, and what counts as a failure."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "survival.py"


def cut_runs_off(*options: str) -> dict[str, list[int]]:
    """Runs the benchmark; cases, rightly resumed, most steps repeated, identical and passed, by kind."""
    command = [sys.executable, str(SCRIPT), *options]
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = [line.strip("| ").split(" | ") for line in ran.stdout.split("|---|\n")[-1].splitlines()]
    return {kind: list(map(int, figures)) for kind, *figures in rows}


@pytest.mark.soak
def test_a_run_cut_off_in_any_way_goes_on_at_the_newest_sealed_step_and_ends_identical(base):
    found = cut_runs_off("--most", "1")
    assert len(found) == 7
    for kind, (cases, resumed, repeated, identical, passed) in found.items():
        assert cases == resumed == identical == passed >= 1, kind
        assert repeated <= 2 or kind == "full disk in a save", kind


@pytest.mark.soak
def test_every_case_of_every_kind(base):
    found = cut_runs_off()
    assert found["SIGKILL before a file operation"][0] > 100 and found["SIGKILL at a random time"][0] == 100
    assert all(cases == resumed == identical == passed for cases, resumed, _, identical, passed in found.values())


def test_starting_over_and_another_adapter_count_as_failures(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    runs = importlib.import_module("survival_runs")
    good = runs.Outcome("killed", sealed=4, resumed=4, reached=5, identical=True)
    assert good.passed
    assert not good._replace(resumed=0).passed, "started over"
    assert not good._replace(resumed=2).passed, "not the newest"
    assert not good._replace(reached=7).passed, "more than one save interval again"
    assert not good._replace(identical=False).passed
    assert not good._replace(problem="it did not stop").passed
