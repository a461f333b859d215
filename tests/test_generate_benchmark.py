"""benchmarks/generate.py: its figures, on few designs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_figures_of_the_small_tokenizer_are_printed_and_written(tmp_path):
    pytest.importorskip("llguidance", reason="the extra `constrained` is not installed")
    output = tmp_path / "generate.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "generate.py"), "--designs", "2", "--tokens", "4"]
    ran = subprocess.run(
        [*command, "--output", str(output)], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    figures = json.loads(output.read_text())
    (row,) = figures["vocabularies"]
    assert row["vocabulary"] == 2048 and row["constrained_ms_per_token"] > 0 and row["free_ms_per_token"] > 0
    assert [row["batch_size"] for row in figures["batches"]] == [1, 2]
