"""Rule checks on a design: small functions over a brief and a design, each with its formula and source.

They are checks of common sense and published guidance (NBC = National Building Code of India 2016, IRC =
International Residential Code), not code compliance: local bye-laws override both. The real references break many
of them, so a score is only worth something beside the reference's own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple

from housebrain_core.schema import Bounds, HouseBrief, HouseDesign, Level, Room

SQFT_PER_SQM = 10.764
FT_PER_M = 3.281
TOUCH = 0.05
"""Feet within which two edges count as the same."""


class Limit(NamedTuple):
    """A number that a rule compares with."""

    value: float
    unit: str
    source: str


LIMITS = {
    "far_tolerance": Limit(1.01, "ratio", "rounding of the ratio to two decimals"),
    "coverage": Limit(0.65, "share of the plot", "local bye-laws, 0.50 to 0.75"),
    "storey": Limit(10.0, "ft", "project default where a level has no height"),
    "storeys_with_exits": Limit(3, "floors", "project choice; NBC Part 4 goes by height"),
    "fire_exits": Limit(2, "exits", "project choice; NBC Part 4"),
    "habitable_main": Limit(102.3, "ft2", "NBC Part 3: 9.5 m2 for the main room"),
    "habitable_other": Limit(80.7, "ft2", "NBC Part 3: 7.5 m2 for further rooms"),
    "width_main": Limit(7.87, "ft", "NBC Part 3: 2.4 m for the main room"),
    "width_other": Limit(6.9, "ft", "NBC Part 3: 2.1 m for further rooms"),
    "kitchen_area": Limit(53.8, "ft2", "NBC Part 3: 5.0 m2"),
    "kitchen_width": Limit(5.9, "ft", "NBC Part 3: 1.8 m"),
    "bathroom_area": Limit(19.4, "ft2", "NBC Part 3: 1.8 m2"),
    "bathroom_width": Limit(3.94, "ft", "NBC Part 3: 1.2 m"),
    "ceiling": Limit(9.02, "ft", "NBC Part 3: 2.75 m"),
    "stair_width": Limit(2.95, "ft", "NBC Part 3 and 4: 0.9 m"),
    "riser": Limit(190 / 304.8, "ft", "NBC Part 4: 190 mm at most"),
    "tread": Limit(250 / 304.8, "ft", "NBC Part 4: 250 mm at least"),
    "area_tolerance": Limit(0.10, "share of the total area", "project choice"),
    "daylight_Hot_Dry": Limit(1 / 10, "window area / floor area", "NBC Part 3"),
    "daylight_Hot_Humid": Limit(1 / 6, "window area / floor area", "NBC Part 3"),
    "daylight_Tropical": Limit(1 / 6, "window area / floor area", "NBC Part 3, as hot and humid"),
    "daylight_Cold": Limit(1 / 12, "window area / floor area", "NBC Part 3"),
    "daylight": Limit(1 / 8, "window area / floor area", "NBC Part 3, temperate"),
}
"""Every limit with its unit and source; `check_design` takes others by name."""

HABITABLE = ("bedroom", "living", "study", "office", "family")


@dataclass(frozen=True)
class Case:
    """What a rule looks at: a brief, a design for it, and the limits. Lengths in feet, areas in square feet."""

    brief: HouseBrief
    design: HouseDesign
    limits: dict[str, float] = field(default_factory=lambda: {name: limit.value for name, limit in LIMITS.items()})

    @property
    def floors(self) -> int:
        return self.brief.basicDetails.floors

    @property
    def total_area(self) -> float | None:
        return self.design.total_area

    @property
    def sides(self) -> tuple[float, float] | None:
        """Length and width of the plot."""
        plot = self.brief.plot
        if plot.length is None or plot.width is None:
            return None
        factor = FT_PER_M if plot.unit == "m" else 1
        return plot.length * factor, plot.width * factor

    @property
    def envelope(self) -> tuple[float, float] | None:
        """Length and width that the setbacks leave."""
        setbacks = self.brief.plot.setbacks_ft
        if self.sides is None or setbacks is None:
            return None
        length, width = self.sides
        return length - setbacks.front - setbacks.rear, width - setbacks.left - setbacks.right

    @property
    def codes(self) -> dict[str, Any]:
        return self.design.building_codes

    def rooms(self, *kinds: str) -> Iterator[tuple[Level, Room]]:
        """Rooms whose type contains one of the words; all rooms without words."""
        for level in self.design.levels:
            for room in level.rooms:
                if not kinds or any(kind in room.type.lower() for kind in kinds):
                    yield level, room


Findings = list[str] | None
"""What a rule found: nothing (it holds), sentences (it does not), or None (it does not apply)."""


def far_limit(case: Case) -> Findings:
    """total_area <= min(max_buildable_area, FAR x plot area)."""
    far, limit = case.codes.get("floor_area_ratio"), case.codes.get("max_buildable_area")
    if case.total_area is None or case.sides is None or not (_number(far) and _number(limit)):
        return None
    allowed = min(limit, far * case.sides[0] * case.sides[1] * case.limits["far_tolerance"])
    return _unless(case.total_area <= allowed, f"total area {case.total_area:g} ft2, allowed {allowed:.0f} ft2")


def footprint_in_setbacks(case: Case) -> Findings:
    """The footprint fits into what the setbacks leave: by area, and by extent where there is geometry."""
    if case.envelope is None or case.total_area is None:
        return None
    length, width = case.envelope
    if not case.design.has_geometry:
        footprint = case.total_area / case.floors
        enough = min(length, width) > 0 and footprint <= length * width
        return _unless(enough, f"footprint {footprint:.0f} ft2, the setbacks leave {length:g} x {width:g} ft")
    findings = []
    for level in case.design.levels:
        if level.rooms:
            wide, high = _extent([room.bounds for room in level.rooms])
            if max(wide, high) > max(length, width) or min(wide, high) > min(length, width):
                left = f"the setbacks leave {length:g} x {width:g} ft"
                findings.append(f"level {level.level_number} is {wide:g} x {high:g} ft, {left}")
    return findings


def ground_coverage(case: Case) -> Findings:
    """total_area / floors <= 65 % of the plot."""
    if case.sides is None or case.total_area is None:
        return None
    share = case.total_area / case.floors / (case.sides[0] * case.sides[1])
    return _unless(share <= case.limits["coverage"], f"covers {share:.0%} of the plot")


def height_limit(case: Case) -> Findings:
    """The storeys together stay under max_height_ft."""
    limit = case.codes.get("max_height_ft")
    if not _number(limit):
        return None
    heights = [level.height or case.limits["storey"] for level in case.design.levels]
    height = sum(heights) or case.floors * case.limits["storey"]
    return _unless(height <= limit, f"{height:g} ft high, allowed {limit:g} ft")


def parking(case: Case) -> Findings:
    """garage_spaces >= parking_required."""
    spaces = case.design.exterior_specifications.get("garage_spaces")
    needed = case.codes.get("parking_required")
    if not (_number(spaces) and _number(needed)):
        return None
    return _unless(spaces >= needed, f"{spaces} garage spaces, {needed} required")


def garage_consistent(case: Case) -> Findings:
    """No garage means no spaces, and a garage has at least one."""
    outside = case.design.exterior_specifications
    kind, spaces = outside.get("garage_type"), outside.get("garage_spaces")
    if kind is None or not _number(spaces):
        return None
    return _unless((kind == "None") == (spaces == 0), f"garage type {kind} with {spaces} spaces")


def cost_in_budget(case: Case) -> Findings:
    """construction_cost <= budget."""
    budget, cost = case.brief.basicDetails.budget, case.design.construction_cost
    if budget is None or cost is None:
        return None
    return _unless(cost <= budget, f"cost {cost:g}, budget {budget:g}")


def brief_area_fit(case: Case) -> Findings:
    """The rooms that the brief asks for fit into total_area."""
    rooms = [room for room in case.brief.roomBreakdown if room.minArea is not None]
    if not rooms or case.total_area is None:
        return None
    needed = sum(room.count * room.minArea for room in rooms)
    return _unless(needed <= case.total_area, f"the rooms need {needed:g} ft2 of {case.total_area:g} ft2")


def climate_consistent(case: Case) -> Findings:
    """A hot or tropical climate has no snow, and heavy snow no flat roof."""
    site, roof = case.design.climate_and_site, case.design.exterior_specifications.get("roofing")
    climate, snow = site.get("climate_zone"), site.get("snow_load")
    if climate is None or snow is None:
        return None
    findings = []
    if climate in ("Hot_Dry", "Hot_Humid", "Tropical") and snow != "None":
        findings.append(f"snow load {snow} in a {climate} climate")
    if snow == "Heavy" and roof == "Flat_Roof":
        findings.append("a flat roof under heavy snow")
    return findings


def septic_water_table(case: Case) -> Findings:
    """No septic tank where the water table is high."""
    sewer, table = case.design.climate_and_site.get("utilities", {}), case.design.climate_and_site.get("water_table")
    if not isinstance(sewer, dict) or sewer.get("sewer") is None or table is None:
        return None
    return _unless(not (sewer["sewer"] == "Septic" and table == "High"), "a septic tank in a high water table")


def exits(case: Case) -> Findings:
    """Three floors or more have two fire exits."""
    count = (case.codes.get("fire_safety") or {}).get("fire_exits")
    if not _number(count):
        return None
    enough = case.floors < case.limits["storeys_with_exits"] or count >= case.limits["fire_exits"]
    return _unless(enough, f"{count} fire exits for {case.floors} floors")


# --- rules that need geometry


def room_counts(case: Case) -> Findings:
    """Bedrooms, bathrooms and floors as the brief asks."""
    if not case.design.has_geometry:
        return None
    details, findings = case.brief.basicDetails, []
    if len(case.design.levels) != details.floors:
        findings.append(f"{len(case.design.levels)} levels, the brief asks for {details.floors} floors")
    for kind, needed in (("bedroom", details.bedrooms), ("bathroom", details.bathrooms or 0)):
        found = sum(1 for _ in case.rooms(kind))
        if found < needed:
            findings.append(f"{found} {kind}s, the brief asks for {needed:g}")
    return findings


def habitable_area(case: Case) -> Findings:
    """One habitable room has 9.5 m2, the others 7.5 m2."""
    return _largest_first(case, lambda box: box.width * box.height, "habitable_main", "habitable_other", "ft2")


def habitable_width(case: Case) -> Findings:
    """One habitable room is 2.4 m wide, the others 2.1 m."""
    return _largest_first(case, lambda box: min(box.width, box.height), "width_main", "width_other", "ft")


def kitchen_size(case: Case) -> Findings:
    """A kitchen has 5.0 m2 and is 1.8 m wide."""
    return _sizes(case, ("kitchen",), "kitchen_area", "kitchen_width")


def bathroom_size(case: Case) -> Findings:
    """A bathroom has 1.8 m2 and is 1.2 m wide."""
    return _sizes(case, ("bathroom", "bath"), "bathroom_area", "bathroom_width")


def daylight(case: Case) -> Findings:
    """Windows of a habitable room are a climate's share of its floor."""
    rooms = [(level, room) for level, room in case.rooms(*HABITABLE)]
    known = [(lv, room) for lv, room in rooms if all(w.width and w.height for w in room.windows)]
    if not known:
        return None
    climate = case.design.climate_and_site.get("climate_zone")
    share = case.limits.get(f"daylight_{climate}", case.limits["daylight"])
    findings = []
    for level, room in known:
        floor = room.bounds.width * room.bounds.height
        glass = sum(window.width * window.height for window in room.windows)
        if glass < share * floor:
            findings.append(f"{_where(level, room)}: {glass:g} ft2 of windows for {floor:g} ft2, needs {share:.3f}")
    return findings


