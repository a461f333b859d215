"""The Trainer of packed rows: its loss, its schedule, checkpoints that survive a full disk, and lines of progress."""

import re
import shutil
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

from housebrain_core.display.progress import TrainingState, gpu_memory, write_state
from housebrain_core.errors import CheckpointError, TrainingError
from housebrain_core.platforms import estimate_finish, format_duration
from housebrain_core.settings import FineTuningConfig
from housebrain_core.train.checkpoints import prune_checkpoints, seal_checkpoint
from housebrain_core.train.model import refuse_lost_keys, training_device
from housebrain_core.train.packing import PackedRows, collate_row, completion_losses
from housebrain_core.train.processes import gather, rank, world_size
from housebrain_core.train.stopping import Schedule, StepCallback, cosine_shares

FIRST_STEPS = 20
"""Steps of a session after which it says when all will be done."""
FAILED_SAVES = 3
"""Failed saves in a row after which a run ends."""


def training_arguments(config: FineTuningConfig, accumulation: int, leg_steps: int | None = None) -> TrainingArguments:
    """The settings of transformers' Trainer.

    Args:
        config: ours.
        accumulation: rows that this process trains on in an optimizer step.
        leg_steps: optimizer steps of the leg, whose rows are in order already; None for a run without a plan.
    """
    device, _, capability = training_device()
    arguments = TrainingArguments(
        output_dir=str(config.output_dir),
        num_train_epochs=config.epochs,
        max_steps=leg_steps or config.max_steps or -1,
        train_sampling_strategy="sequential" if leg_steps else "random",
        per_device_train_batch_size=1,
        gradient_accumulation_steps=accumulation,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup_share,
        seed=config.seed,
        use_cpu=device.type == "cpu",
        ddp_find_unused_parameters=False,
        fp16=capability is not None and capability < (8, 0),
        bf16=capability is not None and capability >= (8, 0),
        logging_steps=config.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        include_num_input_tokens_seen="all",
        save_steps=config.save_steps,  # no save_total_limit: checkpoints.py prunes, and counts sealed ones only
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # noqa: SLF001 - several GPUs are several processes, never threads of one
    return arguments


class RowTrainer(Trainer):
    """transformers' Trainer with the loss of a packed row, our schedule, and checkpoints that are sealed."""

    def __init__(
        self,
        fingerprint: dict[str, Any],
        report: Callable[[str], None],
        schedule: Schedule | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_collator=collate_row, **kwargs)
        self.schedule_of_leg = schedule  # None for a run without a plan
        self.model: Any
        self.optimizer: Any
        self.fingerprint = fingerprint
        self.report = report
        self.failed_saves = 0
        self.loss_is_scaled_for_ga = True  # compute_loss divides by the tokens of the whole step

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Sum over the learned tokens of this row, divided by those of the whole step in all processes.

        Gradients are averaged over the processes afterwards, hence the factor.
        """
        losses, _ = completion_losses(model, inputs)
        return losses.sum() / num_items_in_batch * self.args.world_size

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> torch.optim.lr_scheduler.LambdaLR:
        """The leg's schedule, or warm-up and cosine; and a cool-down when there is nothing more to learn."""
        warmup = self.args.get_warmup_steps(num_training_steps)
        self.schedule = self.schedule_of_leg or Schedule(cosine_shares(warmup, num_training_steps))
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, self.schedule)
        return self.lr_scheduler

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        result = self.model.load_adapter(resume_from_checkpoint, "default", is_trainable=True)
        refuse_lost_keys(result, "default", resume_from_checkpoint)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        settings = self.model.peft_config["default"]
        settings.target_modules = sorted(settings.target_modules)  # a set, which has no order of its own
        self.model.save_pretrained(output_dir, save_embedding_layers=False)
        (Path(output_dir or str(self.args.output_dir)) / "README.md").unlink(
            missing_ok=True
        )  # PEFT's own names the base model's path

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Saves, seals and prunes; a failed write is cleaned up and training goes on, but not three times in a row."""
        output = Path(str(self.args.output_dir))
        step = self.state.global_step
        folder = output / f"checkpoint-{step}"
        if not all(weight.isfinite().all() for weight in self.model.parameters() if weight.requires_grad):
            raise TrainingError(f"the adapter holds NaN or inf at step {step}; it is not saved. Lower learning_rate.")
        save = partial(super()._save_checkpoint, model, trial)
        problem = failed_write(save) or failed_write(partial(self._seal_and_prune, folder, step))
        if problem:
            self._clean_up(folder, problem)
        else:
            self.failed_saves = 0
            self.report(f"saved {folder.name}")

    def _seal_and_prune(self, folder: Path, step: int) -> None:
        if rank() == 0:
            seal_checkpoint(folder, step, self.fingerprint)
            prune_checkpoints(folder.parent)

    def _clean_up(self, folder: Path, problem: str) -> None:
        """Removes what was half written; CheckpointError when it is the third time in a row."""
        self.failed_saves += 1
        if rank() == 0:
            shutil.rmtree(folder, ignore_errors=True)
        free = shutil.disk_usage(folder.parent).free / 2**20
        reason = f"{folder.name} could not be written ({problem}); {free:,.0f} MiB are free. Make room on the disk"
        if self.failed_saves == FAILED_SAVES:
            raise CheckpointError(f"{reason} and start again: it is the third in a row, the last good one is whole.")
        self.report(f"{reason}; training goes on.")


def failed_write(write: Callable[[], None]) -> str:
    """Runs a write to disk in all processes; why it failed in any of them, or ""."""
    problem = ""
    try:
        write()
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and not re.search("PytorchStreamWriter|unexpected pos|write", str(error)):
            raise  # it is not torch.save on a full disk
        problem = str(error).splitlines()[0]
    return next(filter(None, gather(problem)), "")


class Progress(StepCallback):
    """Says how far a run is: a line per logging interval, and the run's file .progress.json, which a notebook draws.

    Args:
        report: gets the lines.
        state: of the run as it begins.
        folder: of the run.
        hours: length of a session; None for one without end.
        measurement: optimizer steps that one measurement of the validation loss takes as long as.
        every: optimizer steps between such measurements; None when there is only the last one.
    """

    def __init__(
        self,
        report: Callable[[str], None],
        state: TrainingState,
        folder: Path,
        hours: float | None,
        measurement: float,
        every: int | None,
    ) -> None:
        self.report = report
        self.state = state
        self.folder = folder
        self.hours = hours
        self.measurement = measurement
        self.every = every
        self.rate = 0.0  # tokens per second
        self.seconds_per_step = 0.0

    def begin(self, state: TrainerState) -> None:
        """Starts the clock."""
        self.tokens_before = state.num_input_tokens_seen
        self.ends = [time.time()]  # of all steps, and the beginning of the first
        self.say("training", step=state.global_step, planned=state.max_steps, **losses_of(state))

    def say(self, phase: str, **news: Any) -> None:
        """Writes what is going on now, and other news, into the run's file."""
        self.state = self.state.model_copy(update={"phase": phase, **news})
        if rank() == 0:
            write_state(self.folder, self.state)

    def after_step(self, state: TrainerState, control: TrainerControl, parts: dict[str, Any]) -> None:
        """Updates the speed; after the first steps of a session, says when all will be done."""
        self.ends.append(time.time())
        done = len(self.ends) - 1
        seconds = self.ends[-1] - self.ends[0]
        self.rate = (state.num_input_tokens_seen - self.tokens_before) / seconds
        self.seconds_per_step = seconds / done
        if done == FIRST_STEPS:
            self._report_finish(state)

    def _report_finish(self, state: TrainerState) -> None:
        """Says when training will be done. Rows are equally full, so a step above the median was held up."""
        step_seconds = median(end - start for start, end in pairwise(self.ends))
        rate = state.num_input_tokens_seen / state.global_step / step_seconds
        seconds = steps_left(state.global_step, state.max_steps, self.measurement, self.every) * step_seconds
        finish = estimate_finish(seconds, self.hours, self.ends[-1])
        earlier = "; it ends earlier when nothing more is learned" if self.every else ""
        self.report(f"after {FIRST_STEPS} steps: {rate:,.0f} tokens/s: {finish}{earlier}")

    def after_log(self, state: TrainerState, logs: dict[str, Any]) -> None:
        """Reports the loss, in a line and in the run's file."""
        if "loss" not in logs:
            return
        seconds = steps_left(state.global_step, state.max_steps, self.measurement, self.every) * self.seconds_per_step
        self.say(
            "training",
            step=state.global_step,
            seconds_left=round(seconds) or None,
            tokens_per_second=round(self.rate, 1),
            memory=gpu_memory(),
            **losses_of(state),
        )
        if self.rate:
            done = f"step {state.global_step} of {state.max_steps}  loss {logs['loss']:.4f}"
            left = f"{format_duration(seconds)} left" if seconds >= 1 else "all steps done"
            self.report(f"{done}  {self.rate:,.0f} tokens/s  {left}")

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        """Called by the Trainer: a checkpoint was saved."""
        self.say("training", step=state.global_step, saved=state.global_step)


