"""Generated samples that can be learned: the schema of the real dataset, with real geometry.

What a house looks like follows from its brief by the conventions of a region: each of them is a table over two or
three fields of the brief, such as the width of the hall over style and floors. A model has to learn the tables from
the samples, and few samples do not show them whole. A few fields of the specification are drawn, independently of the
brief but with a favourite, so that the entropy of the data is known exactly, and no honest model gets below it.
"""

import json
import math
import random
from collections.abc import Iterator
from functools import cache
from itertools import permutations, product
from pathlib import Path
from typing import Any, NamedTuple

from housebrain_core.house.design_text import expand_design
from housebrain_core.house.schema import Answer

FAVOURED = 0.85
"""Probability of a region's favourite value of a drawn field; the other values share the rest equally."""
DRAWN: dict[str, tuple[Any, ...]] = {
    "soil": ("Clay", "Sandy", "Rocky", "Loamy", "Silty"),
    "water_table": ("Low", "Medium", "High"),
    "water": ("City", "Well"),
    "features": ((), ("solar_ready",)),
}
"""Fields of the answer that do not follow from the brief, with their values."""
CONSTANT = {"climate": "Temperate", "seismic": "Low", "wind": "Low", "snow": "None", "rainfall": "Moderate",
            "sewer": "City", "max_area": 2400, "max_height": 30, "parking": 0, "fire_exits": 1}  # fmt: skip
"""Fields that every answer has and nobody should spend steps on."""
BRIEF: dict[str, tuple[Any, ...]] = {
    "style": ("Modern", "Traditional", "Mediterranean", "Craftsman", "Minimalist"),
    "orientation": ("N", "E", "S", "W"),
    "shape": ("Rectangle", "Square", "Corner_Plot"),
    "floors": (1, 2),
    "bedrooms": (1, 2, 3),
    "slope": (0.0, 2.5, 5.0),
    "plot": ((60.0, 70.0), (66.5, 80.0), (72.0, 75.5)),
    "budget": (300_000, 400_000, 500_000, 600_000),
}
"""What a brief chooses from; all choices are uniform and independent."""
DEPTH = 12
"""Feet from the hall to the outer wall."""
WIDTHS = {"livingRoom": 16, "kitchen": 10, "diningRoom": 12, "bathroom": 6, "master_bedroom": 12, "bedroom": 12}
"""Feet along the hall."""
GROUND_ROOMS = ("livingRoom", "kitchen", "diningRoom", "bathroom")
STAIR_RUN = 10
DOOR = 3
WINDOW_HEIGHT = 5


class Convention(NamedTuple):
    """A property of the houses of a region, and the fields of the brief that it depends on."""

    values: tuple[Any, ...]
    few: tuple[str, ...]
    """Fields of the brief: 8 to 60 combinations, of which a few hundred samples show most."""
    one_more: str
    """A further field where conventions are many: 32 to 120 combinations, for datasets of thousands of samples."""


CONVENTIONS = {
    "wall": Convention(("Brick", "Stone", "Stucco", "Wood", "Vinyl"), ("style", "orientation"), "slope"),
    "wall_color": Convention(("White", "Beige", "Gray", "Brown", "Blue"), ("style", "orientation", "shape"), "floors"),
    "roof": Convention(("Asphalt_Shingles", "Slate", "Tile", "Metal"), ("style", "shape"), "slope"),
    "roof_color": Convention(
        ("Black", "Gray", "Brown", "Red", "Green"), ("orientation", "shape", "bedrooms"), "floors"
    ),
    "flooring": Convention(("Hardwood", "Tile", "Carpet", "Laminate"), ("style", "floors", "bedrooms"), "plot"),
    "windows": Convention(("Double_Hung", "Casement", "Sliding", "Bay"), ("style", "slope"), "plot"),
    "doors": Convention(("Wood", "Steel", "Fiberglass", "French"), ("orientation", "budget"), "slope"),
    "garage": Convention(("None", "Attached", "Detached", "Carport"), ("shape", "plot"), "budget"),
    "height": Convention((10, 11, 12, 13), ("style", "orientation", "floors"), "shape"),
    "row": Convention(("south", "north"), ("orientation", "floors"), "budget"),
    "order": Convention(tuple(permutations(GROUND_ROOMS)), ("style", "orientation", "bedrooms"), "floors"),
    "hall": Convention((3, 4, 5, 6), ("style", "floors"), "budget"),
    "door": Convention((0, 1, 2, 3), ("orientation", "bedrooms"), "plot"),
    "margin": Convention((1, 2, 3, 4), ("style", "bedrooms"), "budget"),
    "entrance": Convention((("west", 2), ("west", 3), ("east", 2), ("east", 3)), ("orientation", "shape"), "budget"),
}
"""The conventions. Of the last seven: height of a storey; side of the first room; order of the rooms along the hall;
width of the hall; from a wall's end to the door; from a wall's ends to its window; wall and width of the front door;
all in feet."""


