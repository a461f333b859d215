"""Real samples per second of training: the original's format, ours in three layouts, and TRL's; one model, one run.

    python benchmarks/train_throughput.py --source housebrain_dataset_v5_350k --tokenizer qwen2
    python benchmarks/train_throughput.py            generated samples, the tiny base's tokenizer

The model is one of the 28 layers of Qwen2.5-Coder-1.5B at its real widths, with a 28th of its vocabulary
(ids are taken modulo), so that layers, attention and output layer keep the real model's proportions; NF4 and LoRA as
in training, random weights, one thread, CPU seconds. Each variant runs through transformers' Trainer, ours through
RowTrainer, TRL's through SFTTrainer.

On a CPU attention over a whole packed row is computed and then masked, so that packing costs there what it saves on
a GPU, where reading NF4 weights is a fixed price for each micro-batch (research on QLoRA, measured: table c, d, e).
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch
import transformers
from datasets import Dataset
from layouts import Tokens, fold, lay_out, original, ours
from random_models import random_model
from transformers import AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

from housebrain_core.data.samples import read_samples
from housebrain_core.house import synthetic
from housebrain_core.splits.costs import BASES, Shape
from housebrain_core.train.packing import PackedRows
from housebrain_core.train.tiny import tiny_base
from housebrain_core.train.trainer import RowTrainer

ROW = 2048
CUT = 512
SURVIVES = 2048
"""Tokens at which no sample of the original's format is cut."""
QWEN = BASES["Qwen/Qwen2.5-Coder-1.5B"].shape
LAYER = QWEN._replace(layers=1, vocabulary=QWEN.vocabulary // QWEN.layers)
SMALL = Shape(64, 1, 128, 4, 2, 256, True)
GOAL = 4.0
"""Times the samples per second of the original's format that ours, packed, have to reach."""


class Stopwatch(TrainerCallback):
    """Seconds and what was computed between the end of the warm-up and the end of the time."""

    def __init__(self, model, warm_up: int, seconds: float):
        self.warm_up = warm_up
        self.limit = seconds
        self.steps = 0
        self.tokens = 0
        self.samples = 0
        self.hook = model.get_base_model().register_forward_pre_hook(self.count, with_kwargs=True)

    def count(self, model, arguments, values) -> None:
        """Counts the tokens and samples of a forward pass."""
        ids, positions = values["input_ids"], values.get("position_ids")
        self.tokens += ids.numel()
        self.samples += len(ids) if positions is None else int((positions == 0).sum())

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Begins to count after the warm-up, and ends when the time is over."""
        self.steps += 1
        if self.steps == self.warm_up:
            self.started = time.process_time()
            self.tokens = 0
            self.samples = 0
        elif self.steps > self.warm_up:
            self.seconds = time.process_time() - self.started
            if self.seconds > self.limit:
                control.should_training_stop = True

    def on_train_end(self, args, state, control, **kwargs) -> None:
        """Leaves the model as it was."""
        self.hook.remove()


class Rate(NamedTuple):
    """What a variant did."""

    variant: str
    tokens_per_sample: float
    """Computed, padding included."""
    samples_per_second: float
    learned: float
    """Share of the answer tokens that are trained on."""

    @property
    def tokens_per_second(self) -> float:
        """Computed, padding included."""
        return self.tokens_per_sample * self.samples_per_second


def arguments_for(kind: type[TrainingArguments], folder: Path, steps: int, **more) -> TrainingArguments:
    """Settings of every variant: micro-batches of one row, and nothing but training."""
    return kind(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=1, gradient_accumulation_steps=1,
        use_cpu=True, save_strategy="no", logging_strategy="no", report_to="none",
        disable_tqdm=True, remove_unused_columns=False, **more,
    )  # fmt: skip


def collate_one(rows: list[dict]) -> dict[str, torch.Tensor]:
    """A micro-batch of one sample."""
    return {name: torch.tensor([values]) for name, values in rows[0].items()}


def run(variant: str, shape: Shape, make, learned: float, options: argparse.Namespace) -> Rate:
    """Trains for the given seconds after the warm-up.

    Args:
        variant: its name in the table.
        shape: of the base model.
        make: gives the trainer for a model and a folder.
        learned: share of the answer tokens that it trains on.
        options: the command line's.
    """
    model = random_model(shape)
    with tempfile.TemporaryDirectory() as scratch:
        made = make(model, Path(scratch))
        watch = Stopwatch(model, options.warm_up, options.seconds)
        made.add_callback(watch)
        made.remove_callback(transformers.PrinterCallback)
        made.train()
    rate = Rate(variant, watch.tokens / watch.samples, watch.samples / watch.seconds, learned)
    print(f"{variant}: {watch.steps - options.warm_up} steps, {rate.tokens_per_second:,.0f} tokens/s", flush=True)
    return rate


def plain(rows: list[dict], steps: int):
    """transformers' own Trainer on rows as they are."""

    def make(model, folder: Path) -> Trainer:
        made = Trainer(model, arguments_for(TrainingArguments, folder, steps), data_collator=collate_one,
                       train_dataset=rows)  # fmt: skip
        made.model_accepts_loss_kwargs = False
        return made

    return make


def packed(tokens: list[Tokens], steps: int):
    """Our rows and our trainer."""
    table = Dataset.from_dict({
        "input_ids": [prompt + answer for prompt, answer in tokens],
        "prompt_length": [len(prompt) for prompt, _ in tokens],
        "length": [len(prompt) + len(answer) for prompt, answer in tokens],
    })  # fmt: skip

    def make(model, folder: Path) -> RowTrainer:
        return RowTrainer(model=model, args=arguments_for(TrainingArguments, folder, steps),
                          train_dataset=PackedRows(table, ROW), fingerprint={}, report=lambda line: None)  # fmt: skip

    return make


def packed_by_trl(tokens: list[Tokens], tokenizer, steps: int):
    """TRL's SFTTrainer: packing by best-fit decreasing, padding-free, answers only; checkpointing off, as ours is."""
    from trl import SFTConfig, SFTTrainer

    table = Dataset.from_dict({
        "input_ids": [prompt + answer for prompt, answer in tokens],
        "completion_mask": [[0] * len(prompt) + [1] * len(answer) for prompt, answer in tokens],
    })  # fmt: skip

    def make(model, folder: Path) -> SFTTrainer:
        settings = arguments_for(SFTConfig, folder, steps, packing=True, packing_strategy="bfd", padding_free=True,
                                 max_length=ROW, completion_only_loss=True, gradient_checkpointing=False)  # fmt: skip
        return SFTTrainer(model, settings, train_dataset=table, processing_class=tokenizer)

    return make


def compare(samples: list[dict], tokenizer, shape: Shape, options: argparse.Namespace) -> Iterator[Rate]:
    """Every variant on the same samples with the same model."""
    theirs = fold([original(sample, tokenizer) for sample in samples], shape.vocabulary)
    mine = fold([ours(sample, tokenizer) for sample in samples], shape.vocabulary)
    steps = options.warm_up + options.steps
    layouts = {
        "a  original at 2,048": (theirs, SURVIVES, 0),
        "b  original cut at 512": (theirs, CUT, CUT),
        "c  ours, padded to 512": (mine, SURVIVES, CUT),
        "d  ours, one by one": (mine, SURVIVES, 0),
    }
    for name, (tokens, limit, pad_to) in layouts.items():
        rows, learned = lay_out(tokens, limit, pad_to)
        yield run(name, shape, plain(rows, steps), learned, options)
    yield run("e  ours, packed", shape, packed(mine, steps), 1.0, options)
    if find_spec("trl"):
        yield run("f  TRL, packed, our samples", shape, packed_by_trl(mine, tokenizer, steps), 1.0, options)
    else:
        print("f: TRL is not installed; pip install 'housebrain[bench]'")


def table(rates: list[Rate]) -> str:
    """Variants side by side; the ratio is to (a), which is not even padded."""
    lines = ["| variant | tokens a sample | samples/s | to (a) | tokens/s | answer tokens trained |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for rate in rates:
        ratio = rate.samples_per_second / rates[0].samples_per_second
        cells = [rate.variant, f"{rate.tokens_per_sample:,.0f}", f"{rate.samples_per_second:.3g}", f"{ratio:.2f}",
                 f"{rate.tokens_per_second:,.0f}", f"{rate.learned:.1%}"]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def goal_met(rates: list[Rate]) -> bool:
    """Ours packed against the original: says it, and whether it is enough."""
    ratio = next(rate for rate in rates if rate.variant[0] == "e").samples_per_second / rates[0].samples_per_second
    print(f"\n(e) is {ratio:.1f} times (a); the goal is {GOAL:.0f}")
    return ratio >= GOAL


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="any dataset; generated samples when not given")
    parser.add_argument("--tokenizer", type=Path, help="folder with tokenizer.json; the tiny base's when not given")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20, help="for each variant, after its warm-up")
    parser.add_argument("--steps", type=int, default=1000, help="for each variant at most")
    parser.add_argument("--warm-up", type=int, default=2, help="steps that are not timed")
    parser.add_argument("--quick", action="store_true", help="a model of 64 columns and one timed step: only a test")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.quick:
        options.samples, options.steps, options.warm_up = 16, 1, 1
    if options.source:
        samples = list(islice(read_samples(options.source, "validation"), options.samples))
    else:
        samples = list(synthetic.make_samples(options.samples, seed=3))
    tokenizer = AutoTokenizer.from_pretrained(options.tokenizer or tiny_base())
    of = options.source.name if options.source else "generated houses"
    print(f"{len(samples)} samples of {of}, tokenizer {options.tokenizer.name if options.tokenizer else 'tiny'}")
    shape = SMALL if options.quick else LAYER
    rates = list(compare(samples, tokenizer, shape, options))
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, one thread, CPU seconds")
    print(f"one layer, {shape.in_layers / 1e6:.1f} million weights in NF4, {shape.vocabulary} tokens\n\n{table(rates)}")
    met = goal_met(rates)
    return 0 if met or options.quick else 1


if __name__ == "__main__":
    sys.exit(main())
