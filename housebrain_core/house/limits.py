"""What design rules compare with: limits as data, each with unit and source, and the case that a rule looks at.

NBC is the National Building Code of India 2016, IRC the International Residential Code 2021. Local bye-laws
override both; a person gives their own numbers by name. Metric limits are given in feet, rounded down.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from housebrain_core.errors import ConfigError
from housebrain_core.house.schema import HouseBrief, HouseDesign, Level, Room

SQFT_PER_SQM = 10.764
FT_PER_M = 3.281


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
    "riser": Limit(190 / 304.8, "ft", "NBC Part 4: 190 mm at most"),
    "tread": Limit(250 / 304.8, "ft", "NBC Part 4: 250 mm at least"),
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
    """Limits by the name of a set, or from a file of one's own.

    Args:
        name: "NBC", "IRC", or a JSON file: limit -> number, or [number, unit, source]; the others are NBC's.

    Raises:
        ConfigError: listing everything in the file that is no limit.
    """
    if name in SETS:
        return SETS[name]
    try:
        own = json.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"limits = {name!r}: neither one of {', '.join(SETS)} nor a JSON file ({error}).") from None
    if not isinstance(own, dict):
        raise ConfigError(f'{name} holds no JSON object of limits; expected such as {{"coverage": 0.5}}.')
    own = {key: value if isinstance(value, list) else [value, None, name] for key, value in own.items()}
    problems = [f"{key}: there is no such limit" for key in own if key not in NBC]
    problems += [
        f"{key}: expected a number, or a number with unit and source, got {value!r}"
        for key, value in own.items()
        if key in NBC and not (len(value) == 3 and type(value[0]) in (int, float) and value[0] >= 0)
    ]
    if problems:
        raise ConfigError(f"{name}:\n  " + "\n  ".join(problems) + f"\nLimits are {', '.join(NBC)}.")
    return NBC | {key: Limit(value, unit or NBC[key].unit, source) for key, (value, unit, source) in own.items()}


Findings = list[str] | None
"""What a rule found: nothing (it holds), sentences (it does not), or None (it does not apply)."""


def values_of(limits: dict[str, Limit]) -> dict[str, float]:
    """The bare numbers, by name."""
    return {name: limit.value for name, limit in limits.items()}


@dataclass(frozen=True)
class Case:
    """What a rule looks at: a brief, a design for it, and the limits. Lengths in feet, areas in square feet."""

    brief: HouseBrief
    design: HouseDesign
    limits: dict[str, float] = field(default_factory=lambda: values_of(NBC))

    @property
    def floors(self) -> int:
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
