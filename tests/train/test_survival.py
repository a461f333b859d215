"""Survival: killed, damaged, out of space: every run ends with the adapter of the uninterrupted one, by sha256."""

import os
import random
import shutil
import signal
import sys
from functools import partial

import pytest
from transformers import TrainingArguments

from housebrain_core.config import FineTuningConfig
from housebrain_core.errors import CheckpointError, ConfigError
from housebrain_core.manifests import read_manifest, sha256_of
from housebrain_core.outputs import lock_output
from housebrain_core.train.checkpoints import find_checkpoint
from housebrain_core.train.stopping import STOPPED_BY
from housebrain_core.train.trainer import RowTrainer
from housebrain_core.train.tuner import HouseBrainFineTuner

WEIGHTS = "adapter_model.safetensors"


class PowerCut(BaseException):
    """Ends a run where it stands, past every `except`."""


def settings(splits, base, output, **more) -> FineTuningConfig:
    """The settings of the `adapters` fixture, with a checkpoint every two steps."""
    values = {"dataset_path": splits / "split_01.zip", "output_dir": output, "base_model": str(base), "max_steps": 6,
              "gradient_accumulation_steps": 1, "row_length": 512, "learning_rate": 5e-3, "save_steps": 2}  # fmt: skip
    return FineTuningConfig(**values | more)


def train(config, report=lambda line: None):
    return HouseBrainFineTuner(config, report=report).train()


