"""How a brief becomes short and whole again; `codec` decides which form is written."""

import json
from itertools import groupby
from operator import itemgetter
from typing import Any

from housebrain_core.house.json_text import dumps, is_number, same

BRIEF_FIELDS = ("basicDetails", "plot", "roomBreakdown")
_DETAILS = ("totalArea", "unit", "bedrooms", "bathrooms", "floors", "budget", "style")
_PLOT = ("length", "width", "unit", "shape", "orientation", "slope_degrees", "is_corner_plot", "setbacks_ft")
_SETBACKS = ("front", "rear", "left", "right")
_ROOM = ("type", "count", "minArea")
_RENAMED = {"shape": "shape", "orientation": "orientation", "slope_degrees": "slope", "is_corner_plot": "corner"}
"""Fields of the plot that a short form has under another name."""
BEDROOMS = ("master_bedroom", "bedroom")
"""Rooms that a brief counts as bedrooms."""


def shorten_brief(brief: Any) -> dict | None:
    """The short form of a brief where `expand_brief` makes the very same brief of it, else None."""
    if type(brief) is not dict or tuple(brief) != BRIEF_FIELDS:
        return None
    details, plot, rows = brief.values()
    if not (type(details) is type(plot) is dict and type(rows) is list):
        return None
    short_plot = _shorten_plot(plot)
    if short_plot is None or not _is_selection(details, _DETAILS):
        return None
    short = {key: details[key] for key in ("style", "floors", "budget") if key in details}
    for key, value in _derive_details(plot, rows).items():
        if key not in details:
            return None
        if not same(details[key], value):
            short[key] = details[key]
    short |= short_plot
    rooms = _group_rooms(rows)
    if rooms is None:
        return short | {"roomBreakdown": rows}
    in_turn = [kind for kind, _ in groupby(rows, itemgetter("type"))]
    return short | {"rooms": rooms} if [*rooms] == in_turn else None  # rooms of a type come together again


def expand_brief(short: dict) -> dict:
    """The brief that a short form stands for."""
    rows = _list_rooms(short["rooms"]) if "rooms" in short else short["roomBreakdown"]
    plot: dict[str, Any] = {}
    if "plot" in short:
        plot["length"], plot["width"] = short["plot"]
    plot["unit"] = short.get("plot_unit", "ft")
    plot |= {old: short[new] for old, new in _RENAMED.items() if new in short}
    if "setbacks" in short:
        plot["setbacks_ft"] = dict(zip(_SETBACKS, short["setbacks"], strict=True))
    details = _derive_details(plot, rows) | short
    return {"basicDetails": {k: details[k] for k in _DETAILS if k in details}, "plot": plot, "roomBreakdown": rows}


def _is_selection(value: dict, keys: tuple[str, ...]) -> bool:
    """Whether an object has some of these keys, in this order, and no others."""
    return tuple(value) == keys or [*value] == [key for key in keys if key in value]


def _shorten_plot(plot: dict) -> dict | None:
    if not _is_selection(plot, _PLOT) or "unit" not in plot or ("length" in plot) != ("width" in plot):
        return None
    short = {}
    if "length" in plot:
        short["plot"] = [plot["length"], plot["width"]]
    if plot["unit"] != "ft":
        short["plot_unit"] = plot["unit"]
    short |= {new: plot[old] for old, new in _RENAMED.items() if old in plot}
    if "setbacks_ft" in plot:
        setbacks = plot["setbacks_ft"]
        if type(setbacks) is not dict or tuple(setbacks) != _SETBACKS:
            return None
        short["setbacks"] = list(setbacks.values())
    return short


def _derive_details(plot: dict, rows: list) -> dict:
    """What a brief's details nearly always are: area of the plot, bedrooms of the room list, half as many baths."""
    beds = 0
    for row in rows:
        if type(row) is dict and row.get("type") in BEDROOMS and type(row.get("count")) is int:
            beds += row["count"]
    length, width = plot.get("length"), plot.get("width")
    area = 0
    if is_number(length) and is_number(width) and abs(length) < 1e6 and abs(width) < 1e6:
        area = int(length * width)
    return {"totalArea": area, "unit": "sqft", "bedrooms": beds, "bathrooms": max(1, beds // 2)}


def _group_rooms(rows: list) -> dict | None:
    """Rows of the room list by type: 120 for one room of 120 ft2, "4x63" for four, a list for several rows."""
    rooms: dict[str, list] = {}
    for row in rows:
        if type(row) is not dict or tuple(row) != _ROOM:
            return None
        kind, count, area = row.values()
        if not (type(kind) is str and type(count) is int and count > 0 and is_number(area)):
            return None
        rooms.setdefault(kind, []).append(area if count == 1 else f"{count}x{dumps(area)}")
    return {kind: areas[0] if len(areas) == 1 else areas for kind, areas in rooms.items()}


def _list_rooms(rooms: dict) -> list[dict]:
    """Rows of the room list again."""
    rows = []
    for kind, areas in rooms.items():
        for value in areas if type(areas) is list else [areas]:
            count, area = _read_area(value)
            rows.append({"type": kind, "count": count, "minArea": area})
    return rows


def _read_area(value: str | float) -> tuple[int, float]:
    """How many rooms of which area are meant: (4, 63) for "4x63", (1, 120) for 120."""
    if not isinstance(value, str):
        return 1, value
    count, _, area = value.partition("x")
    return int(count), json.loads(area)
