"""How a brief becomes short and whole again; `codec` decides which form is written."""

import json
import re
from typing import Any

from housebrain_core.house.json_text import dumps, is_number, same

_BRIEF = ("basicDetails", "plot", "roomBreakdown")
_DETAILS = ("totalArea", "unit", "bedrooms", "bathrooms", "floors", "budget", "style")
_PLOT = ("length", "width", "unit", "shape", "orientation", "slope_degrees", "is_corner_plot", "setbacks_ft")
_SETBACKS = ["front", "rear", "left", "right"]
_RENAMED = {"shape": "shape", "orientation": "orientation", "slope_degrees": "slope", "is_corner_plot": "corner"}
BEDROOMS = ("master_bedroom", "bedroom")
"""Rooms that a brief counts as bedrooms."""
_REPEATED = re.compile(r"(\d+)x(.+)")


def shorten_brief(brief: Any) -> dict | None:
    """The short form of a brief of nearly the usual shape, else None; it may not be exact yet."""
    if not (isinstance(brief, dict) and tuple(brief) == _BRIEF):
        return None
    details, plot, rows = brief.values()
    if not (isinstance(details, dict) and isinstance(plot, dict) and isinstance(rows, list)):
        return None
    if not {*details} <= {*_DETAILS} or not {*plot} <= {*_PLOT}:
        return None
    rooms = _group_rooms(rows)
    derived = _derive_details(plot, rows if rooms is None else _ungroup_rooms(rooms))
    short = {key: details[key] for key in ("style", "floors", "budget") if key in details}
    for key, value in derived.items():
        if key not in details:
            return None
        if not same(details[key], value):
            short[key] = details[key]
    if "length" in plot and "width" in plot:
        short["plot"] = [plot["length"], plot["width"]]
    if plot.get("unit") != "ft":
        short["plot_unit"] = plot.get("unit")
    short |= {new: plot[old] for old, new in _RENAMED.items() if old in plot}
    if isinstance(plot.get("setbacks_ft"), dict) and list(plot["setbacks_ft"]) == _SETBACKS:
        short["setbacks"] = list(plot["setbacks_ft"].values())
    return short | ({"roomBreakdown": rows} if rooms is None else {"rooms": rooms})


def expand_brief(short: dict) -> dict:
    """The brief that a short form stands for."""
    rows = _ungroup_rooms(short["rooms"]) if "rooms" in short else short["roomBreakdown"]
    plot: dict[str, Any] = {}
    if "plot" in short:
        plot |= {"length": short["plot"][0], "width": short["plot"][1]}
    plot["unit"] = short.get("plot_unit", "ft")
    plot |= {old: short[new] for old, new in _RENAMED.items() if new in short}
    if "setbacks" in short:
        plot["setbacks_ft"] = dict(zip(_SETBACKS, short["setbacks"], strict=True))
    known = _derive_details(plot, rows) | short
    return {"basicDetails": {k: known[k] for k in _DETAILS if k in known}, "plot": plot, "roomBreakdown": rows}


def _derive_details(plot: dict, rows: list) -> dict:
    """What a brief's details almost always are: area of the plot, bedrooms of the room list, half as many baths."""
    beds = [row["count"] for row in rows if isinstance(row, dict) and row.get("type") in BEDROOMS
            and type(row.get("count")) is int]  # fmt: skip
    sides = [plot.get("length"), plot.get("width")]
    area = int(sides[0] * sides[1]) if all(is_number(side) and abs(side) < 1e6 for side in sides) else 0
    return {"totalArea": area, "unit": "sqft", "bedrooms": sum(beds), "bathrooms": max(1, sum(beds) // 2)}


def _group_rooms(rows: list) -> dict | None:
    """Rows of the room list by type: 120 for one room of 120 ft2, "4x63" for four, a list for several rows."""
    grouped: dict[str, list] = {}
    for row in rows:
        if not (isinstance(row, dict) and list(row) == ["type", "count", "minArea"]):
            return None
        kind, count, area = row.values()
        if not (isinstance(kind, str) and type(count) is int and count > 0 and type(area) in (int, float)):
            return None
        grouped.setdefault(kind, []).append(area if count == 1 else f"{count}x{dumps(area)}")
    return {kind: areas[0] if len(areas) == 1 else areas for kind, areas in grouped.items()}


def _ungroup_rooms(rooms: dict) -> list:
    rows = []
    for kind, areas in rooms.items():
        for area in areas if isinstance(areas, list) else [areas]:
            count, area = _REPEATED.fullmatch(area).groups() if isinstance(area, str) else (1, area)
            rows.append({"type": kind, "count": int(count), "minArea": json.loads(area) if count != 1 else area})
    return rows
