"""The ways to train the splits side by side: hours, days, files to send, price, and what was measured of each.

A way is a plan of legs (`housebrain_core.legs`), or everything on one rented GPU.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from housebrain_core.config import PlanConfig
from housebrain_core.display.results import Shown, Table, say
from housebrain_core.legs import TrainingPlan, plan_relay, plan_rounds
from housebrain_core.splits import costs
from housebrain_core.splits.costs import Range, describe
from housebrain_core.splits.handouts import advise
from housebrain_core.splits.hours import Estimate, estimate_hours
from housebrain_core.splits.parts import read_plan

ROUNDS = (2, 3, 6)
"""Numbers of rounds that are compared."""
SOURCE = "benchmarks/README.md"
"""Where the measured shares of the gap come from."""


class Measured(NamedTuple):
    """Shares of the gap between an average split and training on everything that were measured, least and most.

    Six splits each, by `benchmarks/quality.py`.
    """

    small_splits: Range
    """Splits of 80 samples over 19 epochs, a network of width 128, three seeds."""
    large_splits: Range
    """Splits of 1,008 samples over 2 epochs, a network of width 64, three seeds."""


MEASURED = {
    "one merge": Measured(Range(0.14, 0.21), Range(-0.01, 0.0)),
    "2 rounds": Measured(Range(0.72, 0.78), Range(0.06, 0.08)),
    "3 rounds": Measured(Range(0.83, 0.86), Range(0.1, 0.12)),
    "6 rounds": Measured(Range(0.91, 0.93), Range(0.15, 0.18)),
    "common start, one merge": Measured(Range(0.73, 0.75), Range(0.23, 0.3)),
    "common start, 2 rounds": Measured(Range(0.89, 0.9), Range(0.31, 0.38)),
    "common start, 3 rounds": Measured(Range(0.93, 0.95), Range(0.34, 0.41)),
    "common start, 6 rounds": Measured(Range(0.96, 0.97), Range(0.37, 0.44)),
    "shorter relay": Measured(Range(0.8, 0.84), Range(0.79, 0.8)),
    "relay": Measured(Range(0.91, 0.92), Range(1.01, 1.05)),
    "one rented GPU": Measured(Range(1.0, 1.0), Range(1.0, 1.0)),
}


@dataclass(frozen=True)
class Choice:
    """One way to train the splits, and what it costs."""

    name: str
    legs: int
    hours_each: Range | None
    """GPU hours of the person who trains most; None where the speed is not known."""
    days: Range | None
    """Until the model is there; whole days."""
    files_each: Range
    """Files that a person sends."""
    price: Range | None = None
    """In the currency of `price_per_hour`; None where nothing is rented, or no price is given."""

    @property
    def measured(self) -> Measured | None:
        """What was measured of this way, where it was."""
        return MEASURED.get(self.name)


@dataclass(frozen=True)
class Comparison(Shown):
    """How long training takes, and the ways to do it side by side."""

    estimate: Estimate
    plan: TrainingPlan | None
    """That the splits were made for; None for one merge."""

    @cached_property
    def choices(self) -> list[Choice]:
        """All ways, in the order of the table; none where only one split is known."""
        people = len(self.estimate.splits)
        if people < 2:
            return []
        ways = {"one merge": plan_rounds(people, 1)}
        ways |= {f"{number} rounds": plan_rounds(people, number) for number in ROUNDS}
        ways["common start, one merge"] = plan_rounds(people, 1, 1 / people)
        ways |= {f"common start, {number} rounds": plan_rounds(people, number, 1 / people) for number in ROUNDS}
        if people > 2:
            ways["shorter relay"] = plan_relay(people, math.ceil(people * 2 / 3))
        ways["relay"] = plan_relay(people)
        if self.plan and self.plan.legs not in ways.values():
            ways["these splits' own plan"] = self.plan.legs
        planned = [
            plan_choice(name, TrainingPlan(splits=people, legs=legs), self.estimate.longest_hours)
            for name, legs in ways.items()
        ]
        return [*planned, rent_choice(self.estimate)]

    def outputs(self) -> list[str | Table]:
        """The estimate, the ways side by side, and which of them these data are worth."""
        *estimate, figures = self.estimate.outputs()
        if not self.choices:
            return [*estimate, figures]
        return [*estimate, tabulate(self), self.advice, figures]

    @property
    def advice(self) -> str:
        """Whether these data are worth more than one merge."""
        return advise(self.estimate.entropy, self.estimate.from_brief)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON: ranges as [least, most], shares in [0, 1]."""
        choices = [
            {
                "choice": choice.name,
                "legs": choice.legs,
                "hours_each": choice.hours_each,
                "days": choice.days,
                "files_each": choice.files_each,
                "price": choice.price,
                "gap_closed": choice.measured and choice.measured._asdict(),
            }
            for choice in self.choices
        ]
        return {
            "base_model": self.estimate.config.base_model,
            "gpu": self.estimate.config.gpu,
            "tokens_per_second": self.estimate.tokens_per_second,
            "splits": [
                split._asdict() | {"hours": self.estimate.hours(split.tokens)} for split in self.estimate.splits
            ],
            "choices": choices,
            "gap_source": f"tiny networks, {SOURCE}; the order should carry over, the percentages may not",
            "advice": self.advice,
        }


