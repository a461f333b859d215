"""Training: what it writes, that it goes on where it was bit for bit, and what it refuses."""

import json
import shutil
import time
from functools import partial

import pytest
from safetensors.torch import load_file, save_file

from housebrain_core.config import FineTuningConfig
from housebrain_core.errors import AdapterError, CheckpointError
from housebrain_core.manifests import read_manifest, sha256_of
from housebrain_core.train import trainer, training
from housebrain_core.train.base_models import resolve_base
from housebrain_core.train.checkpoints import seal_checkpoint
from housebrain_core.train.tuner import HouseBrainFineTuner

WEIGHTS = "adapter_model.safetensors"


def settings(splits, base, output, **more) -> FineTuningConfig:
    values = {
        "dataset_path": splits / "split_01.zip",
        "output_dir": output,
        "base_model": str(base),
        "max_steps": 6,
        "gradient_accumulation_steps": 1,
        "row_length": 512,
        "learning_rate": 5e-3,
    }
    return FineTuningConfig(**values | more)


def train(config, lines=None):
    return HouseBrainFineTuner(config, report=(lines if lines is not None else []).append).train()


def test_the_adapter_folder_has_what_the_next_stages_read(adapters, base):
    folder = adapters[0]
    names = {path.name for path in folder.iterdir()}
    assert names >= {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "README.md", "run.json",
                     "trainer_state.json", "manifest.json"}  # fmt: skip
    run = json.loads((folder / "run.json").read_text())
    assert run["base"]["content"] == run["base"]["revision"] == resolve_base(str(base)).content
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast", "a class that other tools know"
    assert run["finished"] and run["steps"] == 6 and run["refused"] == 0 and run["samples"] == 16
    assert run["validation_loss"] > 0 and run["tokens"] > 0
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == base.name and config["r"] == 8 and config["lora_alpha"] == 16
    assert all(value.isfinite().all() for value in load_file(folder / "adapter_model.safetensors").values())


def test_after_twenty_steps_it_says_when_it_will_be_done(splits, base, tmp_path):
    lines: list[str] = []
    train(settings(splits, base, tmp_path / "hb", max_steps=25, time_budget_hours=1), lines)
    (line,) = [line for line in lines if line.startswith("after 20 steps")]
    assert "tokens/s" in line and "in this session" in line


def test_training_lowers_the_loss(adapters):
    curve = json.loads((adapters[0] / "run.json").read_text())["curve"]
    assert curve[-1][1] < curve[0][1]


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(splits, base, adapters, tmp_path):
    config = settings(splits, base, tmp_path / "hb", save_steps=2, time_budget_hours=1e-7)
    lines: list[str] = []
    sessions = 0
    while not train(config, lines).finished:
        sessions += 1
        assert sessions < 10
    assert sessions >= 2
    assert any("checkpoint" in line for line in lines)
    weights = "adapter_model.safetensors"
    assert sha256_of(tmp_path / "hb" / weights) == sha256_of(adapters[0] / weights)


def test_a_checkpoint_whose_weights_find_no_place_is_an_error(splits, base, tmp_path):
    config = settings(splits, base, tmp_path / "hb", time_budget_hours=1e-7)
    train(config)
    folder = tmp_path / "hb" / "checkpoint-1"
    fingerprint = read_manifest(folder, "checkpoint")["fingerprint"]
    weights = {name.replace(".layers.0.", ".layers.9."): tensor for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    seal_checkpoint(folder, 1, fingerprint)
    with pytest.raises(AdapterError, match=r"checkpoint-1 was loaded only in part:\n.*layers\.9\."):
        train(config)


def test_a_finished_run_is_not_trained_again(splits, base, adapters, tmp_path):
    folder = shutil.copytree(adapters[0], tmp_path / "hb")
    before = (folder / "manifest.json").read_bytes()
    assert train(settings(splits, base, folder)).finished
    assert (folder / "manifest.json").read_bytes() == before


CHANGES = {"learning_rate": 1e-3, "seed": 7, "lora_seed": 7, "lora_r": 4, "lora_alpha": 32, "lora_dropout": 0.5,
           "max_steps": 9, "epochs": 3, "batch_size": 2, "gradient_accumulation_steps": 2, "row_length": 1024,
           "max_length": 600, "warmup_share": 0.5, "load_in_4bit": False}  # fmt: skip


def test_another_runs_folder_is_refused_naming_every_change_with_old_and_new(splits, base, adapters, tmp_path):
    folder = shutil.copytree(adapters[0], tmp_path / "hb")
    with pytest.raises(CheckpointError) as refused:
        train(settings(splits, base, folder, **CHANGES))
    before = settings(splits, base, folder).model_dump() | {"max_length": 512}
    for field, value in CHANGES.items():
        assert f"{field} was {before[field]!r} and is now {value!r}" in str(refused.value)


def test_other_data_another_base_and_another_revision_of_it_are_refused(splits, base, adapters, tmp_path):
    folder = shutil.copytree(adapters[0], tmp_path / "hb")
    with pytest.raises(CheckpointError, match=r"data was '\w+' and is now '\w+'\. "):
        train(settings(splits, base, folder, dataset_path=splits / "split_02.zip"))
    other = shutil.copytree(base, tmp_path / "other")
    with pytest.raises(CheckpointError, match="base_model was 'tiny.*' and is now 'other'"):
        train(settings(splits, other, folder))
    changed = shutil.copytree(base, tmp_path / "changed" / base.name)
    (changed / "config.json").write_text((changed / "config.json").read_text() + " ")
    with pytest.raises(CheckpointError, match="revision was 'sha256:.*' and is now 'sha256:"):
        train(settings(splits, changed, folder))


def test_dataloader_workers_change_nothing_and_a_stopped_run_goes_on_exactly(
    splits, base, adapters, tmp_path, monkeypatch
):
    arguments = partial(trainer.TrainingArguments, dataloader_num_workers=1)
    monkeypatch.setattr(trainer, "TrainingArguments", arguments)
    config = settings(splits, base, tmp_path / "hb")
    train(config.model_copy(update={"time_budget_hours": 1e-7}))
    assert train(config).finished
    weights = "adapter_model.safetensors"
    assert sha256_of(tmp_path / "hb" / weights) == sha256_of(adapters[0] / weights)


def test_the_budget_counts_from_the_start_of_the_session_and_saving_by_minutes_too(splits, base, tmp_path, monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(training, "session_start", lambda: time.time() - 3600)
    result = train(settings(splits, base, tmp_path / "a", time_budget_hours=1.0), lines)
    assert (result.steps, result.why_it_ended) == (1, "the time budget ended")
    assert train(settings(splits, base, tmp_path / "b", time_budget_hours=1.1, max_steps=2, save_minutes=1e-6), lines)
    assert "saved checkpoint-1" in lines and "saved checkpoint-2" in lines


def test_a_split_folder_and_a_bundle_train_on_the_same_samples(splits, base, tmp_path):
    folder = train(settings(splits, base, tmp_path / "a", dataset_path=splits / "split_01", max_steps=1))
    bundle = train(settings(splits, base, tmp_path / "b", max_steps=1))
    assert (folder.samples, folder.tokens) == (bundle.samples, bundle.tokens)
