"""What design rules compare with: limits as data, and a house measured in feet.

NBC is the National Building Code of India 2016, IRC the International Residential Code 2021. Local bye-laws
override both; a person gives their own numbers by name. Metric limits are given in feet, rounded down.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple

from housebrain_core.contents import read_json
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.house.json_text import is_number
from housebrain_core.house.schema import Bounds, Door, HouseBrief, HouseDesign, Level, Plot, Room, Window
from housebrain_core.texts import as_given

MM_PER_FT = 304.8
FT_PER_M = 1000 / MM_PER_FT
SQFT_PER_SQM = FT_PER_M**2
TOUCH = 0.05
"""Feet within which two walls count as the same place."""
WALL_REACH = 1.0
"""Feet from a wall within which a point is on it: walls have a thickness."""
Wall = Literal["south", "east", "north", "west"]
Point = tuple[float, float]
"""x and y in feet."""
WALL_NAMES: dict[Wall, tuple[str, ...]] = {
    "south": ("south", "s", "bottom", "front", "0"),
    "east": ("east", "e", "right", "1"),
    "north": ("north", "n", "top", "back", "rear", "2"),
    "west": ("west", "w", "left", "3"),
}
"""Names of walls; numbers count from the south wall against the clock."""
OPENING_WIDTH = 3.0
"""Feet of an opening that does not say its width."""


class Limit(NamedTuple):
    """A number that a rule compares with."""

    value: float
    unit: str
    source: str


NBC = {
    "far_tolerance": Limit(1.01, "ratio", "rounding of the ratio to two decimals"),
    "coverage": Limit(0.65, "share of the plot", "local bye-laws, 0.50 to 0.75"),
    "storey": Limit(10.0, "ft", "project default where a level has no height"),
    "storeys_with_exits": Limit(3, "floors", "project choice; NBC Part 4 goes by height"),
    "fire_exits": Limit(2, "exits", "project choice; NBC Part 4"),
    "habitable_main": Limit(102.2, "ft2", "NBC Part 3: 9.5 m2 for the main room"),
    "habitable_other": Limit(80.7, "ft2", "NBC Part 3: 7.5 m2 for further rooms"),
    "width_main": Limit(7.87, "ft", "NBC Part 3: 2.4 m for the main room"),
    "width_other": Limit(6.88, "ft", "NBC Part 3: 2.1 m for further rooms"),
    "kitchen_area": Limit(53.8, "ft2", "NBC Part 3: 5.0 m2"),
    "kitchen_width": Limit(5.9, "ft", "NBC Part 3: 1.8 m"),
    "kitchen_dining_area": Limit(80.7, "ft2", "NBC Part 3: 7.5 m2 with a dining space"),
    "kitchen_dining_width": Limit(6.88, "ft", "NBC Part 3: 2.1 m with a dining space"),
    "bathroom_area": Limit(19.3, "ft2", "NBC Part 3: 1.8 m2"),
    "bathroom_width": Limit(3.93, "ft", "NBC Part 3: 1.2 m"),
    "toilet_area": Limit(11.8, "ft2", "NBC Part 3: 1.1 m2 for a WC alone"),
    "toilet_width": Limit(2.95, "ft", "NBC Part 3: 0.9 m for a WC alone"),
    "ceiling": Limit(9.02, "ft", "NBC Part 3: 2.75 m"),
    "stair_width": Limit(2.95, "ft", "NBC Part 3 and 4: 0.9 m"),
    "riser": Limit(190 / MM_PER_FT, "ft", "NBC Part 4: 190 mm at most"),
    "tread": Limit(250 / MM_PER_FT, "ft", "NBC Part 4: 250 mm at least"),
    "overlap": Limit(0.05, "ft", "project choice: edges this close are the same"),
    "area_tolerance": Limit(0.10, "share of the total area", "project choice"),
    "daylight_Hot_Dry": Limit(1 / 10, "window area / floor area", "NBC Part 3"),
    "daylight_Hot_Humid": Limit(1 / 6, "window area / floor area", "NBC Part 3"),
    "daylight_Tropical": Limit(1 / 6, "window area / floor area", "NBC Part 3, as hot and humid"),
    "daylight_Cold": Limit(1 / 12, "window area / floor area", "NBC Part 3"),
    "daylight": Limit(1 / 8, "window area / floor area", "NBC Part 3, temperate"),
}
"""The default limits."""

IRC = (
    NBC
    | {
        "habitable_main": Limit(70, "ft2", "IRC R304.1"),
        "habitable_other": Limit(70, "ft2", "IRC R304.1"),
        "width_main": Limit(7, "ft", "IRC R304.2"),
        "width_other": Limit(7, "ft", "IRC R304.2"),
        "kitchen_area": Limit(0, "ft2", "IRC R304.1 exempts kitchens"),
        "kitchen_width": Limit(0, "ft", "IRC R304.2 exempts kitchens"),
        "kitchen_dining_area": Limit(0, "ft2", "IRC R304.1 exempts kitchens"),
        "kitchen_dining_width": Limit(0, "ft", "IRC R304.2 exempts kitchens"),
        "ceiling": Limit(7, "ft", "IRC R305.1"),
        "stair_width": Limit(3, "ft", "IRC R311.7.1: 36 in"),
        "riser": Limit(7.75 / 12, "ft", "IRC R311.7.5.1: 7 3/4 in at most"),
        "tread": Limit(10 / 12, "ft", "IRC R311.7.5.2: 10 in at least"),
    }
    | {name: Limit(0.08, "window area / floor area", "IRC R303.1") for name in NBC if name.startswith("daylight")}
)
"""NBC with the numbers that the IRC gives instead; it has none for bathrooms."""

SETS = {"NBC": NBC, "IRC": IRC}


def read_limits(name: str) -> dict[str, Limit]:
    """Reads limits by the name of a set, or from a person's file.

    Args:
        name: "NBC", "IRC", or a JSON file: limit -> number, or [number, unit, source]; the others are NBC's.

    Returns:
        All limits by name.

    Raises:
        ConfigError: listing everything in the file that is no limit.
    """
    if name in SETS:
        return SETS[name]
    try:
        given = read_json(Path(name))
    except DataError as error:
        raise ConfigError(
            f"limits = {name}: it is neither one of {', '.join(SETS)} nor a file of limits such as "
            f'{{"coverage": 0.5}}: it {error}.'
        ) from None
    rows = {key: value if isinstance(value, list) else [value, None, name] for key, value in given.items()}
    problems = [problem for key, row in rows.items() if (problem := _find_problem(key, row))]
    if problems:
        raise ConfigError(f"{name}:\n  " + "\n  ".join(problems) + f"\nLimits are {', '.join(NBC)}.")
    return NBC | {key: Limit(value, unit or NBC[key].unit, source) for key, (value, unit, source) in rows.items()}


def _find_problem(name: str, row: list) -> str | None:
    """What is wrong with a limit of a person's file."""
    if name not in NBC:
        return f"{name}: there is no such limit"
    if len(row) != 3 or not is_number(row[0]) or row[0] < 0:
        return f"{name}: expected a number, or a number with unit and source, got {as_given(row[:1])}"
    return None


