"""Where this code runs, what it runs on, beside which other processes, and what follows from that."""

import math
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Literal

Platform = Literal["kaggle", "colab", "local"]
ROOT = Path(os.environ.get("HOUSEBRAIN_SIMULATED_ROOT", "/"))  # tests simulate /kaggle and /content below another
WORKING = {"kaggle": ROOT / "kaggle/working", "colab": ROOT / "content", "local": Path(".")}  # where results are found
TIME_BUDGET_HOURS = {"kaggle": 8.5, "colab": 11.0, "local": None}  # of a session; well before the platform ends it


def detect_platform() -> Platform:
    """Kaggle sets KAGGLE_KERNEL_RUN_TYPE and has /kaggle/working; Colab has google.colab; the rest is local."""
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE") and WORKING["kaggle"].is_dir():
        return "kaggle"
    return "colab" if "google.colab" in sys.modules or os.environ.get("COLAB_RELEASE_TAG") else "local"


def choose_dtype(device_name: str, capability: tuple[int, int] | None) -> tuple[str, str]:
    """The floating-point type to compute in, and why, by a GPU's compute capability (None on a CPU)."""
    if capability is None:
        return "float32", f"float32: {device_name} has no GPU, and half precision is slow on a CPU"
    dotted = ".".join(map(str, capability))
    if capability >= (8, 0):  # torch.cuda.is_bf16_supported() is True on a T4 too, where bfloat16 is emulated
        return "bfloat16", f"bfloat16: {device_name} is compute capability {dotted}"
    return "float16", f"float16: {device_name} is compute capability {dotted}, bfloat16 needs 8.0"


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


def rank() -> int:
    """The number of this of several training processes, from 0, as torchrun sets it; only 0 writes and reports."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes train one model together, one for each GPU."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def gather(value: Any) -> list[Any]:
    """The values that all processes give, in order of rank; every process has to call it, or the rest hang."""
    values = [value] * world_size()
    if len(values) > 1:
        from torch import distributed

        distributed.all_gather_object(values, value)
    return values
