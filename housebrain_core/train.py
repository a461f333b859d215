"""Trains one split into one LoRA adapter: resumes, reports, keeps to its time, and ends with a sealed folder."""

import os
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from pydantic import BaseModel
from transformers import TrainingArguments

from housebrain_core.bundles import Bundle, is_bundle, read_bundle
from housebrain_core.checkpoints import find_checkpoint, lock_folder, prune_checkpoints, refuse_other_run
from housebrain_core.errors import DataError
from housebrain_core.manifests import MANIFEST, check_files, read_manifest, seal, to_json, write_atomically
from housebrain_core.model import add_lora, load_base, load_tokenizer, resolve_base, training_device
from housebrain_core.packing import PackedRows, Tokenised, collate_row, tokenise
from housebrain_core.settings import FineTuningConfig
from housebrain_core.stopping import FORWARD_SHARE, StopInTime, StopOnGarbage, StopWhenLearned, measuring_interval
from housebrain_core.trainer import Progress, RowTrainer, SaveByTime, gradient_scale, mean_loss, save_adapter

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
    validation_curve: list[tuple[int, float]] = []
    """(step, validation loss) as measured on the way."""
    floor: float | None = None
    """The data's own entropy in nats per learned token, where the audit knew it."""
    hours_saved: float = 0.0
    """Hours of the plan that stopping when learned left out, at this session's speed."""


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
            validation = tokenise(bundle.validation, tokenizer, "auto")
            self.validation = PackedRows(validation.samples, config.row_length)
            self.floor = floor_per_token(bundle, validation)
            trainer = self._trainer(model, rows, fingerprint)
            if checkpoint:
                self.report(f"resuming from {checkpoint.name}")
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            loss = mean_loss(model, self.validation)
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
            "world_size": int(os.environ.get("WORLD_SIZE", "1")),
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
        measured = not (config.full_epochs or config.max_steps)
        every = measuring_interval(len(self.validation), config.rows_per_step) if measured else None
        measurement = FORWARD_SHARE * len(self.validation) / config.rows_per_step
        progress = Progress(self.report, config.time_budget_hours, measurement, every)
        callbacks = [progress, SaveByTime(config.save_minutes)]
        trainer = RowTrainer(
            model=model, args=arguments, train_dataset=rows, data_collator=collate_row, callbacks=callbacks,
            fingerprint=fingerprint, report=self.report,
        )  # fmt: skip
        if every:
            measure = partial(mean_loss, model, self.validation)
            trainer.add_callback(StopWhenLearned(measure, every, self.floor, lambda: trainer.schedule, self.report))
        trainer.add_callback(StopOnGarbage(lambda: gradient_scale(trainer)))
        trainer.add_callback(StopInTime(config, self.started, self.report))
        trainer.remove_callback(transformers.PrinterCallback)
        return trainer

    def _result(self, trainer: "RowTrainer", bundle: Bundle, base, train: Tokenised, loss: float) -> TrainResult:
        state = trainer.state
        curve = [(entry["step"], entry["loss"]) for entry in state.log_history if "loss" in entry]
        stopped = next(c.stopped for c in trainer.callback_handler.callbacks if isinstance(c, StopInTime))
        learned = next((entry["learned"] for entry in state.log_history if entry.get("learned")), "")
        done = state.global_step >= trainer.schedule.end
        left = max(0, state.max_steps - state.global_step) if done else 0
        progress = next(c for c in trainer.callback_handler.callbacks if isinstance(c, Progress))
        _, device_name, _ = training_device()
        return TrainResult(
            finished=done,
            why_it_ended=(learned or FINISHED[bool(self.config.max_steps)]) if done else stopped,
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
            validation_curve=[(e["step"], e["validation_loss"]) for e in state.log_history if "validation_loss" in e],
            floor=self.floor,
            hours_saved=round(left * progress.seconds_per_step / 3600, 3),
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
        names = [path.name for path in output.iterdir() if path.is_file() and not path.name.startswith(".")]
        seal(output, "adapter", names, finished=result.finished, fingerprint=fingerprint)
        if result.finished:
            prune_checkpoints(output, keep=1)


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


def floor_per_token(bundle: Bundle, validation: Tokenised) -> float | None:
    """The data's entropy in nats per learned token, where the bundle's manifest has it per sample."""
    per_sample = bundle.manifest.get("entropy_nats_per_sample")
    learned = sum(validation.samples["length"][:]) - sum(validation.samples["prompt_length"][:])
    return per_sample * len(validation.samples) / learned if per_sample else None


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
