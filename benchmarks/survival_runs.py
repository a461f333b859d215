"""Training runs that are forked, cut off, started again and compared: what benchmarks/survival.py is made of."""

import json
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tqdm import tqdm

from housebrain_core.config import FineTuningConfig, SplitConfig
from housebrain_core.errors import HouseBrainError
from housebrain_core.house import synthetic
from housebrain_core.manifests import sha256_of
from housebrain_core.splits.split import split_dataset
from housebrain_core.train.tiny import QUICK, tiny_base
from housebrain_core.train.tuner import HouseBrainFineTuner

tqdm.monitor_interval = 0
tqdm.set_lock(threading.RLock())  # its own is one for all forked processes, and one that is killed never gives it back

WEIGHTS = "adapter_model.safetensors"
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}
STEPS = 8
SAVE_STEPS = 2
CUT = 4
"""Step at which the run is cut off that several cases start from."""


class Outcome(NamedTuple):
    """What became of one case."""

    case: str
    sealed: int
    """The newest sealed and whole step when the run was cut off; STEPS when its adapter was finished."""
    resumed: int
    """The step that the next run started at, from its log."""
    reached: int
    """The last step that the run had done when it was cut off, from its log."""
    identical: bool
    problem: str = ""
    """What else was not as promised."""
    allowed: int = SAVE_STEPS
    """Steps that may be done again: one save interval; more only where saves failed before."""

    @property
    def passed(self) -> bool:
        """Whether the next run went on at the right step and ended with the same adapter."""
        return (
            self.identical
            and not self.problem
            and self.resumed == self.sealed
            and self.reached - self.resumed <= self.allowed
        )


class Whole(NamedTuple):
    """The uninterrupted run, which all others are compared with."""

    config: FineTuningConfig
    expected: str
    """sha256 of its adapter."""
    operations: int
    """File operations in its folder."""
    seconds: float
    """Of one optimizer step, saves included."""
    dice: random.Random


def prepare(folder: Path) -> Whole:
    """A generated dataset, its split, a tiny base model, and the run that nothing interrupts."""
    synthetic.write_dataset(folder / "dataset", 48, 16)
    split_dataset(SplitConfig(source=folder / "dataset", output=folder / "splits", splits=3), lambda line: None)
    config = FineTuningConfig(
        dataset_path=folder / "splits" / "split_01.zip",
        output_dir=folder / "uninterrupted",
        base_model=str(tiny_base(QUICK)),
        max_steps=STEPS,
        save_steps=SAVE_STEPS,
        logging_steps=1,
        gradient_accumulation_steps=1,
        row_length=512,
        learning_rate=5e-3,
    )
    child = start(config)
    wait_for(config, "step 1 of")
    started = time.monotonic()
    if finish(child):
        sys.exit("the uninterrupted run failed:\n" + "\n".join(lines_of(config)))
    seconds = (time.monotonic() - started) / STEPS
    operations = int(config.output_dir.with_suffix(".operations").read_text())
    print(f"uninterrupted: {STEPS} steps, {operations} file operations", flush=True)
    return Whole(config, sha256_of(config.output_dir / WEIGHTS), operations, seconds, random.Random(1))


def start(
    config: FineTuningConfig, kill_at: int | None = None, on_line: Callable[[str], None] = lambda line: None
) -> int:
    """Trains in a forked process, its lines in a file beside the folder; the process's id.

    Args:
        config: the run's settings.
        kill_at: SIGKILL itself before this many file operations in its folder; the count is left in a file beside it.
        on_line: called in that process with each line.
    """
    config.output_dir.with_suffix(".lines").unlink(missing_ok=True)
    child = os.fork()
    if child:
        return child
    done = 0

    def count(event: str, arguments: tuple) -> None:
        nonlocal done
        if event in EVENTS and any(str(config.output_dir) + "/" in f"{argument}/" for argument in arguments[:2]):
            done += 1
            if done == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        with config.output_dir.with_suffix(".lines").open("w", buffering=1) as lines:
            sys.addaudithook(count)

            def report(line: str) -> None:
                print(line, file=lines)
                on_line(line)

            try:
                HouseBrainFineTuner(config, report=report).train()
                code = 0
            except HouseBrainError as error:
                print(f"{type(error).__name__}: {error}", file=lines)
        config.output_dir.with_suffix(".operations").write_text(str(done))
    finally:
        os._exit(code)


def finish(child: int) -> int:
    """Waits for a forked run: its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def lines_of(config: FineTuningConfig) -> list[str]:
    """What the latest run into this folder has said so far."""
    path = config.output_dir.with_suffix(".lines")
    return path.read_text().splitlines() if path.exists() else []


def wait_for(config: FineTuningConfig, text: str) -> None:
    """Waits until a running run has said something."""
    give_up = time.monotonic() + 120
    while not any(text in line for line in lines_of(config)):
        if time.monotonic() > give_up:
            sys.exit(f"no line with {text!r} in two minutes:\n" + "\n".join(lines_of(config)))
        time.sleep(0.002)


def newest_sealed(output: Path) -> int:
    """The newest step with a manifest; STEPS when the adapter itself is finished, 0 when nothing is sealed."""
    if (output / "manifest.json").exists() and json.loads((output / "manifest.json").read_bytes())["finished"]:
        return STEPS
    return max((int(path.parent.name[11:]) for path in output.glob("checkpoint-*/manifest.json")), default=0)


def start_of(lines: list[str]) -> int:
    """The step that a run says it resumes at; 0 when it says nothing of the kind."""
    return sum(int(line.rpartition("-")[2]) for line in lines if line.startswith("resuming from checkpoint-"))


def go_on(whole: Whole, config: FineTuningConfig, case: str, problem: str = "", sealed: int | None = None) -> Outcome:
    """Starts a run again after it was cut off, and compares; its folder is removed.

    Args:
        whole: what it has to end like.
        config: of the run.
        case: what was done to it.
        problem: what was not as promised then.
        sealed: the step to go on from, for a copy of `cut_run`'s folder; by default the newest in the folder.
    """
    steps = [int(line.split()[1]) for line in lines_of(config) if line.startswith("step ")]
    if sealed is None:
        sealed = newest_sealed(config.output_dir)
    else:
        steps = [CUT]
    code = finish(start(config))
    lines = lines_of(config)
    resumed = STEPS if "nothing is left to do" in lines[-1] else start_of(lines)
    identical = code == 0 and sha256_of(config.output_dir / WEIGHTS) == whole.expected
    shutil.rmtree(config.output_dir)
    return Outcome(case, sealed, resumed, max(steps, default=resumed), identical, problem)


def folder_for(whole: Whole, name: str, **settings) -> FineTuningConfig:
    """The settings of the uninterrupted run for another folder."""
    return whole.config.model_copy(update={"output_dir": whole.config.output_dir.with_name(name), **settings})


def cut_run(whole: Whole) -> tuple[FineTuningConfig, Path]:
    """A run that was killed right after it sealed checkpoint-4, and a copy of its folder to start cases from."""
    config = folder_for(whole, "cut")
    finish(start(config, on_line=lambda line: os.kill(os.getpid(), 9) if line == f"saved checkpoint-{CUT}" else None))
    copy = config.output_dir.with_name("cut-copy")
    shutil.rmtree(copy, ignore_errors=True)
    config.output_dir.rename(copy)
    return config, copy
