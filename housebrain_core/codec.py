"""How a sample becomes the text a model is trained on, and how text becomes a design again.

Tokens are GPU hours, so the text is compact JSON without anything that code can derive: the echo of the
brief, totals, repeated materials, paths. Nothing is lost: `decode` and `read_prompt` give back the very
JSON text of the original, types and key order included, for any sample. A part that has an unusual shape is
written out as it is: a whole brief under the key "brief", a whole design under the key "design". Every
other completion is an `Answer` (schema.py).
"""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson
from pydantic import ValidationError

from housebrain_core.errors import DataError, DesignError
from housebrain_core.parsing import strict_json_parse
from housebrain_core.schema import FEATURES, Answer

VERSION = 1
"""Version of the text format; manifests record it and readers refuse another."""


class Example(NamedTuple):
    """The two texts of a sample. A model learns the completion and the tokenizer's EOS after it."""

    prompt: str
    completion: str


def encode(sample: dict) -> Example:
    """Writes a sample as prompt and completion.

    Args:
        sample: has `input` (the brief) and `output` (the design), both JSON objects.

    Returns:
        Two lines of JSON; `read_prompt` and `decode` are the exact inverses.

    Raises:
        DataError: a value that JSON does not have (NaN, Infinity, a Python object).
    """
    brief, design = sample["input"], sample["output"]
    answer = _shortest(design, "design", lambda: _shorten_design(brief, design), lambda s: _expand_design(brief, s))
    return Example(write_prompt(brief), dumps(answer))


def write_prompt(brief: dict) -> str:
    """The prompt for a brief: the same bytes in training, evaluation, generation and export."""
    return dumps(_shortest(brief, "brief", lambda: _shorten_brief(brief), _expand_brief)) + "\n"


def read_prompt(prompt: str) -> dict:
    """The brief that `write_prompt` wrote."""
    short = json.loads(prompt)
    return short["brief"] if list(short) == ["brief"] else _expand_brief(short)


def decode(brief: dict, completion: str) -> dict:
    """The design of a completion, with everything that code derives from the brief restored.

    Args:
        brief: the brief that the completion answers.
        completion: text written by `encode`, or by a model.

    Raises:
        StrictJSONError: the text is not one JSON object.
        DesignError: it is one, but not an `Answer`; its kind is "schema".
    """
    short = strict_json_parse(completion)
    if list(short) == ["design"]:
        return short["design"]
    try:
        Answer.model_validate(short)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()[:5])
        raise DesignError(f"the answer is JSON but not a design: {problems}", "schema", completion) from None
    if "construction_cost" not in _derive_design(brief, short) | short:
        message = "the answer lacks construction_cost, and the brief has no budget to derive it from"
        raise DesignError(message, "schema", completion)
    return _expand_design(brief, short)


def check_version(version: Any, where: str) -> None:
    """Refuses a text format that this version does not know."""
    if version != VERSION:
        raise DataError(
            f"{where} holds text of format version {version!r}; this HouseBrain reads version {VERSION}. "
            "Split the dataset again, or use the version that wrote it."
        )


def dumps(value: Any) -> str:
    """Compact JSON text of any value that `json.loads` can give.

    orjson does it ten times faster, but it writes NaN as null and refuses integers beyond 64 bits and lone
    surrogates; those few values take the slow way.
    """
    try:
        text = orjson.dumps(value)
        if b"null" not in text:
            return text.decode()
    except orjson.JSONEncodeError:
        pass
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"a sample cannot be written as JSON: {error}") from None
    return text


def _shortest(value: Any, name: str, shorten: Callable, expand: Callable) -> dict:
    """The short form where it gives the value back exactly, else the value itself under its name."""
    short = shorten()
    if short is not None and list(short) != [name] and dumps(expand(short)) == dumps(value):
        return short
    return {name: value}


# --- the brief

_BRIEF = ("basicDetails", "plot", "roomBreakdown")
_DETAILS = ("totalArea", "unit", "bedrooms", "bathrooms", "floors", "budget", "style")
_PLOT = ("length", "width", "unit", "shape", "orientation", "slope_degrees", "is_corner_plot", "setbacks_ft")
_SETBACKS = ["front", "rear", "left", "right"]
_RENAMED = {"shape": "shape", "orientation": "orientation", "slope_degrees": "slope", "is_corner_plot": "corner"}
_REPEATED = re.compile(r"(\d+)x(.+)")


