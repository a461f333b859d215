"""Rule checks that look at rooms; a finding names numbers, and level and room where one matters. Lengths in feet."""

import re
from collections.abc import Callable

from housebrain_core.house.json_text import is_number
from housebrain_core.house.measures import TOUCH, Case, area_of, extent_of, find_overlaps
from housebrain_core.house.schema import Bounds, Door, Level, Room

Findings = list[str] | None
"""What a rule says: nothing (it holds), sentences (it does not), or None (it does not apply)."""

HABITABLE = ("bedroom", "living", "study", "office", "family")
BEDROOMS = ("bedroom",)
BATHROOMS = ("bath", "ensuite", "toilet", "powder", "washroom")


def name_room(level: Level, room: Room) -> str:
    """Level and room as a finding names them."""
    return f"level {level.level_number}, {room.type} {room.id}"


def room_counts(case: Case) -> Findings:
    """There are as many levels, bedrooms, bathrooms and rooms of every other type as the brief asks for."""
    if not case.design.has_geometry:
        return None
    details = case.brief.basicDetails
    levels = case.design.levels
    findings = []
    if len(levels) != details.floors:
        findings.append(f"{len(levels)} levels, the brief asks for {details.floors} floors")
    needed: dict[str, float] = {"bedroom": details.bedrooms, "bathroom": details.bathrooms or 0}
    words = {"bedroom": BEDROOMS, "bathroom": BATHROOMS}
    for row in case.brief.roomBreakdown:
        if not any(word in row.type.lower() for word in BEDROOMS + BATHROOMS):
            needed[row.type] = needed.get(row.type, 0) + row.count
    for kind, count in needed.items():
        names = [name_room(*item) for item in case.rooms() if _is_kind(item[1].type, kind, words.get(kind))]
        if len(names) < int(count):
            place = f"{'; '.join(names)}: " if names else ""
            findings.append(f"{place}{len(names)} {kind}, the brief asks for {count:g}")
    return findings


def habitable_area(case: Case) -> Findings:
    """One habitable room is large, the others large enough."""
    return _largest_first(case, area_of, "habitable_main", "habitable_other", "ft2")


def habitable_width(case: Case) -> Findings:
    """One habitable room is wide, the others wide enough."""
    return _largest_first(case, lambda box: min(box.width, box.height), "width_main", "width_other", "ft wide")


def kitchen_size(case: Case) -> Findings:
    """A kitchen is large and wide enough, more so where one dines in it."""
    return _sizes(case, ("kitchen",), lambda kind: "kitchen_dining" if "dining" in kind else "kitchen")


def bathroom_size(case: Case) -> Findings:
    """A bathroom is large and wide enough; a toilet alone may be smaller."""
    return _sizes(case, BATHROOMS, lambda kind: "toilet" if "toilet" in kind or "powder" in kind else "bathroom")


def daylight(case: Case) -> Findings:
    """Windows of a habitable room are a climate's share of its floor."""
    rooms = [(lv, room) for lv, room in case.rooms(*HABITABLE) if all(w.width and w.height for w in room.windows)]
    if not rooms:
        return None
    share = case.limits.get(f"daylight_{case.design.climate_and_site.get('climate_zone')}", case.limits["daylight"])
    findings = []
    for level, room in rooms:
        floor = area_of(room.bounds)
        glass = sum((window.width or 0) * (window.height or 0) for window in room.windows)
        if glass < share * floor:
            needed = f"needs {share * floor:.1f} ft2 ({share:.3f})"
            findings.append(f"{name_room(level, room)}: {glass:g} ft2 of windows for {floor:g} ft2, {needed}")
    return findings


def ceiling_height(case: Case) -> Findings:
    """A level is high enough."""
    heights = [(level, level.height) for level in case.design.levels if level.height is not None]
    if not heights:
        return None
    limit = case.limits["ceiling"]
    low = [(level, height) for level, height in heights if height < limit]
    return [f"level {level.level_number}: {height:g} ft high, needs {limit:g} ft" for level, height in low]


def stairs(case: Case) -> Findings:
    """Neighbouring levels are joined by a stair that is wide and long enough."""
    if not case.design.has_geometry or len(case.design.levels) < 2:
        return None
    levels = sorted(case.design.levels, key=lambda level: level.level_number)
    return [
        finding for low, high in zip(levels, levels[1:], strict=False) for finding in _check_stairs(case, low, high)
    ]


def _check_stairs(case: Case, low: Level, high: Level) -> list[str]:
    """Stairs between two levels; a room of stairs stands for the stair where there is no other."""
    stairs_up = [stair.bounds for stair in low.stairs if stair.floor_to in (None, high.level_number)]
    stair_rooms = [room.bounds for room in low.rooms if "stair" in room.type.lower()]
    if not stairs_up and not stair_rooms:
        return [f"level {low.level_number}: 0 stairs to level {high.level_number}"]
    risers = (low.height or case.limits["storey"]) / case.limits["riser"]
    needed = 0.5 * (risers - 1) * case.limits["tread"]  # half of the run where the stair turns
    findings = []
    for box in filter(None, stairs_up or stair_rooms):
        around = [room for room in low.rooms if _holds_middle(room.bounds, box)]
        place = "; ".join(name_room(low, room) for room in around) or f"level {low.level_number}"
        name = f"{place}: its stairs to level {high.level_number} are"
        width, run = sorted((box.width, box.height))
        if width < case.limits["stair_width"]:
            findings.append(f"{name} {width:g} ft wide, need {case.limits['stair_width']:g} ft")
        if run < needed:
            findings.append(f"{name} {run:g} ft long, need {needed:.1f} ft")
    return findings


