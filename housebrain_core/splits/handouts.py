"""The page for the person who trains one split: what to upload, click and send back."""

import shlex
import textwrap
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from housebrain_core.platforms import TIME_BUDGET_HOURS
from housebrain_core.splits import costs
from housebrain_core.splits.assignments import Training
from housebrain_core.splits.kaggle import CLIENT, push_commands, references, resume_command
from housebrain_core.splits.parts import SplitPart

LIMITS = {
    "kaggle": f"Kaggle gives about {costs.KAGGLE_QUOTA:.0f} hours a week",
    "colab": "free Colab often gives fewer",
}


def write_handout(part: SplitPart, splits: int, training: Training, filled_in: dict[str, Any]) -> str:
    """The page for the person who trains one split, in Markdown.

    Args:
        part: the split.
        splits: how many there are.
        training: settings of all splits.
        filled_in: settings that the split's notebook has filled in, by name.
    """
    templates = Environment(
        loader=PackageLoader("housebrain_core.splits", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown of names that were checked, not HTML
    )
    return templates.get_template("handout.md.jinja").render(
        part=part,
        splits=splits,
        size=describe_size(part.bundle_bytes),
        base_model=training.settings.base_model,
        filled_in=", ".join(f"`{name} = {value!r}`" for name, value in filled_in.items()),
        archive=f"{part.adapter}.zip",
        time=describe_time(part, training),
        flags="".join(f" {write_flag(name, getattr(training.settings, name))}" for name in training.chosen),
        client=CLIENT,
        notebook_reference=references(part)[1],
        push_commands=push_commands(part, "."),
        resume_command=resume_command("."),
    )


def write_flag(name: str, value: object) -> str:
    """A setting of training as `housebrain train` takes it."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {shlex.quote(str(value))}"


def describe_time(part: SplitPart, training: Training) -> str:
    """How long training takes on one T4, by the arithmetic of `housebrain plan`, as lines of a list."""
    settings = training.settings
    facts = costs.BASES.get(settings.base_model)
    text = "How long it takes is not known beforehand for this base model."
    if facts:
        tokens = costs.estimate_tokens(sum(part.characters))
        learned = part.characters[1] / sum(part.characters)
        rate = costs.estimate_rate(facts.shape, "t4", settings.row_length, learned)
        hours = costs.training_hours(tokens, rate, settings.epochs)
        text = (
            f"Training takes {describe_hours(hours)}, less when it stops because nothing more is learned: an estimate "
            "for one T4 by arithmetic, not a measurement."
        )
        if part.notebook:
            session = max(settings.time_budget_hours or TIME_BUDGET_HOURS[part.platform], 2 * costs.START_HOURS)
            count = costs.describe_sessions(costs.sessions(hours, session))
            text += f" That is {count} of up to {session:g} hours; {LIMITS[part.platform]}."
    text += " After 20 steps a line says how long it still takes."
    return textwrap.fill(text, 116, subsequent_indent="   ")


def describe_hours(hours: costs.Range) -> str:
    """A range of hours as text, in minutes where it is short."""
    if hours[1] >= 1.5:
        return f"{costs.describe(hours)} hours"
    low, high = (max(1, round(60 * value)) for value in hours)
    return f"{low} to {high} minutes" if low < high else f"about {high} min"


def describe_size(size: int) -> str:
    """Bytes as text."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"
