"""How long training will take, before it starts: tokens, hours, sessions, and what would fit better.

Hours are a range, because the share of a GPU's matrix rate that training reaches is known only roughly until
the first steps are measured. `figures` lists every number that goes in, with its source.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel

from housebrain_core.config import PlanConfig
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.splits.bundle import Bundle, is_bundle, read_bundle
from housebrain_core.splits.costs import (
    BASES,
    CHARACTERS_PER_TOKEN,
    COLAB_SESSION,
    EXTRA_TIME,
    GPUS,
    KAGGLE_QUOTA,
    KAGGLE_SESSION,
    SMALLEST,
    START_HOURS,
    T4_SHARE,
    TWO_GPUS,
    BaseModelFacts,
    Range,
    describe,
    describe_parameters,
    describe_sessions,
    estimate_rate,
    estimate_tokens,
    find_facts,
    find_file,
    sessions,
    training_hours,
    weeks,
)  # fmt: skip
from housebrain_core.splits.parts import read_splits

BATCH = 2_000


class SplitPlan(BaseModel):
    """One split: tokens of one epoch, hours of all epochs."""

    name: str
    samples: int
    tokens: Range
    learned_share: float
    """Share of the tokens that are answers."""
    hours_per_epoch: Range
    hours: Range


class Plan(BaseModel):
    """What `make_plan` found; ranges are (least, most)."""

    base_model: str
    parameters: int | None
    licence: str
    gpu: str
    exact_tokens: bool
    tokens_per_second: Range
    epochs: int
    splits: list[SplitPlan]
    kaggle_sessions: tuple[int, int]
    kaggle_weeks: Range
    colab_sessions: tuple[int, int]
    alone_hours: Range
    alone_weeks: Range
    advice: list[str]
    figures: list[tuple[str, str, str]]
    """(figure, value, where it comes from)."""


def make_plan(config: PlanConfig, report: Callable[[str], None] = print) -> Plan:
    """Counts the tokens of every split and works out what they cost.

    Args:
        config: splits, GPU, base model, epochs.
        report: gets a line per split while tokens are counted.

    Raises:
        DataError: the splits cannot be read.
        ConfigError: no rate is given, and nothing is known of the base model, or it is too small for an estimate.
    """
    facts = find_facts(config.base_model)
    count, exact = _counter(config.base_model)
    counted = []
    for bundle in _read_splits(config.splits):
        counted.append((bundle.name, bundle.train.num_rows, *count(bundle)))
        report(f"{bundle.name}: {describe(counted[-1][2])} tokens" + ("" if exact else ", estimated from characters"))
    learned = sum(answers for *_, answers in counted) / len(counted)
    rate = _find_rate(config, facts, learned)
    splits = [
        SplitPlan(
            name=name,
            samples=samples,
            tokens=tokens,
            learned_share=answers,
            hours_per_epoch=training_hours(tokens, rate, 1),
            hours=training_hours(tokens, rate, config.epochs),
        )
        for name, samples, tokens, answers in counted
    ]
    longest = (max(split.hours[0] for split in splits), max(split.hours[1] for split in splits))
    alone = (sum(split.hours[0] for split in splits), sum(split.hours[1] for split in splits))
    return Plan(
        base_model=config.base_model,
        parameters=facts and facts.shape.in_layers + facts.shape.embeddings,
        licence=facts.licence if facts else "not known here; read its card",
        gpu=config.gpu,
        exact_tokens=exact,
        tokens_per_second=rate,
        epochs=config.epochs,
        splits=splits,
        kaggle_sessions=sessions(longest, KAGGLE_SESSION),
        kaggle_weeks=weeks(longest),
        colab_sessions=sessions(longest, COLAB_SESSION),
        alone_hours=alone,
        alone_weeks=weeks(alone),
        advice=_advise(config, facts, longest, len(splits), learned),
        figures=_figures(config, facts, exact, rate),
    )


def _find_rate(config: PlanConfig, facts: BaseModelFacts | None, learned: float) -> Range:
    """Tokens per second, (least, most): as given, or what arithmetic says of the base model's sizes."""
    if config.tokens_per_second:
        return config.tokens_per_second, config.tokens_per_second
    if facts is None:
        raise ConfigError(
            f"base_model = {config.base_model!r}: its sizes are not known here. Give a folder or a model in the "
            f"Hub's cache, one of {', '.join(BASES)}, or the --tokens-per-second that a run printed."
        )
    if facts.shape.in_layers < SMALLEST:
        raise ConfigError(
            f"base_model = {config.base_model!r} has {describe_parameters(facts.shape.in_layers)} weights in its "
            "layers: it is for trying things, and no estimate of its hours is worth the name. Name the base model that "
            "will be trained, such as --base-model Qwen/Qwen2.5-Coder-1.5B, or give the --tokens-per-second that a run "
            "printed."
        )
    return estimate_rate(facts.shape, config.gpu, config.row_length, learned)


