"""One GPU or two? Tried for a few steps in scratch space, since two are not always faster; a run then stays with it.

How many processes train together is part of what a run is: a later session takes what the run began with.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from housebrain_core.errors import DataError, HouseBrainError
from housebrain_core.manifests import read_manifest, to_json, write_atomically
from housebrain_core.settings import FineTuningConfig
from housebrain_core.train.checkpoints import list_checkpoints
from housebrain_core.train.gpus import list_gpus
from housebrain_core.train.launch import train_in_processes

RECORD = "gpus.json"
"""In the run's folder: how many GPUs train, the rates that decided it in tokens per second, and why."""
STEPS = 20
"""Optimizer steps of each trial."""


def choose_gpus(
    config: FineTuningConfig, report: Callable[[str], None] = print, steps: int = STEPS
) -> FineTuningConfig:
    """The same settings with as many GPUs as train fastest, at most two.

    Args:
        config: of the run; its folder may hold an earlier session's work.
        report: gets the decision, with both rates.
        steps: optimizer steps of each trial.
    """
    begun = begun_with(config.output_dir)
    if begun:
        report(f"this run began with {begun} GPU{'s' * (begun > 1)}, and goes on with as many")
        return config.model_copy(update={"gpus": begun})
    if len(list_gpus()) < 2:
        return config
    report(f"two GPUs are here; each way is tried for {steps} steps, in scratch space")
    rates = {gpus: measure_rate(config, gpus, steps, report) for gpus in (1, 2)}
    chosen, why = compare_rates(rates)
    report(f"{why}: training uses {chosen}")
    config.output_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(config.output_dir / RECORD, to_json({"gpus": chosen, "tokens_per_second": rates, "why": why}))
    return config.model_copy(update={"gpus": chosen})


def begun_with(output: Path) -> int | None:
    """How many processes a run began with; None for a new one."""
    for folder, kind in [(output, "adapter"), *((path, "checkpoint") for path in reversed(list_checkpoints(output)))]:
        try:
            return read_manifest(folder, kind)["fingerprint"]["world_size"]
        except DataError:  # not finished, or damaged: training says so
            continue
    if (output / RECORD).is_file():
        return json.loads((output / RECORD).read_text())["gpus"]
    return None


def measure_rate(config: FineTuningConfig, gpus: int, steps: int, report: Callable[[str], None]) -> float:
    """Tokens per second of a short run from the start, in processes that free the GPUs when they end; 0 if it fails."""
    with tempfile.TemporaryDirectory(prefix="housebrain_trial_") as name:
        output = Path(name) / "adapter"
        short = {"gpus": gpus, "output_dir": output, "max_steps": steps, "save_steps": steps, "time_budget_hours": None}
        try:
            train_in_processes(config.model_copy(update=short), lambda line: None, time.time())
        except HouseBrainError as error:
            report(f"the trial with {gpus} failed: {error}")
            return 0.0
        return json.loads((output / "run.json").read_text())["tokens_per_second"]


def compare_rates(rates: dict[int, float]) -> tuple[int, str]:
    """One GPU or two, from tokens per second by number of GPUs, and why; two have to be faster."""
    one, two = (f"{rates[gpus]:,.0f} tokens/s" for gpus in (1, 2))
    if rates[2] > rates[1]:
        return 2, f"two GPUs train {two}, one {one}"
    return 1, f"two GPUs are not faster, {two} against {one}"
