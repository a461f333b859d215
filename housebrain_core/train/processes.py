"""One training process for each GPU: how many, how torchrun starts them, and how they talk to each other.

The process that a person started passes on their lines and the signals that it gets, and raises what they raise. It
needs no torch. Each of them runs training.py.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from housebrain_core import errors
from housebrain_core.manifests import read_manifest
from housebrain_core.platforms import catch_signals, list_gpus
from housebrain_core.settings import FineTuningConfig
from housebrain_core.train.checkpoints import list_checkpoints

LAST_LINES = 15
"""Lines of the processes' error output that are shown when they end without an error of our own."""


def rank() -> int:
    """The number of this process among those that train together, from 0; only process 0 writes and reports."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes train together; torchrun sets it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def gather(value: Any) -> list[Any]:
    """The values of all processes, in order of rank. Every process has to call it, or the others wait forever."""
    values = [value] * world_size()
    if len(values) > 1:
        from torch import distributed

        distributed.all_gather_object(values, value)
    return values


def count_processes(config: FineTuningConfig) -> int:
    """How many processes a run needs: as many as were asked for, or as it began with, or one for each GPU.

    A run keeps its number of processes, because they decide which rows are trained on in which order.
    """
    if config.gpus != "all":
        return config.gpus
    return processes_of_run(config.output_dir) or max(1, count_gpus())


def count_gpus() -> int:
    """How many GPUs this process may use: those of the machine, or fewer if CUDA_VISIBLE_DEVICES names fewer."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return len(list_gpus())
    return min(len(list_gpus()), sum(bool(name.strip()) for name in visible.split(",")))


def processes_of_run(output: Path) -> int | None:
    """How many processes an earlier session of a run had; None where there is none, or none that can be read."""
    checkpoints = [(folder, "checkpoint") for folder in reversed(list_checkpoints(output))]
    for folder, kind in [(output, "adapter"), *checkpoints]:
        try:
            count = (read_manifest(folder, kind).get("fingerprint") or {}).get("world_size")
        except errors.DataError:  # unfinished or damaged, which training itself deals with
            continue
        if type(count) is int and count > 0:
            return count
    return None


def rows_per_process(wanted: int, report: Callable[[str], None]) -> int:
    """Rows per optimizer step for each process, rounded up where they cannot be shared evenly.

    Args:
        wanted: rows per step of all processes together.
        report: gets a line where it becomes more.
    """
    each = -(-wanted // world_size())
    if each * world_size() != wanted:
        report(f"{wanted} rows per step do not divide by {world_size()} GPUs: it is {each * world_size()}")
    return each


def train_in_processes(config: FineTuningConfig, count: int, report: Callable[[str], None], started: float) -> None:
    """Trains with several processes, each with the whole base model; returns when they are done.

    SIGTERM and SIGINT reach the first of them, which saves and stops together with the others. They form a session
    of their own, so that a terminal or a notebook that signals its whole group does not stop them halfway.

    Args:
        config: the run's settings.
        count: number of processes.
        report: gets each line of progress.
        started: when the session's time began to count, in seconds of `time.time()`.

    Raises:
        HouseBrainError: what a process raised.
        MachineError: there are fewer GPUs than processes.
        TrainingError: a process died.
    """
    environment = process_environment(count)
    given = config.model_dump(mode="json", exclude_unset=True)  # a plan decides what was not given
    with tempfile.TemporaryDirectory(prefix="housebrain_processes_") as name:
        folder = Path(name)
        (folder / "task.json").write_text(json.dumps({"config": given, "started": started}))
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        command += ["-m", "housebrain_core.train.training", name]
        with (
            (folder / "stderr").open("w") as stderr,
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment, start_new_session=True
            ) as torchrun,
            catch_signals(lambda number, frame: pass_on(number, folder, torchrun)),
        ):
            try:
                for line in torchrun.stdout or ():
                    report(line.rstrip("\n"))
            except BaseException:
                torchrun.terminate()  # it ends its processes
                raise
        if torchrun.returncode:
            raise read_error(folder)


def process_environment(count: int) -> dict[str, str]:
    """The environment of the processes, in which they find this very package.

    Raises:
        MachineError: there are GPUs, but not so many.
    """
    gpus = count_gpus()
    if 0 < gpus < count:
        raise errors.MachineError(
            f"gpus = {count}, but this session can use {gpus}. A run goes on with as many as it began with: "
            "choose a machine with as many (on Kaggle: GPU T4 x2), or begin a new one in another output folder."
        )
    places = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places)), "PYTHONUNBUFFERED": "1"}


def pass_on(number: int, folder: Path, torchrun: subprocess.Popen) -> None:
    """Gives a signal to the first process; before that has begun, there is nothing to save."""
    try:
        os.kill(int((folder / "pid").read_text()), number)
    except (FileNotFoundError, ProcessLookupError):
        torchrun.terminate()


def read_error(folder: Path) -> errors.HouseBrainError:
    """The error that ended the processes: our own, as the first of them wrote it, or the end of their stderr."""
    for path in sorted(folder.glob("error-*.json")):
        written = json.loads(path.read_text())
        return getattr(errors, written["kind"])(written["message"])
    lines = (folder / "stderr").read_text(errors="replace").splitlines()[-LAST_LINES:]
    return errors.TrainingError("a training process ended before it was done:\n" + "\n".join(lines))