def losses_of(state: TrainerState) -> dict[str, list[tuple[int, float]]]:
    """The losses that a run has logged: of training, and on the validation sample where they were measured."""
    log: list[Any] = state.log_history
    return {
        "curve": [(entry["step"], entry["loss"]) for entry in log if "loss" in entry],
        "validation": [(entry["step"], entry["validation_loss"]) for entry in log if "validation_loss" in entry],
    }


def steps_left(step: int, planned: int, measurement: float, every: int | None) -> float:
    """Remaining time in optimizer steps, measurements of the validation loss included.

    Args:
        step: steps done.
        planned: steps in all.
        measurement: steps that one measurement takes as long as.
        every: steps between measurements; None when there is only the last one.
    """
    measurements = 1 + (planned // every - step // every if every else 0)
    return planned - step + measurements * measurement


@torch.no_grad()
def mean_loss(model: Any, rows: PackedRows) -> float:
    """Mean cross-entropy over all learned tokens of packed rows, in nats per token; processes share the rows."""
    model.eval()
    total = 0.0
    count = 0
    for index in range(rank(), len(rows), world_size()):
        batch = {name: values.to(model.device) for name, values in collate_row([rows[index]]).items()}
        losses, _ = completion_losses(model, batch)
        total += losses.double().sum().item()
        count += len(losses)
    model.train()
    parts = gather((total, count))
    return sum(part_total for part_total, _ in parts) / sum(part_count for _, part_count in parts)
