"""The page about a selection: one HTML file with its figures inside, which opens offline."""

import json
from pathlib import Path
from typing import NamedTuple

from housebrain_core.data.fields import Sample
from housebrain_core.display.plots import Embedded, embed
from housebrain_core.house.briefs import is_brief
from housebrain_core.house.drawing import floor_plan
from housebrain_core.house.schema import HouseBrief
from housebrain_core.select.difficulty import difficulty_parts, read_brief
from housebrain_core.select.selection import Selection, tabulate
from housebrain_core.select.settings import SelectConfig
from housebrain_core.settings import parse_condition
from housebrain_core.texts import render

PAGE = "selection.html"
SHOWN = 1_000
"""Characters of an answer that is no design, as they are shown."""


class Drawn(NamedTuple):
    """A chosen sample as the page shows it."""

    name: str
    why: list[str]
    """What of it meets the conditions, a line each."""
    figure: Embedded | None
    """The design; None where it is no house."""
    text: str
    """The answer where it is no house; empty where there is a figure."""


def draw_sample(sample: Sample, config: SelectConfig) -> Drawn:
    """Draws a sample, and says why it was chosen.

    Args:
        sample: that was chosen.
        config: the conditions.
    """
    why = [parse_condition(text).describe(sample) for text in config.where]
    if config.clean_rules:
        names = ", ".join(config.clean_rules) if len(config.clean_rules) < 6 else f"{len(config.clean_rules)} rules"
        why.append(f"its design breaks none of {names}")
    brief = read_brief(sample["input"])
    if brief:
        parts = difficulty_parts(HouseBrief.model_validate(sample["input"]))
        why.append(f"difficulty {brief.difficulty:.2f}: {', '.join(f'{name} {v:.2f}' for name, v in parts.items())}")
    if is_brief(sample["input"]) and isinstance(sample["output"], dict):
        return Drawn(sample["id"], why, embed(floor_plan(sample["output"], sample["id"], sample["input"])), "")
    text = sample["output"] if isinstance(sample["output"], str) else json.dumps(sample["output"], indent=1)
    return Drawn(sample["id"], why, None, text[:SHOWN])


def write_page(selection: Selection, drawn: list[Drawn], path: Path) -> None:
    """Writes the page.

    Args:
        selection: what was chosen and why.
        drawn: some of the chosen samples.
        path: the page to write.
    """
    page = render(
        "select",
        PAGE,
        selection=selection,
        table=tabulate(selection.steps),
        figures=[embed(figure) for figure in selection.draw()],
        drawn=drawn,
    )
    path.write_text(page, encoding="utf-8")