def _holds_middle(outer: Bounds, inner: Bounds) -> bool:
    x = inner.x + inner.width / 2
    y = inner.y + inner.height / 2
    return outer.x <= x <= outer.x + outer.width and outer.y <= y <= outer.y + outer.height


def no_overlap_connected(case: Case) -> Findings:
    """Rooms of a level do not overlap, doors join them, and their areas sum to the total area."""
    if not case.design.has_geometry:
        return None
    findings = []
    for level in case.design.levels:
        overlaps = find_overlaps(level, case.limits["overlap"])
        findings += [f"level {level.level_number}, {overlap}" for overlap in overlaps]
        for room in find_unreached(level):
            findings.append(f"{name_room(level, room)}: none of {len(level.rooms)} rooms leads there")
    total = sum(area_of(room.bounds) for _, room in case.rooms())
    if case.total_area and abs(total - case.total_area) > case.limits["area_tolerance"] * case.total_area:
        findings.append(f"all rooms together {total:g} ft2, total area is {case.total_area:g} ft2")
    return findings


def beyond_envelope(case: Case, length: float, width: float) -> list[str]:
    """Rooms that reach out of the envelope even when the house is turned and moved into its corner.

    Args:
        case: a design with rooms.
        length: of the envelope in feet, from front to rear.
        width: of the envelope in feet, from side to side.
    """
    findings = []
    for level in case.design.levels:
        boxes = [room.bounds for room in level.rooms]
        if not boxes:
            continue
        left, bottom, wide, high = extent_of(boxes)
        limit_x, limit_y = (width, length) if (wide >= high) == (width >= length) else (length, width)
        sizes = f"the setbacks leave {limit_x:g} x {limit_y:g} ft, the level is {wide:g} x {high:g} ft"
        for room in level.rooms:
            box = room.bounds
            over = max(box.x + box.width - left - limit_x, box.y + box.height - bottom - limit_y)
            if over > TOUCH:
                findings.append(f"{name_room(level, room)}: {over:g} ft beyond; {sizes}")
    return findings


def _is_kind(kind: str, wanted: str, words: tuple[str, ...] | None) -> bool:
    """Whether a room is of a type, however it is written: by one of the words, or letter by letter."""
    if words:
        return any(word in kind.lower() for word in words)
    return re.sub(r"[^a-z]", "", kind.lower()) == re.sub(r"[^a-z]", "", wanted.lower())


def _largest_first(case: Case, measure: Callable[[Bounds], float], main: str, other: str, unit: str) -> Findings:
    """The largest habitable room is held to the main limit, the others to the other."""
    rooms = sorted(case.rooms(*HABITABLE), key=lambda item: -measure(item[1].bounds))
    findings = []
    for index, (level, room) in enumerate(rooms):
        value, limit = measure(room.bounds), case.limits[other if index else main]
        if value < limit:
            findings.append(f"{name_room(level, room)}: {value:g} {unit}, needs {limit:g}")
    return findings if rooms else None


def _sizes(case: Case, kinds: tuple[str, ...], limit_of: Callable[[str], str]) -> Findings:
    rooms = list(case.rooms(*kinds))
    findings = []
    for level, room in rooms:
        name = limit_of(room.type.lower())
        values = (
            (area_of(room.bounds), "ft2"),
            (min(room.bounds.width, room.bounds.height), "ft wide"),
        )
        for (value, unit), limit in zip(values, (f"{name}_area", f"{name}_width"), strict=True):
            if value < case.limits[limit]:
                findings.append(f"{name_room(level, room)}: {value:g} {unit}, needs {case.limits[limit]:g}")
    return findings if rooms else None


def find_unreached(level: Level) -> list[Room]:
    """Rooms that no door joins to the largest group of rooms; none where the level has no doors at all."""
    if not any(room.doors for room in level.rooms):
        return []
    groups = [{index} for index in range(len(level.rooms))]
    for index, room in enumerate(level.rooms):
        for other, neighbour in enumerate(level.rooms):
            if other != index and any(_joins(room, door, neighbour) for door in room.doors):
                first, second = (next(group for group in groups if member in group) for member in (index, other))
                if first is not second:
                    first |= second
                    groups.remove(second)
    groups.sort(key=len, reverse=True)
    return [level.rooms[index] for group in groups[1:] for index in sorted(group)]


def _joins(room: Room, door: Door, neighbour: Room) -> bool:
    """Whether a door of a room leads into a neighbour: by name, or because its wall touches it there."""
    if door.to_room is not None:
        return door.to_room in (neighbour.id, neighbour.type)
    one = room.bounds
    other = neighbour.bounds
    edges = {
        "north": (one.y + one.height, other.y),
        "south": (one.y, other.y + other.height),
        "east": (one.x + one.width, other.x),
        "west": (one.x, other.x + other.width),
    }
    wall = str(door.wall).lower()
    if wall not in edges or abs(edges[wall][0] - edges[wall][1]) > TOUCH:
        return False
    along_x = wall in ("north", "south")
    start = (one.x if along_x else one.y) + (door.position if is_number(door.position) else 0)
    low, high = (other.x, other.x + other.width) if along_x else (other.y, other.y + other.height)
    return start < high and start + (door.width or 0) > low
