"""Does an optimizer step fit into the GPU? Tried once, with the fullest rows, before training begins."""

from collections.abc import Callable

import torch

from housebrain_core.errors import TrainingError
from housebrain_core.train.packing import PackedRows, collate_row, completion_losses

MEMORY_SHARE = 0.92  # of a GPU's memory that a step may take; the rest is lost in gaps between blocks
ADVICE = "Use a smaller row_length (with a new output folder), a smaller base model, or gradient_checkpointing auto."


def decide_checkpointing(model, rows: PackedRows, wanted: str, report: Callable[[str], None]) -> None:
    """Turns gradient checkpointing on when it is wanted, or with "auto" when the fullest rows need it; reports why.

    It computes activations again in the backward pass: the same gradients in about a third more time. Weights and
    random states of the model stay as they are; TrainingError when a step does not fit.
    """
    total, why = gpu_memory(model.device), "as asked"
    needed = step_memory(model, rows) if total and wanted != "on" else 0
    if wanted == "auto" and not total:
        why = "there is no GPU whose memory could run out"
    elif wanted == "auto":
        why = f"a step {'fits' if needed <= total else 'does not fit'} without"
    if wanted == "on" or (wanted == "auto" and needed > total):
        # Without reentry: behind a frozen embedding no input of a layer carries a gradient.
        model.activation_checkpointing_enable({"use_reentrant": False})
        needed = step_memory(model, rows) if total else 0
    size = f"; a step needs {needed / 2**30:.1f} of {total / 2**30:.1f} GiB" if total else ""
    text = f"gradient checkpointing {'on' if model.is_gradient_checkpointing else 'off'}: {why}{size}"
    if needed > total:
        raise TrainingError(f"{text}. {ADVICE}")
    report(text)


def gpu_memory(device: torch.device) -> int:
    """Bytes of memory of a GPU; 0 for a CPU."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0


def step_memory(model, rows: PackedRows) -> float:
    """Bytes that a step with the row of most tokens, or of most learned ones, takes; infinite when they ran out."""
    peak = 0.0
    for sizes in (rows.lengths, rows.learned):
        fullest = max(range(len(rows)), key=lambda row: sum(sizes[sample] for sample in rows.rows[row]))
        try:
            peak = max(peak, peak_memory(model, rows[fullest]))
        except torch.OutOfMemoryError:
            peak = float("inf")
        model.zero_grad()
        torch.cuda.empty_cache()
    trained = sum(weight.numel() * 4 for weight in model.parameters() if weight.requires_grad)
    return (peak + 3 * trained) / MEMORY_SHARE  # Adam's two moments, and what two GPUs exchange


def peak_memory(model, row: dict[str, torch.Tensor]) -> int:
    """Bytes at the peak of a forward and backward pass over one row, the weights included."""
    device, own = model.device, [] if model.device.index is None else [model.device.index]
    torch.cuda.reset_peak_memory_stats(device)
    with torch.random.fork_rng(own), torch.autocast(device.type, model.dtype, enabled=bool(own)):
        batch = {name: values.to(device) for name, values in collate_row([row]).items()}
        completion_losses(model.train(), batch)[0].sum().backward()
    return torch.cuda.max_memory_allocated(device)
