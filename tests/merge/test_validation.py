"""What merging is worth, measured: choices by loss, on other samples than they are judged on, without reloading."""

import pytest
import torch

from housebrain_core.config import MergeConfig
from housebrain_core.llm.losses import Difference, Losses, compare_losses
from housebrain_core.merge import validation
from housebrain_core.merge.merge import merge_adapters
from housebrain_core.merge.validation import describe_difference, greedy_soup, minimise


def quadratic(best: list[float]):
    return lambda c: sum((x - y) ** 2 for x, y in zip(c, best, strict=True))


def test_search_finds_the_minimum_within_its_evaluations():
    seen = []

    def loss(c):
        seen.append(c)
        return quadratic([0.6, 0.3, 0.3])(c)

    found = minimise([1 / 3] * 3, loss)
    assert len(seen) <= 40 and quadratic([0.6, 0.3, 0.3])(found) < 0.02
    assert all(c > 0 for coefficients in seen for c in coefficients)


def test_greedy_leaves_out_the_adapter_that_raises_the_loss():
    assert greedy_soup(quadratic([0.5, 0.5, 0.0]), 3) == [0.5, 0.5, 0.0]


def test_the_interval_of_equal_models_holds_zero_and_of_a_constant_gap_is_the_gap():
    tokens = [10, 20, 30]
    same = compare_losses(Losses([1.0, 2.0, 3.0], tokens), Losses([1.0, 2.0, 3.0], tokens))
    assert same == Difference(mean=0.0, low=0.0, high=0.0)
    gap = compare_losses(Losses([1.5, 3.0, 4.5], tokens), Losses([1.0, 2.0, 3.0], tokens))
    assert all(value == pytest.approx(0.05) for value in gap)


@pytest.mark.parametrize(
    ("low", "high", "gain", "said"),
    [
        (0.1, 0.2, 1.0, "WARNING: THE MERGE IS WORSE"),
        (0.0016, 0.0018, 0.16, "WARNING: THE MERGE IS WORSE"),
        (0.0004, 0.0006, -0.15, "WARNING: THE MERGE IS WORSE"),
        (0.0004, 0.0006, 0.15, "practically equal to the best split, hb-1: its loss is 0.0005 nats per token higher"),
        (-0.2, -0.1, 1.0, "better"),
        (-0.1, 0.1, 1.0, "cannot be told apart"),
    ],
)
def test_the_verdict_is_as_loud_as_the_difference_matters(low, high, gain, said):
    text = describe_difference("hb-1", Difference((low + high) / 2, low, high), gain)
    assert said in text
    assert ("WARNING" in text) == ("WARNING" in said)


@pytest.fixture
def loads(monkeypatch) -> list:
    """Counts how often a base model is loaded."""
    count, load = [], validation.HouseBrainLLM.__init__

    def counted(self, *args, **kwargs):
        count.append(args)
        load(self, *args, **kwargs)

    monkeypatch.setattr(validation.HouseBrainLLM, "__init__", counted)
    monkeypatch.setattr(validation, "EVALUATIONS", 6)
    return count


@pytest.mark.parametrize("strategy", ["greedy", "search"])
def test_measured_strategies_load_the_base_once_and_judge_on_other_samples(
    strategy, loads, adapters, splits, base, tmp_path, monkeypatch
):
    monkeypatch.setattr(minimise, "__defaults__", (6,))
    lines = []
    result = merge_adapters(
        MergeConfig(
            models=adapters,
            output=tmp_path / "out",
            strategy=strategy,
            rank="full",
            data=splits,
            base_model=str(base),
            compare=strategy == "greedy",
        ),
        report=lines.append,
    )
    measured = result.validation
    assert len(loads) == 1
    assert measured.samples + measured.chosen_on == 12 and 3 <= len(measured.evaluations) <= 6
    weights = [entry.weight for entry in result.inputs]
    assert sum(weights) == pytest.approx(1)
    assert measured.difference.low <= measured.difference.mean <= measured.difference.high
    assert any(line == measured.verdict for line in lines)
    if strategy == "greedy":
        assert {"average", "weighted", "ties", "ab-average"} <= set(measured.losses)


def test_the_loss_of_a_weighting_in_place_is_that_of_the_merged_file(loads, adapters, splits, base, tmp_path):
    """All weight on one adapter in the stack, against the folder of that adapter; and the mean against the merge."""
    config = MergeConfig(
        models=adapters, output=tmp_path / "out", rank="full", run_validation=True, data=splits, base_model=str(base)
    )
    merge_adapters(config, report=lambda line: None)
    from housebrain_core.merge.merge import read_adapters

    opened = read_adapters({path: path for path in adapters}, config)
    with validation.Bench(config, opened, False, lambda line: None) as bench:
        for weights, folder in (([1.0, 0.0, 0.0], opened[0].folder), ([1 / 3] * 3, tmp_path / "out")):
            in_place = bench.losses(weights, bench.judging).nats
            bench.llm.use(folder)
            alone = bench.llm.losses(bench.judging).nats
            assert torch.allclose(torch.tensor(in_place), torch.tensor(alone), rtol=1e-5)


def test_scale_auto_takes_the_scale_of_the_lowest_loss_and_writes_it(loads, adapters, splits, base, tmp_path):
    config = {"models": adapters, "rank": "full", "data": splits, "base_model": str(base)}
    result = merge_adapters(MergeConfig(output=tmp_path / "auto", scale="auto", **config), report=lambda line: None)
    fixed = merge_adapters(MergeConfig(output=tmp_path / "fixed", scale=result.scale, models=adapters, rank="full"))
    evaluations = result.validation.evaluations
    assert result.scale in validation.SCALES and len(evaluations) == len(validation.SCALES) == 6
    lowest = min(evaluations, key=lambda evaluation: evaluation.loss)
    assert sum(lowest.coefficients) == pytest.approx(result.scale)
    assert [entry.weight for entry in result.inputs] == [entry.weight for entry in fixed.inputs]
    name = "adapter_model.safetensors"
    assert (tmp_path / "auto" / name).read_bytes() == (tmp_path / "fixed" / name).read_bytes()