def _shorten_brief(brief: Any) -> dict | None:
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
        if not _same(details[key], value):
            short[key] = details[key]
    if "length" in plot and "width" in plot:
        short["plot"] = [plot["length"], plot["width"]]
    if plot.get("unit") != "ft":
        short["plot_unit"] = plot.get("unit")
    short |= {new: plot[old] for old, new in _RENAMED.items() if old in plot}
    if isinstance(plot.get("setbacks_ft"), dict) and list(plot["setbacks_ft"]) == _SETBACKS:
        short["setbacks"] = list(plot["setbacks_ft"].values())
    return short | ({"roomBreakdown": rows} if rooms is None else {"rooms": rooms})


def _expand_brief(short: dict) -> dict:
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
    beds = [row["count"] for row in rows if isinstance(row, dict) and row.get("type") in ("master_bedroom", "bedroom")
            and type(row.get("count")) is int]  # fmt: skip
    sides = [plot.get("length"), plot.get("width")]
    area = int(sides[0] * sides[1]) if all(_is_number(side) and abs(side) < 1e6 for side in sides) else 0
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


# --- the design

_DESIGN = ("input", "levels", "total_area", "construction_cost", "materials", "exterior_specifications",
           "climate_and_site", "building_codes", "render_paths")  # fmt: skip
_MATERIALS = {"exterior": "exterior_wall", "roofing": "roofing", "windows": "windows", "doors": "doors"}
_EXTERIOR = {"exterior_wall": "wall", "roofing": "roof", "windows": "windows", "doors": "doors",
             "garage_type": "garage", "garage_spaces": "garage_spaces", "exterior_color": "wall_color",
             "roof_color": "roof_color"}  # fmt: skip
_CLIMATE = {"climate_zone": "climate", "seismic_zone": "seismic", "wind_zone": "wind", "snow_load": "snow",
            "rainfall": "rainfall", "soil_type": "soil", "water_table": "water_table"}  # fmt: skip
_COMFORT = {"cooling_priority": "cooling", "heating_priority": "heating", "insulation_level": "insulation"}
_ORDER = tuple(Answer.model_fields)


def _shorten_design(brief: Any, design: Any) -> dict | None:
    """The answer for a design of the usual shape, else None."""
    try:
        short = _read_answer(brief, design)
    except (KeyError, TypeError, AttributeError):  # some part is missing or of another type
        return None
    derived = _derive_design(brief, short)
    short = {key: short[key] for key in _ORDER if key in short and not _same(short[key], derived.get(key, short))}
    try:
        Answer.model_validate(short)
    except ValidationError:
        return None
    return short


def _read_answer(brief: Any, design: Any) -> dict:
    """All fields of an answer from a design, derivable ones included."""
    outside, site, codes = (design[name] for name in _DESIGN[5:8])
    utilities, fire, access = site["utilities"], codes["fire_safety"], codes["accessibility"]
    present = {"gas": utilities["gas"] == "Available", "solar_ready": utilities["solar_ready"],
               "sprinklers": fire["sprinklers"], "fire_walls": fire["fire_walls"],
               "ramp": access["ramp_required"], "accessible_bathroom": access["accessible_bathroom"]}  # fmt: skip
    short = {
        "total_area": design["total_area"],
        "construction_cost": design["construction_cost"],
        "flooring": design["materials"]["flooring"],
        "water": utilities["water"],
        "sewer": utilities["sewer"],
        "max_area": codes["max_buildable_area"],
        "floor_area_ratio": codes["floor_area_ratio"],
        "max_height": codes["max_height_ft"],
        "parking": codes["parking_required"],
        "fire_exits": fire["fire_exits"],
        "features": [name for name in FEATURES if present[name]],
    }
    short |= {new: outside[old] for old, new in _EXTERIOR.items()}
    short |= {new: site[old] for old, new in (_CLIMATE | _COMFORT).items()}
    if design["levels"]:
        short["levels"] = [_shorten_level(level) for level in design["levels"]]
    return short


