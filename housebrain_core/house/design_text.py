"""How a design becomes an answer without what code can derive, and whole again; `codec` decides what is written."""

from typing import Any

from housebrain_core.house.json_text import is_number, same, to_bytes
from housebrain_core.house.schema import FEATURES, Answer

DESIGN = {
    "input": "input",
    "levels": "levels",
    "total_area": "total_area",
    "construction_cost": "construction_cost",
    "materials": {
        "exterior": "wall",
        "roofing": "roof",
        "flooring": "flooring",
        "windows": "windows",
        "doors": "doors",
    },
    "exterior_specifications": {
        "exterior_wall": "wall",
        "roofing": "roof",
        "windows": "windows",
        "doors": "doors",
        "garage_type": "garage",
        "garage_spaces": "garage_spaces",
        "exterior_color": "wall_color",
        "roof_color": "roof_color",
    },
    "climate_and_site": {
        "climate_zone": "climate",
        "seismic_zone": "seismic",
        "wind_zone": "wind",
        "snow_load": "snow",
        "rainfall": "rainfall",
        "soil_type": "soil",
        "water_table": "water_table",
        "utilities": {
            "water": "water",
            "sewer": "sewer",
            "electricity": "electricity",
            "gas": "gas",
            "solar_ready": "solar_ready",
        },
        "cooling_priority": "cooling",
        "heating_priority": "heating",
        "insulation_level": "insulation",
    },
    "building_codes": {
        "floor_area_ratio": "floor_area_ratio",
        "max_buildable_area": "max_area",
        "max_height_ft": "max_height",
        "parking_required": "parking",
        "fire_safety": {"sprinklers": "sprinklers", "fire_exits": "fire_exits", "fire_walls": "fire_walls"},
        "accessibility": {"ramp_required": "ramp", "accessible_bathroom": "accessible_bathroom"},
    },
    "render_paths": {"front": "front_view", "top": "top_view"},
}
"""A design of house data, key by key: in each place stands the name of a field of its `Answer`, of a feature, or of
what code derives (`derive_design`, `expand_design`)."""
_FIELDS = tuple(Answer.model_fields)


def shorten_design(brief: Any, design: Any) -> dict | None:
    """The answer for a design where `expand_design` makes the very same design of it, else None.

    Args:
        brief: what the design answers; fields that follow from it are left out.
        design: any JSON value.
    """
    fields: dict[str, Any] = {}
    try:
        _read(DESIGN, design, fields)
        answer = _write_answer(brief, fields)
        Answer.model_validate(answer)
        rest = _derive_rest(brief, answer)
    except (LookupError, TypeError, AttributeError, ValueError):  # a part is missing, or of another type or value
        return None
    return answer if to_bytes(rest) == to_bytes({name: fields[name] for name in rest}) else None


def expand_design(brief: Any, answer: dict) -> dict:
    """The design that an answer stands for, with the brief and all that follows from it."""
    return _fill(DESIGN, derive_design(brief, answer) | answer | _derive_rest(brief, answer))


def derive_design(brief: Any, answer: dict) -> dict:
    """The fields of an answer that follow from the brief or from other fields."""
    details = _details_of(brief)
    area, budget = details.get("totalArea"), details.get("budget")
    climate = answer.get("climate")
    hot = climate in ("Hot_Dry", "Hot_Humid")
    cold = climate == "Cold"
    derived = {
        "total_area": area,
        "cooling": "High" if hot else "Low" if cold else "Medium",
        "heating": "Low" if hot else "High" if cold else "Medium",
        "insulation": "High" if hot or cold else "Medium",
    }
    if is_number(budget) and abs(budget) < 1e15:
        derived["construction_cost"] = int(budget * 0.6)
    if is_number(area) and area > 0 and is_number(answer.get("max_area")):
        derived["floor_area_ratio"] = round((answer["max_area"] + 0.5) / area, 2)
    return derived


def _derive_rest(brief: Any, answer: dict) -> dict:
    """The fields of a design that no answer has under their names."""
    features = answer["features"]
    style = _details_of(brief).get("style")
    rest: dict[str, Any] = {name: name in features for name in FEATURES}
    rest["gas"] = "Available" if "gas" in features else "Not_Available"
    rest["electricity"] = "Available"
    rest["front_view"] = f"renders/{style}_front.png"
    rest["top_view"] = f"renders/{style}_top.png"
    rest["levels"] = [_expand_level(number, level) for number, level in enumerate(answer.get("levels", []), 1)]
    rest["input"] = brief
    return rest


def _write_answer(brief: Any, fields: dict) -> dict:
    """The answer that states the fields of a design, without those that follow from it."""
    stated = fields | {"gas": fields["gas"] == "Available"}
    stated["features"] = [name for name in FEATURES if stated[name]]
    stated["levels"] = [_shorten_level(level) for level in fields["levels"]]
    left_out = {name for name, value in derive_design(brief, fields).items() if same(fields[name], value)}
    if not fields["levels"]:
        left_out.add("levels")
    return {name: stated[name] for name in _FIELDS if name not in left_out}


def _read(shape: dict, value: dict, fields: dict) -> None:
    """Puts the values of a design into `fields`, under the names that `shape` has in their places.

    Raises:
        ValueError: it has other keys, or two values for one name.
    """
    if [*value] != [*shape]:
        raise ValueError(f"expected the keys {', '.join(shape)}")
    for part, inner in zip(shape.values(), value.values(), strict=True):
        if type(part) is not str:
            _read(part, inner, fields)
        elif part not in fields:
            fields[part] = inner
        elif not same(fields[part], inner):
            raise ValueError(f"two values for {part}")


def _fill(shape: dict, fields: dict) -> dict:
    """What `_read` reads: the values of `fields` in the places of `shape`."""
    return {key: fields[part] if type(part) is str else _fill(part, fields) for key, part in shape.items()}


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
