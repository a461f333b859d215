"""Gradient checkpointing: only when memory needs it, with a reason, and without changing what is learned."""

import pytest
import torch
from safetensors.torch import load_file

from housebrain_core.config import FineTuningConfig
from housebrain_core.errors import TrainingError
from housebrain_core.manifests import sha256_of
from housebrain_core.train import memory
from housebrain_core.train.tuner import HouseBrainFineTuner

WEIGHTS = "adapter_model.safetensors"
GIB = 2**30


def train(splits, base, output, **more) -> list[str]:
    values = {"dataset_path": splits / "split_01.zip", "output_dir": output, "base_model": str(base), "max_steps": 6,
              "gradient_accumulation_steps": 1, "row_length": 512,
              "learning_rate": 5e-3, "lora_dropout": 0.1}  # fmt: skip
    lines: list[str] = []
    HouseBrainFineTuner(FineTuningConfig(**values | more), lines.append).train()
    return lines


@pytest.fixture(scope="module")
def plain(splits, base, tmp_path_factory):
    """A run on the CPU, with dropout: a probe that moved the random state would change it."""
    folder = tmp_path_factory.mktemp("plain") / "hb"
    lines = train(splits, base, folder)
    assert "gradient checkpointing off: there is no GPU whose memory could run out" in lines
    return folder


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of 1 GiB whose memory runs out in every step that does not checkpoint; rows tried, by their length."""
    tried = []

    def peak(model, row):
        tried.append((model.is_gradient_checkpointing, len(row["input_ids"])))
        if not model.is_gradient_checkpointing:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return measure(model, row) + GIB // 2

    measure = memory.peak_memory
    monkeypatch.setattr(memory, "gpu_memory", lambda device: GIB)
    monkeypatch.setattr(memory, "peak_memory", peak)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 0)
    return tried


def close(one, other) -> bool:
    ours, theirs = load_file(one / WEIGHTS), load_file(other / WEIGHTS)
    return all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in theirs)


def test_out_of_memory_turns_it_on_and_the_adapter_is_the_same(gpu, plain, splits, base, tmp_path):
    lines = train(splits, base, tmp_path / "hb")
    (line,) = [line for line in lines if line.startswith("gradient checkpointing")]
    assert line.startswith("gradient checkpointing on: a step does not fit without; a step needs 0.")
    assert [on for on, _ in gpu] == [False, False, True, True], "once without and once with, each with the fullest rows"
    assert close(tmp_path / "hb", plain)


def test_with_checkpointing_a_stopped_run_goes_on_to_the_same_bytes(splits, base, tmp_path):
    train(splits, base, tmp_path / "straight", gradient_checkpointing="on")
    for _ in range(6):
        train(splits, base, tmp_path / "cut", gradient_checkpointing="on", time_budget_hours=1e-7)
    assert sha256_of(tmp_path / "cut" / WEIGHTS) == sha256_of(tmp_path / "straight" / WEIGHTS)


def test_a_step_that_never_fits_is_refused_with_advice(gpu, splits, base, tmp_path, monkeypatch):
    with pytest.raises(TrainingError, match="checkpointing off: as asked; a step needs inf of 1.0 GiB.*row_length"):
        train(splits, base, tmp_path / "hb", gradient_checkpointing="off")
    monkeypatch.setattr(memory, "gpu_memory", lambda device: GIB // 4)
    with pytest.raises(TrainingError, match="checkpointing on: a step does not fit without.*smaller base model"):
        train(splits, base, tmp_path / "hb")


def test_memory_that_runs_out_later_says_what_to_do(splits, base, tmp_path, monkeypatch):
    def run_out(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    monkeypatch.setattr("housebrain_core.train.trainer.RowTrainer.training_step", run_out)
    with pytest.raises(TrainingError, match="memory ran out.*row_length"):
        train(splits, base, tmp_path / "hb")
