"""Runs on a real Ray cluster of two logical GPUs on this computer, whose workers are killed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_training import is_whole, make_job, sessions_of

from housebrain_core.cloud.notebook_run import find_processes, read_record
from housebrain_core.cloud.ray_slots import RaySlots
from housebrain_core.errors import ConfigError, MachineError
from housebrain_core.house import synthetic
from housebrain_core.manifests import sha256_of

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """A cluster of two GPUs that are none; RAY_ADDRESS names it."""
    pytest.importorskip("ray", reason="ray is not installed (the extra cluster)")
    for name, value in {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_gpus": 2, "num_cpus": 2, "include_dashboard": False})
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made
    made.shutdown()


@pytest.mark.filterwarnings("default")
@pytest.mark.slow
def test_a_split_whose_worker_is_killed_goes_on_elsewhere_and_each_has_a_gpu_of_its_own(cluster, tmp_path):
    jobs = [make_job(tmp_path, number, steps=40, pause=0.05) for number in (1, 2)]
    slots = RaySlots(attempts=3)
    assert slots.count == 2
    futures = [slots.submit(job) for job in jobs]
    give_up = time.monotonic() + 120
    while not (jobs[0].output / "step").exists():
        assert time.monotonic() < give_up
        time.sleep(0.05)
    os.kill(read_record(jobs[0].folder).worker, signal.SIGKILL)
    assert [future.result(120).ended for future in futures] == ["finished"] * 2
    slots.close()
    assert all(map(is_whole, jobs)) and not any(list(find_processes(job.folder)) for job in jobs)
    (_, first, gpu), (_, again, _) = sessions_of(jobs[0])
    assert first == "0" and int(again) > 0, "it went on where it was"
    assert {gpu, sessions_of(jobs[1])[0][2]} == {"0", "1"}


@pytest.mark.parametrize(("address", "said"), [("127.0.0.1:1", "refused"), ("auto", "could not connect")])
def test_where_no_cluster_answers_it_says_so(monkeypatch, address, said):
    ray = pytest.importorskip("ray", reason="ray is not installed (the extra cluster)")

    def init(**settings):
        raise ConnectionError("could not connect\nand a long text")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(MachineError, match=rf"no Ray cluster answers at RAY_ADDRESS = {address} \(.*{said}\)"):
        RaySlots(3)


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'housebrain\[cluster\]'"):
        RaySlots(3)


def prepare(folder: Path) -> None:
    """Generated data in six splits, with a plan of two rounds."""
    folder.mkdir()
    synthetic.write_dataset(folder / "dataset", 96, 16)
    split = ["split", "--source", "dataset", "--splits", "6", "--rounds", "2", "--common-start", "0"]
    subprocess.run([sys.executable, "-m", "housebrain_core.cli", *split], cwd=folder, check=True)


def start_run(folder: Path, *more: str) -> subprocess.Popen:
    """`housebrain run` of all of it with the tiny base."""
    training = ["--base-model", "tiny", "--max-steps", "24", "--save-steps", "2", "--row-length", "512"]
    command = ["run", *training, "--gradient-accumulation-steps", "1", "--no-judge", "--attempts", "9", *more]
    return subprocess.Popen([sys.executable, "-m", "housebrain_core.cli", *command], cwd=folder)


def hashes(folder: Path) -> dict[str, str]:
    """Adapter -> sha256 of its weights, the merged one's too."""
    return {path.parent.name: sha256_of(path) for path in sorted((folder / "models").glob(f"*/{WEIGHTS}"))}


@pytest.mark.filterwarnings("default")
@pytest.mark.soak
def test_six_splits_in_two_rounds_with_workers_killed_at_random_end_with_the_same_bytes(cluster, tmp_path):
    for name in ("undisturbed", "killed"):
        prepare(tmp_path / name)
    assert start_run(tmp_path / "undisturbed").wait() == 0
    run = start_run(tmp_path / "killed", "--on", "ray")
    dice, killed = random.Random(1), 0
    while run.poll() is None:
        time.sleep(dice.uniform(2, 8))
        records = [read_record(path.parent) for path in (tmp_path / "killed" / "runs").glob("*/record.json")]
        alive = [one.worker for one in records if one and Path(f"/proc/{one.worker}").exists()]
        if alive and killed < 8:
            os.kill(dice.choice(alive), signal.SIGKILL)
            killed += 1
    assert run.returncode == 0 and killed >= 4
    assert len(hashes(tmp_path / "killed")) == 13 and hashes(tmp_path / "killed") == hashes(tmp_path / "undisturbed")