def ceiling_height(case: Case) -> Findings:
    """A level is 2.75 m high."""
    levels = [level for level in case.design.levels if level.height is not None]
    if not levels:
        return None
    limit = case.limits["ceiling"]
    return [f"level {lv.level_number}: {lv.height:g} ft, needs {limit:g} ft" for lv in levels if lv.height < limit]


def stairs(case: Case) -> Findings:
    """Neighbouring levels are joined by a stair that is wide and long enough."""
    if not case.design.has_geometry or len(case.design.levels) < 2:
        return None
    levels = sorted(case.design.levels, key=lambda level: level.level_number)
    findings = []
    for low, high in zip(levels, levels[1:], strict=False):
        own = [s for s in low.stairs if s.floor_to in (None, high.level_number)]
        if not own and not any("stair" in room.type.lower() for room in low.rooms):
            findings.append(f"no stair from level {low.level_number} to {high.level_number}")
        for stair in own:
            if stair.bounds is None:
                continue
            wide, run = sorted((stair.bounds.width, stair.bounds.height))
            risers = (low.height or case.limits["storey"]) / case.limits["riser"]
            needed = (risers - 1) * case.limits["tread"]
            if wide < case.limits["stair_width"]:
                findings.append(f"stair on level {low.level_number} is {wide:g} ft wide")
            if run < needed * 0.5:  # half of the run where the stair turns
                findings.append(f"stair on level {low.level_number} is {run:g} ft long, needs {needed * 0.5:.1f} ft")
    return findings


