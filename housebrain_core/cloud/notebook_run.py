"""One run of the train notebook on one machine, tried again when its process or its kernel dies.

papermill runs in a process and a session of its own: Ctrl-C in a terminal does not reach it, and it ends with the
process that started it. jupyter_client starts the kernel in a third session, and torchrun its processes in a fourth, so
a dead worker leaves some of them behind. All have MARK in their environment, by which they are found and ended before
the next attempt: a process id that was written down could be another process's by then. Against a writer that no
process list of this machine has, there is the lock of the run's folder.
"""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import BaseModel, ConfigDict

from housebrain_core import contents, errors
from housebrain_core.adapters.run import STOPPED_BY_YOU
from housebrain_core.display.progress import LINES, read_state
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.manifests import read_manifest, to_json, write_atomically
from housebrain_core.outputs import lock_output
from housebrain_core.project import VARIABLE

MARK = "HOUSEBRAIN_RUN"
"""Variable in the environment of every process of a run: the folder of its notebook."""
RECORD, SETTINGS, NOTEBOOK, LOG = "record.json", "settings.json", "notebook.ipynb", "log.txt"
POLL_SECONDS = 0.2
LOCK_SECONDS = 300
"""How long another machine may go on writing a run whose worker is believed dead."""
STOP_SECONDS = 600
"""How long a run may take to save when it is stopped."""
NOW = "now"
"""What is in the stop file when runs are ended without waiting until they have saved."""
STANDING = tuple(name for name, kind in vars(errors).items() if isinstance(kind, type))
"""Errors that a second attempt would meet again."""


@dataclass(frozen=True)
class Job:
    """A split to train, or a leg of it; absolute paths, on storage that all machines share."""

    name: str
    """Of the adapter, such as hb-kaggle-04-leg-2."""
    split_id: int
    project: Path
    notebook: Path
    """The rendered train notebook."""
    folder: Path
    """For settings, executed notebook, log and record."""
    output: Path
    """For checkpoints and the adapter."""
    stop: Path
    """A file that asks all runs to save and stop."""
    parameters: dict[str, Any]
    attempts: int


class Record(BaseModel):
    """record.json: where a run is, or was."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    machine: str
    """Such as node-3, GPU 0."""
    worker: int
    """Process that looks after the run."""
    attempt: int
    """From 1, counted over all workers that had the run."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    name: str
    ended: Literal["finished", "stopped", "failed"]
    error: str = ""
    """The last error of a run that failed."""


