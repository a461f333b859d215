"""How long training will take, before it starts: tokens, hours, sessions, and what would fit better.

Hours are a range, because the share of a GPU's matrix rate that training reaches is known only roughly until
the first steps are measured. `Estimate.figures` lists every number that goes in, with its source.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from housebrain_core.config import PlanConfig
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.results import Shown, Table
from housebrain_core.splits import costs
from housebrain_core.splits.bundle import Bundle, is_bundle, read_bundle
from housebrain_core.splits.costs import BaseModelFacts, Range, Shape, describe
from housebrain_core.splits.parts import read_splits

BATCH = 2_000
"""Samples that are tokenised at once."""
Figure = tuple[str, str, str]
"""What it is, its value, and where it comes from."""


class SplitTokens(NamedTuple):
    """Tokens of one epoch of a split."""

    name: str
    samples: int
    tokens: Range
    learned_share: float
    """Share of the tokens that are answers, in [0, 1]."""


@dataclass(frozen=True)
class Estimate(Shown):
    """What training the splits costs."""

    config: PlanConfig
    facts: BaseModelFacts | None
    """Sizes and licence of the base model, where they can be found."""
    exact_tokens: bool
    """Whether tokens were counted, and not estimated from characters."""
    tokens_per_second: Range
    splits: list[SplitTokens]

    @property
    def learned_share(self) -> float:
        """Share of the tokens that are answers, in [0, 1]; the mean over the splits."""
        return sum(split.learned_share for split in self.splits) / len(self.splits)

    @property
    def longest_tokens(self) -> Range:
        """Of one epoch of the largest split."""
        return Range(*(max(ends) for ends in zip(*(split.tokens for split in self.splits), strict=True)))

    @property
    def longest_hours(self) -> Range:
        """Of the largest split."""
        return self.hours(self.longest_tokens)

    @property
    def alone_hours(self) -> Range:
        """Of all splits, one after another."""
        return self.hours(Range(*(sum(ends) for ends in zip(*(split.tokens for split in self.splits), strict=True))))

    def hours(self, tokens: Range) -> Range:
        """Hours that training takes for so many tokens of an epoch, all epochs together."""
        return costs.training_hours(tokens, self.tokens_per_second, self.config.epochs)

    @property
    def kaggle_weeks(self) -> Range:
        """Weeks of Kaggle's quota for the largest split."""
        return costs.weeks(self.longest_hours)

    @property
    def advice(self) -> list[str]:
        """What would fit better, each with its hours."""
        return [
            "Training ends by itself once nothing more is learned; these hours are the most it takes.",
            *_advise_base(self),
            *_advise_one_person(self),
            *_advise_team(self),
        ]

    def outputs(self) -> list[str | Table]:
        """The estimate as texts and tables, about 30 lines in all."""
        return [
            _describe_basis(self),
            _tabulate_splits(self),
            _describe_people(self),
            Table(("figure", "value", "where it comes from"), self.figures),
        ]

    @property
    def figures(self) -> list[Figure]:
        """Every number that goes into the hours."""
        return [_token_figure(self), *_rate_figures(self), *costs.FIXED_FIGURES]


def estimate_hours(config: PlanConfig, report: Callable[[str], None] = print) -> Estimate:
    """Counts the tokens of every split and works out what they cost.

    Args:
        config: splits, GPU, base model, epochs.
        report: gets a line per split while tokens are counted.

    Returns:
        Tokens of the splits and tokens per second, and what follows for hours, sessions and weeks.

    Raises:
        DataError: the splits cannot be read.
        ConfigError: no rate is given, and nothing is known of the base model, or it is too small for an estimate.
    """
    facts = costs.find_facts(config.base_model)
    tokenizer = costs.find_file(config.base_model, "tokenizer.json")
    count = _load_counter(tokenizer) if tokenizer else _estimate_tokens
    splits: list[SplitTokens] = []
    for bundle in _read_splits(config.splits):
        splits.append(count(bundle))
        note = "" if tokenizer else ", estimated from characters"
        report(f"{bundle.name}: {describe(splits[-1].tokens)} tokens{note}")
    learned_share = sum(split.learned_share for split in splits) / len(splits)
    return Estimate(config, facts, tokenizer is not None, _find_rate(config, facts, learned_share), splits)