def no_overlap_connected(case: Case) -> Findings:
    """Rooms of a level do not overlap, every room has a door, and their areas sum to total_area."""
    if not case.design.has_geometry:
        return None
    findings = []
    for level in case.design.levels:
        for one, other in combinations(level.rooms, 2):
            overlap = _overlap(one.bounds, other.bounds)
            if overlap > TOUCH:
                findings.append(f"level {level.level_number}: {one.id} and {other.id} overlap by {overlap:g} ft2")
        findings += [f"{_where(level, group[0])}: cannot be reached" for group in _unreached(level)]
    total = sum(room.bounds.width * room.bounds.height for _, room in case.rooms())
    if case.total_area and abs(total - case.total_area) > case.limits["area_tolerance"] * case.total_area:
        findings.append(f"rooms sum to {total:g} ft2, total area is {case.total_area:g} ft2")
    return findings


class Rule(NamedTuple):
    """A rule as the table lists it."""

    name: str
    check: Callable[[Case], Findings]
    kind: str
    """hard: a design that breaks it is wrong; soft: it deserves a look."""
    needs: str
    """flat: the specification is enough; geometry: it looks at rooms."""
    source: str


RULES = [
    Rule("far_limit", far_limit, "hard", "flat", "the design's own building codes"),
    Rule("footprint_in_setbacks", footprint_in_setbacks, "hard", "flat", "brief; NBC Part 3, open spaces"),
    Rule("ground_coverage", ground_coverage, "soft", "flat", "local bye-laws"),
    Rule("height_limit", height_limit, "hard", "flat", "the design's own building codes"),
    Rule("parking", parking, "hard", "flat", "the design's own building codes"),
    Rule("garage_consistent", garage_consistent, "hard", "flat", "logic"),
    Rule("cost_in_budget", cost_in_budget, "hard", "flat", "brief"),
    Rule("brief_area_fit", brief_area_fit, "hard", "flat", "brief"),
    Rule("climate_consistent", climate_consistent, "soft", "flat", "engineering sense"),
    Rule("septic_water_table", septic_water_table, "soft", "flat", "engineering sense"),
    Rule("exits", exits, "soft", "flat", "project choice; NBC Part 4"),
    Rule("room_counts", room_counts, "hard", "geometry", "brief"),
    Rule("habitable_area", habitable_area, "hard", "geometry", "NBC Part 3; IRC R304"),
    Rule("habitable_width", habitable_width, "hard", "geometry", "NBC Part 3; IRC R304"),
    Rule("kitchen_size", kitchen_size, "hard", "geometry", "NBC Part 3"),
    Rule("bathroom_size", bathroom_size, "hard", "geometry", "NBC Part 3"),
    Rule("daylight", daylight, "soft", "geometry", "NBC Part 3; IRC R303"),
    Rule("ceiling_height", ceiling_height, "hard", "geometry", "NBC Part 3; IRC R305"),
    Rule("stairs", stairs, "hard", "geometry", "NBC Part 3 and 4; IRC R311.7"),
    Rule("no_overlap_connected", no_overlap_connected, "hard", "geometry", "geometry"),
]


