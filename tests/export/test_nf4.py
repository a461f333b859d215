"""The 4-bit view is what bitsandbytes computes with, to the bit."""

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit

from housebrain_core.errors import ConfigError
from housebrain_core.export import nf4


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("count", [64 * 300, 64 * 128, 1000, 130])
@pytest.mark.parametrize("size", [1.0, 0.02, 1e-5])
def test_quantised_and_back_piece_by_piece_as_bitsandbytes_does_it_at_once(dtype, count, size, monkeypatch):
    monkeypatch.setattr(nf4, "PIECE", 64 * 128)
    weights = (torch.randn(1, count, generator=torch.Generator().manual_seed(count)) * size).to(dtype)
    weights[0, :64] = 0
    weights[0, 64:128] = torch.arange(-32, 32) / 32  # ties, ends and zero
    codes, state = quantize_4bit(weights.flatten(), blocksize=64, quant_type="nf4", compress_statistics=True)
    expected = dequantize_4bit(codes, state).float().flatten()
    assert torch.equal(nf4.dequantised(weights).float().flatten(), expected)


def test_a_weight_that_is_not_finite_is_refused():
    with pytest.raises(ConfigError, match="NaN"):
        nf4.dequantised(torch.tensor([[1.0, float("nan")]]))
