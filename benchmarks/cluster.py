"""How close runs on several places come to the ideal: the work of all runs, divided by the places.

    python benchmarks/cluster.py [--splits 6] [--steps 40] [--on local|ray] [--places 2]

Every run is the train notebook with the tiny base on generated data, first one after another, then all places at once.
Where places share cores, as on a small computer, the ideal cannot be reached: the table says how many cores there are.
Ray's places are logical GPUs of a cluster on this computer, unless RAY_ADDRESS names one.
"""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from housebrain_core.cloud.local_slots import LocalSlots
from housebrain_core.cloud.notebook_run import Job, run_job
from housebrain_core.cloud.own_machines import Slots
from housebrain_core.cloud.ray_slots import RaySlots
from housebrain_core.config import SplitConfig
from housebrain_core.display.results import Table
from housebrain_core.house import synthetic
from housebrain_core.splits.notebooks import RENDERED, TRAIN
from housebrain_core.splits.parts import SplitPart, read_splits
from housebrain_core.splits.split import split_dataset
from housebrain_core.train.tiny import tiny_base


def prepare(project: Path, splits: int) -> list[SplitPart]:
    """Generated data, cut."""
    synthetic.write_dataset(project / "dataset", 80 * splits, 16)
    config = SplitConfig(source=project / "dataset", output=project / "housebrain_splits", splits=splits)
    split_dataset(config, report=lambda line: None)
    return read_splits(config.output)


def make_jobs(project: Path, parts: list[SplitPart], way: str, steps: int) -> list[Job]:
    """A run for each split, in folders of this way of running them."""
    models = project / way / "models"
    (project / way).mkdir()
    parameters = {"base_model": str(tiny_base()), "max_steps": steps, "models_folder": str(models), "row_length": 512}
    return [
        Job(
            name=part.adapter,
            split_id=part.split_id,
            project=project,
            notebook=RENDERED / "local" / TRAIN,
            folder=project / way / part.adapter,
            output=models / part.adapter,
            stop=project / way / "stop",
            parameters=parameters | {"split_id": part.split_id},
            attempts=1,
        )
        for part in parts
    ]


def run_alone(jobs: list[Job]) -> list[float]:
    """Seconds of each run, one after another."""
    seconds = []
    for job in jobs:
        started = time.monotonic()
        outcome = run_job(job)
        assert outcome.ended == "finished", outcome
        seconds.append(time.monotonic() - started)
    return seconds


def run_together(jobs: list[Job], slots: Slots) -> float:
    """Seconds until all runs have ended, on all places at once."""
    started = time.monotonic()
    for future in [slots.submit(job) for job in jobs]:
        assert future.result().ended == "finished", future.result()
    return time.monotonic() - started


def make_slots(on: str, places: int) -> Slots:
    """Places on this computer, or on a cluster."""
    if on == "local":
        return LocalSlots(places)
    if "RAY_ADDRESS" not in os.environ:
        from ray.cluster_utils import Cluster

        node = {"num_gpus": places, "num_cpus": places, "include_dashboard": False}
        os.environ["RAY_ADDRESS"] = Cluster(initialize_head=True, head_node_args=node).address
    return RaySlots(attempts=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=6)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--on", choices=("local", "ray"), default="local")
    parser.add_argument("--places", type=int, default=2)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        project = Path(name)
        parts = prepare(project, chosen.splits)
        alone = run_alone(make_jobs(project, parts, "alone", chosen.steps))
        slots = make_slots(chosen.on, chosen.places)
        together = run_together(make_jobs(project, parts, "together", chosen.steps), slots)
        count = slots.count
        slots.close()
    ideal = sum(alone) / count
    columns = ("on", "places", "runs", "alone, each s", "work s", "ideal s", "took s", "times the ideal")
    row = (chosen.on, f"{count}", f"{len(alone)}", f"{min(alone):.1f}-{max(alone):.1f}", f"{sum(alone):.1f}",
           f"{ideal:.1f}", f"{together:.1f}", f"{together / ideal:.2f}")  # fmt: skip
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    print(f"{platform.machine()}, {os.cpu_count()} cores{load}, Python {platform.python_version()}")
    print(Table(columns, [row]))


if __name__ == "__main__":
    main()
