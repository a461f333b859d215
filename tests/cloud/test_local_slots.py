"""Places for runs on this computer: every GPU has one run at a time."""

import threading
import time

import pytest
from fake_training import make_job

from housebrain_core.cloud import local_slots
from housebrain_core.cloud.local_slots import LocalSlots, visible_gpus
from housebrain_core.cloud.notebook_run import Outcome
from housebrain_core.errors import ConfigError
from housebrain_core.platforms import Gpu


@pytest.fixture
def gpus(monkeypatch):
    """A computer with three GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(local_slots, "list_gpus", lambda: [Gpu("T4", (7, 5), 15_000, 15_000)] * 3)


@pytest.fixture
def runs(monkeypatch):
    """What ran where, and how many at once; nothing is really run."""
    busy, seen, lock = set(), [], threading.Lock()

    def run_job(job, machine, environment):
        place = environment.get("CUDA_VISIBLE_DEVICES", machine)
        with lock:
            assert place == "CPU" or place not in busy, "two runs on one GPU"
            busy.add(place)
            seen.append((place, environment.get("OMP_NUM_THREADS")))
        time.sleep(0.02)
        with lock:
            busy.discard(place)
        return Outcome(job.name, "finished")

    monkeypatch.setattr(local_slots, "run_job", run_job)
    return seen


def run_all(slots: LocalSlots, tmp_path, count: int) -> None:
    futures = [slots.submit(make_job(tmp_path, number)) for number in range(1, count + 1)]
    assert [future.result().ended for future in futures] == ["finished"] * count
    slots.close()


def test_every_gpu_gets_one_run_at_a_time(gpus, runs, tmp_path):
    slots = LocalSlots(None)
    assert slots.count == 3
    run_all(slots, tmp_path, 8)
    assert {place for place, _ in runs} == {"0", "1", "2"}


def test_only_gpus_that_are_visible_are_used(gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-abc")
    assert visible_gpus() == ["2", "GPU-abc"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def test_more_runs_than_gpus_are_refused(gpus):
    with pytest.raises(ConfigError, match="at_once = 4, but this computer has 3 GPUs"):
        LocalSlots(4)


def test_without_gpus_it_is_one_run_or_as_many_as_are_wanted_which_share_the_cores(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(local_slots, "list_gpus", list)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS")
    run_all(LocalSlots(None), tmp_path, 2)
    run_all(LocalSlots(4), tmp_path, 2)
    assert runs == [("CPU", "8")] * 2 + [("CPU", "2")] * 2
