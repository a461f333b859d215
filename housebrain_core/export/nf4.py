"""The weights as 4-bit training saw them: quantised to NF4 with double quantisation, and back, by bitsandbytes."""

import torch
from bitsandbytes.functional import dequantize_4bit, dequantize_blockwise, quantize_4bit, quantize_blockwise

from housebrain_core.errors import ConfigError

BLOCK = 64
"""Values that share a scale; blocks are independent of each other."""
PIECE = 2**20
"""Values, whole blocks, that are quantised at once: bitsandbytes takes about 20 bytes of memory for each on a CPU."""


def dequantised(weight: torch.Tensor) -> torch.Tensor:
    """A whole matrix as the 4-bit base held it in training, in the type that was quantised.

    Training quantises float16, or float32 where the base is float32, as on a CPU. Blocks of 64 values run on from row
    to row. On a CPU, bitsandbytes 0.50 dequantises rows that are no whole blocks as if each began with a block, which
    are other numbers; no model of the Hub is known to have such rows, our tiny one has. There they are what 4-bit
    training and loading see on this machine.

    Raises:
        ConfigError: a weight is not finite.
    """
    trained = weight if weight.dtype == torch.float32 else weight.half()
    pieces = trained.flatten().split(PIECE)
    if not all(piece.isfinite().all() for piece in pieces):
        raise ConfigError("a weight of the base model is NaN or beyond float16, so that it has no 4-bit view.")
    if weight.shape[-1] % BLOCK and not torch.cuda.is_available():
        codes, state = quantize_4bit(trained, blocksize=BLOCK, quant_type="nf4", compress_statistics=True)
        return dequantize_4bit(codes, state)
    quantised = [quantize_4bit(piece, blocksize=BLOCK, quant_type="nf4") for piece in pieces]
    scales = _quantised_twice(torch.cat([state.absmax for _, state in quantised]))
    result = torch.empty_like(trained).flatten()
    for place, (codes, state), scale in zip(result.split(PIECE), quantised, scales.split(PIECE // BLOCK), strict=True):
        state.absmax = scale
        place.copy_(dequantize_4bit(codes, state).flatten())
    return result.view_as(weight)


def _quantised_twice(scales: torch.Tensor) -> torch.Tensor:
    """All scales of a matrix after the second quantisation, as quantize_4bit does it with compress_statistics."""
    offset = scales.mean()
    codes, state = quantize_blockwise(scales - offset, blocksize=256)
    return dequantize_blockwise(codes, state) + offset
