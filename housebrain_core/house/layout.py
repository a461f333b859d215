"""Designs in the structures that people have, as one kind of plan; what is wrong is kept and marked.

Read are our own levels and rooms, openings given by wall name, wall number or point, and drawings in millimetres
with walls, openings and spaces, also when the design is JSON in a string.
"""

import json
from typing import Any, NamedTuple

from pydantic import ValidationError

from housebrain_core.errors import DataError
from housebrain_core.house.geometry import TOUCH, is_number
from housebrain_core.house.schema import Bounds, HouseDesign

MM_PER_FT = 304.8
WALL_NAMES = {
    "south": ("south", "s", "bottom", "front", "0"),
    "east": ("east", "e", "right", "1"),
    "north": ("north", "n", "top", "back", "rear", "2"),
    "west": ("west", "w", "left", "3"),
}
"""Names of walls; numbers count from the south wall against the clock."""
USUAL_WIDTH = 3.0
"""Feet of an opening that does not say its width."""


class Plan(NamedTuple):
    """A design that can be drawn, and what is wrong with it as it was given."""

    design: HouseDesign
    problems: dict[int, list[str]]
    """Level number -> sentences."""


class Placed(NamedTuple):
    """An opening on a wall: its ends in feet, and whether the wall holds it."""

    wall: str
    start: tuple[float, float]
    end: tuple[float, float]
    fits: bool


def read_plan(design: dict | HouseDesign | str) -> Plan:
    """Reads a design of any structure that is known; a dataset's sample stands for its `output`.

    Raises:
        DataError: it is none, even with every side of its rooms mended.
    """
    if isinstance(design, HouseDesign):
        return Plan(design, {})
    value = _load(design)
    if "output" in value and not {"levels", "spaces"} & set(value):
        brief = {"input": value["input"]} if "input" in value else {}
        value = brief | _load(value["output"])
    problems: dict[int, list[str]] = {}
    value = _from_spaces(value, problems) if isinstance(value.get("spaces"), list) else value
    levels = value.get("levels") if isinstance(value.get("levels"), list) else []
    levels = [_mend_level(number, level, problems) for number, level in enumerate(levels, 1) if isinstance(level, dict)]
    sections = ("materials", "exterior_specifications", "climate_and_site", "building_codes")
    kept = {key: part for key, part in value.items() if key not in sections or isinstance(part, dict)}
    try:
        return Plan(HouseDesign.model_validate(kept | {"levels": levels}), problems)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()[:10]]
        raise DataError("the design cannot be drawn:\n  " + "\n  ".join(lines)) from None


