"""Rule checks on a design: small functions over a brief and a design, in one table with formula and source.

They are checks of common sense and published guidance, not code compliance: local bye-laws override them. The
real references break many, so a score is only worth something beside the reference's own. What looks at rooms is
in room_rules.py, the numbers are in measures.py.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from pydantic import ValidationError

from housebrain_core.house import room_rules
from housebrain_core.house.json_text import is_number
from housebrain_core.house.measures import NBC, Case, values_of
from housebrain_core.house.room_rules import Findings
from housebrain_core.house.schema import HouseBrief, HouseDesign


def far_limit(case: Case) -> Findings:
    """The total area stays within the floor area ratio."""
    far = case.codes.get("floor_area_ratio")
    limit = case.codes.get("max_buildable_area")
    if case.total_area is None or case.sides is None or not (is_number(far) and is_number(limit)):
        return None
    allowed = min(limit, far * case.sides[0] * case.sides[1] * case.limits["far_tolerance"])
    finding = f"total area {case.total_area:g} ft2, allowed {allowed:.0f} ft2"
    return _unless(case.total_area <= allowed, finding)


def footprint_in_setbacks(case: Case) -> Findings:
    """The footprint fits into what the setbacks leave: by area, and by extent where there is geometry."""
    if case.envelope is None or case.total_area is None:
        return None
    length, width = case.envelope
    if not case.design.has_geometry:
        footprint = case.total_area / case.floors
        enough = min(length, width) > 0 and footprint <= length * width
        return _unless(enough, f"footprint {footprint:.0f} ft2, the setbacks leave {length:g} x {width:g} ft")
    return room_rules.beyond_envelope(case, length, width)


def ground_coverage(case: Case) -> Findings:
    """The footprint leaves a share of the plot open."""
    if case.sides is None or case.total_area is None:
        return None
    share = case.total_area / case.floors / (case.sides[0] * case.sides[1])
    limit = case.limits["coverage"]
    return _unless(share <= limit, f"covers {share:.0%} of the plot, allowed {limit:.0%}")


def height_limit(case: Case) -> Findings:
    """The storeys together stay under the height allowed."""
    limit = case.codes.get("max_height_ft")
    if not is_number(limit):
        return None
    heights = [level.height or case.limits["storey"] for level in case.design.levels]
    height = sum(heights) or case.floors * case.limits["storey"]
    return _unless(height <= limit, f"{height:g} ft high, allowed {limit:g} ft")


def parking(case: Case) -> Findings:
    """The garage has the spaces that the building codes require."""
    spaces = case.design.exterior_specifications.get("garage_spaces")
    needed = case.codes.get("parking_required")
    if not (is_number(spaces) and is_number(needed)):
        return None
    return _unless(spaces >= needed, f"{spaces} garage spaces, {needed} required")


def garage_consistent(case: Case) -> Findings:
    """No garage means no spaces, and a garage has at least one."""
    outside = case.design.exterior_specifications
    kind = outside.get("garage_type")
    spaces = outside.get("garage_spaces")
    if kind is None or not is_number(spaces):
        return None
    finding = f"garage type {kind} with {spaces} spaces"
    return _unless((kind == "None") == (spaces == 0), finding)


def cost_in_budget(case: Case) -> Findings:
    """The house costs no more than the budget."""
    budget = case.brief.basicDetails.budget
    cost = case.design.construction_cost
    if budget is None or cost is None:
        return None
    return _unless(cost <= budget, f"cost {cost:,.0f}, budget {budget:,.0f}")


def brief_area_fit(case: Case) -> Findings:
    """The rooms that the brief asks for fit into the total area."""
    areas = [room.count * room.minArea for room in case.brief.roomBreakdown if room.minArea is not None]
    if not areas or case.total_area is None:
        return None
    needed = sum(areas) * case.area_factor
    finding = f"the brief's rooms need {needed:g} ft2 of {case.total_area:g} ft2"
    return _unless(needed <= case.total_area, finding)


def climate_consistent(case: Case) -> Findings:
    """A hot or tropical climate has no snow, and heavy snow no flat roof."""
    climate = case.design.climate_and_site.get("climate_zone")
    snow = case.design.climate_and_site.get("snow_load")
    roof = case.design.exterior_specifications.get("roofing")
    if climate is None or snow is None:
        return None
    warm = climate in ("Hot_Dry", "Hot_Humid", "Tropical")
    return [
        *_unless(not warm or snow == "None", f"snow load {snow} in a {climate} climate"),
        *_unless(snow != "Heavy" or roof != "Flat_Roof", "a flat roof under heavy snow"),
    ]


def septic_water_table(case: Case) -> Findings:
    """No septic tank where the water table is high."""
    site = case.design.climate_and_site
    sewer = _section(site, "utilities").get("sewer")
    table = site.get("water_table")
    if sewer is None or table is None:
        return None
    finding = f"sewer {sewer}, water table {table}"
    return _unless(not (sewer == "Septic" and table == "High"), finding)


def exits(case: Case) -> Findings:
    """High houses have a second fire exit."""
    count = _section(case.codes, "fire_safety").get("fire_exits")
    if not is_number(count):
        return None
    enough = case.floors < case.limits["storeys_with_exits"] or count >= case.limits["fire_exits"]
    finding = f"{count} fire exits for {case.floors} floors, needs {case.limits['fire_exits']:g}"
    return _unless(enough, finding)


class Rule(NamedTuple):
    """A rule as the table lists it."""

    name: str
    check: Callable[[Case], Findings]
    formula: str
    unit: str
    kind: str
    """hard: a design that breaks it is wrong; soft: it deserves a look."""
    needs: str
    """flat: the specification is enough; geometry: it looks at rooms; either: at rooms where there are some."""
    source: str


DESIGN_CODES = "the design's own building codes"
RULES = [
    Rule("far_limit", far_limit, "total_area <= min(max_buildable_area, floor_area_ratio x plot area x 1.01)",
         "ft2", "hard", "flat", DESIGN_CODES),
    Rule("footprint_in_setbacks", footprint_in_setbacks,
         "total_area / floors, or the rooms' extent, <= (length - front - rear) x (width - left - right)",
         "ft2, ft", "hard", "either", "brief; NBC Part 3, open spaces"),
    Rule("ground_coverage", ground_coverage, "total_area / floors <= coverage x plot area",
         "share", "soft", "flat", "local bye-laws"),
    Rule("height_limit", height_limit, "sum of level heights, or floors x storey, <= max_height_ft",
         "ft", "hard", "either", DESIGN_CODES),
    Rule("parking", parking, "garage_spaces >= parking_required", "spaces", "hard", "flat", DESIGN_CODES),
    Rule("garage_consistent", garage_consistent, "(garage_type = None) <=> (garage_spaces = 0)",
         "spaces", "hard", "flat", "logic"),
    Rule("cost_in_budget", cost_in_budget, "construction_cost <= budget", "currency", "hard", "flat", "brief"),
    Rule("brief_area_fit", brief_area_fit, "sum of count x minArea <= total_area", "ft2", "hard", "flat", "brief"),
    Rule("climate_consistent", climate_consistent, "hot or tropical => no snow; heavy snow => no flat roof",
         "-", "soft", "flat", "engineering sense"),
    Rule("septic_water_table", septic_water_table, "not (sewer = Septic and water_table = High)",
         "-", "soft", "flat", "engineering sense"),
    Rule("exits", exits, "floors >= storeys_with_exits => fire_exits >= 2",
         "exits", "soft", "flat", "project choice; NBC Part 4"),
    Rule("room_counts", room_rules.room_counts, "rooms of each type >= brief; levels = floors",
         "rooms", "hard", "geometry", "brief"),
    Rule("habitable_area", room_rules.habitable_area, "largest >= habitable_main, others >= habitable_other",
         "ft2", "hard", "geometry", "NBC Part 3; IRC R304"),
    Rule("habitable_width", room_rules.habitable_width, "widest >= width_main, others >= width_other",
         "ft", "hard", "geometry", "NBC Part 3; IRC R304"),
    Rule("kitchen_size", room_rules.kitchen_size, "area >= kitchen_area, shorter side >= kitchen_width",
         "ft2, ft", "hard", "geometry", "NBC Part 3"),
    Rule("bathroom_size", room_rules.bathroom_size, "area >= bathroom_area, shorter side >= bathroom_width",
         "ft2, ft", "hard", "geometry", "NBC Part 3"),
    Rule("daylight", room_rules.daylight, "window area >= daylight(climate) x floor area",
         "ratio", "soft", "geometry", "NBC Part 3; IRC R303"),
    Rule("ceiling_height", room_rules.ceiling_height, "level height >= ceiling",
         "ft", "hard", "geometry", "NBC Part 3; IRC R305"),
    Rule("stairs", room_rules.stairs, "neighbouring levels joined; width >= stair_width; "
         "run >= half of (height / riser - 1) x tread, where the stair may turn once",
         "ft", "hard", "geometry", "NBC Part 3 and 4; IRC R311.7"),
    Rule("no_overlap_connected", room_rules.no_overlap_connected,
         "overlap <= 0.05 ft; doors join all rooms; |sum of room areas - total_area| <= 10 %",
         "ft, ft2", "hard", "geometry", "geometry"),
]  # fmt: skip


def check_design(brief: dict, design: dict, limits: dict[str, float] | None = None) -> dict[str, Findings]:
    """All rules on one design.

    Args:
        brief: as schema.HouseBrief reads it.
        design: as schema.HouseDesign reads it.
        limits: numbers by name; NBC's where not given.

    Returns:
        Rule name -> findings: empty where it holds, None where it does not apply.

    Raises:
        pydantic.ValidationError: brief or design is none.
    """
    case = Case(HouseBrief.model_validate(brief), HouseDesign.model_validate(design), values_of(NBC) | (limits or {}))
    return {rule.name: rule.check(case) for rule in RULES}


def check_or_none(brief: dict, design: dict, limits: dict[str, float] | None = None) -> dict[str, Findings] | None:
    """Rule findings, or None where brief or design is of a shape that the rules do not know."""
    try:
        return check_design(brief, design, limits)
    except ValidationError:
        return None


class Score(NamedTuple):
    """How many designs keep a rule, of those that it applies to; the others are counted apart."""

    passed: int
    applicable: int
    not_applicable: int

    @property
    def share(self) -> float | None:
        """Of the designs that a rule applies to, in [0, 1]; None where it applies to none."""
        return self.passed / self.applicable if self.applicable else None


def score_rules(results: list[dict[str, Findings]]) -> dict[str, Score]:
    """Counts over many designs, rule by rule."""
    scores = {}
    for rule in RULES:
        findings = [result[rule.name] for result in results if result[rule.name] is not None]
        kept = findings.count([])
        scores[rule.name] = Score(kept, len(findings), len(results) - len(findings))
    return scores


def total_score(scores: dict[str, Score], kind: str | None = None) -> Score:
    """All rules together, or the hard or the soft ones: passed checks of applicable checks."""
    chosen = [scores[rule.name] for rule in RULES if kind in (None, rule.kind)]
    return Score(*(sum(counts) for counts in zip(*chosen, strict=True)))


def _unless(holds: bool, finding: str) -> list[str]:
    return [] if holds else [finding]


def _section(values: dict[str, Any], name: str) -> dict[str, Any]:
    """A nested part, or nothing where it has another shape."""
    return values[name] if isinstance(values.get(name), dict) else {}
