"""Where things are in a design, made ready to be drawn: rooms and openings, the plot around them, levels on paper.

Read are levels with rooms, whose openings are given by wall name, wall number or point, also when the design is JSON
in a string. What is wrong is kept and named.
"""

import json
import re
from typing import Any, NamedTuple

from pydantic import ValidationError

from housebrain_core.errors import DataError
from housebrain_core.house.json_text import is_number
from housebrain_core.house.measures import TOUCH, extent_of, sides_of
from housebrain_core.house.schema import Bounds, HouseBrief, HouseDesign, Level, Plot

Box = tuple[float, float, float, float]
"""x, y, width, height in feet."""
STREET = {"bottom": 180.0, "left": 270.0}
"""Edge of the drawing at which the street may be -> degrees from up, clockwise."""
COMPASS = {
    "n": "north", "ne": "northeast", "e": "east", "se": "southeast",
    "s": "south", "sw": "southwest", "w": "west", "nw": "northwest",
}  # fmt: skip
"""What an orientation may say, in steps of 45 degrees."""
MARGIN, BELOW = 0.15, 0.62
"""Inches around a house on paper, and below it, for scale and north."""
LARGEST, HIGHEST = 0.3, 6.0
"""Inches of paper in a foot, and of the paper's height where it is not wider, at most."""
SECTIONS = ("materials", "exterior_specifications", "climate_and_site", "building_codes")


class Layout(NamedTuple):
    """A design that can be drawn, and what is wrong with it as it was given."""

    design: HouseDesign
    problems: dict[int, list[str]]
    """Level number -> sentences."""


class Site(NamedTuple):
    """A plot as it is drawn."""

    plot: Box
    inside: Box
    """What the setbacks leave."""
    labels: dict[str, str]
    """Edge of the drawing (bottom, top, left, right) -> what is written along it."""
    title: str
    """Its size, and which way it faces."""
    north: float | None
    """Where north is in the drawing, in degrees from up, clockwise; None where the brief does not say."""

    def beyond(self, box: Bounds) -> float:
        """Feet that a room reaches beyond what the setbacks leave."""
        x, y, width, height = self.inside
        return max(x - box.x, y - box.y, box.x + box.width - x - width, box.y + box.height - y - height)


def read_layout(design: dict | HouseDesign | str) -> Layout:
    """Reads a design, and mends what would keep it from being drawn.

    Args:
        design: a design as an object or JSON text; a dataset's sample stands for its `output`.

    Returns:
        The design in feet, and by level what was wrong with it.

    Raises:
        DataError: it is no design, or one of walls and spaces instead of levels with rooms.
    """
    if isinstance(design, HouseDesign):
        return Layout(design, {})
    value = _load(design)
    if "output" in value and "levels" not in value:
        brief = {"input": value["input"]} if "input" in value else {}
        value = brief | _load(value["output"])
    if "spaces" in value and "levels" not in value:
        raise DataError("the design has walls and spaces and cannot be drawn; expected are levels with rooms, in feet.")
    problems: dict[int, list[str]] = {}
    levels = [_mend_level(number, level, problems) for number, level in enumerate(_objects(value.get("levels")), 1)]
    kept = {key: part for key, part in value.items() if key not in SECTIONS or isinstance(part, dict)}
    try:
        return Layout(HouseDesign.model_validate(kept | {"levels": levels}), problems)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()[:10]]
        raise DataError("the design cannot be drawn:\n  " + "\n  ".join(lines)) from None


