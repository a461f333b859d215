"""The short forms of briefs and designs of exactly the usual shape, five times as fast as the general way.

`usual_brief` and `usual_answer` read everything in one pass and take only what they prove to be usual: these keys in
this order, these types, these words, every derivation right. They then give what `shorten_brief` and
`shorten_design` give, and None for anything else, which takes the general way with its check by expansion. The tests
hold them against it on real, generated and deliberately spoilt samples.
"""

from collections import defaultdict
from itertools import product
from typing import Any, Literal, get_args, get_origin

import orjson

from housebrain_core.house.brief_text import BEDROOMS, expand_brief
from housebrain_core.house.design_text import derive_design, expand_design
from housebrain_core.house.json_text import dumps
from housebrain_core.house.schema import FEATURES, Answer

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
    keys = [*map(tuple, (brief, details, plot, setbacks))]
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
    if {*map(tuple, rows)} != {_ROW}:
        return None
    rooms: dict[str, Any] = {}
    beds, before = 0, None
    for row in rows:
        kind, count, area = row.values()
        if type(kind) is not str or not (type(count) is type(area) is int and 0 < count < _MANY and 0 <= area < _MANY):
            return None
        if kind in BEDROOMS:
            beds += count
        value = area if count == 1 else f"{count}x{area}"
        if kind != before:
            if kind in rooms:
                return None
            rooms[kind] = value
            before = kind
        elif type(rooms[kind]) is list:
            rooms[kind].append(value)
        else:
            rooms[kind] = [rooms[kind], value]
    return rooms, beds


def usual_answer(brief: Any, design: Any) -> str | None:
    """The completion for a design of the usual shape without geometry, else None."""
    try:
        echo = orjson.dumps(design["input"])
        if echo != orjson.dumps(brief) or b"null" in echo:  # NaN is written so, too
            return None
        return _write_answer(brief, design)
    except (AttributeError, KeyError, TypeError, ValueError):  # orjson's errors are TypeErrors
        return None


def _write_answer(brief: dict, design: dict) -> str | None:
    _, levels, total_area, cost, materials, outside, site, codes, views = design.values()
    wall, roof, windows, doors, garage, garage_spaces, wall_color, roof_color = outside.values()
    climate, seismic, wind, snow, rainfall, soil, water_table, utilities, cooling, heating, insulation = site.values()
    water, sewer, electricity, gas, solar_ready = utilities.values()
    ratio, max_area, max_height, parking, fire, access = codes.values()
    sprinklers, fire_exits, fire_walls = fire.values()
    ramp, accessible_bathroom = access.values()
    keys = [*map(tuple, (design, materials, outside, site, utilities, codes, fire, access, views))]
    if keys != _DESIGN_KEYS or levels != [] or electricity != "Available":
        return None
    flags = (solar_ready, sprinklers, fire_walls, ramp, accessible_bathroom)
    if {*map(type, flags)} != {bool}:
        return None
    if not (type(total_area) is type(cost) is type(max_area) is type(max_height) is type(parking) is int):
        return None
    if not (type(fire_exits) is type(garage_spaces) is int and type(ratio) is float):
        return None
    if not (0 <= max_area <= _MANY and 0 <= max_height <= 999 and 0 <= ratio <= 9.99):
        return None
    if not (0 <= parking <= 9 and 0 <= fire_exits <= 9 and 0 <= garage_spaces <= 9):
        return None
    flooring = materials["flooring"]
    words = (wall, wall_color, roof, roof_color, flooring, windows, doors, garage,
             climate, seismic, wind, snow, rainfall, soil, water_table, water, sewer)  # fmt: skip
    for word, known in zip(words, WORDS.values(), strict=True):
        if word not in known:
            return None
    if (cooling, heating, insulation) != COMFORTS[climate]:
        return None
    if (*materials.values(),) != (wall, roof, flooring, windows, doors):
        return None
    details = brief["basicDetails"]
    area, budget, style = details["totalArea"], details["budget"], details["style"]
    if views != {"front": f"renders/{style}_front.png", "top": f"renders/{style}_top.png"}:
        return None
    if not (type(area) is type(budget) is int and 0 < area < _MANY and 0 <= budget <= 10**9):
        return None
    if area != total_area or cost != int(budget * 0.6):
        return None
    if ratio == round((max_area + 0.5) / area, 2):
        written = ""
    elif round(ratio, 2) == ratio:
        written = f'"floor_area_ratio":{ratio},'
    else:
        return None
    present = FEATURES_OF[gas, *flags]
    return COMPLETION % (
        *words[:8], garage_spaces, *words[8:], max_area, written, max_height, parking, fire_exits, present
    )  # fmt: skip


_WORD_NAMES = [name for name, field in Answer.model_fields.items() if get_origin(field.annotation) is Literal]
_WORD_NAMES = [name for name in _WORD_NAMES if name not in ("cooling", "heating", "insulation")]
WORDS = {name: frozenset(get_args(Answer.model_fields[name].annotation)) for name in _WORD_NAMES}
"""The words that a field of an answer may be, in the order of an answer."""
COMFORTS = {
    climate: tuple(derive_design({}, {"climate": climate})[name] for name in ("cooling", "heating", "insulation"))
    for climate in get_args(Answer.model_fields["climate"].annotation)
}
FEATURES_OF = {
    ("Available" if flags[0] else "Not_Available", *flags[1:]): dumps(
        [name for name, here in zip(FEATURES, flags, strict=True) if here]
    )
    for flags in product((False, True), repeat=len(FEATURES))
}
COMPLETION = (
    "{"
    + "".join(f'"{name}":"%s",' for name in _WORD_NAMES[:8])
    + '"garage_spaces":%s,'
    + "".join(f'"{name}":"%s",' for name in _WORD_NAMES[8:])
    + '"max_area":%s,%s"max_height":%s,"parking":%s,"fire_exits":%s,"features":%s}'
)


def _usual_keys() -> tuple[list[tuple], list[tuple]]:
    """Keys of briefs and of designs, object by object, as the general way writes them."""
    short = {"style": "", "floors": 1, "budget": 0, "plot": [1.0, 1.0], "shape": "", "orientation": "", "slope": 0.0,
             "corner": 0, "setbacks": [0, 0, 0, 0], "rooms": {"kitchen": 1}}  # fmt: skip
    brief = expand_brief(short)
    design = expand_design(brief, defaultdict(str, max_area=0, max_height=0, parking=0, fire_exits=0, features=[]))
    site, codes = design["climate_and_site"], design["building_codes"]
    inside = (site, site["utilities"], codes, codes["fire_safety"], codes["accessibility"])
    parts = (design, design["materials"], design["exterior_specifications"], *inside, design["render_paths"])
    plot, row = brief["plot"], brief["roomBreakdown"][0]
    return [*map(tuple, (brief, brief["basicDetails"], plot, plot["setbacks_ft"], row))], [*map(tuple, parts)]


(*_BRIEF_KEYS, _ROW), _DESIGN_KEYS = _usual_keys()
