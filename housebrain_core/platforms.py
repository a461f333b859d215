"""Where this code runs: the platform, its GPUs, its time, and the signals that end it. Needs no torch."""

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

Platform = Literal["kaggle", "colab", "local"]
ROOT = Path(os.environ.get("HOUSEBRAIN_SIMULATED_ROOT", "/"))  # tests simulate /kaggle and /content below another
WORKING = {"kaggle": ROOT / "kaggle/working", "colab": ROOT / "content", "local": Path()}  # where results are found
TIME_BUDGET_HOURS = {"kaggle": 8.5, "colab": 11.0, "local": None}  # of a session; well before the platform ends it


def detect_platform() -> Platform:
    """Kaggle sets KAGGLE_KERNEL_RUN_TYPE and has /kaggle/working; Colab has google.colab; the rest is local."""
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE") and WORKING["kaggle"].is_dir():
        return "kaggle"
    return "colab" if "google.colab" in sys.modules or os.environ.get("COLAB_RELEASE_TAG") else "local"


def is_watched() -> bool:
    """Whether a person sits before this session: Colab's always, Kaggle's unless it is Save & Run All."""
    platform = detect_platform()
    return platform == "colab" or (platform == "kaggle" and os.environ["KAGGLE_KERNEL_RUN_TYPE"] == "Interactive")


class Gpu(NamedTuple):
    """One GPU as its driver describes it; memory in MiB."""

    name: str
    capability: tuple[int, int]
    memory: int
    free: int


def list_gpus() -> list[Gpu]:
    """The NVIDIA GPUs of this machine, asked of the driver, without torch; empty where there is none."""
    program = shutil.which("nvidia-smi")
    if not program:
        return []
    query = "--query-gpu=name,compute_cap,memory.total,memory.free"
    answer = subprocess.run([program, query, "--format=csv,noheader,nounits"], capture_output=True, text=True)
    gpus = []
    for line in answer.stdout.splitlines() if answer.returncode == 0 else []:
        name, capability, memory, free = (part.strip() for part in line.split(","))
        major, minor = capability.split(".")
        gpus.append(Gpu(name, (int(major), int(minor)), int(memory), int(free)))
    return gpus


def session_start() -> float:
    """When this session began, in seconds of `time.time()`; now, where the machine was not made for the session."""
    first = ROOT / "proc/1"  # the first process is as old as the machine
    return first.stat().st_ctime if detect_platform() != "local" and first.exists() else time.time()


def estimate_finish(seconds: float, session_hours: float | None, now: float) -> str:
    """When so many seconds of training are done, and in how many sessions of so many hours (None: without end)."""
    sessions = math.ceil(seconds / 3600 / session_hours) if session_hours else 1
    end = time.strftime("%a %H:%M", time.localtime(now + seconds))
    when = f"{sessions} sessions with this one" if sessions > 1 else f"done {end} in this session"
    return f"{format_duration(seconds)} left, {when}"


def format_duration(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def catch_signals(handler: Callable[[int, Any], None]) -> ExitStack:
    """Gives SIGTERM and SIGINT (which a notebook's stop button sends) to a handler until the stack is closed."""
    restore = ExitStack()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(ValueError):  # not the main thread: nobody can signal us there
            restore.callback(signal.signal, number, signal.signal(number, handler))
    return restore
