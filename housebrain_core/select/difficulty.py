"""How difficult a brief is, from what it says alone; and how near two briefs are."""

from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from housebrain_core.house.measures import Case
from housebrain_core.house.schema import HouseBrief, HouseDesign

MOST_FLOORS = 6
"""Floors that a brief may ask for (`schema.BasicDetails`)."""
SHAPES = {"Rectangle": 0.0, "Square": 0.0, "Corner_Plot": 0.5}
"""Shape of a plot -> its part of the difficulty; any other shape counts as 1."""
NO_DESIGN = HouseDesign()


class Brief(NamedTuple):
    """What a house brief says, as numbers and words."""

    difficulty: float
    """In [0, 1]."""
    numbers: tuple[float, ...]
    """What neighbours are found by: area, rooms, floors, budget, plot; 0 where the brief does not say."""
    words: tuple[str, ...]
    """The same: style, shape and orientation."""


def read_brief(brief: Any) -> Brief | None:
    """Reads a brief.

    Args:
        brief: any JSON value.

    Returns:
        None where it is no house brief.
    """
    try:
        house = HouseBrief.model_validate(brief)
    except ValidationError:
        return None
    details = house.basicDetails
    plot = house.plot
    parts = difficulty_parts(house)
    numbers = (
        float(np.log(details.totalArea)),
        details.bedrooms,
        details.bathrooms or 0,
        details.floors,
        float(np.log1p(details.budget or 0)),
        plot.length or 0,
        plot.width or 0,
        plot.slope_degrees,
        parts.get("area", 0.0),
        parts.get("setbacks", 0.0),
    )
    return Brief(sum(parts.values()) / len(parts), numbers, (details.style, plot.shape, plot.orientation or ""))


def difficulty_parts(brief: HouseBrief) -> dict[str, float]:
    """What makes a brief difficult; the difficulty is the mean of those parts of which the brief says something.

    Args:
        brief: in its own units.

    Returns:
        Each in [0, 1]. area: what the rooms need together, as a share of what the setbacks leave on all floors; floors:
        from 0 for one to 1 for six; setbacks: share of the plot that they take; shape: 0 for a rectangle, 0.5 for a
        corner plot, 1 for any other.
    """
    case = Case(brief, NO_DESIGN)
    parts = {"floors": (case.floors - 1) / (MOST_FLOORS - 1)}
    if case.sides:
        parts["shape"] = SHAPES.get(brief.plot.shape, 1.0)
    if case.sides and case.envelope:
        length, width = (max(0.0, side) for side in case.envelope)
        parts["setbacks"] = 1 - length * width / (case.sides[0] * case.sides[1])
        needed = case.area_factor * sum(room.count * (room.minArea or 0) for room in brief.roomBreakdown)
        inside = length * width * case.floors
        parts["area"] = min(1.0, needed / inside) if inside else 1.0
    return parts


def nearest_rows(wanted: Brief, numbers: np.ndarray, words: np.ndarray, count: int) -> np.ndarray:
    """The briefs that are nearest to one.

    The square of the distance is the sum of the squared differences of the numbers, each in its own standard
    deviations, and 1 for each word that differs.

    Args:
        wanted: a brief.
        numbers: (briefs, numbers) of others.
        words: (briefs, words) of the same.
        count: how many, at most.

    Returns:
        Their rows, the nearest first; of equally near ones those that come first.
    """
    spread = numbers.std(axis=0)
    spread[spread == 0] = 1.0
    squares = (((numbers - np.array(wanted.numbers)) / spread) ** 2).sum(axis=1)
    squares += (words != np.array(wanted.words)).sum(axis=1)
    return np.argsort(squares, kind="stable")[:count]