def compare_choices(config: PlanConfig, report: Callable[[str], None] = say) -> Comparison:
    """Works out how long training takes, and puts the ways to do it side by side.

    Args:
        config: splits, GPU, base model, epochs, price.
        report: gets a line per split while tokens are counted.

    Returns:
        The estimate, and a choice for each way.

    Raises:
        DataError: the splits cannot be read.
        ConfigError: no rate is given, and nothing is known of the base model, or it is too small for an estimate.
    """
    estimate = estimate_hours(config, report)
    return Comparison(estimate, read_plan(config.splits) if len(estimate.splits) > 1 else None)


def plan_choice(name: str, plan: TrainingPlan, hours: Range) -> Choice:
    """What a plan costs.

    Args:
        name: of the way.
        plan: its legs.
        hours: that training the largest split once takes.
    """
    loads = [plan.loads(person) for person in range(1, plan.splits + 1)]
    files = [len(load) for load in loads]
    each = hours.times(max(map(sum, loads)))
    legs = [leg_days(hours.times(plan.load(leg))) for leg in plan.legs]
    quota = each.times(7 / costs.KAGGLE_QUOTA)
    days = [
        max(sum(leg[end] for leg in legs), math.ceil(quota[end]) if each[end] > costs.KAGGLE_QUOTA else 0)
        for end in (0, 1)
    ]
    return Choice(name, len(plan.legs), each, Range(*days), Range(min(files), max(files)))


def leg_days(hours: Range) -> Range:
    """Days of a leg: a session of Kaggle each, and at least one, as people hand files over."""
    return Range(*costs.sessions(hours, costs.KAGGLE_SESSION))


def rent_choice(estimate: Estimate) -> Choice:
    """What training on everything costs on one rented GPU, day and night."""
    config = estimate.config
    name = "one rented GPU"
    facts = estimate.facts
    if facts is None or facts.shape.in_layers < costs.SMALLEST:
        return Choice(name, 1, None, None, Range(0, 0))
    tokens = Range(*(sum(split.tokens[end] for split in estimate.splits) for end in (0, 1)))
    learned_share = sum(split.learned_share for split in estimate.splits) / len(estimate.splits)
    rate = costs.estimate_rate(facts.shape, config.rented, config.row_length, learned_share)
    hours = costs.training_hours(tokens, rate, config.epochs)
    days = Range(*(max(1, math.ceil(value / 24)) for value in hours))
    price = hours.times(config.price_per_hour) if config.price_per_hour else None
    return Choice(name, 1, hours, days, Range(0, 0), price)


def tabulate(comparison: Comparison) -> Table:
    """The ways side by side."""
    config = comparison.estimate.config
    rows = []
    for choice in comparison.choices:
        small, large = choice.measured or (None, None)
        name = f"{choice.name}, {config.rented}" if choice.name == "one rented GPU" else choice.name
        cells = [name, show(choice.hours_each), show_whole(choice.days), show_whole(choice.files_each)]
        cells += [show(choice.price)] if config.price_per_hour else []
        rows.append((*cells, show_share(small), show_share(large)))
    columns = ["way", "GPU hours each", "days until done", "files each sends"]
    columns += ["price"] if config.price_per_hour else []
    return Table((*columns, "gap closed, small splits", "large splits"), rows, NOTES)


NOTES = (
    "A common start is as long as training a split once, by the person of split 1, before the others begin.",
    "A shorter relay takes two thirds of the legs: in the last ones two people train at the same time.",
    "Hours are those of the person who trains most.",
    f"Days: sessions of Kaggle in a row, one a day and at most {costs.KAGGLE_QUOTA:.0f} hours a week; a leg takes at "
    "least a day, as people hand files over (assumed).",
    "Gap closed: share of the way from an average split to training on everything; below 0 %, worse than that split.",
    f"Measured on tiny networks ({SOURCE}), small and large splits with three seeds: the order should carry "
    "over, the percentages may not.",
)


def show(values: Range | None) -> str:
    """A range as a cell."""
    return describe(values) if values else "-"


def show_whole(values: Range | None) -> str:
    """A range of whole numbers as a cell."""
    if values is None:
        return "-"
    low, high = (f"{value:.0f}" for value in values)
    return low if low == high else f"{low} to {high}"


def show_share(values: Range | None) -> str:
    """A range of shares as a cell, in percent."""
    return "-" if values is None else f"{show_whole(values.times(100))} %"