@pytest.fixture(scope="module")
def cut(splits, base, tmp_path_factory):
    """A run that lost power right after it sealed checkpoint-4."""
    folder = tmp_path_factory.mktemp("cut") / "hb"

    def report(line):
        if line == "saved checkpoint-4":
            raise PowerCut

    with pytest.raises(PowerCut):
        train(settings(splits, base, folder), report)
    return folder


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == "deleted":
        path.unlink()
    elif how == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.write_bytes({"truncated": data[: len(data) // 2], "zeroed": bytes(len(data)), "empty": b""}[how])


@pytest.mark.parametrize("how", ["truncated", "zeroed", "deleted", "flipped", "empty"])
def test_any_damage_to_any_file_falls_back_to_the_checkpoint_before(how, cut, tmp_path):
    manifest = read_manifest(cut / "checkpoint-4", "checkpoint")
    assert {"optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", WEIGHTS} <= manifest["files"].keys()
    for name in [*manifest["files"], "manifest.json"]:
        folder, lines = tmp_path / name / "hb", []
        shutil.copytree(cut, folder)
        damage(folder / "checkpoint-4" / name, how)
        if name == "manifest.json" and how == "flipped":
            continue  # one bit of a fingerprint may still be JSON: then the run is refused, never used
        found = find_checkpoint(folder, manifest["fingerprint"], lines.append)
        assert found == folder / "checkpoint-2", (name, how)
        assert (folder / "invalid" / "checkpoint-4.1").is_dir() and len(lines) == 1
        assert name in lines[0] or name == "manifest.json"


def test_a_run_that_falls_back_ends_with_the_same_bytes(cut, splits, base, adapters, tmp_path):
    folder, lines = shutil.copytree(cut, tmp_path / "hb"), []
    damage(folder / "checkpoint-4" / "optimizer.pt", "flipped")
    train(settings(splits, base, folder), lines.append)
    assert "resuming from checkpoint-2" in lines
    assert sha256_of(folder / WEIGHTS) == sha256_of(adapters[0] / WEIGHTS)


@pytest.mark.parametrize("how", ["zeroed", "deleted"])
def test_when_every_checkpoint_is_damaged_or_gone_it_stops_and_deletes_nothing(how, cut, splits, base, tmp_path):
    folder = shutil.copytree(cut, tmp_path / "hb")
    for step in (2, 4):
        for name in (WEIGHTS, "manifest.json") if how == "deleted" else (WEIGHTS,):
            damage(folder / f"checkpoint-{step}" / name, how)
    for _ in range(2):  # also the second time, when they are set aside already
        with pytest.raises(CheckpointError, match="nothing was deleted"):
            train(settings(splits, base, folder))
    assert len(list((folder / "invalid").glob("*/optimizer.pt"))) == 2


@pytest.fixture(scope="module")
def two_epochs(splits, dataset, base, tmp_path_factory):
    """The settings of a run of two whole epochs, its steps in one, and the sha256 of its adapter."""
    more = {"dataset_path": dataset, "max_steps": None, "epochs": 2, "full_epochs": True, "save_steps": 1}
    folder = tmp_path_factory.mktemp("epochs") / "hb"
    whole = train(settings(splits, base, folder, **more))
    assert whole.steps % 2 == 0 and whole.steps >= 6
    return more, whole.steps // 2, sha256_of(folder / WEIGHTS)


@pytest.mark.parametrize(("after_border", "workers"), [(0, 0), pytest.param(2, 0, marks=pytest.mark.soak), (1, 2)])
def test_cut_at_the_border_of_an_epoch_or_behind_it_a_run_ends_with_the_same_bytes(
    after_border, workers, two_epochs, splits, base, tmp_path, monkeypatch
):
    more, epoch, expected = two_epochs
    monkeypatch.setattr(
        "housebrain_core.train.trainer.TrainingArguments", partial(TrainingArguments, dataloader_num_workers=workers)
    )
    config, step = settings(splits, base, tmp_path / "hb", **more), epoch + after_border

    def report(line):
        if line == f"saved checkpoint-{step}":
            raise PowerCut

    with pytest.raises(PowerCut):
        train(config, report)
    lines = []
    train(config, lines.append)
    assert f"resuming from checkpoint-{step}" in lines
    assert sha256_of(tmp_path / "hb" / WEIGHTS) == expected


def test_a_full_disk_warns_cleans_up_and_trains_on(splits, base, adapters, tmp_path, monkeypatch):
    lines = []
    fail_saves(monkeypatch, {2, 4})
    train(settings(splits, base, tmp_path / "hb"), lines.append)
    assert sum("training goes on" in line for line in lines) == 2 and "saved checkpoint-6" in lines
    assert sha256_of(tmp_path / "hb" / WEIGHTS) == sha256_of(adapters[0] / WEIGHTS)


def test_the_third_failed_save_in_a_row_stops_with_the_last_good_checkpoint(splits, base, tmp_path, monkeypatch):
    fail_saves(monkeypatch, {2, 3, 4})
    with pytest.raises(CheckpointError, match="third in a row"):
        train(settings(splits, base, tmp_path / "hb", save_steps=1))
    assert [path.name for path in (tmp_path / "hb").glob("checkpoint-*")] == ["checkpoint-1"]
    read_manifest(tmp_path / "hb" / "checkpoint-1", "checkpoint")


def fail_saves(monkeypatch, steps):
    """The optimizer's file of these steps is half written, then the disk is full."""
    original = RowTrainer._save_optimizer_and_scheduler

    def save(self, output_dir):
        if self.state.global_step in steps:
            with open(os.path.join(output_dir, "optimizer.pt"), "wb") as file:
                file.write(b"half")
            raise OSError(28, "No space left on device")
        original(self, output_dir)

    monkeypatch.setattr(RowTrainer, "_save_optimizer_and_scheduler", save)


def test_a_second_trainer_of_one_folder_is_refused(splits, base, tmp_path):
    with lock_output(tmp_path / "hb"), pytest.raises(ConfigError, match="another process"):
        train(settings(splits, base, tmp_path / "hb"))


def test_sigterm_and_sigint_save_and_the_run_goes_on_exactly(splits, base, adapters, tmp_path):
    for number in (signal.SIGTERM, signal.SIGINT):
        folder = tmp_path / number.name

        def stop(line, number=number):
            if line == "saved checkpoint-2":
                os.kill(os.getpid(), number)

        first = train(settings(splits, base, folder), stop)
        assert not first.finished and first.steps in (2, 3) and first.why_it_ended == STOPPED_BY[number]
        assert train(settings(splits, base, folder)).finished
        assert sha256_of(folder / WEIGHTS) == sha256_of(adapters[0] / WEIGHTS)


def run_and_die(config, at: int) -> bool:
    """Trains in a forked process that kills itself before its `at`-th file operation; True when it got so far."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = at

    def count(event, arguments):
        nonlocal left
        watched = event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree")
        if watched and any(str(config.output_dir) in str(argument) for argument in arguments[:2]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    try:
        train(config)
    finally:
        os._exit(0)


def survive(splits, base, adapters, folder, at) -> bool:
    """Kills at one file operation, then goes on: from the newest sealed step, to the same bytes."""
    died = run_and_die(settings(splits, base, folder), at)
    steps = [int(path.parent.name[11:]) for path in folder.glob("checkpoint-*/manifest.json")]
    finished, lines = (folder / "manifest.json").exists(), []
    train(settings(splits, base, folder), lines.append)
    resumed = [line for line in lines if line.startswith("resuming")]
    assert finished or resumed == [f"resuming from checkpoint-{max(steps, default=0)}"] * bool(steps), (at, lines)
    assert sha256_of(folder / WEIGHTS) == sha256_of(adapters[0] / WEIGHTS), at
    return died


def test_killed_before_a_file_operation_it_goes_on_to_the_same_bytes(splits, base, adapters, tmp_path):
    for at in random.Random(5).sample(range(3, 60), 3):
        assert survive(splits, base, adapters, tmp_path / str(at), at)


@pytest.mark.soak
def test_killed_before_every_file_operation_it_goes_on_to_the_same_bytes(splits, base, adapters, tmp_path):
    at = 1
    while survive(splits, base, adapters, tmp_path / str(at), at):
        shutil.rmtree(tmp_path / str(at))
        at += 1
    print(f"{at - 1} kills, all ended identical")
    assert at > 60
