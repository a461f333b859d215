"""Where this code runs, what it runs on, and what follows from that."""

import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal, NamedTuple

Platform = Literal["kaggle", "colab", "local"]
ROOT = Path(os.environ.get("HOUSEBRAIN_SIMULATED_ROOT", "/"))
"""Where /kaggle and /content lie; tests simulate both platforms below a folder of their own."""
WORKING = {"kaggle": ROOT / "kaggle/working", "colab": ROOT / "content", "local": Path(".")}
"""Where a person finds what a notebook wrote."""
TIME_BUDGET_HOURS = {"kaggle": 8.5, "colab": 11.0, "local": None}
"""Hours from a session's start after which training saves and ends, well before the platform ends it."""


def detect_platform() -> Platform:
    """Kaggle sets KAGGLE_KERNEL_RUN_TYPE and has /kaggle/working; Colab has google.colab; the rest is local."""
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE") and WORKING["kaggle"].is_dir():
        return "kaggle"
    return "colab" if "google.colab" in sys.modules or os.environ.get("COLAB_RELEASE_TAG") else "local"


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
    found = subprocess.run([program, query, "--format=csv,noheader,nounits"], capture_output=True, text=True)
    gpus = []
    for line in found.stdout.splitlines() if found.returncode == 0 else []:
        name, capability, memory, free = (part.strip() for part in line.split(","))
        major, minor = capability.split(".")
        gpus.append(Gpu(name, (int(major), int(minor)), int(memory), int(free)))
    return gpus


def choose_dtype(device_name: str, capability: tuple[int, int] | None) -> tuple[str, str]:
    """The floating-point type to compute in, and why.

    Decided by compute capability: `torch.cuda.is_bf16_supported()` says True on a T4, where bfloat16 is emulated.

    Args:
        device_name: for the reason.
        capability: of the GPU, or None on a CPU.

    Returns:
        ("float32" | "float16" | "bfloat16", reason).
    """
    if capability is None:
        return "float32", f"float32: {device_name} has no GPU, and half precision is slow on a CPU"
    dotted = ".".join(map(str, capability))
    if capability >= (8, 0):
        return "bfloat16", f"bfloat16: {device_name} is compute capability {dotted}"
    return "float16", f"float16: {device_name} is compute capability {dotted}, bfloat16 needs 8.0"


def session_start() -> float:
    """When this session began, in seconds of `time.time()`: the start of the oldest process we can see, or now.

    On Kaggle and Colab the machine is made for the session, so the first process is as old as the session is.
    """
    first = ROOT / "proc/1"
    return first.stat().st_ctime if detect_platform() != "local" and first.exists() else time.time()


def estimate_finish(
    tokens_per_second: float, tokens_left: int, session_hours: float | None, now: float
) -> tuple[float, int, str]:
    """When training ends, from a measured rate.

    Args:
        tokens_per_second: measured over the last steps, saving and validation included.
        tokens_left: of the whole plan.
        session_hours: until the time budget ends; None without one. Later sessions count as long as this one.
        now: in seconds of `time.time()`.

    Returns:
        (hours of training left, sessions left with this one, one line that says both).
    """
    hours = tokens_left / tokens_per_second / 3600
    sessions = max(1, math.ceil(hours / session_hours)) if session_hours else 1
    left = f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"
    if sessions > 1:
        return hours, sessions, f"{tokens_per_second:,.0f} tokens/s: {left} left, {sessions} sessions with this one"
    end = time.strftime("%a %H:%M", time.localtime(now + hours * 3600))
    return hours, sessions, f"{tokens_per_second:,.0f} tokens/s: {left} left, done {end} in this session"
