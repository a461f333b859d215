"""The benchmarks of training: their arithmetic by hand, and one quick run of each."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from housebrain_core.config import SplitConfig
from housebrain_core.house import synthetic
from housebrain_core.splits.split import split_dataset

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Imports a benchmark by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def run(name: str, *options: str) -> str:
    command = [sys.executable, str(BENCHMARKS / name), *options]
    ran = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(BENCHMARKS.parent)}
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.soak
def test_throughput_compares_every_layout_on_the_same_samples():
    table = {line[2]: line.split(" | ") for line in run("train_throughput.py", "--quick").splitlines() if "%" in line}
    assert set("abcde") <= set(table)
    assert table["b"][-1] < table["e"][-1] == table["c"][-1] == table["d"][-1] == "100.0% |"
    tokens = {name: int(cells[1].replace(",", "")) for name, cells in table.items()}
    assert tokens["d"] < tokens["c"] and tokens["b"] == 512 and tokens["e"] < tokens["a"]


def test_the_cut_keeps_what_fits_and_padding_is_not_learned(load):
    layouts = load("layouts")
    tokens = [layouts.Tokens([1, 2, 3], [4, 5]), layouts.Tokens([1] * 6, [7, 8])]
    rows, share = layouts.lay_out(tokens, limit=4, pad_to=4)
    assert share == 1 / 4 and [row["input_ids"] for row in rows] == [[1, 2, 3, 4], [1, 1, 1, 1]]
    assert rows[0]["labels"] == [-100, -100, -100, 4] and rows[1]["labels"] == [-100] * 4
    (row,), share = layouts.lay_out(tokens[:1], limit=9, pad_to=7)
    assert share == 1 and row["attention_mask"] == [1] * 5 + [0] * 2 and row["labels"][-3:] == [5, -100, -100]


def test_operations_of_a_row_by_hand():
    from housebrain_core.splits.costs import Shape, count_operations

    shape = Shape(hidden=2, layers=3, intermediate=5, heads=1, key_value_heads=1, vocabulary=7, tied=True)
    weights, attention = 3 * (4 * 4 + 3 * 10), 4 * 8 * 2 * 3
    plain, checkpointed = count_operations(shape, row_length=8, learned_share=0.5)
    assert plain == 4 * weights + 3 * attention + 4 * 7 * 2 * 0.5
    assert checkpointed - plain == 2 * weights + attention


def test_a_random_model_has_the_shape_four_bits_and_lora_on_every_linear_layer(load):
    from bitsandbytes.nn import Linear4bit

    from housebrain_core.splits.costs import Shape

    shape = Shape(64, 2, 128, 4, 2, 256, True)
    model = load("random_models").random_model(shape)
    four = [module for module in model.modules() if isinstance(module, Linear4bit)]
    assert sum(module.in_features * module.out_features for module in four) == shape.in_layers
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert trained == sum(8 * (module.in_features + module.out_features) for module in four)


def test_a_checkpoint_of_real_shapes_is_saved_sealed_and_costs_what_is_allowed(load):
    text = run("checkpoint_cost.py", "--layers", "1", "--saves", "3")
    assert f"{19_988_480 // 32:,} trained parameters" in text and "2 kept" in text


def test_the_error_of_an_estimate_by_hand(load):
    estimate = load("estimate")
    assert estimate.Error(200, estimated=110.0, real=100.0).share == pytest.approx(0.10)
    assert estimate.Error(200, estimated=90.0, real=100.0).share == pytest.approx(0.10)


@pytest.mark.soak
def test_a_run_that_the_rule_ends_early_branches_off_the_whole_one(base, tmp_path):
    synthetic.write_dataset(tmp_path / "dataset", 8, 4)
    config = SplitConfig(source=tmp_path / "dataset", output=tmp_path / "splits", splits=2, validation_samples=4)
    split_dataset(config, report=lambda line: None)
    options = ["--split", tmp_path / "splits" / "split_01.zip", "--base-model", base, "--epochs", "30",
               "--gradient-accumulation-steps", "1", "--learning-rate", "0.02"]  # fmt: skip
    text = run("learning_curve.py", *map(str, options))
    assert "resuming from checkpoint-" in text and "of the time saved" in text and "| 100.0% |" in text


def test_the_curves_table_counts_samples_seen_and_the_distance_to_the_floor(load):
    from types import SimpleNamespace

    result = SimpleNamespace(validation_curve=[(10, 2.0)], steps=40, validation_loss=1.1, planned_steps=40,
                             settings=SimpleNamespace(epochs=2), samples=100, floor=1.0)  # fmt: skip
    lines = load("learning_curve").table(result).splitlines()
    assert lines[2] == "| 25.0% | 50 | 2.0000 | 100.0% |" and lines[3] == "| 100.0% | 200 | 1.1000 | 10.0% |"
