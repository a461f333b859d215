"""One training run in this process: continues from a checkpoint, keeps to its time, and ends with a sealed folder.

Where several processes train together, torchrun starts each of them with:

    python -m housebrain_core.train.training FOLDER
"""

import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from transformers import PrinterCallback

from housebrain_core.adapters.run import (
    FILE,
    BaseRecord,
    DataRecord,
    HardwareRecord,
    Run,
    SettingsRecord,
    adapter_card,
    read_run,
)
from housebrain_core.display.progress import TrainingState
from housebrain_core.errors import HouseBrainError, TrainingError
from housebrain_core.manifests import MANIFEST, check_files, read_manifest, seal, to_json, write_atomically
from housebrain_core.outputs import lock_output
from housebrain_core.platforms import catch_signals, session_start
from housebrain_core.settings import FineTuningConfig
from housebrain_core.splits.bundle import Bundle, is_bundle, read_bundle
from housebrain_core.splits.encode import bundle_from_dataset
from housebrain_core.texts import in_notebook, say, visible
from housebrain_core.train.base_models import Base, resolve_base
from housebrain_core.train.checkpoints import find_checkpoint, prune_checkpoints, refuse_other_run
from housebrain_core.train.memory import ADVICE, decide_checkpointing
from housebrain_core.train.model import add_lora, load_base, load_tokenizer, save_tokenizer, start_from, training_device
from housebrain_core.train.packing import PackedRows, Tokenised, tokenise
from housebrain_core.train.processes import gather, rank, rows_per_process, world_size
from housebrain_core.train.start import RunStart, find_start
from housebrain_core.train.stopping import FORWARD_SHARE, KeepTime, StopOnGarbage, StopWhenLearned, measuring_interval
from housebrain_core.train.trainer import Progress, RowTrainer, mean_loss, training_arguments

MAY_CHANGE = {"dataset_path", "output_dir", "init_adapter", "gpus", "gradient_checkpointing", "save_steps",
              "save_minutes", "logging_steps", "full_epochs", "time_budget_hours"}  # fmt: skip
"""Settings in which sessions of one run may differ; data, start and processes are compared by what they are."""
LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes")


def train_here(config: FineTuningConfig, report: Callable[[str], None], started: float) -> Run:
    """Trains in this process, which may be one of several; see `HouseBrainFineTuner.train`.

    Args:
        config: what to train on, where to, and how.
        report: gets each line of progress, in process 0 only.
        started: when the session's time began to count, in seconds of `time.time()`.
    """
    speak = report if rank() == 0 else lambda line: None
    bundle = read_training_data(config.dataset_path)  # before the folder is made: a wrong path leaves nothing behind
    base = resolve_base(config.base_model, config.revision)
    config, start = find_start(config, bundle, base)
    speak(start.describe())
    with lock_output(config.output_dir) if rank() == 0 else nullcontext():
        run = Training(config, speak, started, bundle, base, start).run()
    if not run.finished:
        how = "run this cell again" if in_notebook() else "start it again"
        speak(f"To go on, {how} with the same settings: it resumes from the last checkpoint.")
    return run


def read_training_data(path: Path) -> Bundle:
    """A bundle, or any other dataset as one; DataError when it can be read as neither."""
    return read_bundle(path) if is_bundle(path) else bundle_from_dataset(path)


