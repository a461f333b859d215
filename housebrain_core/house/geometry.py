"""Where rooms are: overlaps, doors that join them, and how findings name them. Feet and square feet."""

from collections.abc import Iterable
from itertools import combinations
from typing import Any

from housebrain_core.house.schema import Bounds, Door, Level, Room

TOUCH = 0.05
"""Feet within which a door's wall and a neighbour count as touching."""
NAMED = 3
"""Rooms of a level that a finding names; the others are counted."""


def where(level: Level, room: Room) -> str:
    """Level and room as a finding names them."""
    return f"level {level.level_number}, {room.type} {room.id}"


def area(box: Bounds) -> float:
    """Square feet of a rectangle."""
    return box.width * box.height


def name_rooms(level: Level, rooms: Iterable[Room] | None = None, named: int = NAMED) -> str:
    """A level and its rooms, or some of them, as a finding names them: the largest first, with their areas."""
    ordered = sorted(level.rooms if rooms is None else rooms, key=lambda room: -area(room.bounds))
    names = [f"{room.type} {room.id} ({area(room.bounds):g} ft2)" for room in ordered[:named]] or ["no rooms"]
    more = len(ordered) - named
    return f"level {level.level_number}, {', '.join(names)}{f' and {more} more' if more > 0 else ''}"


def name_levels(levels: Iterable[Level]) -> str:
    """All levels with their largest rooms, for a finding about the whole house."""
    return "; ".join(name_rooms(level, named=1) for level in levels)


def is_number(value: Any) -> bool:
    """Whether a value is a number, which True is not."""
    return type(value) in (int, float)


def extent(boxes: list[Bounds]) -> tuple[float, float]:
    """Width and height of everything together."""
    return (
        max(box.x + box.width for box in boxes) - min(box.x for box in boxes),
        max(box.y + box.height for box in boxes) - min(box.y for box in boxes),
    )


def overlaps(level: Level, tolerance: float = TOUCH) -> list[tuple[Room, Room, float, float]]:
    """Pairs of rooms that share more than a border, with width and height of what they share."""
    found = []
    for one, other in combinations(level.rooms, 2):
        a, b = one.bounds, other.bounds
        wide = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
        high = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
        if min(wide, high) > tolerance:
            found.append((one, other, wide, high))
    return found


def unreached(level: Level) -> list[Room]:
    """Rooms that no door joins to the largest group of rooms; none where the level has no doors at all."""
    if not any(room.doors for room in level.rooms):
        return []
    groups = [{index} for index in range(len(level.rooms))]
    for index, room in enumerate(level.rooms):
        for other, neighbour in enumerate(level.rooms):
            if other != index and any(_joins(room, door, neighbour) for door in room.doors):
                one, two = (next(group for group in groups if member in group) for member in (index, other))
                if one is not two:
                    one |= two
                    groups.remove(two)
    groups.sort(key=len, reverse=True)
    return [level.rooms[index] for group in groups[1:] for index in sorted(group)]


def _joins(room: Room, door: Door, neighbour: Room) -> bool:
    """Whether a door of a room leads into a neighbour: by name, or because its wall touches it there."""
    if door.to_room is not None:
        return door.to_room in (neighbour.id, neighbour.type)
    one, other = room.bounds, neighbour.bounds
    wall = str(door.wall).lower()
    edges = {"north": (one.y + one.height, other.y), "south": (one.y, other.y + other.height),
             "east": (one.x + one.width, other.x), "west": (one.x, other.x + other.width)}  # fmt: skip
    if wall not in edges or abs(edges[wall][0] - edges[wall][1]) > TOUCH:
        return False
    along_x = wall in ("north", "south")
    at = (one.x if along_x else one.y) + (door.position if is_number(door.position) else 0)
    low, high = (other.x, other.x + other.width) if along_x else (other.y, other.y + other.height)
    return at < high and at + (door.width or 0) > low
