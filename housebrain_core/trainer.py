"""The Trainer of packed rows: its loss, its schedule, checkpoints that survive a full disk, and lines of progress."""

import json
import re
import shutil
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from safetensors import SafetensorError
from transformers import Trainer, TrainerCallback

from housebrain_core.checkpoints import prune_checkpoints, seal_checkpoint
from housebrain_core.errors import CheckpointError, TrainingError
from housebrain_core.manifests import to_json, write_atomically
from housebrain_core.packing import PackedRows, collate_row, completion_losses
from housebrain_core.platforms import estimate_finish
from housebrain_core.stopping import Schedule

FIRST_STEPS = 20
"""Steps after which the first estimate of the whole time is made."""
WARM_UP = 2
"""Steps of a session that it leaves out: they load kernels and fill caches, and take longer than any other."""
FAILED_SAVES = 3
"""Failed saves in a row after which a run ends."""


class RowTrainer(Trainer):
    """transformers' Trainer with the loss of a packed row, our schedule, and checkpoints that are sealed."""

    def __init__(self, *args, fingerprint: dict, report: Callable[[str], None], **kwargs):
        super().__init__(*args, **kwargs)
        self.loss_is_scaled_for_ga = True
        self.fingerprint, self.report, self.failed_saves = fingerprint, report, 0

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Sum over the learned tokens of this row, divided by those of the whole optimizer step."""
        losses, _ = completion_losses(model, inputs)
        return losses.sum() / num_items_in_batch

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        """Warm-up, cosine, and a cool-down when there is nothing more to learn."""
        if self.lr_scheduler is None:
            self.schedule = Schedule(self.args.get_warmup_steps(num_training_steps), num_training_steps)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, self.schedule)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        save_adapter(self.model, Path(output_dir or self.args.output_dir))

    def _save_checkpoint(self, model, trial) -> None:
        """Saves, seals and prunes; a failed write is cleaned up and training goes on, but not three times in a row."""
        output, step = Path(self.args.output_dir), self.state.global_step
        if not all(weight.isfinite().all() for weight in self.model.parameters() if weight.requires_grad):
            raise TrainingError(f"the adapter holds NaN or inf at step {step}; it is not saved. Lower learning_rate.")
        try:
            super()._save_checkpoint(model, trial)
            seal_checkpoint(output / f"checkpoint-{step}", step, self.fingerprint)
            prune_checkpoints(output)
        except (OSError, RuntimeError, SafetensorError) as error:
            if isinstance(error, RuntimeError) and not re.search(
                "PytorchStreamWriter|unexpected pos|write", str(error)
            ):
                raise
            self.failed_saves += 1
            shutil.rmtree(output / f"checkpoint-{step}", ignore_errors=True)
            free = shutil.disk_usage(output).free / 2**20
            reason = f"checkpoint-{step} could not be written ({str(error).splitlines()[0]}); {free:,.0f} MiB are free"
            if self.failed_saves == FAILED_SAVES:
                raise CheckpointError(
                    f"{reason}. It is the third in a row. Make room and start again: it goes on from the last good one."
                ) from None
            self.report(f"{reason}; training goes on. Make room on the disk.")
        else:
            self.failed_saves = 0
            self.report(f"saved checkpoint-{step}")


class Progress(TrainerCallback):
    """One plain line per logging interval: loss, speed, time left. Progress bars flood papermill's output.

    Args:
        report: gets each line.
        session_hours: the time budget, or None.
        measurement: optimizer steps that take as long as one measurement of the validation loss.
        every: optimizer steps between measurements; None when there is only the one after the last step.
    """

    def __init__(self, report: Callable[[str], None], session_hours: float | None, measurement: float = 0.0,
                 every: int | None = None):  # fmt: skip
        self.report, self.session_hours, self.measurement, self.every = report, session_hours, measurement, every

    def on_train_begin(self, args, state, control, **kwargs):
        self.time, self.step, self.tokens = time.time(), state.global_step, state.num_input_tokens_seen
        self.seconds_per_step, self.ends = 0.0, [self.time]

    def on_step_end(self, args, state, control, **kwargs):
        now, done = time.time(), state.global_step - self.step
        self.seconds_per_step = (now - self.time) / done
        if done <= FIRST_STEPS:
            self.ends.append(now)
        if done == FIRST_STEPS:
            # the median: rows are equally full, so that a step which takes longer was held up by something else
            seconds_per_step = median(end - start for start, end in pairwise(self.ends[WARM_UP:]))
            tokens = state.num_input_tokens_seen / state.global_step
            steps = steps_left(state.global_step, state.max_steps, self.measurement, self.every)
            _, _, text = estimate_finish(tokens / seconds_per_step, round(steps * tokens), self.session_hours, now)
            self.report(f"after {done} steps: {text}; it ends earlier when nothing more is learned")

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" not in logs or state.global_step == self.step:
            return
        seconds = time.time() - self.time
        left = (state.max_steps - state.global_step) * seconds / (state.global_step - self.step)
        rate = (state.num_input_tokens_seen - self.tokens) / seconds
        self.report(
            f"step {state.global_step} of {state.max_steps}  loss {logs['loss']:.4f}  "
            f"{rate:,.0f} tokens/s  {format_duration(left)} left"
        )


def steps_left(step: int, planned: int, measurement: float, every: int | None) -> float:
    """Optimizer steps that the rest of a plan takes as long as, its measurements and the last one included."""
    measurements = 1 + (planned // every - step // every if every else 0)
    return planned - step + measurements * measurement


class SaveByTime(TrainerCallback):
    """Saves by time as well as by step: a disconnect loses no more than that."""

    def __init__(self, minutes: float):
        self.seconds, self.saved_at = minutes * 60, time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        if time.monotonic() - self.saved_at > self.seconds:
            control.should_save = True

    def on_save(self, args, state, control, **kwargs):
        self.saved_at = time.monotonic()


def gradient_scale(trainer: Trainer) -> float | None:
    """The fp16 gradient scaler's scale; None where there is no scaler."""
    scaler = getattr(trainer.accelerator, "scaler", None)
    return scaler.get_scale() if scaler is not None and scaler.is_enabled() else None


@torch.no_grad()
def mean_loss(model, rows: PackedRows) -> float:
    """Mean cross-entropy over all learned tokens of packed rows, in nats per token."""
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    for index in range(len(rows)):
        batch = {name: values.to(model.device) for name, values in collate_row([rows[index]]).items()}
        losses, _ = completion_losses(model, batch)
        total, count = total + losses.double().sum().item(), count + len(losses)
    model.train(was_training)
    return total / count


def save_adapter(model, folder: Path) -> None:
    """Writes adapter_model.safetensors and adapter_config.json; the same adapter gives the same bytes."""
    settings = model.peft_config["default"]
    settings.target_modules = sorted(settings.target_modules)
    model.save_pretrained(folder, save_embedding_layers=False)
    config = json.loads((folder / "adapter_config.json").read_text())
    write_atomically(folder / "adapter_config.json", to_json(config))


def format_duration(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
