"""Generated samples that can be learned: the schema of the real dataset, with real geometry.

A brief asks for rooms; a small deterministic planner lays them out by the conventions of a layout. As in
the real dataset, the specification is drawn independently of the brief, but with a layout's own favourites,
so that there is something to learn: its entropy is known exactly, and no honest model gets below it.
"""

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from housebrain_core.house.design_text import expand_design
from housebrain_core.house.schema import FEATURES, Answer

FAVOURED = 0.7
"""Probability of a layout's favourite value of a field; the other values share the rest equally."""
DRAWN = ("wall", "wall_color", "roof", "roof_color", "flooring", "windows", "doors", "garage", "climate", "seismic",
         "wind", "snow", "rainfall", "soil", "water_table", "water", "sewer")  # fmt: skip
CHOICES = {field: get_args(Answer.model_fields[field].annotation) for field in DRAWN}
STYLES = ("Modern", "Traditional", "Mediterranean", "Craftsman", "Minimalist")
GROUND_ROOMS = ("livingRoom", "kitchen", "diningRoom", "bathroom")
DEPTH = 12
"""Feet from the hall to the outer wall; areas are multiples of it, so that all sides are whole feet."""


@dataclass(frozen=True)
class Layout:
    """Conventions of a floor plan with two rows of rooms along a hall. Lengths in feet."""

    name: str
    """Also decides the favourites of the specification."""
    hall: int
    """Width of the hall."""
    door: int
    """From a wall's end to the door."""
    margin: int
    """From a wall's ends to its window."""
    first_row: Literal["south", "north"]
    """Where the first room goes."""


DEMO_LAYOUT = Layout("demo", hall=4, door=2, margin=2, first_row="south")


def make_samples(count: int, seed: int | str, layout: Layout = DEMO_LAYOUT) -> Iterator[dict[str, Any]]:
    """Generates samples; the same arguments give the same samples.

    Args:
        count: samples.
        seed: of the briefs and of what is drawn.
        layout: conventions of the floor plans and favourites of the specification.
    """
    dice = random.Random(f"housebrain/{seed}")
    for index in range(count):
        brief, rooms = _draw_brief(dice)
        levels = _plan_levels(rooms, brief["basicDetails"]["floors"], layout)
        sides = [room["size"] for level in levels for room in level["rooms"]]
        brief["basicDetails"]["totalArea"] = sum(width * height for width, height in sides)
        yield {
            "id": f"DEMO-{seed}-{index:06d}",
            "input": brief,
            "output": expand_design(brief, _answer(brief, levels, _draw_specification(dice, layout))),
            "metadata": {"region": "Demo", "layout": layout.name},
        }


