"""benchmarks/generate.py: the arithmetic of the bandwidth limit by hand, and its code on a tiny model."""

import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from housebrain_core.house import codec
from housebrain_core.train.tiny import _train_tokenizer

spec = importlib.util.spec_from_file_location(
    "generate_benchmark", Path(__file__).parents[1] / "benchmarks" / "generate.py"
)
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)


def skeleton(shape: str) -> LlamaForCausalLM:
    """A model of a real shape that takes no memory."""
    with torch.device("meta"):
        return LlamaForCausalLM(LlamaConfig(vocab_size=bench.WIDTHS[shape], **bench.SHAPES[shape])).half()


def test_the_limit_by_hand():
    """A T4 (320 GB/s) and 6.7 billion weights of 2 bytes: 24 tokens per second at most."""
    assert bench.tokens_per_second_limit(1, 13_400_000_000, 0, 0, 320e9) == pytest.approx(23.9, abs=0.05)
    assert bench.tokens_per_second_limit(8, 13_400_000_000, 0, 0, 320e9) == pytest.approx(8 * 23.9, abs=0.4)
    # 1 s for 60 bytes of weights, and 2 rows of 5 tokens of 4 bytes: 100 bytes a step
    assert bench.tokens_per_second_limit(2, 60, 4, 5, 100.0) == 2.0


def test_bytes_of_real_shapes_are_the_known_ones():
    """Parameters as the model cards say, less the embedding where it is only looked up."""
    assert bench.weight_bytes(skeleton("6.7b")) / 2 == pytest.approx(6.74e9 - 32_256 * 4096, rel=0.01)
    assert bench.weight_bytes(skeleton("1.3b")) / 2 == pytest.approx(1.35e9 - 32_256 * 2048, rel=0.01)
    assert bench.weight_bytes(skeleton("1.5b")) / 2 == pytest.approx(1.54e9, rel=0.01)
    config = skeleton("6.7b").config
    assert bench.cache_bytes_per_token(config, torch.float16) == 32 * 32 * 128 * 2 * 2  # 0.5 MB
    assert bench.cache_bytes_per_token(skeleton("1.5b").config, torch.float16) == 2 * 28 * 2 * 128 * 2


def test_the_table_of_the_limit_runs_on_a_tiny_model(samples, tmp_path):
    tokenizer = _train_tokenizer([text for sample in samples for text in codec.encode(sample)], 2000)
    llm = bench.random_model(tmp_path / "tiny", "tiny", tokenizer, bench.WIDTHS["tiny"])
    bandwidth = bench.measure_bandwidth(torch.device("cpu"), 2**20)
    rows = bench.measure_limit(llm, [sample["input"] for sample in samples], (1, 2), 8, bandwidth)
    assert [row["batch_size"] for row in rows] == [1, 2]
    assert all(row["tokens_per_second"] > 0 and row["share"] == row["tokens_per_second"] / row["limit"] for row in rows)