def _find_rate(config: PlanConfig, facts: BaseModelFacts | None, learned_share: float) -> Range:
    """Tokens per second: as given, or what arithmetic says of the base model's sizes."""
    if config.tokens_per_second:
        return Range(config.tokens_per_second, config.tokens_per_second)
    if facts is None:
        raise ConfigError(
            f"base_model = {config.base_model!r}: its sizes are not known here. Give a folder or a model in the "
            f"Hub's cache, one of {', '.join(costs.BASES)}, or the --tokens-per-second that a run printed."
        )
    if facts.shape.in_layers < costs.SMALLEST:
        raise ConfigError(
            f"base_model = {config.base_model!r} has {costs.describe_parameters(facts.shape.in_layers)} weights in its "
            "layers: it is for trying things, and no estimate of its hours is worth the name. Name the base model that "
            "will be trained, such as --base-model Qwen/Qwen2.5-Coder-1.5B, or give the --tokens-per-second that a run "
            "printed."
        )
    return costs.estimate_rate(facts.shape, config.gpu, config.row_length, learned_share)


def _read_splits(path: Path) -> list[Bundle]:
    if is_bundle(path):
        return [read_bundle(path)]
    if not path.is_dir():
        what = "is a file, and no bundle" if path.exists() else "does not exist"
        raise DataError(f"{path} {what}. Give the folder that `housebrain split` wrote, or one bundle.")
    return [read_bundle(path / part.bundle) for part in read_splits(path)]


