"""Trains one split into one LoRA adapter: resumes, reports, keeps to its time, and ends with a sealed folder."""

import platform
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from transformers import PrinterCallback, TrainingArguments

from housebrain_core.errors import TrainingError
from housebrain_core.manifests import MANIFEST, check_files, read_manifest, seal, to_json, write_atomically
from housebrain_core.platforms import gather, rank, session_start, world_size
from housebrain_core.settings import FineTuningConfig
from housebrain_core.splits.bundle import Bundle, is_bundle, read_bundle
from housebrain_core.train.base_models import Base, resolve_base
from housebrain_core.train.checkpoints import find_checkpoint, lock_folder, prune_checkpoints, refuse_other_run
from housebrain_core.train.memory import ADVICE, decide_checkpointing
from housebrain_core.train.model import add_lora, load_base, load_tokenizer, training_device
from housebrain_core.train.packing import PackedRows, Tokenised, tokenise
from housebrain_core.train.stopping import FORWARD_SHARE, KeepTime, StopOnGarbage, StopWhenLearned, measuring_interval
from housebrain_core.train.trainer import Progress, RowTrainer, mean_loss

MAY_CHANGE = {"dataset_path", "output_dir", "gpus", "gradient_checkpointing", "save_steps", "save_minutes",
              "logging_steps", "full_epochs", "time_budget_hours"}  # fmt: skip
"""Settings in which sessions of one run may differ; data and processes are compared by what they are."""


class TrainResult(BaseModel):
    """What a run did; run.json in the adapter folder. Losses are in nats per learned token."""

    finished: bool
    why_it_ended: str
    steps: int
    planned_steps: int
    epochs: float
    tokens: int  # trained on, prompts included, over all sessions
    train_loss: float | None  # mean over the last logged steps
    validation_loss: float  # on the common validation sample
    seconds: float  # of this session, loading included
    tokens_per_second: float = 0.0  # in this session, saving and validation included, loading not
    split: str
    samples: int
    refused: int  # samples that do not fit into max_length
    settings: dict[str, Any]
    base: dict[str, str]
    data: dict[str, Any]
    hardware: dict[str, Any]
    versions: dict[str, str]
    curve: list[tuple[int, float]]  # (step, training loss) as logged
    validation_curve: list[tuple[int, float]] = []  # (step, validation loss) as measured on the way
    floor: float | None = None  # the data's own entropy, where the audit knew it
    hours_saved: float = 0.0  # of the plan, by stopping when learned, at this session's speed


