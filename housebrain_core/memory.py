"""Does an optimizer step fit into the GPU? Tried once, with the fullest rows, before training begins."""

from collections.abc import Callable

import torch

from housebrain_core.errors import TrainingError
from housebrain_core.packing import PackedRows, collate_row, completion_losses

MEMORY_SHARE = 0.92
"""Share of a GPU's memory that a step may take; the rest goes to gaps between blocks of different sizes."""


def decide_checkpointing(model, rows: PackedRows, wanted: str, report: Callable[[str], None]) -> None:
    """Turns gradient checkpointing on when it is asked for, or when the fullest rows need it.

    It computes activations again in the backward pass: the same gradients in about a third more time.

    Args:
        model: base with LoRA, on its device; weights, gradients and random states stay as they are.
        rows: what it will be trained on.
        wanted: "auto", "on" or "off".
        report: gets the decision with its reason.

    Raises:
        TrainingError: a step does not fit.
    """
    total, why = gpu_memory(model.device), "as asked"
    if wanted == "on":
        turn_on(model)
    elif wanted == "auto" and not total:
        why = "there is no GPU whose memory could run out"
    needed = step_memory(model, rows, total) if total else 0
    if wanted == "auto" and total:
        why = f"a step fits without, in {needed / 2**30:.1f} of {total / 2**30:.1f} GiB"
        if needed > total:
            turn_on(model)
            why, needed = "a step does not fit without", step_memory(model, rows, total)
    state = "on" if model.is_gradient_checkpointing else "off"
    report(f"gradient checkpointing {state}: {why}")
    if needed > total:
        raise TrainingError(
            f"a step does not fit into the {total / 2**30:.1f} GiB of this GPU with gradient checkpointing {state}. "
            "Use a smaller row_length with a new output folder, or a smaller base model"
            + ("." if state == "on" else ", or gradient_checkpointing auto.")
        )


def gpu_memory(device: torch.device) -> int:
    """Bytes of memory of a GPU; 0 for a CPU."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0


def turn_on(model) -> None:
    """Without reentry: behind a frozen embedding no input of a layer carries a gradient."""
    model.activation_checkpointing_enable({"use_reentrant": False})


def step_memory(model, rows: PackedRows, total: int) -> float:
    """Bytes that a step takes at most; infinite when the GPU ran out."""
    lengths, prompts = (rows.samples[name][:] for name in ("length", "prompt_length"))
    tokens = [sum(lengths[i] for i in row) for row in rows.rows]
    learned = [sum(lengths[i] - prompts[i] for i in row) for row in rows.rows]
    try:
        peak = max(peak_memory(model, rows[sizes.index(max(sizes))]) for sizes in (tokens, learned))
    except torch.OutOfMemoryError:
        peak = float("inf")
    model.zero_grad()
    torch.cuda.empty_cache()
    trained = sum(weight.numel() * 4 for weight in model.parameters() if weight.requires_grad)
    return (peak + 3 * trained) / MEMORY_SHARE  # Adam's two moments, and what two GPUs exchange


def peak_memory(model, row: dict[str, torch.Tensor]) -> int:
    """Bytes at the peak of a forward and backward pass over one row, the weights included."""
    device = model.device
    torch.cuda.reset_peak_memory_stats(device)
    own = [] if device.index is None else [device.index]
    with torch.random.fork_rng(own), torch.autocast(device.type, model.dtype, enabled=bool(own)):
        batch = {name: values.to(device) for name, values in collate_row([row]).items()}
        completion_losses(model.train(), batch)[0].sum().backward()
    return torch.cuda.max_memory_allocated(device)