def make_other_layouts(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Generates samples in a mixture of layouts, none of them the demo's: what its base model is taught."""
    dice = random.Random(f"other layouts/{seed}")
    for index in range(count):
        layout = Layout(
            name=f"other-{dice.randrange(8)}",
            hall=dice.choice((3, 5, 6)),
            door=dice.choice((1, 3, 4)),
            margin=dice.choice((1, 3, 4)),
            first_row=dice.choice(("south", "north")),
        )
        yield from make_samples(1, f"{seed}/{index}", layout)


def write_dataset(folder: Path, train: int, validation: int, seed: int = 7) -> None:
    """Writes generated samples as a dataset folder: train/*.json and validation/*.json, one sample each.

    Args:
        folder: made if it does not exist.
        train: training samples.
        validation: validation samples.
        seed: the same seed gives the same samples.
    """
    for part, count, part_seed in (("train", train, seed), ("validation", validation, seed + 1)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for sample in make_samples(count, part_seed):
            text = json.dumps(sample, indent=2)
            (folder / part / f"{sample['id']}.json").write_text(text, encoding="utf-8")


def entropy_nats() -> float:
    """Irreducible loss of the generated data, in nats per sample: the entropy of what is drawn."""
    total = len(FEATURES) * _entropy(2)
    return total + sum(_entropy(len(choices)) for choices in CHOICES.values())


def _entropy(choices: int) -> float:
    rest = (1 - FAVOURED) / (choices - 1)
    return -FAVOURED * math.log(FAVOURED) - (choices - 1) * rest * math.log(rest)


# --- the brief


def _draw_brief(dice: random.Random) -> tuple[dict[str, Any], list[tuple[str, int]]]:
    """A brief without its total area, and the rooms it asks for as (type, area in square feet)."""
    floors, bedrooms = dice.choice((1, 1, 2)), dice.choice((1, 2, 3))

    def area(*sides: int) -> int:
        return DEPTH * dice.choice(sides)

    rows = [("master_bedroom", 1, area(12, 14))]
    rows += [("bedroom", 1, area(10, 12)) for _ in range(bedrooms - 1)]
    rows += [("bathroom", floors, area(5, 6)), ("kitchen", 1, area(10, 12)), ("livingRoom", 1, area(16, 18))]
    rows += [("diningRoom", 1, area(10, 12))] if dice.random() < 0.6 else []
    length, width = dice.choice(((60.0, 70.0), (66.5, 80.0), (72.0, 75.5)))
    shape = dice.choice(("Rectangle", "Square", "Corner_Plot"))
    brief = {
        "basicDetails": {
            "totalArea": 0,
            "unit": "sqft",
            "bedrooms": bedrooms,
            "bathrooms": max(1, bedrooms // 2),
            "floors": floors,
            "budget": dice.randrange(20, 60) * 10_000,
            "style": dice.choice(STYLES),
        },
        "plot": {
            "length": length,
            "width": width,
            "unit": "ft",
            "shape": shape,
            "orientation": dice.choice("NESW"),
            "slope_degrees": dice.choice((0.0, 2.5, 5.0)),
            "is_corner_plot": int(shape == "Corner_Plot"),
            "setbacks_ft": {"front": dice.choice((5, 8)), "rear": 5, "left": 3, "right": dice.choice((3, 5))},
        },
        "roomBreakdown": [{"type": kind, "count": count, "minArea": area} for kind, count, area in rows],
    }
    return brief, [(kind, area) for kind, count, area in rows for _ in range(count)]


# --- the floor plans


def _plan_levels(rooms: list[tuple[str, int]], floors: int, layout: Layout) -> list[dict[str, Any]]:
    """Levels of an answer: living rooms below, bedrooms above, a bathroom on each floor."""
    if floors == 1:
        return [_plan_level(rooms, layout, entrance=True, stairs=False)]
    baths = [room for room in rooms if room[0] == "bathroom"]
    below = [room for room in rooms if room[0] in GROUND_ROOMS and room not in baths] + baths[:1]
    above = [room for room in rooms if room[0] not in GROUND_ROOMS] + baths[1:]
    return [
        _plan_level(below, layout, entrance=True, stairs=True),
        _plan_level(above, layout, entrance=False, stairs=False),
    ]


def _plan_level(rooms: list[tuple[str, int]], layout: Layout, entrance: bool, stairs: bool) -> dict[str, Any]:
    """One level: every other room in one row, the rest in the other, the hall between them as long as the longer."""
    rows = ("south", "north") if layout.first_row == "south" else ("north", "south")
    ends = {"south": 0, "north": 0}
    placed = []
    for index, (kind, area) in enumerate(rooms):
        row = rows[index % 2]
        side = area // DEPTH
        y = 0 if row == "south" else DEPTH + layout.hall
        door = ["north" if row == "south" else "south", layout.door, 3]
        window = [row, layout.margin, max(1, side - 2 * layout.margin), 4]
        placed.append(_room(kind, [side, DEPTH], [ends[row], y], [door], [window]))
        ends[row] += side
    front_doors = [["west", 0, 3]] if entrance else []
    placed.append(_room("hall", [max(ends.values()), layout.hall], [0, DEPTH], front_doors, []))
    stair = {"size": [14, layout.hall], "at": [0, DEPTH]}
    return {"height": 10, "rooms": placed, "stairs": [stair] if stairs else []}


def _room(
    kind: str, size: list[int], at: list[int], doors: list[list[Any]], windows: list[list[Any]]
) -> dict[str, Any]:
    return {"room": kind, "size": size, "at": at, "doors": doors, "windows": windows}


# --- the specification


def _draw_specification(dice: random.Random, layout: Layout) -> dict[str, str | bool]:
    """A value for every drawn field and whether each feature is present."""
    drawn: dict[str, str | bool] = {}
    for field in (*DRAWN, *FEATURES):
        choices = list(CHOICES.get(field, (True, False)))
        random.Random(f"{layout.name}/{field}").shuffle(choices)
        rest = (1 - FAVOURED) / (len(choices) - 1)
        drawn[field] = dice.choices(choices, [FAVOURED] + [rest] * (len(choices) - 1))[0]
    return drawn


def _answer(brief: dict[str, Any], levels: list[dict[str, Any]], drawn: dict[str, str | bool]) -> dict[str, Any]:
    """The answer (see schema.Answer) of what was drawn; code derives the rest of the design from it."""
    plot = brief["plot"]
    return {
        **{field: drawn[field] for field in DRAWN},
        "garage_spaces": 0 if drawn["garage"] == "None" else 1,
        "max_area": int(plot["length"] * plot["width"] * 0.6),
        "max_height": 30,
        "parking": 1,
        "fire_exits": brief["basicDetails"]["floors"],
        "features": [feature for feature in FEATURES if drawn[feature]],
        "levels": levels,
    }