def check_design(brief: dict, design: dict, limits: dict[str, float] | None = None) -> dict[str, Findings]:
    """All rules on one design.

    Args:
        brief: as schema.HouseBrief reads it.
        design: as schema.HouseDesign reads it.
        limits: numbers that replace those of `LIMITS`, by name.

    Returns:
        Rule name -> findings: empty where it holds, None where it does not apply.

    Raises:
        pydantic.ValidationError: brief or design is none.
    """
    values = {name: limit.value for name, limit in LIMITS.items()} | (limits or {})
    case = Case(HouseBrief.model_validate(brief), HouseDesign.model_validate(design), values)
    return {rule.name: rule.check(case) for rule in RULES}


class Score(NamedTuple):
    """How many designs keep a rule, of those that it applies to."""

    passed: int
    applicable: int

    @property
    def share(self) -> float | None:
        return self.passed / self.applicable if self.applicable else None


def score_rules(results: list[dict[str, Findings]]) -> dict[str, Score]:
    """Counts over many designs, rule by rule."""
    scores = {}
    for rule in RULES:
        findings = [result[rule.name] for result in results if result[rule.name] is not None]
        scores[rule.name] = Score(sum(not found for found in findings), len(findings))
    return scores


def total_score(scores: dict[str, Score]) -> Score:
    """All rules together: passed checks of applicable checks."""
    return Score(sum(score.passed for score in scores.values()), sum(score.applicable for score in scores.values()))


