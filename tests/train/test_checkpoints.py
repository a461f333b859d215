"""Checkpoints as folders: sealed, verified, set aside, pruned. What a trainer makes of it: test_survival.py."""

import os
import shutil

import pytest

from housebrain_core.errors import CheckpointError, ConfigError
from housebrain_core.manifests import MANIFEST
from housebrain_core.train import checkpoints
from housebrain_core.train.checkpoints import (
    check_run_folder,
    find_checkpoint,
    list_checkpoints,
    prune_checkpoints,
    refuse_other_run,
    seal_checkpoint,
)

RUN = {"seed": 42, "data": "ab12", "learning_rate": 2e-4, "world_size": 1}
NAMES = ("adapter_config.json", "adapter_model.safetensors", "optimizer.pt", "rng_state.pth", "scheduler.pt",
         "trainer_state.json", "training_args.bin")  # fmt: skip
DAMAGE = {
    "truncated": lambda data: data[: len(data) // 2],
    "zeroed": lambda data: bytes(len(data)),
    "deleted": lambda data: None,
    "flipped": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
    "empty": lambda data: b"",
}


def write_checkpoint(output, step, sealed=True):
    folder = output / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (folder / name).write_bytes(bytes([step % 256, number, 7]) * 400)
    if sealed:
        seal_checkpoint(folder, step, RUN)
    return folder


def contents(folder):
    return sorted(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["README.md", "manifest.json", "train/1.json", "checkpoint-final"])
def test_a_folder_that_holds_something_else_gets_no_run(name, tmp_path):
    check_run_folder(tmp_path / "new")
    (tmp_path / ".DS_Store").touch()
    check_run_folder(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('{"kind": "adapter", "files": {}}')
    with pytest.raises(ConfigError, match=f"output = {tmp_path}: {name[:5]}.* in it is of no training run"):
        check_run_folder(tmp_path)
    (tmp_path / ".progress.json").touch()  # a run that ended before its first checkpoint
    check_run_folder(tmp_path)
    (tmp_path / ".progress.json").unlink()  # one that came from elsewhere, without hidden files
    write_checkpoint(tmp_path, 9)
    check_run_folder(tmp_path)


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_sets_its_checkpoint_aside_and_the_one_before_is_used(name, how, tmp_path):
    older, newer = write_checkpoint(tmp_path, 9), write_checkpoint(tmp_path, 10)
    damaged = DAMAGE[how]((newer / name).read_bytes())
    (newer / name).unlink()
    if damaged is not None:
        (newer / name).write_bytes(damaged)
    before, lines = contents(newer), []
    assert find_checkpoint(tmp_path, RUN, lines.append) == older
    assert len(lines) == 1 and name in lines[0] and "checkpoint-10" in lines[0]
    assert contents(tmp_path / "invalid" / "checkpoint-10.1") == before, "nothing of it is deleted or changed"


@pytest.mark.parametrize("how", ["truncated", "zeroed", "deleted", "empty"])
def test_without_a_whole_manifest_a_checkpoint_does_not_count(how, tmp_path):
    older, newer = write_checkpoint(tmp_path, 9), write_checkpoint(tmp_path, 10)
    damaged = DAMAGE[how]((newer / MANIFEST).read_bytes())
    (newer / MANIFEST).unlink()
    if damaged is not None:
        (newer / MANIFEST).write_bytes(damaged)
    assert find_checkpoint(tmp_path, RUN, lambda line: None) == older
    assert (tmp_path / "invalid" / "checkpoint-10.1" / "optimizer.pt").is_file()


def test_the_newest_is_by_number_not_by_name(tmp_path):
    for step in (9, 100, 20):
        write_checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-300.partial").mkdir()
    assert find_checkpoint(tmp_path, RUN) == tmp_path / "checkpoint-100"
    assert len(list_checkpoints(tmp_path)) == 3


def test_a_save_that_never_ended_is_skipped_and_a_new_run_has_none(tmp_path):
    assert find_checkpoint(tmp_path, RUN) is None
    write_checkpoint(tmp_path, 5, sealed=False)
    assert find_checkpoint(tmp_path, RUN, lambda line: None) is None
    assert (tmp_path / "invalid" / "checkpoint-5.1").is_dir()


def test_a_run_that_lost_what_it_sealed_stops_every_time_and_deletes_nothing(tmp_path):
    folder = write_checkpoint(tmp_path, 5)
    (folder / "optimizer.pt").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(CheckpointError, match="nothing was deleted"):
            find_checkpoint(tmp_path, RUN, lambda line: None)
    assert len(contents(tmp_path / "invalid")) == len(NAMES) + 1
    shutil.rmtree(tmp_path / "invalid")  # even when a person removed them: no silent new start
    with pytest.raises(CheckpointError):
        find_checkpoint(tmp_path, RUN, lambda line: None)


def test_setting_aside_twice_keeps_both(tmp_path):
    write_checkpoint(tmp_path, 3)
    for _ in range(2):
        write_checkpoint(tmp_path, 5, sealed=False)
        find_checkpoint(tmp_path, RUN, lambda line: None)
    assert {path.name for path in (tmp_path / "invalid").iterdir()} == {"checkpoint-5.1", "checkpoint-5.2"}


@pytest.mark.parametrize("field", RUN)
def test_another_run_is_refused_naming_each_change_with_old_and_new(field, tmp_path):
    write_checkpoint(tmp_path, 5)
    with pytest.raises(CheckpointError, match=f"{field} was {RUN[field]!r} and is now 'other'"):
        find_checkpoint(tmp_path, RUN | {field: "other"})
    assert (tmp_path / "checkpoint-5").is_dir(), "it is whole, so it stays where it is"
    with pytest.raises(CheckpointError, match=field):
        refuse_other_run({key: value for key, value in RUN.items() if key != field}, RUN, tmp_path)
    refuse_other_run(RUN, dict(RUN), tmp_path)


def test_pruning_keeps_the_newest_sealed_ones_and_counts_no_others(tmp_path):
    for step in (2, 4, 10):
        write_checkpoint(tmp_path, step)
    write_checkpoint(tmp_path, 12, sealed=False)
    prune_checkpoints(tmp_path)
    assert {path.name for path in list_checkpoints(tmp_path)} == {"checkpoint-4", "checkpoint-10", "checkpoint-12"}
    assert find_checkpoint(tmp_path, RUN, lambda line: None) == tmp_path / "checkpoint-10"


def test_a_half_removed_checkpoint_never_counts(tmp_path, monkeypatch):
    for step in (2, 4, 6):
        write_checkpoint(tmp_path, step)

    def die(folder):
        (folder / "optimizer.pt").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.shutil, "rmtree", die)
    with pytest.raises(KeyboardInterrupt):
        prune_checkpoints(tmp_path)
    assert not (tmp_path / "checkpoint-2" / MANIFEST).exists()


def test_the_manifest_is_the_last_file_of_a_seal(tmp_path, monkeypatch):
    folder, synced = write_checkpoint(tmp_path, 2, sealed=False), []
    fsync = os.fsync

    def watch(handle):
        synced.append((folder / MANIFEST).exists())
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watch)
    seal_checkpoint(folder, 2, RUN)
    assert not any(synced[: len(NAMES) + 1]) and synced[-1], "all files and the manifest's bytes, then the rename"


@pytest.mark.slow
def test_a_manifest_with_any_one_bit_flipped_is_damaged_or_as_good_as_before(tmp_path):
    older, newer = write_checkpoint(tmp_path, 9), write_checkpoint(tmp_path, 10)
    whole = (newer / MANIFEST).read_bytes()
    damaged = 0
    for position in range(len(whole)):
        data = bytearray(whole)
        data[position] ^= 1 << position % 8
        (newer / MANIFEST).write_bytes(data)
        found = find_checkpoint(tmp_path, RUN, lambda line: None)
        assert found in (older, newer), "never a traceback, and never another run's"
        if found == older:
            damaged += 1
            (tmp_path / "invalid" / "checkpoint-10.1").rename(newer)
    assert damaged > 0.9 * len(whole), "all but spaces and the version"
