"""How long training will take, before it starts: tokens, hours, sessions and weeks.

Hours are a range, because the share of a GPU's matrix rate that training reaches is known only roughly until
the first steps are measured. `Estimate.figures` lists every number that goes in, with its source.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from housebrain_core.config import PlanConfig
from housebrain_core.data.token_counts import CountTokens, load_counter, read_counter
from housebrain_core.display.results import Shown, Table
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.splits import costs
from housebrain_core.splits.bundle import Bundle, is_bundle, read_bundle
from housebrain_core.splits.costs import BaseModelFacts, Range, describe
from housebrain_core.splits.parts import read_splits
from housebrain_core.texts import say

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
    entropy: float | None = None
    """Nats per sample that no model gets below; None where that is not known."""
    from_brief: float | None = None
    """Nats per sample that fields of the brief tell, at least; None where that is not known."""

    @property
    def longest_hours(self) -> Range:
        """Of the largest split."""
        hours = [self.hours(split.tokens) for split in self.splits]
        return Range(max(one.least for one in hours), max(one.most for one in hours))

    @property
    def alone_hours(self) -> Range:
        """Of all splits, one after another."""
        hours = [self.hours(split.tokens) for split in self.splits]
        return Range(sum(one.least for one in hours), sum(one.most for one in hours))

    def hours(self, tokens: Range) -> Range:
        """Hours that training takes for so many tokens of an epoch, all epochs together."""
        return costs.training_hours(tokens, self.tokens_per_second, self.config.epochs)

    @property
    def kaggle_weeks(self) -> Range:
        """Weeks of Kaggle's quota for the largest split."""
        return costs.weeks(self.longest_hours)

    @property
    def advice(self) -> list[str]:
        """What a person alone can do, where all splits need more than a week, and whether one split fits into one."""
        weeks = describe(self.kaggle_weeks)
        lines = []
        if len(self.splits) > 1 and costs.weeks(self.alone_hours).most > 1:
            lines.append(f"Alone, train one of the splits in {weeks} weeks: its adapter works by itself.")
        if self.kaggle_weeks.most <= 1:
            lines.append("One split fits into a week of Kaggle's quota, even at the slow end of the range.")
        else:
            lines.append(f"One split takes {weeks} weeks of Kaggle's quota; fewer epochs or smaller splits take less.")
        return lines

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
        exact = ("characters per token", "exact", "counted with the base model's tokenizer")
        source = "measured on 2,000 samples of HBV5, and generated"
        estimated = ("characters per token", describe(costs.CHARACTERS_PER_TOKEN), source)
        return [exact if self.exact_tokens else estimated, *_rate_figures(self), *costs.FIXED_FIGURES]


def estimate_hours(config: PlanConfig, report: Callable[[str], None] = say) -> Estimate:
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
    counters = (read_counter(tokenizer, special=True), read_counter(tokenizer)) if tokenizer else None
    splits: list[SplitTokens] = []
    manifest: dict[str, Any] = {}
    for bundle in _read_splits(config.splits):
        splits.append(_count_tokens(bundle, *counters) if counters else _estimate_tokens(bundle))
        note = "" if tokenizer else ", estimated from characters"
        report(f"{bundle.name}: {describe(splits[-1].tokens)} tokens{note}")
        manifest = bundle.manifest
    learned_share = sum(split.learned_share for split in splits) / len(splits)
    rate = _find_rate(config, facts, learned_share)
    return Estimate(
        config=config,
        facts=facts,
        exact_tokens=tokenizer is not None,
        tokens_per_second=rate,
        splits=splits,
        entropy=manifest.get("entropy_nats_per_sample"),
        from_brief=manifest.get("brief_nats_per_sample"),
    )


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


def _count_tokens(bundle: Bundle, count_prompts: CountTokens, count_answers: CountTokens) -> SplitTokens:
    samples = bundle.train.num_rows
    answers = _total_length(bundle, "completion", count_answers) + samples  # one end-of-text token each
    total = _total_length(bundle, "prompt", count_prompts) + answers
    return SplitTokens(bundle.name, samples, Range(total, total), answers / total)


def _estimate_tokens(bundle: Bundle) -> SplitTokens:
    answers = _total_length(bundle, "completion", load_counter(None))
    total = answers + _total_length(bundle, "prompt", load_counter(None))
    return SplitTokens(bundle.name, bundle.train.num_rows, costs.estimate_tokens(total), answers / max(1, total))


def _total_length(bundle: Bundle, column: str, count: CountTokens) -> int:
    texts = bundle.train.column(column)
    starts = range(0, bundle.train.num_rows, BATCH)
    return sum(sum(count(texts.slice(start, BATCH).to_pylist())) for start in starts)


def _rate_figures(estimate: Estimate) -> list[Figure]:
    rate = describe(estimate.tokens_per_second)
    if estimate.config.tokens_per_second or estimate.facts is None:
        return [("tokens per second", rate, "given")]
    gpu = costs.GPUS[estimate.config.gpu]
    figures = [
        ("weights in the layers", f"{estimate.facts.shape.in_layers / 1e9:.2f} billion", "arithmetic on config.json"),
        ("matrix rate of one GPU", f"{gpu.rate:g} TFLOP/s", gpu.rate_source),
        ("share of it reached", f"{gpu.share.least:.0%} to {gpu.share.most:.0%}", gpu.share_source),
        ("tokens per second", rate, "arithmetic; not measured by us"),
    ]
    if estimate.config.gpu == "t4x2":
        figures.append(("two GPUs against one", describe(costs.TWO_GPUS), "assumed"))
    return figures


def _describe_basis(estimate: Estimate) -> str:
    """The base model with its licence, and a warning where its weights do not fit the GPU."""
    gpu = estimate.config.gpu
    facts = estimate.facts
    size = f", {costs.describe_parameters(facts.shape.parameters)} parameters" if facts else ""
    counted = "counted" if estimate.exact_tokens else "estimated from characters: its tokenizer is not at hand"
    lines = [
        f"{estimate.config.base_model}{size}. Licence: {facts.licence if facts else costs.UNKNOWN_LICENCE}.",
        f"{gpu}: {describe(estimate.tokens_per_second)} tokens per second. Tokens {counted}.",
    ]
    if facts and facts.shape.bytes > costs.FITTING * costs.GPUS[gpu].memory * 1e9:
        lines.append(
            f"The weights alone take {facts.shape.bytes / 1e9:.0f} GB of the {costs.GPUS[gpu].memory} GB of one {gpu}: "
            "training will not fit. Take a smaller base or a larger GPU."
        )
    return "\n".join(lines)


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
