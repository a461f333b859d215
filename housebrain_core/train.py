"""Trains one split into one LoRA adapter: resumes, reports, keeps to its time, and ends with a sealed folder."""

import json
import platform
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from pydantic import BaseModel
from transformers import Trainer, TrainerCallback, TrainingArguments

from housebrain_core.bundles import Bundle, is_bundle, read_bundle
from housebrain_core.checkpoints import (
    find_checkpoint,
    lock_folder,
    prune_checkpoints,
    refuse_other_run,
    seal_checkpoint,
)
from housebrain_core.config import FineTuningConfig
from housebrain_core.errors import DataError
from housebrain_core.manifests import MANIFEST, check_files, read_manifest, seal, to_json, write_atomically
from housebrain_core.model import add_lora, load_base, load_tokenizer, resolve_base, training_device
from housebrain_core.packing import PackedRows, Tokenised, collate_row, completion_losses, tokenise
from housebrain_core.platforms import session_start

MUST_NOT_CHANGE = (
    "epochs", "max_steps", "batch_size", "gradient_accumulation_steps", "row_length", "learning_rate", "warmup_share",
    "lora_r", "lora_alpha", "lora_dropout", "seed", "lora_seed", "load_in_4bit",
)  # fmt: skip
"""Settings that all sessions of one run share; data, base model and max_length are compared besides."""
FINISHED = ("all epochs done", "max_steps done")


class TrainResult(BaseModel):
    """What a run did; run.json in the adapter folder."""

    finished: bool
    why_it_ended: str
    steps: int
    planned_steps: int
    epochs: float
    tokens: int
    """Tokens trained on, prompts included, over all sessions."""
    train_loss: float | None
    """Mean over the last logged steps, nats per learned token."""
    validation_loss: float
    """On the common validation sample, nats per learned token."""
    seconds: float
    """Of this session, loading included."""
    split: str
    samples: int
    refused: int
    settings: dict[str, Any]
    base: dict[str, str]
    data: dict[str, Any]
    hardware: dict[str, Any]
    versions: dict[str, str]
    curve: list[tuple[int, float]]
    """(step, training loss) as logged."""


