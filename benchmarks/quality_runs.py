"""The runs of quality.py: every way to train the same samples with the same optimizer steps, through the product.

A way is a splits folder that `split_dataset` made, legs that `HouseBrainFineTuner` trains, and what `run_round` or
`merge_adapters` makes of them.
"""

import shutil
import time
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch

from housebrain_core.config import FineTuningConfig, MergeConfig, RoundConfig, SplitConfig
from housebrain_core.evaluate.judging import describe_rules, judge
from housebrain_core.house import codec, synthetic
from housebrain_core.house.measures import read_limits, values_of
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.merge.merge import merge_adapters
from housebrain_core.rounds.round import run_round
from housebrain_core.splits.parts import read_plan, read_splits
from housebrain_core.train.tuner import HouseBrainFineTuner

SPLITS = 6
STEP = 864
"""Tokens that a split's optimizer step takes: 16 generated samples."""
ROW = 432
"""Tokens in a packed row; of those lengths that divide a step the quickest on a CPU."""
VALIDATION = 150
"""Samples by which learning rates, the best split and the scale of a merge are chosen."""
EVERY_RUN = 30
"""Of these, those that every training run of a plan measures itself, which nothing here looks at."""
TEST = 300
"""Other samples, of which every figure is."""
SEED = 1000


class Regime(NamedTuple):
    """How much each person has, and how long it is trained."""

    name: str
    samples: int
    """Of each split."""
    steps: int
    """Optimizer steps of 16 samples that training a split once takes."""
    many: bool
    """Whether conventions depend on more fields of the brief; see `synthetic.Region`."""
    rates: tuple[float, ...]
    """Peak learning rates, in the order in which they are tried: a third one only where the second is worse."""


REGIMES = {
    "small": Regime("small splits, 19 epochs", 80, 96, many=False, rates=(6e-3, 1.2e-2, 3e-3)),
    "large": Regime("large splits, 2 epochs", 1008, 126, many=True, rates=(6e-3, 3e-3, 1.2e-2)),
}
WAYS: dict[str, dict[str, Any]] = {
    "2 rounds": {"rounds": 2, "common_start": 0},
    "3 rounds": {"rounds": 3, "common_start": 0},
    "6 rounds": {"rounds": 6, "common_start": 0},
    "common start, one merge": {"rounds": 1},
    "common start, 2 rounds": {"rounds": 2},
    "common start, 3 rounds": {"rounds": 3},
    "common start, 6 rounds": {"rounds": 6},
    "relay in 4 legs": {"relay": True, "relay_legs": 4},
    "relay in 5 legs": {"relay": True, "relay_legs": 5},
    "relay": {"relay": True},
}
"""Plan -> settings of `housebrain split` that make it."""
APART = "apart"
EVERYTHING = "everything"
SYNCHRONOUS = "everything at 6 times the batch"
ROW_NAMES = ("base", "mean split", "best split", "A and B apart", "one merge", "one merge, full rank",
             "one merge, scale on validation", *WAYS, SYNCHRONOUS, EVERYTHING)  # fmt: skip
"""Rows of the table, in its order."""


class Measured(NamedTuple):
    """What a model is worth on generated houses that it has not seen."""

    above_floor: float
    """Loss in nats per token above what no model gets below."""
    exact: float
    """Share of designs that are exactly the planner's by the most probable token, drawn fields left out."""
    rules_kept: float
    """Share of generated designs that keep every hard rule; NaN where none were generated."""
    validation: float
    """Loss in nats per token on the validation samples."""


class World(NamedTuple):
    """What all runs of a seed share."""

    folder: Path
    base: Path
    regime: Regime
    seed: int
    designs: int
    """That are generated and judged by the rules."""
    in_4bit: bool = False

    @property
    def region(self) -> synthetic.Region:
        """Its conventions are the seed's own."""
        return synthetic.DEMO._replace(name=f"Demo {self.seed}", many=self.regime.many)


def make_world(world: World, ways: list[str]) -> None:
    """Writes the seed's dataset, and its splits for each way that has none yet."""
    samples = SPLITS * world.regime.samples
    source = world.folder / "dataset"
    synthetic.write_dataset(source, samples, VALIDATION, seed=SEED + 10 * world.seed, region=world.region)
    makes = {APART: {"validation_samples": VALIDATION}, EVERYTHING: {"splits": 1}, **{way: WAYS[way] for way in ways}}
    shared: dict[str, Any] = {"splits": SPLITS, "validation_samples": EVERY_RUN, "source": source}
    shared["training"] = [f"max_steps={world.regime.steps}"]
    for way, settings in makes.items():
        output = world.folder / way / "splits"
        if not output.exists():
            split_quietly(SplitConfig(output=output, **shared | settings))


def split_quietly(config: SplitConfig) -> None:
    """Splits without a word."""
    from housebrain_core.splits.split import split_dataset

    split_dataset(config, report=lambda line: None)