def _expand_design(brief: Any, short: dict) -> dict:
    known = _derive_design(brief, short) | short
    present = set(short["features"])
    outside = {old: known[new] for old, new in _EXTERIOR.items()}
    style = _details_of(brief).get("style")
    return {
        "input": brief,
        "levels": [_expand_level(number, level) for number, level in enumerate(short.get("levels", []), 1)],
        "total_area": known["total_area"],
        "construction_cost": known["construction_cost"],
        "materials": {
            "exterior": known["wall"],
            "roofing": known["roof"],
            "flooring": known["flooring"],
            "windows": known["windows"],
            "doors": known["doors"],
        },
        "exterior_specifications": outside,
        "climate_and_site": {old: known[new] for old, new in _CLIMATE.items()}
        | {
            "utilities": {
                "water": known["water"],
                "sewer": known["sewer"],
                "electricity": "Available",
                "gas": "Available" if "gas" in present else "Not_Available",
                "solar_ready": "solar_ready" in present,
            }
        }
        | {old: known[new] for old, new in _COMFORT.items()},
        "building_codes": {
            "floor_area_ratio": known["floor_area_ratio"],
            "max_buildable_area": known["max_area"],
            "max_height_ft": known["max_height"],
            "parking_required": known["parking"],
            "fire_safety": {
                "sprinklers": "sprinklers" in present,
                "fire_exits": known["fire_exits"],
                "fire_walls": "fire_walls" in present,
            },
            "accessibility": {
                "ramp_required": "ramp" in present,
                "accessible_bathroom": "accessible_bathroom" in present,
            },
        },
        "render_paths": {view: f"renders/{style}_{view}.png" for view in ("front", "top")},
    }


def _derive_design(brief: Any, short: dict) -> dict:
    """The fields of an answer that follow from the brief or from other fields."""
    details = _details_of(brief)
    area, budget = details.get("totalArea"), details.get("budget")
    climate = short.get("climate")
    hot, cold = climate in ("Hot_Dry", "Hot_Humid"), climate == "Cold"
    derived = {
        "total_area": area,
        "cooling": "High" if hot else "Low" if cold else "Medium",
        "heating": "Low" if hot else "High" if cold else "Medium",
        "insulation": "High" if hot or cold else "Medium",
    }
    if _is_number(budget) and abs(budget) < 1e15:
        derived["construction_cost"] = int(budget * 0.6)
    if _is_number(area) and area > 0 and _is_number(short.get("max_area")):
        derived["floor_area_ratio"] = round((short["max_area"] + 0.5) / area, 2)
    return derived


def _details_of(brief: Any) -> dict:
    details = brief.get("basicDetails") if isinstance(brief, dict) else None
    return details if isinstance(details, dict) else {}


def _shorten_level(level: dict) -> dict:
    rooms = [
        {
            "room": room["type"],
            **_place(room["bounds"]),
            "doors": [[door["wall"], door["position"], door["width"]] for door in room["doors"]],
            "windows": [[w["wall"], w["position"], w["width"], w["height"]] for w in room["windows"]],
        }
        for room in level["rooms"]
    ]
    return {"height": level["height"], "rooms": rooms, "stairs": [_place(stair["bounds"]) for stair in level["stairs"]]}


def _expand_level(number: int, level: dict) -> dict:
    """A level; rooms are named by level and position, a stair leads one level up and is as wide as its box."""
    rooms = [
        {
            "id": f"L{number}-{index}",
            "type": room["room"],
            "bounds": _bounds(room),
            "doors": [dict(zip(("wall", "position", "width"), door, strict=True)) for door in room["doors"]],
            "windows": [
                dict(zip(("wall", "position", "width", "height"), window, strict=True)) for window in room["windows"]
            ],
        }
        for index, room in enumerate(level["rooms"], 1)
    ]
    stairs = [
        {"floor_from": number, "floor_to": number + 1, "bounds": _bounds(stair), "width": min(stair["size"])}
        for stair in level["stairs"]
    ]
    return {"level_number": number, "height": level["height"], "rooms": rooms, "stairs": stairs}


def _place(bounds: dict) -> dict:
    return {"size": [bounds["width"], bounds["height"]], "at": [bounds["x"], bounds["y"]]}


def _bounds(place: dict) -> dict:
    return dict(zip(("x", "y", "width", "height"), place["at"] + place["size"], strict=True))


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
