"""The NVIDIA GPUs of this machine, before torch is there."""

import shutil
import subprocess
from typing import NamedTuple


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