def _read_splits(path: Path) -> list[Bundle]:
    if is_bundle(path):
        return [read_bundle(path)]
    if not path.is_dir():
        what = "is a file, and no bundle" if path.exists() else "does not exist"
        raise DataError(f"{path} {what}. Give the folder that `housebrain split` wrote, or one bundle.")
    return [read_bundle(path / part.bundle) for part in read_splits(path)]


def _counter(base_model: str) -> tuple[Callable[[Bundle], tuple[Range, float]], bool]:
    """A function from a bundle to ((least, most) tokens of an epoch, share of answers), and whether it is exact."""
    path = find_file(base_model, "tokenizer.json")
    if path is None:
        return _estimate_tokens, False
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(bundle: Bundle) -> tuple[Range, float]:
        totals = []
        for column, special in (("prompt", True), ("completion", False)):
            total = 0
            for batch in _batches(bundle, column):
                total += sum(len(one.ids) for one in tokenizer.encode_batch(batch, add_special_tokens=special))
            totals.append(total)
        answers = totals[1] + bundle.train.num_rows  # one EOS each
        tokens = totals[0] + answers
        return (tokens, tokens), answers / tokens

    return count, True


def _batches(bundle: Bundle, column: str) -> Iterator[list[str]]:
    for start in range(0, bundle.train.num_rows, BATCH):
        yield bundle.train.column(column).slice(start, BATCH).to_pylist()


def _estimate_tokens(bundle: Bundle) -> tuple[Range, float]:
    prompts, answers = (
        sum(len(text) for batch in _batches(bundle, column) for text in batch) for column in ("prompt", "completion")
    )
    return estimate_tokens(prompts + answers), answers / max(1, prompts + answers)


def _advise(config: PlanConfig, facts: BaseModelFacts | None, longest: Range, splits: int, learned: float) -> list[str]:
    """What would fit better, each with its hours."""
    advice = ["Training ends by itself once nothing more is learned; these hours are the most it takes."]
    if facts and not facts.free:
        advice.append(f"Licence: {facts.licence}. Qwen/Qwen2.5-Coder-1.5B is Apache-2.0.")
    if facts and (needed := facts.shape.bytes) > 0.7e9 * GPUS[config.gpu].memory:
        advice.append(
            f"The weights alone take {needed / 1e9:.0f} GB of the {GPUS[config.gpu].memory} GB of one {config.gpu}: "
            "training will not fit. Take a smaller base or a larger GPU."
        )
    alone = (longest[0] * splits, longest[1] * splits)
    if splits > 1 and weeks(alone)[1] > 1:
        once = weeks((alone[0] / config.epochs, alone[1] / config.epochs))
        advice.append(
            f"Alone, one of the {splits} splits takes {describe(weeks(longest))} weeks, and its adapter works by "
            f"itself; all of them with --epochs 1 take {describe(once)}."
        )
    if weeks(longest)[1] <= 1:
        return [*advice, "One split fits into a week of Kaggle's quota, even at the slow end of the range."]
    if config.epochs > 1:
        one = (longest[0] / config.epochs, longest[1] / config.epochs)
        advice.append(f"--epochs 1: {describe(one)} hours a split, {describe(weeks(one))} weeks.")
    if facts and not config.tokens_per_second:
        size = facts.shape.in_layers
        now = estimate_rate(facts.shape, config.gpu, config.row_length, learned)
        smaller = [name for name, other in BASES.items() if other.free and other.shape.in_layers < size]
        for name in smaller:
            rate = estimate_rate(BASES[name].shape, config.gpu, config.row_length, learned)
            hours = (longest[0] * now[1] / rate[1], longest[1] * now[0] / rate[0])
            advice.append(
                f"--base-model {name} ({BASES[name].licence}): {describe(hours)} hours a split, "
                f"{describe(weeks(hours))} weeks."
            )
    people = math.ceil(splits * weeks(longest)[1])
    advice.append(f"{people} people with a split each, instead of {splits}: about a week, at the slow end.")
    return advice