def values_of(limits: dict[str, Limit]) -> dict[str, float]:
    """The bare numbers, by name."""
    return {name: limit.value for name, limit in limits.items()}


def sides_of(plot: Plot) -> tuple[float, float] | None:
    """Length and width of a plot in feet; None where one of them is not given."""
    if plot.length is None or plot.width is None:
        return None
    factor = FT_PER_M if plot.unit == "m" else 1
    return plot.length * factor, plot.width * factor


def area_of(box: Bounds) -> float:
    """Square feet of a rectangle."""
    return box.width * box.height


def extent_of(boxes: list[Bounds]) -> tuple[float, float, float, float]:
    """x, y, width and height of everything together."""
    x = min(box.x for box in boxes)
    y = min(box.y for box in boxes)
    return x, y, max(box.x + box.width for box in boxes) - x, max(box.y + box.height for box in boxes) - y


class Overlap(NamedTuple):
    """Two rooms of a level that share more than a border, and the rectangle that they share."""

    one: Room
    other: Room
    x: float
    y: float
    width: float
    height: float

    def __str__(self) -> str:
        rooms = f"{self.one.type} {self.one.id} and {self.other.type} {self.other.id}"
        return f"{rooms} overlap by {self.width:.4g} x {self.height:.4g} ft"


def find_overlaps(level: Level, tolerance: float = TOUCH) -> list[Overlap]:
    """Pairs of rooms that overlap by more than a tolerance in feet, both ways."""
    overlaps = []
    for one, other in combinations(level.rooms, 2):
        a = one.bounds
        b = other.bounds
        x = max(a.x, b.x)
        y = max(a.y, b.y)
        width = min(a.x + a.width, b.x + b.width) - x
        height = min(a.y + a.height, b.y + b.height) - y
        if min(width, height) > tolerance:
            overlaps.append(Overlap(one, other, x, y, width, height))
    return overlaps


