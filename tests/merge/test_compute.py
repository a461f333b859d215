"""A merge in small matrices: rank and error are known before anything is written, and factors have the rank."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from adapter_files import make_adapter

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.adapters.run import DataRecord, Run
from housebrain_core.errors import AdapterError
from housebrain_core.merge.compute import Recipe, compute_merge

MODULE = "model.layers.0.self_attn.q_proj"
NAME = f"base_model.model.{MODULE}.lora_{{}}.weight"


@pytest.fixture
def three(tmp_path):
    """Three adapters of rank 2 with one module of 12 x 10, so that their sum has 6 directions."""
    made = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        values = {NAME.format("A"): torch.randn(2, 10, generator=generator),
                  NAME.format("B"): torch.randn(12, 2, generator=generator)}  # fmt: skip
        made.append(read_adapter(make_adapter(tmp_path / f"a{seed}", values), accept_plain=True))
    return made


def mean_of(adapters) -> np.ndarray:
    pairs = [adapter.factors(MODULE) for adapter in adapters]
    return sum(b.astype(np.float64) @ a.astype(np.float64) for b, a in pairs) / len(pairs)


@pytest.mark.parametrize(("rank", "chosen"), [("full", 6), ("auto", 6), (4, 4), (1, 1), (99, 6)])
def test_rank_and_error_are_known_before_anything_is_written(rank, chosen, three):
    merge = compute_merge(three, Recipe("average", [1 / 3] * 3), rank)
    b, a = merge.factors(MODULE)
    assert (merge.rank, b.shape, a.shape) == (chosen, (12, chosen), (chosen, 10))
    exact = mean_of(three)
    values = np.linalg.svd(exact, compute_uv=False)
    lost = np.square(values[chosen:]).sum() / np.square(values).sum()
    assert merge.lost_share == pytest.approx(lost, abs=1e-9)
    found = b.astype(np.float64) @ a.astype(np.float64)
    assert np.square(found - exact).sum() / np.square(exact).sum() == pytest.approx(lost, abs=1e-9)


def test_a_module_with_fewer_directions_is_filled_with_zeros(three):
    merge = compute_merge(three[:1], Recipe("average", [1.0]), "full")
    wider = type(merge)(**{**vars(merge), "rank": 5})
    b, a = wider.factors(MODULE)
    assert b.shape == (12, 5) and a.shape == (5, 10)
    assert not b[:, 2:].any() and not a[2:].any()
    assert np.allclose(b @ a, mean_of(three[:1]), atol=1e-5)


def test_the_distance_from_the_exact_mean_is_told_of_strategies_that_are_no_sum(three):
    assert compute_merge(three, Recipe("average", [1 / 3] * 3), "full").mean_error == 0
    merge = compute_merge(three, Recipe("ab-average", [1 / 3] * 3, scale=2.0), "full")
    b, a = merge.factors(MODULE)
    exact = mean_of(three)
    assert merge.mean_error == pytest.approx(np.linalg.norm(b @ a / 2 - exact) / np.linalg.norm(exact), rel=1e-5)


def test_the_scale_is_a_factor_of_the_update(three):
    merge = compute_merge(three, Recipe("average", [1 / 3] * 3, scale=1.5), "full")
    b, a = merge.factors(MODULE)
    assert np.allclose(b @ a, 1.5 * mean_of(three), atol=1e-5)


def test_twins_are_refused_where_their_split_is_known_and_named_elsewhere(three):
    merge = compute_merge([three[0], replace(three[0], name="b0")], Recipe("average", [0.5, 0.5]), "full")
    assert merge.verdicts[1].odd == ("the same update as a0, which so counts twice",)
    run = Run(finished=True, data=DataRecord(dataset="d", split_id=1, splits=2))
    three[0] = replace(three[0], run=run)
    with pytest.raises(AdapterError, match="a0 is the same update as a0: one split submitted twice"):
        compute_merge([three[0], three[0]], Recipe("average", [0.5, 0.5]), "full")


def test_a_recipe_says_what_it_does(three):
    assert Recipe("average", [0.5, 0.25, 0.25]).describe(three) == "average: a0 0.5000, a1 0.2500, a2 0.2500"
    assert Recipe("best", [1, 0, 0], scale=1.2).describe(three).endswith("a2 0.0000; scale 1.2")