def _load(design: Any) -> dict[str, Any]:
    try:
        value = json.loads(design) if isinstance(design, str) else design
    except ValueError as error:
        raise DataError(f"a design given as text is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise DataError(f"a design is a JSON object; this is {type(value).__name__}.")
    return value


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _mend_level(number: int, level: dict[str, Any], problems: dict[int, list[str]]) -> dict[str, Any]:
    """A level whose rooms can be drawn; what had to be changed is noted as a problem."""
    number = level["level_number"] if type(level.get("level_number")) is int else number
    notes = problems.setdefault(number, [])
    given = level.get("rooms")
    given = given if isinstance(given, list) else []
    notes += [f"room {index} is none: {_show(room)}" for index, room in enumerate(given, 1) if type(room) is not dict]
    rooms = [_mend_room(index, room, notes) for index, room in enumerate(given, 1) if type(room) is dict]
    stairs = [_mend_box(stair.get("bounds"), "stairs", notes) for stair in _objects(level.get("stairs"))]
    return {
        "level_number": number,
        "height": level.get("height") if is_number(level.get("height")) else None,
        "rooms": [room for room in rooms if room],
        "stairs": [{"bounds": box} for box in stairs if box],
    }


def _mend_room(index: int, room: dict[str, Any], notes: list[str]) -> dict[str, Any] | None:
    kind = str(room.get("type") or room.get("name") or "room")
    name = str(room.get("id") or f"{kind} {index}")
    box = _mend_box(room.get("bounds"), f"{kind} {name}", notes)
    openings = {key: _mend_openings(room.get(key)) for key in ("doors", "windows")}
    return {"id": name, "type": kind, "bounds": box, **openings} if box else None


def _mend_openings(value: Any) -> list[dict[str, Any]]:
    """Openings whose numbers are numbers; what has no place in the model stays beside it."""
    mended = []
    for opening in value if isinstance(value, list) else [] if value is None else [value]:
        one = dict(opening) if isinstance(opening, dict) else {"position": opening}
        one |= {key: one[key] if is_number(one.get(key)) else None for key in ("width", "height") if key in one}
        mended.append(one | {key: str(one[key]) for key in ("wall", "to_room") if one.get(key) is not None})
    return mended


def _mend_box(box: Any, name: str, notes: list[str]) -> dict[str, float] | None:
    values = [box.get(key) for key in ("x", "y", "width", "height")] if isinstance(box, dict) else []
    numbers = [value for value in values if is_number(value) and abs(value) < 1e6]
    if len(numbers) < 4:
        notes.append(f"{name} has no place: {_show(box)}")
        return None
    x, y, width, height = numbers
    if width <= 0 or height <= 0:
        notes.append(f"{name} is {width:g} x {height:g} ft")
    return {
        "x": min(x, x + width),
        "y": min(y, y + height),
        "width": abs(width) or 0.5,
        "height": abs(height) or 0.5,
    }


def _show(value: Any) -> str:
    """A value in a message, short."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:56]} ..."


def find_site(brief: object, levels: list[Level]) -> Site | None:
    """Places the plot around a house, which is turned and put into the corner where it does not say where it is.

    The street is at the bottom, or on the left where the house lies across; left and right are as seen from it.

    Args:
        brief: with a plot; anything else gives None.
        levels: of the house, in feet.

    Returns:
        Plot and what its setbacks leave, in the coordinates of the rooms; None where brief or rooms do not say.
    """
    try:
        plot = HouseBrief.model_validate(brief).plot
    except ValidationError:
        return None
    boxes = [room.bounds for level in levels for room in level.rooms]
    lengths = sides_of(plot)
    if not boxes or lengths is None:
        return None
    high, wide = lengths
    sides = {"bottom": "front", "top": "rear", "left": "left", "right": "right"}
    x, y, house_wide, house_high = extent_of(boxes)
    if (house_wide >= house_high) != (wide >= high):  # the house lies across
        high, wide = wide, high
        sides = {"left": "front", "right": "rear", "top": "left", "bottom": "right"}
    setback = {edge: getattr(plot.setbacks_ft, side, 0) for edge, side in sides.items()}
    if x >= setback["left"] - TOUCH and y >= setback["bottom"] - TOUCH:  # coordinates are the plot's own
        x = setback["left"]
        y = setback["bottom"]
    return Site(
        (x - setback["left"], y - setback["bottom"], wide, high),
        (x, y, wide - setback["left"] - setback["right"], high - setback["bottom"] - setback["top"]),
        {edge: _write_label(side, plot) for edge, side in sides.items() if side == "front" or plot.setbacks_ft},
        f"plot {wide:g} x {high:g} ft" + (f"\nfaces {_name(plot.orientation)}" if plot.orientation else ""),
        _find_north(plot.orientation, STREET["bottom" if sides["bottom"] == "front" else "left"]),
    )


def _write_label(side: str, plot: Plot) -> str:
    """What stands along an edge: which it is, seen from the street, and its setback."""
    setback = f"setback {getattr(plot.setbacks_ft, side):g} ft" if plot.setbacks_ft else ""
    return f"{'street side' if side == 'front' else side}\n{setback}".strip()


def _find_north(orientation: str | None, street: float) -> float | None:
    """Where north is when a plot faces this way and its street is at that angle from up."""
    names = list(COMPASS.values())
    facing = _name(orientation or "")
    return street - 45 * names.index(facing) if facing in names else None


def _name(orientation: str) -> str:
    """An orientation as `COMPASS` names it, such as northeast for NE or North_East; as it is where it is none."""
    letters = re.sub(r"[^a-z]|facing", "", orientation.lower())
    return COMPASS.get(letters, letters if letters in COMPASS.values() else orientation)


class Sheet(NamedTuple):
    """How the levels lie on paper; inches."""

    columns: int
    scale: float
    """Inches of paper in a foot."""
    width: float
    height: float

    def frame(self, extent: Box) -> Box:
        """What a level shows of the world: the house, and a margin for its scale and the north arrow below."""
        x, y, wide, high = extent
        margin, below = MARGIN / self.scale, BELOW / self.scale
        return x - margin, y - below, wide + 2 * margin, high + below + margin


def arrange_levels(count: int, extent: Box, width: float) -> Sheet:
    """Puts levels side by side or below each other, whatever draws them larger.

    Args:
        count: of levels.
        extent: that all of them share, in feet.
        width: of the paper, in inches.
    """
    _, _, wide, high = extent
    sheets = []
    for columns in range(1, count + 1):
        rows = -(-count // columns)
        scale = min(
            LARGEST, (width / columns - 2 * MARGIN) / wide, (max(HIGHEST, width) / rows - MARGIN - BELOW) / high
        )
        size = columns * (scale * wide + 2 * MARGIN), rows * (scale * high + MARGIN + BELOW + 0.25)
        sheets.append(Sheet(columns, scale, *size))
    return max(sheets, key=lambda sheet: (sheet.scale, sheet.columns))


def find_extent(levels: list[Level]) -> Box:
    """What all rooms of a house lie in; ten feet each way where there are none."""
    boxes = [room.bounds for level in levels for room in level.rooms]
    return extent_of(boxes) if boxes else (0, 0, 10, 10)


def as_box(bounds: Bounds) -> Box:
    """Bounds as x, y, width, height."""
    return bounds.x, bounds.y, bounds.width, bounds.height