def run(world: World, way: str, rate: float) -> tuple[float, dict[str, Measured]]:
    """Trains a way at a learning rate; gives seconds of CPU, and what each row that comes of it is worth."""
    torch.set_num_threads(1)
    started = time.process_time()
    folder = world.folder / way / (f"{rate:g}" + " in 4-bit" * world.in_4bit)
    shutil.rmtree(folder, ignore_errors=True)  # of a benchmark that was stopped
    splits = world.folder / way / "splits"
    if way == APART:
        rows = run_apart(world, splits, folder, rate)
    elif way in (EVERYTHING, SYNCHRONOUS):
        splits = world.folder / EVERYTHING / "splits"
        times = SPLITS if way == SYNCHRONOUS else 1
        steps = SPLITS * world.regime.steps // times
        made = train(world, splits / "split_01.zip", folder / "model", rate, steps, batch=times)
        rows = {way: measure(world, made)}
    else:
        rows = {way: measure(world, run_plan(world, splits, folder, rate))}
    shutil.rmtree(folder, ignore_errors=True)
    return time.process_time() - started, rows


def run_plan(world: World, splits: Path, folder: Path, rate: float) -> Path:
    """Trains every leg of a plan and ends it as `housebrain round` does; gives the folder of the result."""
    plan = read_plan(splits)
    if plan is None:
        raise ValueError(f"{splits} has no plan of legs")
    merged = folder / "merged"
    for number, leg in enumerate(plan.legs, 1):
        start = folder / "rounds" / f"leg_{number}.zip" if number > 1 else None
        models = []
        for person in leg.people:
            bundle = splits / read_splits(splits)[person - 1].bundle
            target = folder / f"split-{person:02d}-leg-{number}"
            models.append(train(world, bundle, target, rate, world.regime.steps, start))
        legs = RoundConfig(models=models, splits=splits, output=folder / "rounds", merged=merged, run_validation=False)
        run_round(legs, report=lambda line: None)
    return merged


def train(
    world: World, data: Path, target: Path, rate: float, steps: int, start: Path | None = None, batch: int = 1
) -> Path:
    """Trains an adapter.

    Args:
        world: whose base model.
        data: a bundle.
        target: its folder, which is also returned.
        rate: peak learning rate.
        steps: that training the split once takes.
        start: a leg file.
        batch: times a split's tokens that a step takes.
    """
    settings = FineTuningConfig(
        dataset_path=data, output_dir=target, base_model=str(world.base), init_adapter=start,
        learning_rate=rate, max_steps=steps, row_length=ROW, gradient_accumulation_steps=1,
        batch_size=round(batch * STEP / 512), load_in_4bit=world.in_4bit, full_epochs=True, logging_steps=10_000,
        save_steps=1_000_000, save_minutes=1e6, gradient_checkpointing="off",
    )  # fmt: skip
    HouseBrainFineTuner(settings, report=lambda line: None).train()
    return target


def run_apart(world: World, splits: Path, folder: Path, rate: float) -> dict[str, Measured]:
    """The base, the splits trained apart, and what merging them once gives."""
    models = [
        train(world, splits / part.bundle, folder / part.name, rate, world.regime.steps) for part in read_splits(splits)
    ]
    alone = [measure(world, model) for model in models]
    rows = {
        "base": measure(world, None),
        "mean split": Measured(*map(mean, zip(*alone, strict=True))),
        "best split": min(alone, key=lambda one: one.validation),
    }
    merges: dict[str, dict[str, Any]] = {
        "A and B apart": {"strategy": "ab-average"},
        "one merge": {"rank": 8},
        "one merge, full rank": {"rank": "full"},
        "one merge, scale on validation": {"rank": 8, "scale": "auto", "data": splits, "base_model": str(world.base)},
    }
    for name, settings in merges.items():
        merged = folder / "merges" / name
        merge_adapters(MergeConfig(models=models, output=merged, **settings), report=lambda line: None)
        rows[name] = measure(world, merged)
    return rows


def measure(world: World, adapter: Path | None) -> Measured:
    """Loss, exactness and rules of an adapter, or of the base model alone."""
    llm = HouseBrainLLM(adapter or world.base, str(world.base), world.in_4bit)
    seed = SEED + 10 * world.seed
    validation = [codec.encode(one) for one in synthetic.make_samples(VALIDATION, seed + 1, world.region)]
    samples = list(synthetic.make_samples(TEST, seed + 2, world.region))
    losses = llm.losses([codec.encode(one) for one in samples], tuple(synthetic.DRAWN))
    floor = synthetic.entropy_nats() * len(samples) / sum(losses.tokens)
    return Measured(
        losses.mean - floor,
        mean(losses.exact),
        rules_kept(llm, [one["input"] for one in islice(samples, world.designs)]),
        llm.losses(validation).mean,
    )


def rules_kept(llm: HouseBrainLLM, briefs: list[dict]) -> float:
    """Share of generated designs that keep every hard rule."""
    if not briefs:
        return float("nan")
    limits = values_of(read_limits("NBC"))
    answers = llm.answer(briefs, batch_size=len(briefs), max_new_tokens=100)
    judged = [judge(brief, answer, limits) for brief, answer in zip(briefs, answers, strict=True)]
    return describe_rules([one.rules for one in judged]).all_hard