class HouseBrainFineTuner:
    """Trains one adapter.

    >>> config = FineTuningConfig(dataset_path="split_04.zip", output_dir="models/hb-kaggle-04")
    >>> HouseBrainFineTuner(config).train()

    Starting it again with the same settings goes on from the newest sealed checkpoint; when the adapter is
    finished already, it is read and returned. `report` gets each line of progress.
    """

    def __init__(self, config: FineTuningConfig, report: Callable[[str], None] = print):
        self.config, self.started = config, time.time()
        self.report = report if rank() == 0 else lambda line: None

    def train(self) -> TrainResult:
        """Trains, or goes on, until the plan is done or the time budget ends; run.json has what it returns.

        Raises:
            DataError: the data cannot be read or no sample fits.
            ConfigError: the base model cannot be found.
            CheckpointError: the folder belongs to another run or another process, or all checkpoints are damaged.
            TrainingError: the numbers are garbage, or the GPU's memory is too small.
        """
        config = self.config
        if config.gpus > 1 and world_size() == 1:
            from housebrain_core.train.launch import train_in_processes

            train_in_processes(config, self.report, self.started)
            return TrainResult.model_validate_json((config.output_dir / "run.json").read_bytes())
        bundle = read_training_data(config.dataset_path)  # before the folder is made: a wrong path leaves nothing
        base = resolve_base(config.base_model, config.revision)
        with lock_folder(config.output_dir) if rank() == 0 else nullcontext():
            result = self._train(bundle, base)
        if not result.finished:
            self.report("To go on, start it again with the same settings: it resumes from the last checkpoint.")
        return result

    def _train(self, bundle: Bundle, base: Base) -> TrainResult:
        """Everything that needs the folder's lock."""
        config, report, tokenizer = self.config, self.report, load_tokenizer(base)
        train = tokenise(bundle.train, tokenizer, config.max_length)
        report(f"{bundle.name}: {len(train.samples)} samples; {train.note}")
        found = {"base_model": base.name, "revision": base.revision, "max_length": train.max_length}
        data = {"training data": bundle.manifest["files"]["train.parquet"]["sha256"][:16], "world_size": world_size()}
        fingerprint = config.model_dump(exclude=MAY_CHANGE) | found | data
        done, checkpoint = gather(self._find_earlier(fingerprint) if rank() == 0 else None)[0]
        if done:
            return done
        model = add_lora(load_base(base, config.load_in_4bit, report), base, config)
        rows = PackedRows(train.samples, config.row_length)
        report(f"{sum(rows.lengths):,} tokens in {len(rows)} rows of {config.row_length}")
        decide_checkpointing(model, rows, config.gradient_checkpointing, report)
        validation = PackedRows(tokenise(bundle.validation, tokenizer, "auto").samples, config.row_length)
        entropy = bundle.manifest.get("entropy_nats_per_sample")
        floor = entropy and entropy * len(validation.learned) / sum(validation.learned)  # nats per learned token
        trainer = self._trainer(model, rows, fingerprint, validation, floor)
        if checkpoint:
            report(f"resuming from {checkpoint.name}")
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except torch.OutOfMemoryError as error:
            raise TrainingError(f"the GPU's memory ran out: {str(error).splitlines()[0]} {ADVICE}") from None
        result = self._result(trainer, bundle, base, train, mean_loss(model, validation), floor)
        if rank() == 0:
            self._save(tokenizer, trainer, result)
        saved = f"; {result.hours_saved:.2f} h of the plan are saved" if result.hours_saved else ""
        report(
            f"{result.why_it_ended} at step {result.steps} of {result.planned_steps}{saved}; "
            f"validation loss {result.validation_loss:.4f} nats per token; adapter in {config.output_dir}"
        )
        return result

    def _find_earlier(self, fingerprint: dict) -> tuple[TrainResult | None, Path | None]:
        """What this run did before: its result when it is finished, else the checkpoint to go on from."""
        output = self.config.output_dir
        if (output / MANIFEST).exists():
            manifest = read_manifest(output, "adapter")
            refuse_other_run(manifest["fingerprint"], fingerprint, output)
            if manifest["finished"]:
                check_files(output, manifest)
                self.report(f"{output} holds the finished adapter of this very run; nothing is left to do")
                return TrainResult.model_validate_json((output / "run.json").read_bytes()), None
        return None, find_checkpoint(output, fingerprint, self.report)

    def _trainer(self, model, rows: PackedRows, fingerprint: dict, validation: PackedRows, floor: float | None):
        """The Trainer, with all that reports and ends training; the clock is last: what ends anyhow needs none."""
        config, hours = self.config, self.config.time_budget_hours
        accumulation = -(-config.rows_per_step // world_size())
        per_step = accumulation * world_size()
        if per_step != config.rows_per_step:
            self.report(f"{config.rows_per_step} rows per step do not divide by {world_size()} GPUs: it is {per_step}")
        deadline = min(self.started, session_start()) + hours * 3600 if hours else None
        every = None if config.full_epochs or config.max_steps else measuring_interval(len(validation), per_step)
        self.progress = Progress(self.report, hours, FORWARD_SHARE * len(validation) / per_step, every)
        self.clock = KeepTime(config.save_minutes, deadline)
        learned = [StopWhenLearned(partial(mean_loss, model, validation), every, floor, self.report)] if every else []
        callbacks = [self.progress, *learned, StopOnGarbage(), self.clock]
        about = {"model": model, "args": self._arguments(accumulation), "train_dataset": rows, "callbacks": callbacks}
        trainer = RowTrainer(fingerprint, self.report, **about)
        trainer.remove_callback(PrinterCallback)
        return trainer

    def _arguments(self, accumulation: int) -> TrainingArguments:
        config, (device, _, capability) = self.config, training_device()
        arguments = TrainingArguments(
            output_dir=str(config.output_dir),
            num_train_epochs=config.epochs,
            max_steps=config.max_steps or -1,
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
        arguments._n_gpu = min(1, arguments.n_gpu)  # several GPUs are several processes, never threads of one
        return arguments

    def _result(
        self, trainer: RowTrainer, bundle: Bundle, base: Base, train: Tokenised, loss: float, floor: float | None
    ) -> TrainResult:
        state, log = trainer.state, trainer.state.log_history
        curve, measured = ([(e["step"], e[name]) for e in log if name in e] for name in ("loss", "validation_loss"))
        all_done = "max_steps done" if self.config.max_steps else "all epochs done"
        done = state.global_step >= trainer.schedule.end
        learned = next((entry["learned"] for entry in log if entry.get("learned")), all_done)
        left = state.max_steps - state.global_step if done else 0
        return TrainResult(
            finished=done,
            why_it_ended=learned if done else self.clock.stopped,
            steps=state.global_step,
            planned_steps=state.max_steps,
            epochs=round(state.epoch or 0, 4),
            tokens=int(state.num_input_tokens_seen),
            train_loss=curve[-1][1] if curve else None,
            validation_loss=loss,
            seconds=round(time.time() - self.started, 1),
            tokens_per_second=round(self.progress.rate, 1),
            split=bundle.name,
            samples=len(train.samples),
            refused=train.refused,
            settings=self.config.model_dump(mode="json"),
            base={"name": base.name, "revision": base.revision},
            data={key: bundle.manifest.get(key) for key in ("dataset", "split_id", "splits", "codec_version", "seed")},
            hardware={"device": training_device()[1], "gpus": world_size(), "machine": platform.machine()},
            versions={name: version(name) for name in ("torch", "transformers", "peft", "bitsandbytes")},
            curve=curve,
            validation_curve=measured,
            floor=floor,
            hours_saved=round(left * self.progress.seconds_per_step / 3600, 3),
        )

    def _save(self, tokenizer, trainer: RowTrainer, result: TrainResult) -> None:
        """Writes the adapter folder; the manifest comes last."""
        from housebrain_core.train.card import describe_adapter

        output = self.config.output_dir
        (output / MANIFEST).unlink(missing_ok=True)
        trainer.save_model(str(output))
        tokenizer.save_pretrained(output)
        trainer.state.save_to_json(str(output / "trainer_state.json"))
        write_atomically(output / "run.json", to_json(result.model_dump(mode="json")))
        write_atomically(output / "README.md", describe_adapter(result.model_dump()))
        seal(output, "adapter", finished=result.finished, fingerprint=trainer.fingerprint)
        if result.finished:
            prune_checkpoints(output, keep=1)


def read_training_data(path: Path) -> Bundle:
    """A bundle, or any dataset made into one where the whole package is; DataError when it can be read as neither."""
    if is_bundle(path) or not find_spec("housebrain_core.splits.split"):  # the cloud notebooks carry no splits
        return read_bundle(path)
    from housebrain_core.splits.split import bundle_from_dataset

    return bundle_from_dataset(path)
