"""Does an optimizer step fit into the GPU? Tried once, with the fullest rows, before training begins."""

from collections.abc import Callable
from typing import Any

import torch

from housebrain_core.errors import TrainingError
from housebrain_core.train.packing import PackedRows, collate_row, completion_losses

MEMORY_SHARE = 0.92
"""Share of a GPU's memory that a step may take; the rest is lost in gaps between blocks."""
ADVICE = "Use a smaller row_length (with a new output folder), a smaller base model, or gradient_checkpointing auto."


def decide_checkpointing(model: Any, rows: PackedRows, setting: str, report: Callable[[str], None]) -> None:
    """Turns gradient checkpointing on where it was asked for or, with "auto", where the fullest rows need it.

    It computes activations again in the backward pass: the same gradients in about a third more time. Weights and
    random states of the model stay as they are.

    Args:
        model: with its adapter.
        rows: that will be trained on.
        setting: "on", "off" or "auto".
        report: gets a line with the decision and its reason.

    Raises:
        TrainingError: an optimizer step does not fit into the GPU's memory.
    """
    total = gpu_memory(model.device)
    needed = step_memory(model, rows) if total and setting != "on" else 0
    fits = needed <= total
    if setting != "auto":
        reason = "as asked"
    elif total:
        reason = f"a step {'fits' if fits else 'does not fit'} without"
    else:
        reason = "there is no GPU whose memory could run out"
    if setting == "on" or (setting == "auto" and not fits):
        # Without reentry: behind a frozen embedding no input of a layer carries a gradient.
        model.activation_checkpointing_enable({"use_reentrant": False})
        needed = step_memory(model, rows) if total else 0
    size = f"; a step needs {needed / 2**30:.1f} of {total / 2**30:.1f} GiB" if total else ""
    text = f"gradient checkpointing {'on' if model.is_gradient_checkpointing else 'off'}: {reason}{size}"
    if needed > total:
        raise TrainingError(f"{text}. {ADVICE}")
    report(text)


def gpu_memory(device: torch.device) -> int:
    """Bytes of memory of a GPU; 0 for a CPU."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0


def step_memory(model: Any, rows: PackedRows) -> float:
    """Bytes that an optimizer step takes with the row of most tokens, or of most learned ones; inf if they ran out."""
    peak = 0.0
    for row in (fullest_row(rows, rows.lengths), fullest_row(rows, rows.learned)):
        try:
            peak = max(peak, peak_memory(model, rows[row]))
        except torch.OutOfMemoryError:
            peak = float("inf")
        model.zero_grad()
        torch.cuda.empty_cache()
    trained = sum(weight.numel() * 4 for weight in model.parameters() if weight.requires_grad)
    return (peak + 3 * trained) / MEMORY_SHARE  # Adam's two moments, and what two GPUs exchange


def fullest_row(rows: PackedRows, sizes: list[int]) -> int:
    """The row whose samples have the largest sum of sizes."""
    return max(range(len(rows)), key=lambda row: sum(sizes[sample] for sample in rows.rows[row]))


def peak_memory(model: Any, row: dict[str, torch.Tensor]) -> int:
    """Bytes at the peak of a forward and backward pass over one row, the weights included."""
    device = model.device
    gpus = [] if device.index is None else [device.index]
    torch.cuda.reset_peak_memory_stats(device)
    with torch.random.fork_rng(gpus), torch.autocast(device.type, model.dtype, enabled=bool(gpus)):
        batch = {name: values.to(device) for name, values in collate_row([row]).items()}
        completion_losses(model.train(), batch)[0].sum().backward()
    return torch.cuda.max_memory_allocated(device)
