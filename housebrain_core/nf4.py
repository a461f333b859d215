"""The weights as 4-bit training saw them: quantised to NF4 and back, a few rows at a time.

NF4 with double quantisation, as bitsandbytes does it: blocks of 64 of the flat matrix share a scale, and the scales are
quantised to 8 bits in blocks of 256 around their mean. The scales need the whole matrix, the weights only their rows.
"""

import math
from collections.abc import Iterable

import torch
from bitsandbytes.functional import QuantState, dequantize_4bit, dequantize_blockwise, quantize_4bit, quantize_blockwise
from torch.nn.functional import pad

BLOCK = 64


def whole_rows(columns: int) -> int:
    """The rows of a matrix after which a block of NF4 ends with the row."""
    return BLOCK // math.gcd(columns, BLOCK)


def read_scales(blocks: Iterable[torch.Tensor]) -> torch.Tensor:
    """The float32 scales of a whole matrix, after the second quantisation; `blocks` are multiples of `whole_rows`."""
    absmax = torch.cat([_largest(block) for block in blocks])
    offset = absmax.mean()
    codes, state = quantize_blockwise(absmax - offset, blocksize=256)
    return dequantize_blockwise(codes, state) + offset


def dequantise(block: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """The float32 values of a block of rows in 4 bits, given the scales that are its own."""
    codes, state = _quantise(block)
    seen = QuantState(absmax=scales, shape=state.shape, dtype=state.dtype, blocksize=BLOCK, code=state.code,
                      quant_type="nf4")  # fmt: skip
    return dequantize_4bit(codes, seen).float().view_as(block)


def _largest(block: torch.Tensor) -> torch.Tensor:
    """The largest magnitude in each 64 values, which is their scale; found without quantising, which is slow."""
    flat = _training_type(block).abs()
    return pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK).amax(1).float()


def _quantise(block: torch.Tensor) -> tuple[torch.Tensor, QuantState]:
    return quantize_4bit(_training_type(block), blocksize=BLOCK, quant_type="nf4")


def _training_type(block: torch.Tensor) -> torch.Tensor:
    """In the type that training quantises: float32 as on a CPU for a float32 base, else fp16.

    Flat, because on a CPU bitsandbytes 0.50.2 dequantises wrongly where a row ends inside a block.
    """
    return (block if block.dtype == torch.float32 else block.half()).reshape(-1)
