"""How much of the two epochs still teaches anything: validation loss along all steps, against the data's floor.

    housebrain split --source housebrain_dataset_v5_350k --output housebrain_splits --splits 6
    python benchmarks/learning_curve.py --split housebrain_splits/split_01.zip --figure docs/learning_curve.png

One run trains every epoch and measures as often as training does. Where the stop-when-learned rule would have ended it,
a second run branches off one step before with the rule on, so that both share every step until then, and cools down:
the table shows what it costs in loss and what it saves in time. The tiny base model learns far more slowly than a real
one: a rule that leaves it enough steps leaves a real one more than enough.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["MPLBACKEND"] = "Agg"

import torch
from matplotlib import pyplot
from transformers import TrainerCallback

from housebrain_core.adapters.run import Run
from housebrain_core.config import FineTuningConfig
from housebrain_core.train import stopping, training
from housebrain_core.train.packing import pack_rows
from housebrain_core.train.stopping import why_learned
from housebrain_core.train.tiny import tiny_base
from housebrain_core.train.training import Training
from housebrain_core.train.tuner import HouseBrainFineTuner

MEASUREMENTS = 20
"""In a run: as many as training makes for 52,500 samples of 253 tokens, each 157 steps of 3,240."""
SHOWN = 24
"""Rows of the table at most."""


class Brancher(TrainerCallback):
    """Keeps the checkpoint of the step before each measurement until the rule says "learned" for the first time."""

    def __init__(self, place: Path, every: int):
        self.place = place
        self.every = every
        self.reason = ""
        self.at = 0

    def would_end(self, losses: list[float], floor: float | None, share_done: float) -> str:
        """Stands in for the rule: takes note of what it says, and lets training go on."""
        self.reason = self.reason or why_learned(losses, floor, share_done)
        return ""

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Asks for a checkpoint before each measurement."""
        if self.reason and not self.at:
            self.at = state.global_step
        if not self.at and (state.global_step + 1) % self.every == 0:
            control.should_save = True

    def on_save(self, args, state, control, **kwargs) -> None:
        """Copies that checkpoint."""
        if not self.at and (state.global_step + 1) % self.every == 0:
            shutil.rmtree(self.place, ignore_errors=True)
            name = f"checkpoint-{state.global_step}"
            shutil.copytree(Path(args.output_dir) / name, self.place / name)


def run_both(config: FineTuningConfig) -> tuple[Run, Run | None, str]:
    """Every epoch, then the branch with the rule on; the second is None where the rule never ends it."""
    branchers = []

    class Measured(Training):
        """Measures MEASUREMENTS times, whatever the size: for a small run more than the 2 % that training allows."""

        def _make_trainer(self, tokenizer, samples, fingerprint):
            rows = len(pack_rows(samples.samples["length"][:], self.config.row_length))
            steps = rows // self.config.rows_per_step * self.config.epochs
            self.every = max(1, steps // MEASUREMENTS)
            with mock.patch.object(training, "measuring_interval", return_value=self.every):
                return super()._make_trainer(tokenizer, samples, fingerprint)

    class Watched(Measured):
        """The same with a `Brancher`."""

        def _callbacks(self, *arguments):
            branchers.append(Brancher(self.config.output_dir.with_name("branch"), self.every))
            stopping.why_learned = branchers[0].would_end
            return [*super()._callbacks(*arguments), *branchers]

    with mock.patch.object(training, "Training", Watched), mock.patch.object(stopping, "why_learned", why_learned):
        whole = HouseBrainFineTuner(config).train()
    (brancher,) = branchers
    if not brancher.at:
        return whole, None, ""
    with mock.patch.object(training, "Training", Measured):
        ended = HouseBrainFineTuner(config.model_copy(update={"output_dir": brancher.place})).train()
    return whole, ended, brancher.reason


def table(result: Run) -> str:
    """Share of the steps, samples seen, loss, and distance to the floor."""
    lines = ["| share of the steps | samples seen | validation loss | above the floor |", "|---|---|---|---|"]
    points = [*result.validation_curve, (result.steps, result.validation_loss)]
    keep = max(1, -(-len(points) // SHOWN))
    for number, (step, loss) in enumerate(points):
        if number % keep == 0 or number == len(points) - 1:
            share = step / result.planned_steps
            seen = share * result.settings.epochs * result.samples
            above = f"{loss / result.floor - 1:.1%}" if result.floor else "unknown"
            lines.append(f"| {share:.1%} | {seen:,.0f} | {loss:.4f} | {above} |")
    return "\n".join(lines)


def describe_end(whole: Run, ended: Run | None, reason: str) -> str:
    """What ending early costs, and what it saves."""
    if ended is None:
        return "The rule does not end this run before its last step."
    lost = ended.validation_loss - whole.validation_loss
    return (
        f"{reason}\nWith the rule on it ends at step {ended.steps} of {whole.steps}, cooled down: validation loss "
        f"{ended.validation_loss:.4f} instead of {whole.validation_loss:.4f} ({lost / whole.validation_loss:+.2%}), "
        f"{1 - ended.steps / whole.steps:.0%} of the time saved."
    )


def draw(whole: Run, ended: Run | None, path: Path) -> None:
    """The two curves, which share all measurements but the last, and the floor."""
    figure, axes = pyplot.subplots(figsize=(6.4, 3.2), dpi=100)
    for result, name in ((whole, "all epochs"), (ended, "stopped when learned")):
        if result is not None:
            points = [*result.validation_curve[0 if result is whole else -1 :], (result.steps, result.validation_loss)]
            shares, losses = zip(*((step / whole.planned_steps, loss) for step, loss in points), strict=True)
            axes.plot(shares, losses, marker="o", markersize=3, label=name)
    if whole.floor:
        axes.axhline(whole.floor, color="black", linestyle="--", linewidth=1, label="floor of the data")
    axes.set(xlabel="share of the steps", ylabel="validation loss, nats per token", xlim=(0, 1.02))
    axes.legend(frameon=False)
    figure.savefig(path, bbox_inches="tight", metadata={"Software": None})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", type=Path, required=True, help="a bundle, or any dataset")
    parser.add_argument("--base-model", default="tiny", help="tiny, or a folder")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--gradient-accumulation-steps", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    parser.add_argument("--figure", type=Path, help="PNG to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        config = FineTuningConfig(
            dataset_path=options.split,
            output_dir=Path(scratch) / "whole",
            base_model=str(tiny_base()) if options.base_model == "tiny" else options.base_model,
            epochs=options.epochs,
            gradient_accumulation_steps=options.gradient_accumulation_steps,
            row_length=512,  # short rows are faster on a CPU
            learning_rate=options.learning_rate,
            lora_r=32,
            lora_alpha=64,
            logging_steps=50,
        )
        whole, ended, reason = run_both(config)
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}; {options.base_model} base model")
    print(f"{whole.samples:,} samples, {whole.tokens:,} tokens, {whole.steps} steps, floor {whole.floor}\n")
    print(f"{table(whole)}\n\n{describe_end(whole, ended, reason)}")
    if options.figure:
        draw(whole, ended, options.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
