"""How a design becomes an answer without what code can derive, and whole again; `codec` decides what is written."""

from typing import Any

from pydantic import ValidationError

from housebrain_core.house.json_text import is_number, same
from housebrain_core.house.schema import FEATURES, Answer

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


def shorten_design(brief: Any, design: Any) -> dict | None:
    """The answer for a design of nearly the usual shape, else None; it may not be exact yet."""
    try:
        short = _read_answer(brief, design)
    except (KeyError, TypeError, AttributeError):  # some part is missing or of another type
        return None
    derived = derive_design(brief, short)
    short = {key: short[key] for key in _ORDER if key in short and not same(short[key], derived.get(key, short))}
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


def expand_design(brief: Any, short: dict) -> dict:
    """The design that an answer stands for, derivable fields included."""
    known = derive_design(brief, short) | short
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


def derive_design(brief: Any, short: dict) -> dict:
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
    if is_number(budget) and abs(budget) < 1e15:
        derived["construction_cost"] = int(budget * 0.6)
    if is_number(area) and area > 0 and is_number(short.get("max_area")):
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
