"""Sizes of base models and costs: arithmetic that can be checked by hand, and a source for every figure."""

import pytest

from housebrain_core.splits.costs import BASES, GPUS, Range, Shape, find_facts


def test_a_shape_counts_the_weights_of_its_layers():
    shape = Shape(hidden=4, layers=2, intermediate=8, heads=2, key_value_heads=1, vocabulary=10, tied=False)
    attention = 4 * 4 * 2 + 2 * 4 * 2  # query and output, key and value of half the width
    feed_forward = 3 * 4 * 8
    assert shape.in_layers == 2 * (attention + feed_forward)
    assert shape.embeddings == 2 * 10 * 4
    assert shape.parameters == shape.in_layers + 80
    assert shape.bytes == shape.in_layers / 2 + 160


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Qwen/Qwen2.5-Coder-1.5B", 1.54),
        ("Qwen/Qwen2.5-Coder-7B", 7.61),
        ("deepseek-ai/deepseek-coder-6.7b-base", 6.74),
    ],
)
def test_parameters_are_those_that_the_cards_say(name, billions):
    assert BASES[name].shape.parameters / 1e9 == pytest.approx(billions, abs=0.01)


def test_both_ends_of_a_range_are_multiplied():
    assert Range(2, 3).times(2) == (4, 6)


def test_every_gpu_has_a_source_and_a_share_that_can_be():
    for gpu in GPUS.values():
        assert gpu.rate_source and gpu.share_source and 0 < gpu.share.least < gpu.share.most <= 1 and gpu.rate > 0


@pytest.mark.parametrize("config", ["{", "[]", "[" * 100_000, '{"hidden_size": "x"}', "\ud83d", '{"hidden_size": 64}'])
def test_a_base_whose_configuration_cannot_be_read_is_one_of_unknown_size(config, tmp_path):
    (tmp_path / "config.json").write_text(config, encoding="utf-8", errors="replace")
    assert find_facts(str(tmp_path)) is None
