"""What a selection is: how many samples each condition left, and what the result is made of."""

import textwrap
from typing import Any

from pydantic import BaseModel, ConfigDict

from housebrain_core.display.plots import LABEL, Picture
from housebrain_core.display.results import Shown, Table


class Step(BaseModel):
    """A condition, and how many training samples it leaves of those that the steps before it left."""

    model_config = ConfigDict(frozen=True)

    text: str
    left: int


class RuleShare(BaseModel):
    """How often references keep a rule, of those that it applies to; shares in [0, 1]."""

    model_config = ConfigDict(frozen=True)

    source: float
    result: float


class Selection(Shown, BaseModel):
    """What was chosen and why; the contents of the manifest."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    source: str
    """Name of the dataset's folder or file."""
    source_sha256: str
    """Over part, id and content of all of its samples, in order."""
    source_train: int
    """Its training samples."""
    conditions: list[str]
    """What was asked, in words."""
    steps: list[Step]
    """From all training samples to those that were chosen."""
    notes: list[str]
    """What a person should know of the conditions."""
    chosen: int
    """Samples that meet all conditions."""
    ordinary: int
    """Samples that were drawn from all others."""
    validation: int
    """Validation samples; they are those of the source."""
    seed: int
    model: dict[str, str] | None = None
    """Name and sha256 of the model that was tried; None where none was."""
    evaluation_sha256: str | None = None
    """Of the file of answers that failures were taken from."""
    rules: dict[str, RuleShare] = {}
    """Rule -> how often references keep it, measured on samples of source and result; none where they are no houses."""

    @property
    def train(self) -> int:
        """Training samples of the result."""
        return self.chosen + self.ordinary

    def describe(self) -> str:
        """What it is, in a line: for cards of models that are trained on it."""
        text = (
            f"second round on chosen data: {self.chosen:,} of the {self.source_train:,} training samples of "
            f"{self.source} ({'; '.join(self.conditions)})"
        )
        text += f", and {self.ordinary:,} ordinary ones" * bool(self.ordinary)
        return text if len(text) <= 500 else f"{text[:496]} ..."

    def verdict(self) -> str:
        """What came of it, in a sentence."""
        share = f"{self.chosen / self.source_train:.1%}"
        text = f"{self.chosen:,} of {self.source_train:,} training samples ({share}) are chosen"
        if self.ordinary:
            text += f"; with {self.ordinary:,} ordinary ones against forgetting the result has {self.train:,}"
        return f"{text}."

    def outputs(self) -> list[Any]:
        """The verdict, the table of conditions, notes, and figures."""
        return [self.verdict(), tabulate(self.steps), *self.notes, *self.draw()]

    def draw(self) -> list[Picture]:
        """The figures: what each condition left, and how often references keep rules, where some break them."""
        return [figure for figure in (draw_steps(self), draw_rules(self)) if figure]


def tabulate(steps: list[Step]) -> Table:
    """Makes a table of what each condition leaves.

    Args:
        steps: in order, all training samples first.
    """
    rows = []
    before = None
    for step in steps:
        rows.append((step.text, f"{step.left:,}", f"{step.left / before:.1%}" if before else ""))
        before = step.left
    return Table(("condition", "samples left", "of those before"), rows)


def draw_steps(selection: Selection) -> Picture:
    """Draws how many samples each condition left, and what the result is made of."""
    parts = [(step.text, step.left) for step in selection.steps]
    parts.append(("the result, ordinary samples included", selection.train))
    alt = "; ".join(f"{text}: {count:,}" for text, count in parts)
    figure = Picture(8, 0.36 * len(parts) + 0.9, f"Training samples left after each condition: {alt}.")
    axes = figure.subplots()
    colors = ["#7a9cc6"] * (len(parts) - 1) + ["#5b9a8b"]
    bars = axes.barh([textwrap.fill(text, LABEL) for text, _ in parts], [count for _, count in parts], color=colors)
    axes.bar_label(bars, [f"{count:,}" for _, count in parts], padding=3, fontsize=8)
    axes.set_xlabel("training samples", fontsize=9)
    axes.margins(x=0.12)
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_rules(selection: Selection) -> Picture | None:
    """Draws how often references keep the rules that some of them break, in the source and in the result."""
    shares: dict[str, tuple[float, float | None]] = {
        name: (one.source, one.result) for name, one in selection.rules.items()
    }
    broken = find_broken(shares)
    return draw_shares(broken, ("references of the source", "references of the result")) if broken else None


def find_broken(rules: dict[str, tuple[float, float | None]]) -> dict[str, tuple[float, float | None]]:
    """The rules that something on either side breaks.

    Args:
        rules: rule -> share that keeps it on either side, in [0, 1]; None where it applies to nothing there.
    """
    return {name: pair for name, pair in rules.items() if min(share for share in pair if share is not None) < 1}


def draw_shares(rules: dict[str, tuple[float, float | None]], names: tuple[str, str]) -> Picture:
    """Draws how often each rule is kept on two sides, as bars.

    Args:
        rules: rule -> share that keeps it on either side, in [0, 1]; None where it applies to nothing there.
        names: of the sides.
    """
    alt = "; ".join(f"{rule} {one:.0%} and {other or 0:.0%}" for rule, (one, other) in rules.items())
    figure = Picture(8, 0.36 * len(rules) + 1.1, f"Share that keeps a rule, {names[0]} and {names[1]}: {alt}.")
    axes = figure.subplots()
    for number, color in enumerate(("#c6d4e8", "#5b9a8b")):
        places = [place + 0.4 * number - 0.2 for place in range(len(rules))]
        axes.barh(places, [pair[number] or 0.0 for pair in rules.values()], 0.38, label=names[number], color=color)
    axes.set(yticks=range(len(rules)), yticklabels=rules, xlim=(0, 1.02))
    axes.set_xlabel("share that keeps the rule, of those that it applies to", fontsize=9)
    axes.invert_yaxis()
    axes.legend(frameon=False, ncols=2, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
