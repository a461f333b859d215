"""Times the checkpoints of a real adapter: rank 8 on every linear layer of DeepSeek-Coder-6.7B, with its Adam state.

    python benchmarks/checkpoint_cost.py            20.0 million parameters, 80 MB of adapter and 160 MB of Adam
    python benchmarks/checkpoint_cost.py --layers 4

The base has the real shapes and no memory: nothing is computed with it. What is timed is the trainer's own save: write,
sync to disk, hash, seal, and remove the oldest; and what a resume spends on verifying it. On a GPU the copy to the
host, 240 MB over PCIe, comes on top (about 0.04 s by arithmetic; not measured).
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

from housebrain_core.settings import FineTuningConfig
from housebrain_core.train import trainer as trainer_module
from housebrain_core.train.checkpoints import find_checkpoint
from housebrain_core.train.trainer import RowTrainer

DEFAULTS = FineTuningConfig.model_fields
INTERVAL = DEFAULTS["save_minutes"].default * 60
"""Seconds between checkpoints at most; a run whose 200 steps take less saves more often."""
LIMIT = 0.01
"""Share of the time that saving may cost."""


def synthetic_model(layers: int):
    """LoRA with random weights on a base of the 6.7B's shapes, whose weights are views of a single zero."""
    shape = LlamaConfig(hidden_size=4096, intermediate_size=11008, num_hidden_layers=layers, vocab_size=32256)
    with torch.device("meta"):
        base = LlamaForCausalLM(shape)
    for module in base.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            nothing = torch.zeros(1).expand(weight.shape)
            setattr(module, name, torch.nn.Parameter(nothing, requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, torch.zeros(buffer.shape), persistent=False)
    settings = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(base, settings)


def make_trainer(model, output: Path, report: Callable[[str], None]) -> RowTrainer:
    """The real trainer after one optimizer step, so that Adam has its state."""
    arguments = TrainingArguments(output_dir=str(output), use_cpu=True, save_total_limit=None, report_to="none",
                                  max_steps=1000, disable_tqdm=True)  # fmt: skip
    made = RowTrainer(model=model, args=arguments, train_dataset=[0], fingerprint={"seed": 42}, report=report)
    made.create_optimizer_and_scheduler(num_training_steps=1000)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.grad = torch.randn_like(weight)
    made.optimizer.step()
    return made


def time_saves(made: RowTrainer, output: Path, saves: int) -> dict[str, list[float]]:
    """Seconds of each save, of the seal within it (sync, hash, manifest), and of verifying the newest."""
    seconds: dict[str, list[float]] = {"one save": [], "of it the seal: sync, sha256, manifest": []}
    seal = trainer_module.seal_checkpoint

    def timed_seal(*arguments) -> None:
        started = time.perf_counter()
        seal(*arguments)
        seconds["of it the seal: sync, sha256, manifest"].append(time.perf_counter() - started)

    trainer_module.seal_checkpoint = timed_seal
    try:
        for step in range(1, saves + 1):
            made.state.global_step = step
            started = time.perf_counter()
            made._save_checkpoint(made.model, None)
            seconds["one save"].append(time.perf_counter() - started)
    finally:
        trainer_module.seal_checkpoint = seal
    started = time.perf_counter()
    find_checkpoint(output, {"seed": 42})
    seconds["verifying it when a run resumes"] = [time.perf_counter() - started]
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--saves", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="a folder on the disk to measure; by default the temporary one")
    options = parser.parse_args()
    model = synthetic_model(options.layers)
    lines: list[str] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        output = Path(scratch)
        made = make_trainer(model, output, lines.append)
        seconds = time_saves(made, output, options.saves)
        newest = output / f"checkpoint-{options.saves}"
        size = sum(path.stat().st_size for path in newest.iterdir()) / 1e6
        kept = len(list(output.glob("checkpoint-*")))
    if kept != 2 or len(lines) != options.saves or not all(line.startswith("saved") for line in lines):
        sys.exit("a save failed:\n" + "\n".join(lines))
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, torch {torch.__version__}")
    print(f"{trained:,} trained parameters, {size:.0f} MB a checkpoint, {kept} kept\n")
    print(f"| | median s | most s | share of {INTERVAL:.0f} s |\n|---|---|---|---|")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"| {name} | {median:.2f} | {max(values):.2f} | {median / INTERVAL:.2%} |")
    return 0 if statistics.median(seconds["one save"]) < LIMIT * INTERVAL else 1


if __name__ == "__main__":
    sys.exit(main())