class Region(NamedTuple):
    """Where houses are built alike."""

    name: str
    """Decides the tables of its conventions and its favourites."""
    front: int
    """Feet that its houses stay behind the street; by it a brief tells its region."""
    many: bool = False
    """Whether its conventions depend on more fields of the brief, so that more samples are needed."""
    broken: float = 0.0
    """Share of its houses that have one floor in the place of two, or two of one, and so break the rule room_counts."""


DEMO = Region("Demo", front=5)
OTHERS = tuple(Region(f"Other {number}", front=3 + number) for number in (1, 3, 4, 5, 6))
"""Regions that the demo's base model has seen."""
NAMED_SHARE = 2 / 3
"""Of the mixture: samples of other regions. The rest are for the demo's region, with all values drawn afresh."""


def make_samples(count: int, seed: int | str, region: Region = DEMO) -> Iterator[dict[str, Any]]:
    """Generates samples of a region; the same arguments give the same samples.

    Args:
        count: samples.
        seed: of the briefs and of what is drawn.
        region: whose conventions the designs keep.
    """
    dice = random.Random(f"housebrain/{seed}")
    for index in range(count):
        chosen = {field: dice.choice(values) for field, values in BRIEF.items()}
        facts = {field: look_up(region, field, chosen) for field in CONVENTIONS}
        drawn = {field: _draw(dice, region, field) for field in DRAWN}
        drawn |= {"broken": region.broken and dice.random() < region.broken}
        yield _sample(f"{region.name.upper()}-{seed}-{index:06d}", region, chosen, facts | drawn)


def make_mixture(count: int, seed: int, many: bool = False) -> Iterator[dict[str, Any]]:
    """Generates what the demo's base model is taught: form and geometry, but not the demo's conventions.

    From other regions it learns which fields depend on which; from values drawn afresh, not to guess the demo's.

    Args:
        count: samples.
        seed: the same seed gives the same samples.
        many: whether conventions depend on more fields of the brief; see `Region`.
    """
    dice = random.Random(f"mixture/{seed}")
    for index in range(count):
        if dice.random() < NAMED_SHARE:
            yield from make_samples(1, f"{seed}/{index}", dice.choice(OTHERS)._replace(many=many))
            continue
        chosen = {field: dice.choice(values) for field, values in BRIEF.items()}
        facts = {field: dice.choice(convention.values) for field, convention in CONVENTIONS.items()}
        drawn = {field: dice.choice(values) for field, values in DRAWN.items()}
        yield _sample(f"MIXED-{seed}-{index:06d}", DEMO, chosen, facts | drawn)