class Placed(NamedTuple):
    """An opening on a wall: its ends in feet, and whether the wall holds it."""

    wall: Wall
    start: Point
    end: Point
    fits: bool


def place_opening(box: Bounds, opening: Door | Window) -> Placed:
    """Where a door or window is: on the wall it names or is nearest to; in its middle where no position is given."""
    position = opening.position
    point = position if isinstance(position, dict) and all(is_number(position.get(axis)) for axis in "xy") else None
    width = opening.width if opening.width and opening.width > 0 else OPENING_WIDTH
    distances = _wall_distances(box, point) if point else {}
    wall = _named_wall(opening) or min(distances, key=distances.__getitem__, default=None)
    near = wall is not None and distances.get(wall, 0) <= WALL_REACH
    wall = wall or "south"
    along_x = wall in ("south", "north")
    side = box.width if along_x else box.height
    if point:
        start = (point["x"] - box.x if along_x else point["y"] - box.y) - width / 2
    else:
        start = _start_on_wall(position, side, width)
    fits = near and start >= -TOUCH and start + width <= side + TOUCH
    if along_x:
        y = box.y if wall == "south" else box.y + box.height
        return Placed(wall, (box.x + start, y), (box.x + start + width, y), fits)
    x = box.x if wall == "west" else box.x + box.width
    return Placed(wall, (x, box.y + start), (x, box.y + start + width), fits)


def _start_on_wall(position: Any, side: float, width: float) -> float:
    """Feet from the wall's south or west end; a share of the wall is where the opening's middle is."""
    if not is_number(position):
        return (side - width) / 2
    if isinstance(position, float) and 0 < position < 1:
        return position * side - width / 2
    return position


def _wall_distances(box: Bounds, point: dict[str, float]) -> dict[Wall, float]:
    return {
        "south": abs(point["y"] - box.y),
        "north": abs(point["y"] - box.y - box.height),
        "west": abs(point["x"] - box.x),
        "east": abs(point["x"] - box.x - box.width),
    }


def _named_wall(opening: Door | Window) -> Wall | None:
    given = opening.wall if opening.wall is not None else (opening.model_extra or {}).get("wall_index")
    if given is None and isinstance(opening.position, str):
        given = opening.position
    return next((wall for wall, names in WALL_NAMES.items() if str(given).lower() in names), None)


@dataclass(frozen=True)
class Case:
    """What a rule looks at: a brief, a design for it, and the limits. Lengths in feet, areas in square feet."""

    brief: HouseBrief
    design: HouseDesign
    limits: dict[str, float] = field(default_factory=lambda: values_of(NBC))

    @property
    def floors(self) -> int:
        """Number of floors that the brief asks for."""
        return self.brief.basicDetails.floors

    @property
    def area_factor(self) -> float:
        """Square feet in the brief's unit of area."""
        return SQFT_PER_SQM if self.brief.basicDetails.unit == "sqm" else 1

    @property
    def total_area(self) -> float | None:
        """In square feet; a design that repeats the brief's area has its unit too."""
        area = self.design.total_area
        return area if area is None or area != self.brief.basicDetails.totalArea else area * self.area_factor

    @property
    def sides(self) -> tuple[float, float] | None:
        """Length and width of the plot."""
        return sides_of(self.brief.plot)

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
        """The design's own building codes."""
        return self.design.building_codes

    def rooms(self, *kinds: str) -> Iterator[tuple[Level, Room]]:
        """Rooms whose type contains one of the words; all rooms without words."""
        for level in self.design.levels:
            for room in level.rooms:
                if not kinds or any(kind in room.type.lower() for kind in kinds):
                    yield level, room
