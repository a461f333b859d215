"""One of several training processes, as torchrun starts it for launch.py.

python -m housebrain_core.train.worker FOLDER
"""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import distributed

from housebrain_core.errors import HouseBrainError
from housebrain_core.manifests import write_atomically
from housebrain_core.platforms import rank
from housebrain_core.settings import FineTuningConfig
from housebrain_core.train.tuner import HouseBrainFineTuner, TrainResult


def join_processes() -> None:
    """Makes this process one of those that torchrun started, with the GPU of its number."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def train_as_one(config: FineTuningConfig, started: float, report: Callable[[str], None]) -> TrainResult:
    """Trains together with the others."""
    join_processes()
    tuner = HouseBrainFineTuner(config, report)
    tuner.started = started
    result = tuner.train()
    distributed.destroy_process_group()
    return result


def main() -> None:
    folder = Path(sys.argv[1])
    task = json.loads((folder / "task.json").read_text())
    if rank() == 0:
        write_atomically(folder / "pid", str(os.getpid()))
    try:
        train_as_one(FineTuningConfig(**task["config"]), task["started"], partial(print, flush=True))
    except HouseBrainError as error:
        about = {"kind": type(error).__name__, "message": str(error)}
        write_atomically(folder / f"error-{rank()}.json", json.dumps(about))
        sys.exit(2)


if __name__ == "__main__":
    main()