@dataclass
class Training:
    """A run from data and base model to the adapter folder; the folder is locked by the caller."""

    config: FineTuningConfig
    report: Callable[[str], None]
    started: float
    bundle: Bundle
    base: Base
    start: RunStart

    def run(self) -> Run:
        """Trains, unless the adapter is finished, and writes the folder."""
        tokenizer = load_tokenizer(self.base)
        samples = tokenise(self.bundle.train, tokenizer, self.config.max_length)
        self.report(f"{self.bundle.name}: {len(samples.samples)} samples; {samples.note}")
        fingerprint = self._fingerprint(samples.max_length)
        finished, checkpoint = gather(self._find_earlier(fingerprint) if rank() == 0 else (None, None))[0]
        if finished:
            return finished
        trainer = self._make_trainer(tokenizer, samples, fingerprint)
        if checkpoint:
            self.report(f"resuming from {checkpoint.name}")
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except torch.OutOfMemoryError as error:
            raise TrainingError(f"the GPU's memory ran out: {str(error).splitlines()[0]} {ADVICE}") from None
        with catch_signals(self._stop_later):
            run = self._describe_run(trainer, samples)
            if rank() == 0:
                self._write_folder(tokenizer, trainer, run)
            self._report_end(run)
        return run

    def _stop_later(self, number: int, frame: Any) -> None:
        """Answers a signal that comes when training has ended and is saved: what is left takes a moment."""
        self.report("training is saved; the validation loss is measured, then it ends")

    def _fingerprint(self, max_length: int) -> dict[str, Any]:
        """What has to be equal in all sessions of a run."""
        settings = self.config.model_dump(exclude=MAY_CHANGE)
        return settings | {
            "base_model": self.base.name,
            "revision": self.base.revision,
            "max_length": max_length,
            "training data": self.bundle.manifest["files"]["train.parquet"]["sha256"][:16],
            "world_size": world_size(),
            **self.start.fingerprint(),
        }

    def _find_earlier(self, fingerprint: dict[str, Any]) -> tuple[Run | None, Path | None]:
        """What earlier sessions left: the finished run, or the checkpoint to go on from."""
        output = self.config.output_dir
        if (output / MANIFEST).exists():
            manifest = read_manifest(output, "adapter")
            refuse_other_run(manifest["fingerprint"], fingerprint, output)
            if manifest.get("finished"):
                check_files(output, manifest)
                self.report(f"{output} holds the finished adapter of this very run; nothing is left to do")
                return read_run(output / FILE), None
        return None, find_checkpoint(output, fingerprint, self.report)

    def _make_trainer(self, tokenizer: Any, samples: Tokenised, fingerprint: dict[str, Any]) -> RowTrainer:
        """Model, packed rows and callbacks, put together."""
        config = self.config
        model = add_lora(load_base(self.base, config.load_in_4bit, self.report), self.base, config)
        if self.start.factors:
            start_from(model, self.start.factors, self.start.source)
        rows = PackedRows(samples.samples, config.row_length)
        self.report(f"{sum(rows.lengths):,} tokens in {len(rows)} rows of {config.row_length}")
        decide_checkpointing(model, rows, config.gradient_checkpointing, self.report)
        self.validation = PackedRows(tokenise(self.bundle.validation, tokenizer, "auto").samples, config.row_length)
        entropy = self.bundle.manifest.get("entropy_nats_per_sample")  # known of large datasets only
        self.floor = entropy and entropy * len(self.validation.learned) / sum(self.validation.learned)
        accumulation = rows_per_process(config.rows_per_step, self.report)
        per_step = accumulation * world_size()
        self.steps_per_pass = len(rows) / per_step
        leg = self.start.leg(config.max_steps or math.ceil(config.epochs * self.steps_per_pass))
        trainer = RowTrainer(
            fingerprint,
            self.report,
            leg.schedule(config.warmup_share) if leg else None,
            model=model,
            args=training_arguments(config, accumulation, leg.steps if leg else None),
            train_dataset=leg.rows(rows, config.seed, per_step) if leg else rows,
            callbacks=self._callbacks(model, per_step),
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def _callbacks(self, model: Any, rows_per_step: int) -> list:
        """What reports training and what ends it. KeepTime is last: it must see whether another one ends the run."""
        config = self.config
        every = None
        if not config.full_epochs and not config.max_steps:
            every = measuring_interval(len(self.validation), rows_per_step)
        measurement = FORWARD_SHARE * len(self.validation) / rows_per_step
        state = TrainingState(name=visible(config.output_dir.name), floor=self.floor)
        hours = config.time_budget_hours
        self.progress = Progress(self.report, state, config.output_dir, hours, measurement, every)
        deadline = min(self.started, session_start()) + hours * 3600 if hours else None
        self.clock = KeepTime(config.save_minutes, deadline, self.report)
        learned = []
        if every:
            learned = [StopWhenLearned(partial(mean_loss, model, self.validation), every, self.floor, self.report)]
        return [self.progress, *learned, StopOnGarbage(), self.clock]

    def _describe_run(self, trainer: RowTrainer, samples: Tokenised) -> Run:
        """The record of the run so far; measures the validation loss."""
        state = trainer.state
        self.progress.say("measuring", step=state.global_step, seconds_left=None)
        self.report("measuring the validation loss")
        log: list[Any] = state.log_history
        finished = state.global_step >= trainer.schedule.end
        curve = [(entry["step"], entry["loss"]) for entry in log if "loss" in entry]
        steps_saved = state.max_steps - state.global_step if finished else 0
        manifest = self.bundle.manifest
        return Run(
            finished=finished,
            why_it_ended=self._why_all_was_done(log) if finished else self.clock.stopped,
            **self.start.in_run(),
            steps=state.global_step,
            planned_steps=state.max_steps,
            epochs=round(state.global_step / self.steps_per_pass if self.start.place else state.epoch or 0, 4),
            tokens=int(state.num_input_tokens_seen),
            train_loss=curve[-1][1] if curve else None,
            validation_loss=mean_loss(trainer.model, self.validation),
            seconds=round(time.time() - self.started, 1),
            tokens_per_second=round(self.progress.rate, 1),
            split=self.bundle.name,
            samples=len(samples.samples),
            refused=samples.refused,
            settings=SettingsRecord(**self.config.to_record()),
            base=BaseRecord(name=self.base.name, revision=self.base.revision, content=self.base.content),
            data=DataRecord(**{name: manifest.get(name) for name in DataRecord.model_fields}),
            hardware=HardwareRecord(device=training_device()[1], gpus=world_size(), machine=platform.machine()),
            versions={name: version(name) for name in LIBRARIES},
            curve=curve,
            validation_curve=[(e["step"], e["validation_loss"]) for e in log if "validation_loss" in e],
            floor=self.floor,
            hours_saved=round(steps_saved * self.progress.seconds_per_step / 3600, 3),
        )

    def _why_all_was_done(self, log: list[dict[str, Any]]) -> str:
        """Why a finished run ended: nothing more was learned, or all steps were done."""
        learned = [entry["learned"] for entry in log if entry.get("learned")]
        if learned:
            return learned[0]
        if self.start.place:
            return f"{self.start.place.describe()} done"
        return "all steps done" if self.config.max_steps else "all epochs done"

    def _write_folder(self, tokenizer: Any, trainer: RowTrainer, run: Run) -> None:
        """Writes the adapter folder; the manifest comes last."""
        output = self.config.output_dir
        (output / MANIFEST).unlink(missing_ok=True)
        trainer.save_model(str(output))
        save_tokenizer(tokenizer, output)
        trainer.state.save_to_json(str(output / "trainer_state.json"))
        write_atomically(output / FILE, to_json(run.to_dict()))
        write_atomically(output / "README.md", adapter_card(run))
        about = {"finished": run.finished, "fingerprint": trainer.fingerprint}
        seal(output, "adapter", **about, **self.start.about())
        if run.finished:
            prune_checkpoints(output, keep=1)

    def _report_end(self, run: Run) -> None:
        """The last line: why it ended, how far it got, and the validation loss."""
        saved = f"; ending early saved {run.hours_saved:.2f} h" if run.hours_saved else ""
        measured = [*run.validation_curve, (run.steps, run.validation_loss or 0.0)]
        self.progress.say("finished" if run.finished else run.why_it_ended, validation=measured)
        self.report(
            f"{run.why_it_ended} at step {run.steps} of {run.planned_steps}{saved}; "
            f"validation loss {run.validation_loss:.4f} nats per token; adapter in {self.config.output_dir}"
        )
        if run.finished and self.start.place:
            self.report(self.start.place.next_step(self.start.split_id, run.why_it_ended.startswith("learned")))


def train_together(config: FineTuningConfig, started: float, report: Callable[[str], None]) -> None:
    """Trains as one of the processes that torchrun started, on the GPU of its number.

    Args:
        config: the run's settings.
        started: when the session's time began to count, in seconds of `time.time()`.
        report: gets each line of progress, in process 0 only.
    """
    if torch.cuda.is_available():  # pragma: needs GPU or platform
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    train_here(config, report, started)
    distributed.destroy_process_group()


def main() -> None:
    """Reads the task that `train_in_processes` wrote, and trains; an error of our own goes into a file."""
    folder = Path(sys.argv[1])
    task = json.loads((folder / "task.json").read_text())
    if rank() == 0:
        write_atomically(folder / "pid", str(os.getpid()))
    try:
        train_together(FineTuningConfig(**task["config"]), task["started"], say)
    except HouseBrainError as error:
        about = {"kind": type(error).__name__, "message": str(error)}
        write_atomically(folder / f"error-{rank()}.json", json.dumps(about))
        sys.exit(2)


if __name__ == "__main__":
    main()
