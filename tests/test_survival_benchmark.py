"""benchmarks/survival.py: a few kills in CI, all of them in the long form, and what counts as a failure."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "survival.py"


def kill_runs(operations: int, times: int) -> list[str]:
    """Runs the benchmark; its table's two rows."""
    command = [sys.executable, SCRIPT, "--operations", str(operations), "--times", str(times)]
    ran = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout.splitlines()[-2:]


def test_runs_killed_anywhere_go_on_at_the_newest_sealed_step_and_end_identical(base):
    operations, times = kill_runs(5, 3)
    assert operations == "| before a file operation | 5 | 5 | 5 |"
    assert times.startswith("| at a random time |")


@pytest.mark.soak
def test_a_hundred_kills_of_each_kind(base):
    operations, times = kill_runs(100, 100)
    assert operations == "| before a file operation | 100 | 100 | 100 |"
    killed, resumed, identical = map(int, times.split("|")[2:5])
    assert killed > 50 and killed == resumed == identical


def test_starting_over_and_another_adapter_count_as_failures():
    spec = importlib.util.spec_from_file_location("survival", SCRIPT)
    survival = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(survival)
    assert survival.Outcome(True, 4, 4, True).survived
    assert not survival.Outcome(True, 4, 0, True).survived, "started over"
    assert not survival.Outcome(True, 4, 2, True).survived, "not the newest"
    assert not survival.Outcome(True, 4, 4, False).survived