def write_dataset(folder: Path, train: int, validation: int, seed: int = 7, region: Region = DEMO) -> None:
    """Writes generated samples as a dataset folder: train/*.json and validation/*.json, one sample each.

    Args:
        folder: made if it does not exist.
        train: training samples.
        validation: validation samples.
        seed: the same seed gives the same samples.
        region: whose conventions the designs keep.
    """
    for part, count, part_seed in (("train", train, seed), ("validation", validation, seed + 1)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for sample in make_samples(count, part_seed, region):
            text = json.dumps(sample, indent=2)
            (folder / part / f"{sample['id']}.json").write_text(text, encoding="utf-8")


def entropy_nats() -> float:
    """Irreducible loss of the generated data, in nats per sample: the entropy of what is drawn."""
    return sum(_entropy(len(values)) for values in DRAWN.values())


def _entropy(values: int) -> float:
    rest = (1 - FAVOURED) / (values - 1)
    return -FAVOURED * math.log(FAVOURED) - (values - 1) * rest * math.log(rest)


def look_up(region: Region, field: str, chosen: dict[str, Any]) -> Any:
    """What a region's convention says.

    Args:
        region: whose convention.
        field: a key of CONVENTIONS.
        chosen: what the brief chose, field by field, as in BRIEF.
    """
    convention = CONVENTIONS[field]
    keys = (*convention.few, convention.one_more) if region.many else convention.few
    return _table(region, field, keys)[tuple(chosen[key] for key in keys)]


@cache
def _table(region: Region, field: str, keys: tuple[str, ...]) -> dict[tuple[Any, ...], Any]:
    """A value for each combination of a brief's fields; every value is as frequent as the others."""
    values = CONVENTIONS[field].values
    cells = list(product(*(BRIEF[key] for key in keys)))
    dice = random.Random(f"{region.name}/{field}")
    order = dice.sample(values, len(values))
    shuffled = [order[index % len(order)] for index in range(len(cells))]
    dice.shuffle(shuffled)
    return dict(zip(cells, shuffled, strict=True))


def _draw(dice: random.Random, region: Region, field: str) -> Any:
    """A value of a drawn field: the region's favourite, or one of the others."""
    values = DRAWN[field]
    favourite = random.Random(f"{region.name}/{field}").choice(values)
    if dice.random() < FAVOURED:
        return favourite
    return dice.choice([value for value in values if value != favourite])


def _sample(name: str, region: Region, chosen: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """A sample from what its brief chose, and from what conventions and dice say of its design."""
    brief = _make_brief(chosen, region.front)
    return {
        "id": name,
        "input": brief,
        "output": expand_design(brief, _answer(chosen, facts)),
        "metadata": {"region": region.name, "drawn": list(DRAWN)},
    }


def _make_brief(chosen: dict[str, Any], front: int) -> dict[str, Any]:
    length, width = chosen["plot"]
    rooms = [*GROUND_ROOMS, *_bedrooms(chosen["bedrooms"])]
    return {
        "basicDetails": {
            "totalArea": _mean_area(chosen["bedrooms"], chosen["floors"]),
            "unit": "sqft",
            "bedrooms": chosen["bedrooms"],
            "bathrooms": 1,
            **{name: chosen[name] for name in ("floors", "budget", "style")},
        },
        "plot": {
            "length": length,
            "width": width,
            "unit": "ft",
            "shape": chosen["shape"],
            "orientation": chosen["orientation"],
            "slope_degrees": chosen["slope"],
            "setbacks_ft": {"front": front, "rear": 5, "left": 3, "right": 3},
        },
        "roomBreakdown": [
            {"type": room, "count": rooms.count(room), "minArea": DEPTH * WIDTHS[room]} for room in dict.fromkeys(rooms)
        ],
    }


def _bedrooms(count: int) -> list[str]:
    return ["master_bedroom"] + ["bedroom"] * (count - 1)


@cache
def _mean_area(bedrooms: int, floors: int) -> int:
    """Square feet of all rooms, in the mean over what conventions may say: a brief does not know them."""
    areas = []
    for order, hall in product(CONVENTIONS["order"].values, CONVENTIONS["hall"].values):
        facts = {"order": order, "hall": hall, "height": 0, "row": "south", "door": 0, "margin": 0, "entrance": ("", 0)}
        levels = _plan_levels(_bedrooms(bedrooms), floors, facts)
        areas.append(sum(math.prod(room["size"]) for level in levels for room in level["rooms"]))
    return round(sum(areas) / len(areas))


def _answer(chosen: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """The answer (see schema.Answer); code derives the rest of the design from it."""
    floors = 3 - chosen["floors"] if facts.get("broken") else chosen["floors"]
    return CONSTANT | {
        **{name: facts[name] for name in Answer.model_fields if name in facts},
        "garage_spaces": 0 if facts["garage"] == "None" else 1,
        "features": list(facts["features"]),
        "levels": _plan_levels(_bedrooms(chosen["bedrooms"]), floors, facts),
    }


def _plan_levels(bedrooms: list[str], floors: int, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Levels of an answer: bedrooms after the other rooms, or above them."""
    wall, width = facts["entrance"]
    front_doors = [[wall, 0, width]]
    if floors == 1:
        return [_plan_level([*facts["order"], *bedrooms], facts, front_doors, stairs=False)]
    below = _plan_level([*facts["order"]], facts, front_doors, stairs=True)
    return [below, _plan_level(bedrooms, facts, [], stairs=False)]


def _plan_level(rooms: list[str], facts: dict[str, Any], front_doors: list[Any], stairs: bool) -> dict[str, Any]:
    """One level: every other room in one row, the rest in the other, the hall between them as long as the longer."""
    rows = ("south", "north") if facts["row"] == "south" else ("north", "south")
    ends = {"south": 0, "north": 0}
    placed = []
    for index, kind in enumerate(rooms):
        row = rows[index % 2]
        side = WIDTHS[kind]
        y = 0 if row == "south" else DEPTH + facts["hall"]
        door = ["north" if row == "south" else "south", facts["door"], DOOR]
        window = [row, facts["margin"], side - 2 * facts["margin"], WINDOW_HEIGHT]
        windows = [] if kind in ("kitchen", "bathroom") else [window]
        placed.append(_room(kind, [side, DEPTH], [ends[row], y], [door], windows))
        ends[row] += side
    placed.append(_room("hall", [max(ends.values()), facts["hall"]], [0, DEPTH], front_doors, []))
    stair = {"size": [STAIR_RUN, facts["hall"]], "at": [0, DEPTH]}
    return {"height": facts["height"], "rooms": placed, "stairs": [stair] if stairs else []}


def _room(kind: str, size: list[int], at: list[int], doors: list[Any], windows: list[Any]) -> dict[str, Any]:
    return {"room": kind, "size": size, "at": at, "doors": doors, "windows": windows}
