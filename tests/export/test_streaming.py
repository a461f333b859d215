"""Full weights in any type: the base's own is kept, rounding happens once, and what a type cannot hold is said."""

import pytest
import torch
from full_models import small_adapter, small_base, weights_of
from safetensors.torch import load_file, save_file

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.errors import ConfigError
from housebrain_core.export.streaming import stream
from housebrain_core.merge.compute import Recipe, compute_merge


@pytest.fixture
def made(tmp_path):
    """A function that streams a small base of some type into another type."""
    merge = compute_merge([read_adapter(small_adapter(tmp_path / "a"), True)], Recipe("average", [1.0]), "full")

    def make(kind, dtype, name="out", change=None):
        base = small_base(tmp_path / f"base-{name}", shards="5GB")
        tensors = {key: value.to(kind) for key, value in load_file(base / "model.safetensors").items()}
        if change:
            change(tensors)
        save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
        (tmp_path / name).mkdir()
        lines = []
        stream(base, merge, "fp16", dtype, tmp_path / name, lines.append)
        return tensors, weights_of(tmp_path / name), merge, lines

    return make


@pytest.mark.parametrize(
    ("kind", "dtype", "expected"),
    [
        (torch.bfloat16, "keep", torch.bfloat16),
        (torch.float32, "keep", torch.float32),
        (torch.bfloat16, "float32", torch.float32),
        (torch.float32, "bfloat16", torch.bfloat16),
    ],
)
def test_weights_have_the_type_and_are_the_float32_sum_rounded_once(made, kind, dtype, expected):
    before, after, merge, _ = made(kind, dtype)
    assert set(after) == set(before) and {value.dtype for value in after.values()} == {expected}
    for name, value in before.items():
        module = name.removesuffix(".weight")
        update = 0
        if module in merge.modules:
            b, a = (torch.from_numpy(factor) for factor in merge.factors(module))
            update = b @ a
        assert torch.allclose(after[name].float(), (value.float() + update).to(expected).float(), rtol=2**-7, atol=1e-6)


def test_what_a_type_cannot_hold_is_refused_or_said(made):
    def large(tensors):
        tensors["model.norm.weight"] += 1e5

    def small(tensors):
        tensors["model.norm.weight"][:3] = 1e-20

    with pytest.raises(ConfigError, match="beyond 65504, the largest of float16"):
        made(torch.bfloat16, "float16", "large", large)
    _, _, _, lines = made(torch.bfloat16, "float16", "small", small)
    assert any("3 values of 1 tensors of the base are too small for float16" in line for line in lines)
    _, after, _, lines = made(torch.bfloat16, "keep", "kept", small)
    assert not any("too small" in line for line in lines) and after["model.norm.weight"][:3].float().min() > 0
