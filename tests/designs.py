"""Small designs and briefs written by hand, for the tests of rules."""

from housebrain_core.house.schema import Level


def brief(plot=(40, 30), rooms=(), **details) -> dict:
    """A brief for a plot (length, width) in feet with setbacks that leave 30 x 24 ft of 40 x 30; rooms are (type,
    count, minArea)."""
    setbacks = {"front": 5, "rear": 5, "left": 3, "right": 3}
    return {
        "basicDetails": {"totalArea": 1000, "bedrooms": 0, "floors": 1, **details},
        "plot": {"length": plot[0], "width": plot[1], "setbacks_ft": setbacks},
        "roomBreakdown": [dict(zip(("type", "count", "minArea"), row, strict=True)) for row in rooms],
    }


def room(name, kind, box, doors=(), windows=()) -> dict:
    """A room; doors are (wall, position, width), windows have a height too."""
    bounds = dict(zip(("x", "y", "width", "height"), box, strict=True))
    doors = [dict(zip(("wall", "position", "width"), door, strict=True)) for door in doors]
    windows = [dict(zip(("wall", "position", "width", "height"), window, strict=True)) for window in windows]
    return {"id": name, "type": kind, "bounds": bounds, "doors": doors, "windows": windows}


def stair(*box) -> dict:
    """A stair one level up from the first level."""
    return {"floor_from": 1, "floor_to": 2, "bounds": dict(zip(("x", "y", "width", "height"), box, strict=True))}


def house(*levels, height=10, stairs=(), **more) -> dict:
    """A design whose levels are lists of rooms; the stairs are those of the first level."""
    return {
        "levels": [
            {"level_number": number, "height": height, "rooms": list(rooms), "stairs": list(stairs) * (number == 1)}
            for number, rooms in enumerate(levels, 1)
        ],
        **more,
    }


BRIEF = brief(
    (40, 40),
    [("bedroom", 2, 100), ("livingRoom", 1, 150), ("kitchen", 1, 80)],
    bedrooms=2,
    bathrooms=1,
    floors=2,
    budget=900_000,
)


def good_design() -> dict:
    """Two levels of 25 x 20 ft for `BRIEF`, everything right: 20 rules kept."""
    below = [
        room("A", "livingRoom", (0, 0, 15, 20), [("east", 2, 3)], [("west", 4, 10, 5)]),
        room("B", "kitchen", (15, 0, 10, 12), (), [("east", 2, 4, 4)]),
        room("C", "bathroom", (15, 12, 10, 8), [("west", 2, 3)]),
    ]
    above = [
        room("D", "bedroom", (0, 0, 15, 20), [("east", 2, 3)], [("west", 4, 10, 5)]),
        room("E", "bedroom", (15, 0, 10, 20), (), [("east", 4, 8, 5)]),
    ]
    return house(
        below,
        above,
        stairs=[stair(1, 1, 4, 14)],
        total_area=1000,
        construction_cost=540_000,
        exterior_specifications={"roofing": "Tile", "garage_type": "Attached", "garage_spaces": 2},
        climate_and_site={"climate_zone": "Temperate", "snow_load": "Light", "water_table": "Low",
                          "utilities": {"sewer": "Septic"}},
        building_codes={"floor_area_ratio": 0.8, "max_buildable_area": 1200, "max_height_ft": 30,
                        "parking_required": 2, "fire_safety": {"fire_exits": 1}},
    )  # fmt: skip


def set_in(design: dict, path: str, value) -> dict:
    """The design with "levels.0.rooms.1.bounds.width" changed."""
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    place = design
    for key in parents:
        place = place[key]
    place[last] = value
    return design


def one_room(**room) -> dict:
    """A design of one living room of 12 x 10 ft, with more fields of the room."""
    base = {"id": "A", "type": "living", "bounds": {"x": 0, "y": 0, "width": 12, "height": 10}}
    return {"levels": [{"level_number": 1, "rooms": [base | room]}]}


def level_of(*rooms, number=1):
    """A level of (type, x, y, width, height, doors) rooms."""
    return Level.model_validate(
        {
            "level_number": number,
            "rooms": [
                {
                    "id": f"L{number}-{index}",
                    "type": kind,
                    "bounds": {"x": x, "y": y, "width": width, "height": height},
                    "doors": [dict(zip(("wall", "position", "width"), door, strict=True)) for door in doors],
                }
                for index, (kind, x, y, width, height, doors) in enumerate(rooms, 1)
            ],
        }
    )