def _load_counter(path: Path) -> Callable[[Bundle], SplitTokens]:
    """A function that counts a bundle's tokens with a tokenizer.json."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(bundle: Bundle, column: str, special: bool) -> int:
        batches = (tokenizer.encode_batch(texts, add_special_tokens=special) for texts in _texts(bundle, column))
        return sum(len(encoding.ids) for batch in batches for encoding in batch)

    def count_split(bundle: Bundle) -> SplitTokens:
        samples = bundle.train.num_rows
        answers = count(bundle, "completion", special=False) + samples  # one end-of-text token each
        total = count(bundle, "prompt", special=True) + answers
        return SplitTokens(bundle.name, samples, Range(total, total), answers / total)

    return count_split


def _texts(bundle: Bundle, column: str) -> Iterator[list[str]]:
    for start in range(0, bundle.train.num_rows, BATCH):
        yield bundle.train.column(column).slice(start, BATCH).to_pylist()


def _estimate_tokens(bundle: Bundle) -> SplitTokens:
    prompts, answers = (
        sum(len(text) for texts in _texts(bundle, column) for text in texts) for column in ("prompt", "completion")
    )
    total = prompts + answers
    return SplitTokens(bundle.name, bundle.train.num_rows, costs.estimate_tokens(total), answers / max(1, total))


def _advise_base(estimate: Estimate) -> Iterator[str]:
    """About licence and memory of the base model."""
    facts = estimate.facts
    if facts and not facts.free:
        yield f"Licence: {facts.licence}. Qwen/Qwen2.5-Coder-1.5B is {costs.APACHE}."
    gpu = estimate.config.gpu
    memory = costs.GPUS[gpu].memory
    if facts and facts.shape.bytes > costs.FITTING * memory * 1e9:
        yield (
            f"The weights alone take {facts.shape.bytes / 1e9:.0f} GB of the {memory} GB of one {gpu}: training will "
            "not fit. Take a smaller base or a larger GPU."
        )


def _advise_one_person(estimate: Estimate) -> Iterator[str]:
    """About one person with all splits, where they need more than a week."""
    count = len(estimate.splits)
    hours = estimate.longest_hours.times(count)
    if count > 1 and costs.weeks(hours).most > 1:
        one_epoch = costs.weeks(hours.times(1 / estimate.config.epochs))
        yield (
            f"Alone, one of the {count} splits takes {describe(estimate.kaggle_weeks)} weeks, and its adapter works by "
            f"itself; all of them with --epochs 1 take {describe(one_epoch)}."
        )


def _advise_team(estimate: Estimate) -> Iterator[str]:
    """About a person per split, where a split needs more than a week."""
    if estimate.kaggle_weeks.most <= 1:
        yield "One split fits into a week of Kaggle's quota, even at the slow end of the range."
        return
    if estimate.config.epochs > 1:
        hours = estimate.longest_hours.times(1 / estimate.config.epochs)
        yield f"--epochs 1: {describe(hours)} hours a split, {describe(costs.weeks(hours))} weeks."
    if estimate.facts and not estimate.config.tokens_per_second:
        yield from _advise_smaller_bases(estimate, estimate.facts.shape)
    people = math.ceil(len(estimate.splits) * estimate.kaggle_weeks.most)
    yield f"{people} people with a split each, instead of {len(estimate.splits)}: about a week, at the slow end."


def _advise_smaller_bases(estimate: Estimate, shape: Shape) -> Iterator[str]:
    config = estimate.config
    smaller = [name for name, facts in costs.BASES.items() if facts.free and facts.shape.in_layers < shape.in_layers]
    for name in smaller:
        facts = costs.BASES[name]
        rate = costs.estimate_rate(facts.shape, config.gpu, config.row_length, estimate.learned_share)
        hours = costs.training_hours(estimate.longest_tokens, rate, config.epochs)
        yield (
            f"--base-model {name} ({facts.licence}): {describe(hours)} hours a split, "
            f"{describe(costs.weeks(hours))} weeks."
        )


def _token_figure(estimate: Estimate) -> Figure:
    if estimate.exact_tokens:
        return "characters per token", "exact", "counted with the base model's tokenizer"
    source = "measured on 2,000 samples of HBV5, and generated"
    return "characters per token", describe(costs.CHARACTERS_PER_TOKEN), source


def _rate_figures(estimate: Estimate) -> list[Figure]:
    rate = describe(estimate.tokens_per_second)
    if estimate.config.tokens_per_second or estimate.facts is None:
        return [("tokens per second", rate, "given")]
    gpu = costs.GPUS[estimate.config.gpu]
    figures = [
        ("weights in the layers", f"{estimate.facts.shape.in_layers / 1e9:.2f} billion", "arithmetic on config.json"),
        ("matrix rate of one GPU", f"{gpu.rate:g} TFLOP/s", gpu.source),
        ("share of it reached", f"{gpu.share.least:.0%} to {gpu.share.most:.0%}", costs.SHARE_SOURCES[gpu.share]),
        ("tokens per second", rate, "arithmetic; not measured by us"),
    ]
    if estimate.config.gpu == "t4x2":
        figures.append(("two GPUs against one", describe(costs.TWO_GPUS), "assumed"))
    return figures


def _describe_basis(estimate: Estimate) -> str:
    config = estimate.config
    facts = estimate.facts
    size = f", {costs.describe_parameters(facts.shape.parameters)} parameters" if facts else ""
    counted = "counted" if estimate.exact_tokens else "estimated from characters: its tokenizer is not at hand"
    return (
        f"{config.base_model}{size}. Licence: {facts.licence if facts else costs.UNKNOWN_LICENCE}.\n"
        f"{config.gpu}: {describe(estimate.tokens_per_second)} tokens per second. Tokens {counted}."
    )


def _tabulate_splits(estimate: Estimate) -> Table:
    epochs = estimate.config.epochs
    rows = []
    for split in estimate.splits:
        hours = estimate.hours(split.tokens)
        an_epoch = describe(hours.times(1 / epochs))
        rows.append((split.name, f"{split.samples:,}", describe(split.tokens), an_epoch, describe(hours)))
    return Table(("split", "samples", "tokens an epoch", "hours an epoch", f"hours of {epochs} epochs"), rows)


def _describe_people(estimate: Estimate) -> str:
    longest = estimate.longest_hours
    alone = estimate.alone_hours
    lines = [
        f"One person per split: on Kaggle {costs.describe_sessions(costs.sessions(longest, costs.KAGGLE_SESSION))}, "
        f"{describe(estimate.kaggle_weeks)} weeks of quota; on free Colab at least "
        f"{costs.describe_sessions(costs.sessions(longest, costs.COLAB_SESSION))}.",
        f"One person alone, the splits one after another: {describe(alone)} hours, "
        f"{describe(costs.weeks(alone))} weeks of Kaggle's quota.",
        "",
    ]
    return "\n".join([*lines, *(f"- {line}" for line in estimate.advice)])
