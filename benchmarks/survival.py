"""Kills training runs and counts those that end with the adapter of the uninterrupted run, byte for byte.

    python benchmarks/survival.py                  100 kills before file operations, 100 at random times
    python benchmarks/survival.py --operations 10 --times 5

A save, a seal, a prune and the last folder are all file operations of a run: SIGKILL comes before the k-th of them, for
k spread over all. Every run is forked from one process that has torch loaded, so a kill and its resume take seconds.
A resumed run has to start at the newest sealed step: starting over counts as a failure. SIGKILL shows the order of
writes, not what a power cut does to the page cache; for that every file is fsynced before its rename.
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from housebrain_core import synthetic
from housebrain_core.config import FineTuningConfig, SplitConfig
from housebrain_core.manifests import sha256_of
from housebrain_core.splits import split_dataset
from housebrain_core.tiny import TinyRecipe, tiny_base
from housebrain_core.train import HouseBrainFineTuner

WEIGHTS = "adapter_model.safetensors"
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}
STEPS, SAVE_STEPS = 8, 2


class Outcome(NamedTuple):
    """What became of one killed run."""

    killed: bool
    """False when the run was over before the kill came."""
    sealed: int
    """The newest sealed step when it died."""
    resumed: int
    """The step that the next run started at; STEPS when the adapter was finished already."""
    identical: bool

    @property
    def survived(self) -> bool:
        return self.identical and self.resumed == self.sealed


def prepare(folder: Path) -> FineTuningConfig:
    """A generated dataset, its split, a tiny base model, and the settings of the run."""
    synthetic.write_dataset(folder / "dataset", 48, 16)
    split_dataset(SplitConfig(source=folder / "dataset", output=folder / "splits", splits=3), lambda line: None)
    return FineTuningConfig(
        dataset_path=folder / "splits" / "split_01.zip",
        output_dir=folder / "uninterrupted",
        base_model=str(tiny_base(TinyRecipe(samples=120, intermediate_size=64))),
        max_steps=STEPS,
        save_steps=SAVE_STEPS,
        gradient_accumulation_steps=1,
        row_length=512,
        learning_rate=5e-3,
    )


def start(config: FineTuningConfig, kill_at: int | None = None) -> int:
    """Trains in a forked process, its lines in lines.txt beside the folder; the process's id.

    Args:
        config: the run's settings.
        kill_at: SIGKILL itself before this many file operations in its folder; the count is left in operations.txt.
    """
    child = os.fork()
    if child:
        return child
    done = 0

    def count(event: str, arguments: tuple) -> None:
        nonlocal done
        if event in EVENTS and any(str(config.output_dir) in str(argument) for argument in arguments[:2]):
            done += 1
            if done == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    code = 1
    try:
        with config.output_dir.with_suffix(".lines.txt").open("w", buffering=1) as lines:
            HouseBrainFineTuner(config, report=lambda line: print(line, file=lines)).train()
        config.output_dir.with_suffix(".operations.txt").write_text(str(done))
        code = 0
    finally:
        os._exit(code)


def finish(child: int) -> int:
    """Waits for a forked run: its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def newest_sealed(output: Path) -> int:
    """The newest step with a manifest; STEPS when the adapter itself is finished, 0 when nothing is sealed."""
    if (output / "manifest.json").exists() and json.loads((output / "manifest.json").read_bytes())["finished"]:
        return STEPS
    return max((int(path.parent.name[11:]) for path in output.glob("checkpoint-*/manifest.json")), default=0)


def resume(config: FineTuningConfig, killed: bool, expected: str) -> Outcome:
    """Goes on after a kill, and compares."""
    output = config.output_dir
    sealed = newest_sealed(output)
    whole = (output / "manifest.json").exists() and sealed == STEPS
    code = finish(start(config))
    lines = output.with_suffix(".lines.txt").read_text().splitlines()
    steps = [int(line.rpartition("-")[2]) for line in lines if line.startswith("resuming from checkpoint-")]
    resumed = STEPS if whole and "nothing is left to do" in lines[-1] else sum(steps)
    identical = code == 0 and sha256_of(output / WEIGHTS) == expected
    shutil.rmtree(output)
    return Outcome(killed, sealed, resumed, identical)


def kill_before_operation(config: FineTuningConfig, at: int, expected: str) -> Outcome:
    return resume(config, finish(start(config, at)) == -signal.SIGKILL, expected)


def kill_at_time(config: FineTuningConfig, seconds: float, expected: str) -> Outcome:
    child = start(config)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return resume(config, finish(child) == -signal.SIGKILL, expected)


def run(operations: int, times: int, seed: int, folder: Path) -> dict[str, list[Outcome]]:
    """All kills.

    Args:
        operations: kills before file operations, evenly over all of them.
        times: kills at random times.
        seed: of the random times.
        folder: scratch.

    Returns:
        Outcomes by kind of kill.
    """
    torch.set_num_threads(1)
    whole = prepare(folder)
    for _ in range(2):  # the first is slower: files are not cached yet
        shutil.rmtree(whole.output_dir, ignore_errors=True)
        started = time.monotonic()
        if finish(start(whole)):
            sys.exit("the uninterrupted run failed: " + whole.output_dir.with_suffix(".lines.txt").read_text())
        seconds = time.monotonic() - started
    total = int(whole.output_dir.with_suffix(".operations.txt").read_text())
    expected = sha256_of(whole.output_dir / WEIGHTS)
    print(f"uninterrupted: {STEPS} steps, {total} file operations, {seconds:.1f} s", flush=True)
    config = whole.model_copy(update={"output_dir": folder / "killed"})
    results: dict[str, list[Outcome]] = {"before a file operation": [], "at a random time": []}
    for number in range(operations):
        at = 1 + number * (total - 1) // max(1, operations - 1)
        results["before a file operation"].append(kill_before_operation(config, at, expected))
        tell(results["before a file operation"], f"before operation {at}")
    generator = random.Random(seed)
    for _ in range(times):
        moment = generator.uniform(0, seconds)
        results["at a random time"].append(kill_at_time(config, moment, expected))
        tell(results["at a random time"], f"after {moment:.2f} s")
    return results


def tell(outcomes: list[Outcome], what: str) -> None:
    """One line for a failure, and one for every tenth kill."""
    if not outcomes[-1].survived or len(outcomes) % 10 == 0:
        print(f"{len(outcomes)} kills, the last {what}: {outcomes[-1]}", flush=True)


def table(results: dict[str, list[Outcome]]) -> str:
    """The results as a Markdown table."""
    lines = ["| SIGKILL | kills | resumed at the newest sealed step | identical sha256 |", "|---|---|---|---|"]
    for kind, outcomes in results.items():
        killed = [outcome for outcome in outcomes if outcome.killed]
        right = sum(outcome.resumed == outcome.sealed for outcome in killed)
        lines.append(f"| {kind} | {len(killed)} | {right} | {sum(outcome.identical for outcome in killed)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=100, help="kills before file operations")
    parser.add_argument("--times", type=int, default=100, help="kills at random times")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        results = run(options.operations, options.times, options.seed, Path(scratch))
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, ")
    print(f"torch {torch.__version__}; {time.monotonic() - started:.0f} s in all\n\n{table(results)}")
    return 0 if all(outcome.survived for outcomes in results.values() for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
