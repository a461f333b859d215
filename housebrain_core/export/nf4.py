"""The weights as 4-bit training saw them: quantised to NF4 with double quantisation, and back, by bitsandbytes."""

import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit

from housebrain_core.errors import ConfigError


def dequantised(weight: torch.Tensor) -> torch.Tensor:
    """A whole matrix as the 4-bit base held it in training, in the type that was quantised.

    Training quantises float16, or float32 where the base is float32, as on a CPU. Blocks of 64 values run on from row
    to row; flat, because bitsandbytes 0.50 dequantises rows that are no whole blocks otherwise on a CPU.

    Raises:
        ConfigError: a weight is not finite.
    """
    trained = weight if weight.dtype == torch.float32 else weight.half()
    if not trained.isfinite().all():
        raise ConfigError("a weight of the base model is NaN or beyond float16, so that it has no 4-bit view.")
    codes, state = quantize_4bit(trained.flatten(), blocksize=64, quant_type="nf4", compress_statistics=True)
    return dequantize_4bit(codes, state).view_as(weight)
