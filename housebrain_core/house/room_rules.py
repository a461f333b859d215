"""Rule checks that look at rooms; each finding names level, room and numbers. Lengths in feet."""

import re
from collections.abc import Callable

from housebrain_core.house.geometry import TOUCH, area, extent, name_levels, name_rooms, overlaps, unreached, where
from housebrain_core.house.limits import Case, Findings
from housebrain_core.house.schema import Bounds, Level

HABITABLE = ("bedroom", "living", "study", "office", "family")
BEDROOMS = ("bedroom",)
BATHROOMS = ("bath", "ensuite", "toilet", "powder", "washroom")


def room_counts(case: Case) -> Findings:
    """Levels, bedrooms, bathrooms and every other type of room as the brief asks."""
    if not case.design.has_geometry:
        return None
    details, levels = case.brief.basicDetails, case.design.levels
    findings = []
    if len(levels) != details.floors:
        findings.append(f"{name_levels(levels)}: {len(levels)} levels, the brief asks for {details.floors} floors")
    needed: dict[str, float] = {"bedroom": details.bedrooms, "bathroom": details.bathrooms or 0}
    words = {"bedroom": BEDROOMS, "bathroom": BATHROOMS}
    for row in case.brief.roomBreakdown:
        if not any(word in row.type.lower() for word in BEDROOMS + BATHROOMS):
            needed[row.type] = needed.get(row.type, 0) + row.count
    for kind, count in needed.items():
        found = [where(*item) for item in case.rooms() if _is_kind(item[1].type, kind, words.get(kind))]
        if len(found) < int(count):
            place = "; ".join(found or map(name_rooms, levels))  # where they are, or where none was found
            findings.append(f"{place}: {len(found)} {kind}, the brief asks for {count:g}")
    return findings


def habitable_area(case: Case) -> Findings:
    """One habitable room is large, the others large enough."""
    return _largest_first(case, area, "habitable_main", "habitable_other", "ft2")


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
        floor = area(room.bounds)
        glass = sum(window.width * window.height for window in room.windows)
        if glass < share * floor:
            needed = f"needs {share * floor:.1f} ft2 ({share:.3f})"
            findings.append(f"{where(level, room)}: {glass:g} ft2 of windows for {floor:g} ft2, {needed}")
    return findings


def ceiling_height(case: Case) -> Findings:
    """A level is high enough."""
    levels = [level for level in case.design.levels if level.height is not None]
    if not levels:
        return None
    limit = case.limits["ceiling"]
    return [
        f"{name_rooms(level)}: {level.height:g} ft high, needs {limit:g} ft" for level in levels if level.height < limit
    ]


def stairs(case: Case) -> Findings:
    """Neighbouring levels are joined by a stair that is wide and long enough."""
    if not case.design.has_geometry or len(case.design.levels) < 2:
        return None
    levels = sorted(case.design.levels, key=lambda level: level.level_number)
    return [finding for low, high in zip(levels, levels[1:], strict=False) for finding in _stairs(case, low, high)]


def _stairs(case: Case, low: Level, high: Level) -> list[str]:
    own = [stair.bounds for stair in low.stairs if stair.floor_to in (None, high.level_number)]
    halls = [room.bounds for room in low.rooms if "stair" in room.type.lower()]
    if not own and not halls:
        return [f"{name_rooms(low)}: 0 stairs to {name_rooms(high)}"]
    risers = (low.height or case.limits["storey"]) / case.limits["riser"]
    needed = 0.5 * (risers - 1) * case.limits["tread"]  # half of the run where the stair turns
    findings = []
    for box in filter(None, own or halls):  # a room of stairs stands for the stair where there is no other
        around = [room for room in low.rooms if _holds_middle(room.bounds, box)]
        name = f"{name_rooms(low, around or None)}: its stairs to level {high.level_number} are"
        wide, run = sorted((box.width, box.height))
        if wide < case.limits["stair_width"]:
            findings.append(f"{name} {wide:g} ft wide, need {case.limits['stair_width']:g} ft")
        if run < needed:
            findings.append(f"{name} {run:g} ft long, need {needed:.1f} ft")
    return findings


def _holds_middle(outer: Bounds, inner: Bounds) -> bool:
    x, y = inner.x + inner.width / 2, inner.y + inner.height / 2
    return outer.x <= x <= outer.x + outer.width and outer.y <= y <= outer.y + outer.height


def no_overlap_connected(case: Case) -> Findings:
    """Rooms of a level do not overlap, doors join them, and their areas sum to total_area."""
    if not case.design.has_geometry:
        return None
    findings = []
    for level in case.design.levels:
        for one, other, wide, high in overlaps(level, case.limits["overlap"]):
            both = f"{one.type} {one.id} and {other.type} {other.id}"
            findings.append(f"level {level.level_number}, {both} overlap by {wide:.4g} x {high:.4g} ft")
        for room in unreached(level):
            findings.append(f"{where(level, room)}: none of {len(level.rooms)} rooms leads there")
    total = sum(area(room.bounds) for _, room in case.rooms())
    if case.total_area and abs(total - case.total_area) > case.limits["area_tolerance"] * case.total_area:
        place = name_levels(case.design.levels)
        findings.append(f"{place}: all rooms together {total:g} ft2, total area is {case.total_area:g} ft2")
    return findings


def beyond_envelope(case: Case, length: float, width: float) -> list[str]:
    """Rooms that a house turned either way and moved into the envelope's corner still has outside of it."""
    findings = []
    for level in case.design.levels:
        boxes = [room.bounds for room in level.rooms]
        if not boxes:
            continue
        left, bottom = min(box.x for box in boxes), min(box.y for box in boxes)
        wide, high = extent(boxes)
        limits = (width, length) if (wide >= high) == (width >= length) else (length, width)
        for room in level.rooms:
            over = max(room.bounds.x + room.bounds.width - left - limits[0],
                       room.bounds.y + room.bounds.height - bottom - limits[1])  # fmt: skip
            if over > TOUCH:
                left_over = f"the setbacks leave {limits[0]:g} x {limits[1]:g} ft"
                findings.append(f"{where(level, room)}: {over:g} ft beyond; {left_over}, the level is {wide:g} x "
                                f"{high:g} ft")  # fmt: skip
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
            findings.append(f"{where(level, room)}: {value:g} {unit}, needs {limit:g}")
    return findings if rooms else None


def _sizes(case: Case, kinds: tuple[str, ...], limit_of: Callable[[str], str]) -> Findings:
    rooms = list(case.rooms(*kinds))
    findings = []
    for level, room in rooms:
        name = limit_of(room.type.lower())
        values = (
            (area(room.bounds), "ft2"),
            (min(room.bounds.width, room.bounds.height), "ft wide"),
        )
        for (value, unit), limit in zip(values, (f"{name}_area", f"{name}_width"), strict=True):
            if value < case.limits[limit]:
                findings.append(f"{where(level, room)}: {value:g} {unit}, needs {case.limits[limit]:g}")
    return findings if rooms else None