def _unless(holds: bool, finding: str) -> list[str]:
    return [] if holds else [finding]


def _number(value: Any) -> bool:
    return type(value) in (int, float)


def _where(level: Level, room: Room) -> str:
    return f"level {level.level_number}, {room.type} {room.id}"


def _extent(boxes: list[Bounds]) -> tuple[float, float]:
    return (
        max(box.x + box.width for box in boxes) - min(box.x for box in boxes),
        max(box.y + box.height for box in boxes) - min(box.y for box in boxes),
    )


def _overlap(one: Bounds, other: Bounds) -> float:
    wide = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    high = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    return max(0.0, wide) * max(0.0, high)


def _largest_first(case: Case, measure: Callable[[Bounds], float], main: str, other: str, unit: str) -> Findings:
    """The largest habitable room is held to the main limit, the others to the other."""
    rooms = sorted(case.rooms(*HABITABLE), key=lambda item: -measure(item[1].bounds))
    if not rooms:
        return None
    findings = []
    for index, (level, room) in enumerate(rooms):
        value, limit = measure(room.bounds), case.limits[other if index else main]
        if value < limit:
            findings.append(f"{_where(level, room)}: {value:g} {unit}, needs {limit:g} {unit}")
    return findings


def _sizes(case: Case, kinds: tuple[str, ...], area_limit: str, width_limit: str) -> Findings:
    rooms = list(case.rooms(*kinds))
    if not rooms:
        return None
    findings = []
    for level, room in rooms:
        area, width = room.bounds.width * room.bounds.height, min(room.bounds.width, room.bounds.height)
        if area < case.limits[area_limit]:
            findings.append(f"{_where(level, room)}: {area:g} ft2, needs {case.limits[area_limit]:g} ft2")
        if width < case.limits[width_limit]:
            findings.append(f"{_where(level, room)}: {width:g} ft wide, needs {case.limits[width_limit]:g} ft")
    return findings


def _unreached(level: Level) -> list[list[Room]]:
    """Groups of rooms that no door joins to the largest group; a door joins what its wall touches."""
    if not any(room.doors for room in level.rooms):
        return []
    groups = [{index} for index in range(len(level.rooms))]
    for index, room in enumerate(level.rooms):
        for door in room.doors:
            for other, neighbour in enumerate(level.rooms):
                if other != index and _joins(room, door, neighbour):
                    one = next(group for group in groups if index in group)
                    two = next(group for group in groups if other in group)
                    if one is not two:
                        one |= two
                        groups.remove(two)
    groups.sort(key=len, reverse=True)
    return [[level.rooms[index] for index in sorted(group)] for group in groups[1:]]


def _joins(room: Room, door: Any, neighbour: Room) -> bool:
    """Whether a door of a room leads into a neighbour: by name, or because its wall touches it there."""
    if door.to_room is not None:
        return door.to_room in (neighbour.id, neighbour.type)
    one, other = room.bounds, neighbour.bounds
    wall = str(door.wall).lower()
    edges = {"north": (one.y + one.height, other.y), "south": (one.y, other.y + other.height),
             "east": (one.x + one.width, other.x), "west": (one.x, other.x + other.width)}  # fmt: skip
    if wall not in edges or abs(edges[wall][0] - edges[wall][1]) > TOUCH:
        return False
    start = door.position if _number(door.position) else 0
    along_x = wall in ("north", "south")
    at = (one.x if along_x else one.y) + start
    low, high = (other.x, other.x + other.width) if along_x else (other.y, other.y + other.height)
    return at < high and at + (door.width or 0) > low