class HouseBrainFineTuner:
    """Trains one adapter.

    >>> config = FineTuningConfig(dataset_path="split_04.zip", output_dir="models/hb-kaggle-04")
    >>> HouseBrainFineTuner(config).train()

    Starting it again with the same settings goes on from the newest sealed checkpoint; when the adapter is
    finished already, it is read and returned.

    Args:
        config: the run's settings.
        report: gets each line of progress.
    """

    def __init__(self, config: FineTuningConfig, report: Callable[[str], None] = print):
        self.config = config
        self.report = report
        self.started = time.time()

    def train(self) -> TrainResult:
        """Trains, or goes on, until the plan is done or the time budget ends.

        Returns:
            What was done; the same as run.json in the output folder.

        Raises:
            DataError: the data cannot be read or no sample fits.
            ConfigError: the base model cannot be found.
            CheckpointError: the folder belongs to another run or another process, or all checkpoints are damaged.
        """
        config = self.config
        bundle = read_training_data(config.dataset_path)
        base = resolve_base(config.base_model, config.revision)
        tokenizer = load_tokenizer(base)
        with lock_folder(config.output_dir):
            train = tokenise(bundle.train, tokenizer, config.max_length)
            self.report(f"{bundle.name}: {len(train.samples)} samples; {train.note}")
            if train.refused:
                self.report(f"{train.refused} samples do not fit into {train.max_length} tokens; they are left out")
            fingerprint = self._fingerprint(bundle, base, train)
            done = self._already_finished(fingerprint)
            if done:
                return done
            checkpoint = find_checkpoint(config.output_dir, fingerprint, self.report)
            model = add_lora(load_base(base, config.load_in_4bit, self.report), base, config)
            rows = PackedRows(train.samples, config.row_length)
            self.report(f"{sum(rows.samples['length'][:]):,} tokens in {len(rows)} rows of {config.row_length}")
            trainer = self._trainer(model, rows, fingerprint)
            if checkpoint:
                self.report(f"resuming from {checkpoint.name}")
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            validation = tokenise(bundle.validation, tokenizer, "auto")
            loss = mean_loss(model, PackedRows(validation.samples, config.row_length))
            result = self._result(trainer, bundle, base, train, loss)
            self._save(model, tokenizer, trainer, result, fingerprint)
        self.report(
            f"{result.why_it_ended} at step {result.steps} of {result.planned_steps}; "
            f"validation loss {result.validation_loss:.4f} nats per token; adapter in {config.output_dir}"
        )
        if not result.finished:
            self.report("To go on, start it again with the same settings: it resumes from the last checkpoint.")
        return result

    def _fingerprint(self, bundle: Bundle, base, train: Tokenised) -> dict[str, Any]:
        """Everything that must not change between sessions of one run."""
        return {
            **{name: getattr(self.config, name) for name in MUST_NOT_CHANGE},
            "max_length": train.max_length,
            "data": bundle.manifest["files"]["train.parquet"]["sha256"],
            "base_model": base.name,
            "revision": base.revision,
        }

    def _already_finished(self, fingerprint: dict) -> TrainResult | None:
        output = self.config.output_dir
        if not (output / MANIFEST).exists():
            return None
        manifest = read_manifest(output, "adapter")
        refuse_other_run(manifest["fingerprint"], fingerprint, output)
        if not manifest["finished"]:
            return None
        check_files(output, manifest)
        self.report(f"{output} holds the finished adapter of this very run; nothing is left to do")
        return TrainResult.model_validate_json((output / "run.json").read_bytes())

    def _trainer(self, model, rows: PackedRows, fingerprint: dict) -> "RowTrainer":
        config, (device, _, capability) = self.config, training_device()
        arguments = TrainingArguments(
            output_dir=str(config.output_dir),
            num_train_epochs=config.epochs,
            max_steps=config.max_steps or -1,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=config.rows_per_step,
            learning_rate=config.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=config.warmup_share,
            seed=config.seed,
            use_cpu=device.type == "cpu",
            fp16=capability is not None and capability < (8, 0),
            bf16=capability is not None and capability >= (8, 0),
            logging_steps=config.logging_steps,
            logging_first_step=True,
            logging_nan_inf_filter=False,
            include_num_input_tokens_seen="all",
            save_steps=config.save_steps,
            save_total_limit=None,  # checkpoints.py prunes, and counts sealed ones only
            eval_strategy="no",
            remove_unused_columns=False,
            disable_tqdm=True,
            report_to="none",
        )
        callbacks = [
            Progress(self.report),
            SealCheckpoints(config, fingerprint, self.report),
            StopInTime(config, self.started, self.report),
        ]
        trainer = RowTrainer(
            model=model, args=arguments, train_dataset=rows, data_collator=collate_row, callbacks=callbacks
        )
        trainer.remove_callback(transformers.PrinterCallback)
        return trainer

    def _result(self, trainer: "RowTrainer", bundle: Bundle, base, train: Tokenised, loss: float) -> TrainResult:
        state = trainer.state
        curve = [(entry["step"], entry["loss"]) for entry in state.log_history if "loss" in entry]
        stopped = next(c.stopped for c in trainer.callback_handler.callbacks if isinstance(c, StopInTime))
        done = state.global_step >= state.max_steps
        _, device_name, _ = training_device()
        return TrainResult(
            finished=done,
            why_it_ended=FINISHED[bool(self.config.max_steps)] if done else stopped,
            steps=state.global_step,
            planned_steps=state.max_steps,
            epochs=round(state.epoch or 0, 4),
            tokens=int(state.num_input_tokens_seen),
            train_loss=curve[-1][1] if curve else None,
            validation_loss=loss,
            seconds=round(time.time() - self.started, 1),
            split=bundle.name,
            samples=len(train.samples),
            refused=train.refused,
            settings=self.config.model_dump(mode="json"),
            base={"name": base.name, "revision": base.revision},
            data={key: bundle.manifest.get(key) for key in ("dataset", "split_id", "splits", "codec_version", "seed")},
            hardware={"device": device_name, "gpus": torch.cuda.device_count(), "machine": platform.machine()},
            versions={
                "python": platform.python_version(),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "peft": peft.__version__,
            },
            curve=curve,
        )

    def _save(self, model, tokenizer, trainer: "RowTrainer", result: TrainResult, fingerprint: dict) -> None:
        """Writes the adapter folder; the manifest comes last."""
        output = self.config.output_dir
        (output / MANIFEST).unlink(missing_ok=True)
        save_adapter(model, output)
        tokenizer.save_pretrained(output)
        trainer.state.save_to_json(str(output / "trainer_state.json"))
        write_atomically(output / "run.json", to_json(result.model_dump(mode="json")))
        write_atomically(output / "README.md", describe_adapter(result))
        seal(output, "adapter", finished=result.finished, fingerprint=fingerprint)
        if result.finished:
            prune_checkpoints(output, keep=1)


