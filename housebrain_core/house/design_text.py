"""How a design becomes an answer without what code can derive, and whole again; `codec` decides what is written."""

from operator import itemgetter
from typing import Any

from pydantic import ValidationError

from housebrain_core.house.json_text import is_number, same
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
    """The answer for a design with the fields of house data, else None.

    Args:
        brief: what the design answers; fields that follow from it are left out.
        design: any JSON value.

    Returns:
        What `expand_design` may make the same design of; whether it does is for the caller to check.
    """
    fields: dict[str, Any] = {}
    try:
        _DESIGN.read(design, fields)
        answer = _write_answer(brief, fields)
        Answer.model_validate(answer)
    except (KeyError, TypeError, AttributeError, ValidationError):  # a part is missing, or of another type or value
        return None
    return answer


def expand_design(brief: Any, answer: dict) -> dict:
    """The design that an answer stands for, with the brief and all that follows from it."""
    style = _details_of(brief).get("style")
    fields = derive_design(brief, answer) | answer
    fields |= {name: name in answer["features"] for name in FEATURES}
    fields["gas"] = "Available" if fields["gas"] else "Not_Available"
    fields["electricity"] = "Available"
    fields["front_view"] = f"renders/{style}_front.png"
    fields["top_view"] = f"renders/{style}_top.png"
    fields["input"] = brief
    fields["levels"] = [_expand_level(number, level) for number, level in enumerate(answer.get("levels", []), 1)]
    return _DESIGN.fill(fields)


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


def _write_answer(brief: Any, fields: dict) -> dict:
    """An answer of all fields of a design, derivable ones included."""
    present = fields | {"gas": fields["gas"] == "Available"}
    fields["features"] = [name for name in FEATURES if present[name]]
    fields["levels"] = [_shorten_level(level) for level in fields["levels"]]
    left_out = {name for name, value in derive_design(brief, fields).items() if same(fields[name], value)}
    if not fields["levels"]:
        left_out.add("levels")
    return {name: fields[name] for name in _FIELDS if name not in left_out}


class _Object:
    """An object of `DESIGN`, prepared for reading and writing; `names` are the fields in the places of its keys."""

    def __init__(self, shape: dict[str, Any]):
        self.keys = tuple(shape)
        self.names = tuple(part if isinstance(part, str) else key for key, part in shape.items())
        self.inner = [(key, _Object(part)) for key, part in shape.items() if isinstance(part, dict)]
        self._values_of = itemgetter(*self.names)

    def read(self, value: dict, fields: dict) -> None:
        """Puts the values of an object of this shape into `fields`, by name."""
        if tuple(value) != self.keys:
            raise KeyError(f"expected the keys {self.keys}")
        fields.update(zip(self.names, value.values(), strict=True))
        for name, part in self.inner:
            part.read(fields[name], fields)

    def fill(self, fields: dict) -> dict:
        """The object of this shape with the values in `fields`."""
        for name, part in self.inner:
            fields[name] = part.fill(fields)
        return dict(zip(self.keys, self._values_of(fields), strict=True))


_DESIGN = _Object(DESIGN)


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
