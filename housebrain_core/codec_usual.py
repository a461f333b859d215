"""The short forms of briefs and designs of exactly the usual shape, five times as fast as the general way.

`usual_brief` and `usual_answer` read everything in one pass and take only what they prove to be usual: these keys in
this order, these types, these words, every derivation right. They then give what `shorten_brief` and
`shorten_design` give, and None for anything else, which takes the general way with its check by expansion. The tests
hold them against it on real, generated and deliberately spoilt samples.
"""

from collections import defaultdict
from typing import Any, Literal, get_args, get_origin

import orjson

from housebrain_core.codec_brief import BEDROOMS, expand_brief
from housebrain_core.codec_design import derive_design, expand_design
from housebrain_core.schema import FEATURES, Answer

_MANY = 10**6
"""Areas, counts and lengths below this are usual: far from where floats and big integers get difficult."""


def usual_brief(brief: Any) -> dict | None:
    """The short form of a brief of the usual shape, else None."""
    try:
        return _read_brief(brief)
    except (AttributeError, TypeError, ValueError):  # something is not of the type that it usually is
        return None


def _read_brief(brief: dict) -> dict | None:
    details, plot, rows = brief.values()
    area, unit, bedrooms, bathrooms, floors, budget, style = details.values()
    length, width, plot_unit, shape, orientation, slope, corner, setbacks = plot.values()
    keys = [tuple(brief), tuple(details), tuple(plot), tuple(setbacks)]
    if keys != _BRIEF_KEYS or unit != "sqft" or plot_unit != "ft" or type(rows) is not list:
        return None
    if not (type(length) is type(width) is float and 0 < length < _MANY and 0 < width < _MANY):
        return None
    rooms = _group_rows(rows)
    if rooms is None:
        return None
    rooms, beds = rooms
    if not (type(area) is type(bedrooms) is type(bathrooms) is int):
        return None
    if area != int(length * width) or bedrooms != beds or bathrooms != max(1, beds // 2):
        return None
    return {
        "style": style,
        "floors": floors,
        "budget": budget,
        "plot": [length, width],
        "shape": shape,
        "orientation": orientation,
        "slope": slope,
        "corner": corner,
        "setbacks": list(setbacks.values()),
        "rooms": rooms,
    }


def _group_rows(rows: list) -> tuple[dict, int] | None:
    """Rooms by type, and how many bedrooms they are; None unless rows of a type follow each other."""
    rooms: dict[str, Any] = {}
    beds, before = 0, None
    for row in rows:
        kind, count, area = row.values()
        if tuple(row) != _ROW or type(kind) is not str or not (type(count) is type(area) is int):
            return None
        if not (0 < count < _MANY and 0 <= area < _MANY):
            return None
        if kind in BEDROOMS:
            beds += count
        value = area if count == 1 else f"{count}x{area}"
        if kind == before:
            if type(rooms[kind]) is list:
                rooms[kind].append(value)
            else:
                rooms[kind] = [rooms[kind], value]
        elif kind in rooms:
            return None
        else:
            rooms[kind] = value
        before = kind
    return rooms, beds


def usual_answer(brief: Any, design: Any) -> dict | None:
    """The answer for a design of the usual shape without geometry, else None."""
    try:
        echo = orjson.dumps(design["input"])
        if echo != orjson.dumps(brief) or b"null" in echo:  # NaN is written so, too
            return None
        return _read_design(brief, design)
    except (AttributeError, KeyError, TypeError, ValueError):  # orjson's errors are TypeErrors
        return None


def _read_design(brief: dict, design: dict) -> dict | None:
    _, levels, total_area, cost, materials, outside, site, codes, views = design.values()
    wall, roof, windows, doors, garage, garage_spaces, wall_color, roof_color = outside.values()
    climate, seismic, wind, snow, rainfall, soil, water_table, utilities, cooling, heating, insulation = site.values()
    water, sewer, electricity, gas, solar_ready = utilities.values()
    ratio, max_area, max_height, parking, fire, access = codes.values()
    sprinklers, fire_exits, fire_walls = fire.values()
    ramp, accessible_bathroom = access.values()
    keys = tuple(map(tuple, (design, materials, outside, site, utilities, codes, fire, access, views)))
    flooring = materials["flooring"]
    if keys != _DESIGN_KEYS or levels != [] or electricity != "Available" or gas not in ("Available", "Not_Available"):
        return None
    details = brief["basicDetails"]
    area, budget, style = details["totalArea"], details["budget"], details["style"]
    if views != {"front": f"renders/{style}_front.png", "top": f"renders/{style}_top.png"}:
        return None
    if tuple(materials.values()) != (wall, roof, flooring, windows, doors):
        return None
    words = (wall, wall_color, roof, roof_color, flooring, windows, doors, garage,
             climate, seismic, wind, snow, rainfall, soil, water_table, water, sewer)  # fmt: skip
    for word, known in zip(words, _WORDS, strict=True):
        if word not in known:
            return None
    if (cooling, heating, insulation) != _COMFORTS[climate]:
        return None
    numbers = (area, total_area, budget, cost, max_area, max_height, parking, fire_exits, garage_spaces)
    if {*map(type, numbers)} != {int} or min(numbers) < 0 or type(ratio) is not float:
        return None
    if max(parking, fire_exits, garage_spaces) > 9 or max_height > 999 or max_area > _MANY or not 0 <= ratio <= 9.99:
        return None
    if not 0 < area < _MANY or area != total_area or budget > 10**9 or cost != int(budget * 0.6):
        return None
    flags = (solar_ready, sprinklers, fire_walls, ramp, accessible_bathroom)
    if {*map(type, flags)} - {bool}:
        return None
    short = dict(zip(_WORD_NAMES[:8], words[:8], strict=True))
    short["garage_spaces"] = garage_spaces
    short |= zip(_WORD_NAMES[8:], words[8:], strict=True)
    short["max_area"] = max_area
    if ratio != round((max_area + 0.5) / area, 2):
        if round(ratio, 2) != ratio:
            return None
        short["floor_area_ratio"] = ratio
    short["max_height"], short["parking"], short["fire_exits"] = max_height, parking, fire_exits
    present = (gas == "Available", *flags)
    short["features"] = [name for name, here in zip(FEATURES, present, strict=True) if here]
    return short


_WORD_NAMES = [name for name, field in Answer.model_fields.items() if get_origin(field.annotation) is Literal]
_WORD_NAMES = [name for name in _WORD_NAMES if name not in ("cooling", "heating", "insulation")]
_WORDS = [frozenset(get_args(Answer.model_fields[name].annotation)) for name in _WORD_NAMES]
_COMFORTS = {
    climate: tuple(derive_design({}, {"climate": climate})[name] for name in ("cooling", "heating", "insulation"))
    for climate in get_args(Answer.model_fields["climate"].annotation)
}


def _usual_keys() -> tuple[tuple, tuple]:
    """Keys of briefs and of designs, object by object, as the general way writes them."""
    short = {"style": "", "floors": 1, "budget": 0, "plot": [1.0, 1.0], "shape": "", "orientation": "", "slope": 0.0,
             "corner": 0, "setbacks": [0, 0, 0, 0], "rooms": {"kitchen": 1}}  # fmt: skip
    brief = expand_brief(short)
    design = expand_design(brief, defaultdict(str, max_area=0, max_height=0, parking=0, fire_exits=0, features=[]))
    site, codes = design["climate_and_site"], design["building_codes"]
    inside = (site, site["utilities"], codes, codes["fire_safety"], codes["accessibility"])
    parts = (design, design["materials"], design["exterior_specifications"], *inside, design["render_paths"])
    plot, row = brief["plot"], brief["roomBreakdown"][0]
    return tuple(map(tuple, (brief, brief["basicDetails"], plot, plot["setbacks_ft"], row))), tuple(map(tuple, parts))


(*_BRIEF_KEYS, _ROW), _DESIGN_KEYS = _usual_keys()