def _load(design: Any) -> dict:
    try:
        value = json.loads(design) if isinstance(design, str) else design
    except ValueError as error:
        raise DataError(f"a design given as text is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise DataError(f"a design is a JSON object; this is {type(value).__name__}.")
    return value


def place_opening(box: Bounds, opening: Any) -> Placed:
    """Where a door or window is: on the wall it names or is nearest to; in its middle where no position is given."""
    wall, position = _wall_of(opening), opening.position
    width = opening.width if is_number(opening.width) and opening.width > 0 else USUAL_WIDTH
    point = position if isinstance(position, dict) and {"x", "y"} <= set(position) else None
    if point is not None and all(is_number(point[axis]) for axis in "xy"):
        distances = {"south": abs(point["y"] - box.y), "north": abs(point["y"] - box.y - box.height),
                     "west": abs(point["x"] - box.x), "east": abs(point["x"] - box.x - box.width)}  # fmt: skip
        wall = wall or min(distances, key=distances.get)
        along = point["x"] - box.x if wall in ("south", "north") else point["y"] - box.y
        start, near = along - width / 2, distances[wall] <= 1
    else:
        wall, near = wall or "south", wall is not None
        side = box.width if wall in ("south", "north") else box.height
        if not is_number(position):
            start = (side - width) / 2
        elif isinstance(position, float) and 0 < position < 1:  # a share of the wall, to the opening's middle
            start = position * side - width / 2
        else:
            start = position
    side = box.width if wall in ("south", "north") else box.height
    fits = near and start >= -TOUCH and start + width <= side + TOUCH
    if wall in ("south", "north"):
        y = box.y if wall == "south" else box.y + box.height
        return Placed(wall, (box.x + start, y), (box.x + start + width, y), fits)
    x = box.x if wall == "west" else box.x + box.width
    return Placed(wall, (x, box.y + start), (x, box.y + start + width), fits)


def _wall_of(opening: Any) -> str | None:
    given = opening.wall if opening.wall is not None else (opening.model_extra or {}).get("wall_index")
    if given is None and isinstance(opening.position, str):
        given = opening.position
    return next((wall for wall, names in WALL_NAMES.items() if str(given).lower() in names), None)


def _mend_level(number: int, level: dict, problems: dict[int, list[str]]) -> dict:
    """A level whose rooms can be drawn; each change is noted as a problem."""
    number = level["level_number"] if type(level.get("level_number")) is int else number
    notes = problems.setdefault(number, [])
    given = level.get("rooms") if isinstance(level.get("rooms"), list) else []
    notes += [f"room {index} is none: {_show(room)}" for index, room in enumerate(given, 1) if type(room) is not dict]
    rooms = [_mend_room(index, room, notes) for index, room in enumerate(given, 1) if type(room) is dict]
    stairs = []
    for stair in level.get("stairs") if isinstance(level.get("stairs"), list) else []:
        box = _mend_box(stair.get("bounds"), "stairs", notes) if isinstance(stair, dict) else None
        stairs += [{"bounds": box}] if box else []
    height = level.get("height") if is_number(level.get("height")) else None
    return {"level_number": number, "height": height, "rooms": [room for room in rooms if room], "stairs": stairs}


def _mend_room(index: int, room: dict, notes: list[str]) -> dict | None:
    kind = str(room.get("type") or room.get("name") or "room")
    name = str(room.get("id") or f"{kind} {index}")
    box = _mend_box(room.get("bounds"), f"{kind} {name}", notes)
    openings = {key: _mend_openings(room.get(key)) for key in ("doors", "windows")}
    return {"id": name, "type": kind, "bounds": box, **openings} if box else None


def _mend_openings(value: Any) -> list:
    """Openings whose numbers are numbers; what has no place in the model stays beside it."""
    result = []
    for one in value if isinstance(value, list) else [] if value is None else [value]:
        one = dict(one) if isinstance(one, dict) else {"position": one}
        one |= {key: one[key] if is_number(one.get(key)) else None for key in ("width", "height") if key in one}
        result.append(one | {key: str(one[key]) for key in ("wall", "to_room") if one.get(key) is not None})
    return result


def _mend_box(box: Any, name: str, notes: list[str]) -> dict | None:
    values = [box.get(key) for key in ("x", "y", "width", "height")] if isinstance(box, dict) else []
    if not values or not all(is_number(value) and abs(value) < 1e6 for value in values):
        notes.append(f"{name} has no place: {_show(box)}")
        return None
    x, y, width, height = values
    if width <= 0 or height <= 0:
        notes.append(f"{name} is {width:g} x {height:g} ft")
    x, y = min(x, x + width), min(y, y + height)
    return {"x": x, "y": y, "width": abs(width) or 0.5, "height": abs(height) or 0.5}


def _from_spaces(design: dict, problems: dict[int, list[str]]) -> dict:
    """Levels from a drawing in millimetres: a space's bounding box, an opening as a point on its wall."""
    metadata = design.get("metadata") if isinstance(design.get("metadata"), dict) else {}
    scale = 1 if metadata.get("units", "mm") in ("ft", "feet") else MM_PER_FT
    levels: dict[int, list[dict]] = {}
    for index, space in enumerate(_objects(design["spaces"]), 1):
        room = {"id": space.get("id", f"S{index}"), "type": space.get("type") or space.get("name")}
        room |= {"bounds": _box_around(space.get("boundary"), scale), "doors": [], "windows": []}
        level = space.get("level", 1)
        levels.setdefault(level if type(level) is int else 1, []).append(room)
    walls = {str(wall.get("id")): wall for wall in _objects(design.get("walls"))}
    for index, opening in enumerate(_objects(design.get("openings")), 1):
        kind = "windows" if "window" in str(opening.get("type")).lower() else "doors"
        placed = _point_on_wall(opening, walls.get(str(opening.get("wall_id"))), scale)
        beside = [room for rooms in levels.values() for room in rooms
                  if placed and room["bounds"] and _touches(room["bounds"], placed["position"])]  # fmt: skip
        for room in beside:
            room[kind].append(placed)
        if not beside:
            where = f"on wall {opening.get('wall_id')!r}, which " + ("touches no room" if placed else "has no place")
            problems.setdefault(min(levels, default=1), []).append(f"{kind[:-1]} {opening.get('id', index)} is {where}")
    rest = {key: value for key, value in design.items() if key not in ("spaces", "walls", "openings")}
    return rest | {"levels": [{"level_number": n, "rooms": rooms} for n, rooms in sorted(levels.items())]}


def _show(value: Any) -> str:
    """A value in a message, short."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:56]} ..."


def _objects(value: Any) -> list[dict]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _box_around(boundary: Any, scale: float) -> dict | None:
    corners = [_point(corner, scale) for corner in boundary] if isinstance(boundary, list) else []
    if not corners or None in corners:
        return None
    (left, bottom), (right, top) = (tuple(map(pick, zip(*corners, strict=True))) for pick in (min, max))
    return {"x": left, "y": bottom, "width": right - left, "height": top - bottom}


def _point_on_wall(opening: dict, wall: dict | None, scale: float) -> dict | None:
    """Middle and width of an opening in feet; nothing where its wall has no place."""
    ends = [_point(wall.get(end), scale) for end in ("start", "end")] if wall else [None]
    if None in ends:
        return None
    (x0, y0), (x1, y1) = ends
    share = opening["position"] if is_number(opening.get("position")) else 0.5
    width = opening["width"] / scale if is_number(opening.get("width")) else USUAL_WIDTH
    return {"position": {"x": x0 + share * (x1 - x0), "y": y0 + share * (y1 - y0)}, "width": width}


def _point(value: Any, scale: float) -> tuple[float, float] | None:
    pair = [value.get("x"), value.get("y")] if isinstance(value, dict) else value
    if not (isinstance(pair, list) and len(pair) >= 2 and all(map(is_number, pair[:2]))):
        return None
    return pair[0] / scale, pair[1] / scale


def _touches(box: dict, point: dict) -> bool:
    """Whether a point is on the border of a box, within a foot: walls have a thickness."""
    inside = (box["x"] - 1 <= point["x"] <= box["x"] + box["width"] + 1,
              box["y"] - 1 <= point["y"] <= box["y"] + box["height"] + 1)  # fmt: skip
    edges = (point["x"] - box["x"], point["x"] - box["x"] - box["width"],
             point["y"] - box["y"], point["y"] - box["y"] - box["height"])  # fmt: skip
    return all(inside) and min(map(abs, edges)) <= 1
