"""How many processes train, what they find, and what is said of one that ends; test_distributed.py runs them."""

import json
import signal

import pytest

from housebrain_core import errors
from housebrain_core.config import FineTuningConfig
from housebrain_core.manifests import seal
from housebrain_core.platforms import Gpu
from housebrain_core.train import processes
from housebrain_core.train.processes import (
    LAST_LINES,
    count_gpus,
    count_processes,
    gather,
    pass_on,
    process_environment,
    processes_of_run,
    rank,
    read_error,
    world_size,
)


@pytest.fixture
def gpus(monkeypatch):
    """A machine with two GPUs, all of which may be used."""
    monkeypatch.setattr(processes, "list_gpus", lambda: [Gpu("T4", (7, 5), 15360, 15000)] * 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def config(tmp_path, **settings):
    return FineTuningConfig(dataset_path="x.zip", output_dir=tmp_path, **settings)


def test_alone_a_process_is_the_first_of_one(monkeypatch):
    assert (rank(), world_size(), gather("a")) == (0, 1, ["a"])
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert (rank(), world_size()) == (1, 2)


@pytest.mark.parametrize(("visible", "count"), [(None, 2), ("0", 1), ("", 0), ("0,1,2,3", 2), (" ", 0)])
def test_gpus_that_the_session_hides_do_not_count(visible, count, gpus, monkeypatch):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert count_gpus() == count


def test_all_gpus_train_unless_fewer_are_asked_for(gpus, tmp_path, monkeypatch):
    assert count_processes(config(tmp_path)) == 2
    assert count_processes(config(tmp_path, gpus=1)) == 1
    monkeypatch.setattr(processes, "list_gpus", list)
    assert count_processes(config(tmp_path)) == 1


def test_more_processes_than_gpus_are_refused_with_what_to_do(gpus):
    with pytest.raises(errors.MachineError, match="gpus = 3, but this session can use 2"):
        process_environment(3)


def test_processes_find_this_very_package(monkeypatch):
    monkeypatch.setattr(processes, "list_gpus", list)
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    first, second = process_environment(2)["PYTHONPATH"].split(processes.os.pathsep)
    assert (processes.Path(first) / "housebrain_core" / "train" / "processes.py").is_file() and second == "elsewhere"


def test_an_error_of_our_own_comes_back_as_itself(tmp_path):
    (tmp_path / "error-1.json").write_text(json.dumps({"kind": "CheckpointError", "message": "no room"}))
    error = read_error(tmp_path)
    assert type(error) is errors.CheckpointError and str(error) == "no room"


def test_of_any_other_end_the_last_lines_are_shown(tmp_path):
    (tmp_path / "stderr").write_text("\n".join(f"line {number}" for number in range(40)))
    text = str(read_error(tmp_path))
    assert "line 39" in text and len(text.splitlines()) == LAST_LINES + 1


def test_a_signal_before_the_first_process_has_begun_ends_them_all(tmp_path):
    ended = []

    class Torchrun:
        def terminate(self):
            ended.append(True)

    pass_on(signal.SIGTERM, tmp_path, Torchrun())
    assert ended == [True]


@pytest.mark.parametrize("fingerprint", [None, {}, {"world_size": "2"}, {"world_size": 0}])
def test_a_record_without_a_number_of_processes_names_none(fingerprint, tmp_path):
    seal(tmp_path, "adapter", [], fingerprint=fingerprint)
    assert processes_of_run(tmp_path) is None
    seal(tmp_path, "adapter", [], fingerprint={"world_size": 2})
    assert processes_of_run(tmp_path) == 2
