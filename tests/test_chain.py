"""The main job from end to end: on real data through the commands (tests/test_demo.py: through the notebooks)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import run


@pytest.mark.xdist_group("real")
def test_the_whole_chain_runs_on_600_real_samples(shared, base, tmp_path, monkeypatch, capsys):
    unpack = [sys.executable, shared / "data" / "unpack.py", tmp_path / "real", "--train", "600", "--validation", "40"]
    subprocess.run(unpack, check=True, capture_output=True)
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        code, text = run(monkeypatch, capsys, *arguments)
        assert code == 0, text
        return text

    command("split", "--source", "real", "--splits", "6", "--validation-samples", "24")
    names = []
    for number in range(1, 7):
        names.append(f"models/hb-{'colab' if number <= 3 else 'kaggle'}-{number:02d}")
        bundle = f"housebrain_splits/split_{number:02d}.zip"
        small = ["--max-steps", "8", "--gradient-accumulation-steps", "2", "--learning-rate", "0.005"]
        command("train", "--split", bundle, "--output", names[-1], "--base-model", base, *small)
    command("merge", "--models", *names, "--validate")
    command("evaluate", "--model", base, "--model", "models/housebrain-merged", "--samples", "4")
    models = json.loads(Path("evaluation.json").read_text())["models"]
    assert models["housebrain-merged"]["loss_nats_per_token"] < models[base.name]["loss_nats_per_token"]
    samples = sum(json.loads((Path(name) / "run.json").read_text())["samples"] for name in names)
    assert samples == 600