def _figures(config: PlanConfig, facts: BaseModelFacts | None, exact: bool, rate: Range) -> list[tuple[str, str, str]]:
    kind = GPUS[config.gpu]
    tokens = "counted with the base model's tokenizer" if exact else "measured on 2,000 samples of HBV5, and generated"
    figures = [("characters per token", "exact" if exact else describe(CHARACTERS_PER_TOKEN), tokens)]
    if config.tokens_per_second or facts is None:
        figures.append(("tokens per second", describe(rate), "given"))
    else:
        share = "published T4 runs" if kind.share == T4_SHARE else "Qwen README, 7B on an A100: 36 %; low end assumed"
        figures += [
            ("weights in the layers", f"{facts.shape.in_layers / 1e9:.2f} billion", "arithmetic on config.json"),
            ("matrix rate of one GPU", f"{kind.rate:g} TFLOP/s", kind.source),
            ("share of it reached", f"{kind.share[0]:.0%} to {kind.share[1]:.0%}", f"estimate from {share}"),
            ("tokens per second", describe(rate), "arithmetic; not measured by us"),
        ]
        if config.gpu == "t4x2":
            figures.append(("two GPUs against one", describe(TWO_GPUS), "assumed"))
    return [
        *figures,
        ("checkpoints, validation", f"{EXTRA_TIME - 1:.0%}", "the trainer's own limits"),
        ("start of a session", f"{START_HOURS} h", "assumed"),
        ("Kaggle", f"{KAGGLE_SESSION} h a session, {KAGGLE_QUOTA:.0f} h a week", "its documentation; 12 h allowed"),
        ("free Colab", f"{COLAB_SESSION:.0f} h a session at most", "its FAQ; often fewer, no quota is published"),
    ]


def describe_plan(plan: Plan) -> str:
    """The plan as text, about 30 lines."""
    size = f", {describe_parameters(plan.parameters)} parameters" if plan.parameters else ""
    counted = "counted" if plan.exact_tokens else "estimated from characters: its tokenizer is not at hand"
    lines = [
        f"{plan.base_model}{size}. Licence: {plan.licence}.",
        f"{plan.gpu}: {describe(plan.tokens_per_second)} tokens per second. Tokens {counted}.",
        "",
        f"{'split':<10} {'samples':>9} {'tokens an epoch':>26} {'hours an epoch':>16} {f'{plan.epochs} epochs':>16}",
        *(
            f"{split.name:<10} {split.samples:>9,} {describe(split.tokens):>26} "
            f"{describe(split.hours_per_epoch):>16} {describe(split.hours):>16}"
            for split in plan.splits
        ),
        "",
        f"One person per split: on Kaggle {describe_sessions(plan.kaggle_sessions)}, "
        f"{describe(plan.kaggle_weeks)} weeks of quota; on free Colab at least "
        f"{describe_sessions(plan.colab_sessions)}.",
        f"One person alone, the splits one after another: {describe(plan.alone_hours)} hours, "
        f"{describe(plan.alone_weeks)} weeks of Kaggle's quota.",
        "",
        *(f"- {line}" for line in plan.advice),
        "",
        "Where the figures come from:",
        *(f"  {name:<24} {value:<24} {source}" for name, value, source in plan.figures),
    ]
    return "\n".join(lines)