def run_job(job: Job, machine: str = "", environment: dict[str, str] | None = None) -> Outcome:
    """Runs the notebook of a job until it is done, failed for good, or stopped.

    Args:
        job: what to run.
        machine: what to call this place; by default the host and its visible GPU.
        environment: variables of the run beside this process's.

    Returns:
        How it ended; errors of the run are in it, and are not raised.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    error = ""
    first = 1 + (earlier.attempt if (earlier := read_record(job.folder)) else 0)
    for attempt in range(first, first + job.attempts):
        if job.stop.exists():
            return Outcome(job.name, "stopped")
        record = Record(machine=machine or _name_machine(), worker=os.getpid(), attempt=attempt)
        kind, error = _try_once(job, record, environment or {})
        if is_finished(job.output):
            return Outcome(job.name, "finished")
        if kind in STANDING and not job.stop.exists():
            break
    return Outcome(job.name, "stopped") if job.stop.exists() else Outcome(job.name, "failed", error)


def _try_once(job: Job, record: Record, environment: dict[str, str]) -> tuple[str, str]:
    """One attempt: kind and text of its error, both empty without one."""
    end_processes(job.folder)
    try:
        _wait_for_lock(job.output)
    except ConfigError as error:
        return type(error).__name__, str(error)
    write_atomically(job.folder / SETTINGS, to_json(job.parameters))
    write_atomically(job.folder / RECORD, record.model_dump_json())
    (job.folder / NOTEBOOK).unlink(missing_ok=True)
    task = {"notebook": str(job.notebook), "project": str(job.project), "parent": os.getpid()}
    command = [sys.executable, "-m", "housebrain_core.cloud.notebook_run", str(job.folder), json.dumps(task)]
    with (job.folder / LOG).open("a", encoding="utf-8") as log:
        log.write(f"--- attempt {record.attempt} on {record.machine}\n")
        log.flush()
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=_environment(job, environment), start_new_session=True
        )
        try:
            _watch(job, process)
        finally:
            end_processes(job.folder)
            process.wait()
    return ("", "") if process.returncode == 0 else read_error(job.folder)


def _environment(job: Job, environment: dict[str, str]) -> dict[str, str]:
    """The variables of a run: it finds this very package, its project, and prints lines."""
    places = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    own = {"PYTHONPATH": os.pathsep.join(filter(None, places)), "PYTHONUNBUFFERED": "1", LINES: "lines"}
    own |= {MARK: str(job.folder), VARIABLE: str(job.project), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    return os.environ | own | environment


def _watch(job: Job, process: subprocess.Popen[bytes]) -> None:
    """Returns when the process has ended, or has saved because a stop was asked for."""
    asked = 0.0
    while process.poll() is None:
        time.sleep(POLL_SECONDS)
        if not job.stop.exists():
            continue
        if not asked:
            asked = time.monotonic()
            for kernel in find_processes(job.folder):
                if kernel.ppid() == process.pid:
                    kernel.send_signal(signal.SIGINT)  # as a notebook's stop button does
        state = read_state(job.output)
        saved = state is not None and state.phase == STOPPED_BY_YOU
        if saved or job.stop.read_text() == NOW or time.monotonic() - asked > STOP_SECONDS:
            return


def _wait_for_lock(output: Path) -> None:
    """Returns when nobody writes a run's folder.

    Raises:
        ConfigError: somebody still does after `LOCK_SECONDS`.
    """
    give_up = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            with lock_output(output):
                return
        except ConfigError:
            if time.monotonic() > give_up:
                raise
        time.sleep(POLL_SECONDS)


def find_processes(folder: Path) -> Iterator[psutil.Process]:
    """The processes of this machine that belong to the run of a folder, but this one."""
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == str(folder):
                yield process
        except psutil.Error:  # it has ended meanwhile, or is somebody else's
            continue


def end_processes(folder: Path) -> None:
    """Ends what is left of a run on this machine; what it has sealed is whole."""
    left = list(find_processes(folder))
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=30)


def read_record(folder: Path) -> Record | None:
    """Where a run is, or was; None before its first attempt, and where the record is damaged."""
    try:
        return contents.read_record(Record, folder / RECORD)
    except DataError:
        return None


def is_finished(output: Path) -> bool:
    """Whether a folder holds a finished adapter."""
    try:
        return bool(read_manifest(output, "adapter").get("finished"))
    except DataError:
        return False


def read_error(folder: Path) -> tuple[str, str]:
    """Kind and text of the error in an executed notebook, or else the last line of the log."""
    path = folder / NOTEBOOK
    cells = json.loads(path.read_bytes())["cells"] if path.is_file() else []
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    for output in outputs:
        if output["output_type"] == "error":
            return output["ename"], output["evalue"]
    lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").split("--- attempt ")[-1].splitlines()[1:]
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it ended without a word")
    return "", last


def _name_machine() -> str:
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
    return f"{socket.gethostname()}, GPU {gpu}" if gpu else socket.gethostname()


def main() -> None:
    """Runs the notebook of a folder through papermill, and ends with the process that started it."""
    folder, task = Path(sys.argv[1]), json.loads(sys.argv[2])
    threading.Thread(target=_end_with, args=(task["parent"], folder), daemon=True).start()
    import papermill

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parameters = json.loads((folder / SETTINGS).read_bytes())
    target = str(folder / NOTEBOOK)
    papermill.execute_notebook(
        task["notebook"], target, parameters, cwd=task["project"], log_output=True, progress_bar=False
    )


def _end_with(parent: int, folder: Path) -> None:
    """Ends this run once its parent is another: the one that started it has died, and looks after it no more."""
    while os.getppid() == parent:
        time.sleep(1)
    end_processes(folder)
    os._exit(1)


if __name__ == "__main__":
    main()
