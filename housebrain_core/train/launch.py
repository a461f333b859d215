"""Training on several GPUs of one machine: torchrun starts a process for each, and this one passes on what they say."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from housebrain_core import errors
from housebrain_core.platforms import catch_signals
from housebrain_core.settings import FineTuningConfig
from housebrain_core.train.gpus import list_gpus

LAST_LINES = 15
"""Lines of the processes' error output that are shown when they end without a word of their own."""


def train_in_processes(config: FineTuningConfig, report: Callable[[str], None], started: float) -> None:
    """Trains with `config.gpus` processes, each with the whole base model; returns when they are done.

    SIGTERM and SIGINT reach the first of them, which saves and stops together with the others. They form a session
    of their own, so that a terminal or a notebook that signals its whole group does not stop them halfway.

    Args:
        config: the run's settings.
        report: gets each line of progress.
        started: when the session's time began to count, in seconds of `time.time()`.

    Raises:
        HouseBrainError: what a process raised.
        MachineError: there are fewer GPUs than processes.
        TrainingError: a process died.
    """
    environment = process_environment(config.gpus)
    with tempfile.TemporaryDirectory(prefix="housebrain_processes_") as name:
        folder = Path(name)
        (folder / "task.json").write_text(json.dumps({"config": config.model_dump(mode="json"), "started": started}))
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(config.gpus)]
        command += ["-m", "housebrain_core.train.worker", name]
        with (
            (folder / "stderr").open("w") as stderr,
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment, start_new_session=True
            ) as launcher,
            catch_signals(lambda number, frame: pass_on(number, folder, launcher)),
        ):
            try:
                for line in launcher.stdout:
                    report(line.rstrip("\n"))
            except BaseException:
                launcher.terminate()  # torchrun ends its processes
                raise
        if launcher.returncode:
            raise read_error(folder)


def process_environment(gpus: int) -> dict[str, str]:
    """The environment of the processes: this very package, and as many visible GPUs as are used.

    Raises:
        MachineError: there are GPUs, but not so many.
    """
    here = len(list_gpus())
    if 0 < here < gpus:
        raise errors.MachineError(
            f"gpus = {gpus}, but this machine has {here}. A run goes on with as many as it began with: "
            "choose a machine with as many (on Kaggle: GPU T4 x2), or begin a new one in another output folder."
        )
    places = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places)), "PYTHONUNBUFFERED": "1"}
    if here and len(os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")) < gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, range(gpus)))
    return environment


def pass_on(number: int, folder: Path, launcher: subprocess.Popen) -> None:
    """Gives a signal to the first process; before that has begun, there is nothing to save."""
    try:
        os.kill(int((folder / "pid").read_text()), number)
    except (FileNotFoundError, ProcessLookupError):
        launcher.terminate()


def read_error(folder: Path) -> errors.HouseBrainError:
    """What went wrong in the processes, as the first of them that knew said it."""
    for path in sorted(folder.glob("error-*.json")):
        found = json.loads(path.read_text())
        return getattr(errors, found["kind"])(found["message"])
    last = (folder / "stderr").read_text(errors="replace").splitlines()[-LAST_LINES:]
    return errors.TrainingError("a training process ended before it was done:\n" + "\n".join(last))