class RowTrainer(Trainer):
    """transformers' Trainer with the loss of a packed row."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.loss_is_scaled_for_ga = True

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Sum over the learned tokens of this row, divided by those of the whole optimizer step."""
        losses, _ = completion_losses(model, inputs)
        return losses.sum() / num_items_in_batch

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        save_adapter(self.model, Path(output_dir or self.args.output_dir))


class Progress(TrainerCallback):
    """One plain line per logging interval: loss, speed, time left. Progress bars flood papermill's output."""

    def __init__(self, report: Callable[[str], None]):
        self.report = report

    def on_train_begin(self, args, state, control, **kwargs):
        self.time, self.step, self.tokens = time.time(), state.global_step, state.num_input_tokens_seen

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


class SealCheckpoints(TrainerCallback):
    """Saves by time as well as by step, seals what was saved, and prunes."""

    def __init__(self, config: FineTuningConfig, fingerprint: dict, report: Callable[[str], None]):
        self.config, self.fingerprint, self.report = config, fingerprint, report
        self.saved_at = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        if time.monotonic() - self.saved_at > self.config.save_minutes * 60:
            control.should_save = True

    def on_save(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            folder = self.config.output_dir / f"checkpoint-{state.global_step}"
            seal_checkpoint(folder, state.global_step, self.fingerprint)
            prune_checkpoints(self.config.output_dir)
            self.report(f"saved {folder.name}")
        self.saved_at = time.monotonic()


class StopInTime(TrainerCallback):
    """Ends training at the end of a step: when the time budget is nearly used, or when somebody asks for it."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, config: FineTuningConfig, started: float, report: Callable[[str], None]):
        self.report, self.stopped, self.asked = report, "", ""
        self.deadline = None
        if config.time_budget_hours:
            self.deadline = min(started, session_start()) + config.time_budget_hours * 3600
        self.handlers = ExitStack()

    def on_train_begin(self, args, state, control, **kwargs):
        self.step_started = time.time()
        self.longest = 0.0
        for number in self.SIGNALS:
            try:
                before = signal.signal(number, self._ask)
            except ValueError:  # not the main thread: nobody can signal us there
                return
            self.handlers.callback(signal.signal, number, before)

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = f"stopped by {signal.Signals(number).name}"

    def on_step_end(self, args, state, control, **kwargs):
        now = time.time()
        self.longest = max(self.longest, now - self.step_started)
        self.step_started = now
        if self.deadline and now + 2 * self.longest + 30 > self.deadline:
            self.asked = self.asked or "the time budget ended"
        if self.asked and state.global_step < state.max_steps:
            self.stopped = self.asked
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args, state, control, **kwargs):
        self.handlers.close()


def read_training_data(path: Path) -> Bundle:
    """A bundle, or any dataset made into one where the whole package is installed.

    Raises:
        DataError: it can be read as neither.
    """
    if is_bundle(path):
        return read_bundle(path)
    try:
        from housebrain_core.splits import bundle_from_dataset  # not part of the cloud notebooks
    except ImportError:
        raise DataError(
            f"{path} is not a bundle. Give the split_NN.zip that `housebrain split` wrote, or the folder it unpacks to."
        ) from None
    return bundle_from_dataset(path)


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


def describe_adapter(result: TrainResult) -> str:
    """README.md of an adapter folder."""
    rows = {
        "base model": f"{result.base['name']} at {result.base['revision']}",
        "split": f"{result.split}, {result.samples} samples",
        "trained": f"{result.steps} of {result.planned_steps} steps, {result.tokens:,} tokens",
        "ended because": result.why_it_ended,
        "validation loss": f"{result.validation_loss:.4f} nats per token",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    front = f"---\nbase_model: {result.base['name']}\nlibrary_name: peft\npipeline_tag: text-generation\n---\n"
    return f"{front}\n# HouseBrain adapter\n\n| | |\n|---|---|\n{table}\n"


def format_duration(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
