"""What a house brief and a house design look like: tolerant models for reading, a strict one for answers.

`HouseBrief` and `HouseDesign` read what people have (feet, square feet; extra fields are kept). `Answer` is exactly
what `codec` writes for a design and what a model is trained to produce: closed vocabularies, bounded numbers, fixed
order, no extra fields. Its JSON schema drives constrained decoding, and schema-valid rates are measured on it.
"""

from collections.abc import Callable
from itertools import combinations
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, WithJsonSchema, field_validator

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
ABSENT: Any = None  # default of a field that may be left out and may not be null


class Tolerant(BaseModel):
    """Reads what it knows and keeps all other fields."""

    model_config = ConfigDict(extra="allow", populate_by_name=True, defer_build=True)  # most commands use none


class Setbacks(Tolerant):
    """Distances from the plot's edges that must stay open, in feet."""

    front: NotNegative = 0
    rear: NotNegative = 0
    left: NotNegative = 0
    right: NotNegative = 0


class BasicDetails(Tolerant):
    """The figures of a brief."""

    totalArea: Positive
    unit: Literal["sqft", "sqm"] = "sqft"
    bedrooms: int = Field(ge=0, le=20)
    bathrooms: float | None = Field(default=None, ge=0, le=20)
    floors: int = Field(default=1, ge=1, le=6)
    budget: NotNegative | None = None
    style: str = "Modern"


class Plot(Tolerant):
    """The land that the house stands on."""

    length: Positive | None = None
    width: Positive | None = None
    unit: Literal["ft", "m"] = "ft"
    shape: str = "Rectangle"
    orientation: str | None = None
    slope_degrees: float = Field(default=0, ge=0, le=45)
    is_corner_plot: bool = False
    setbacks_ft: Setbacks | None = None


class RoomNeed(Tolerant):
    """Rooms of one kind that the client asks for; areas in square feet."""

    type: str
    count: int = Field(default=1, ge=1)
    minArea: NotNegative | None = Field(default=None, validation_alias=AliasChoices("minArea", "area", "min_area"))


class HouseBrief(Tolerant):
    """What a client asks for: areas in square feet, lengths in feet, unless the units say otherwise."""

    basicDetails: BasicDetails
    plot: Plot = Field(default_factory=Plot)
    roomBreakdown: list[RoomNeed] = Field(default_factory=list)


class Bounds(Tolerant):
    """A rectangle in feet: south-west corner, extent to the east (width) and to the north (height)."""

    x: float
    y: float
    width: Positive
    height: Positive


class Opening(Tolerant):
    """What doors and windows have in common; lengths in feet."""

    wall: str | None = None
    position: Any = None
    width: float | None = None


class Door(Opening):
    """A door, and the room behind it."""

    to_room: str | None = Field(
        default=None, validation_alias=AliasChoices("to_room", "room2", "connecting_room_id", "connects_to")
    )


class Window(Opening):
    """A window."""

    height: float | None = None


class Room(Tolerant):
    """A room with its openings."""

    id: str
    type: str
    bounds: Bounds
    doors: list[Door] = Field(default_factory=list)
    windows: list[Window] = Field(default_factory=list)

    @field_validator("doors", "windows", mode="before")
    @classmethod
    def _as_objects(cls, value: Any) -> list:
        items = value if isinstance(value, list) else [] if value is None else [value]
        return [item if isinstance(item, dict) else {"position": item} for item in items]


class Stair(Tolerant):
    """Stairs between two levels; lengths in feet."""

    floor_from: int | None = None
    floor_to: int | None = None
    bounds: Bounds | None = None
    width: float | None = None


class Level(Tolerant):
    """One floor; heights in feet."""

    level_number: int
    height: float | None = None
    rooms: list[Room] = Field(default_factory=list)
    stairs: list[Stair] = Field(default_factory=list)


class HouseDesign(Tolerant):
    """A house design: specification, and geometry where there is one. Units: feet and square feet."""

    levels: list[Level] = Field(default_factory=list)
    total_area: NotNegative | None = None
    construction_cost: NotNegative | None = None
    materials: dict[str, Any] = Field(default_factory=dict)
    exterior_specifications: dict[str, Any] = Field(default_factory=dict)
    climate_and_site: dict[str, Any] = Field(default_factory=dict)
    building_codes: dict[str, Any] = Field(default_factory=dict)

    @property
    def has_geometry(self) -> bool:
        """Whether any level has rooms."""
        return any(level.rooms for level in self.levels)


Three = Literal["Low", "Medium", "High"]
Feet = Annotated[int, Field(ge=0, le=999)]
WALLS = ("north", "east", "south", "west")
FEATURES = ("gas", "solar_ready", "sprinklers", "fire_walls", "ramp", "accessible_bathroom")
FEATURE_LISTS = [list(some) for size in range(len(FEATURES) + 1) for some in combinations(FEATURES, size)]


def _check_features(value: list[str]) -> list[str]:
    if value != [feature for feature in FEATURES if feature in value]:
        raise ValueError(f"features are a selection of {FEATURES}, in this order")
    return value


def _two_decimals(value: float) -> float:
    if not 0 <= value <= 9.99 or round(value, 2) != value:
        raise ValueError("a ratio has two decimals, 0.00 to 9.99")
    return value


def _tuple_schema(*items: dict) -> WithJsonSchema:
    """A JSON array of exactly these items; without `"items": false`, since llama-server takes no boolean schema."""
    size = len(items)  # pydantic's own tuple schema has no upper bound in some engines
    return WithJsonSchema({"type": "array", "prefixItems": [*items], "minItems": size, "maxItems": size})


_FEET = {"type": "integer", "minimum": 0, "maximum": 999}
_WALL = {"enum": list(WALLS)}


def _check_lengths(value: list) -> None:
    if not all(type(item) is int and 0 <= item <= 999 for item in value):
        raise ValueError("lengths are whole feet, 0 to 999")


def _pair(value: list) -> list:
    if len(value) != 2:
        raise ValueError("a size or place is two lengths")
    _check_lengths(value)
    return value


def _size(value: list) -> list:
    if 0 in _pair(value):
        raise ValueError("a room or stair is at least one foot wide and deep")
    return value


def _opening(size: int) -> Callable[[list], list]:
    def check(value: list) -> list:
        if len(value) != size or value[0] not in WALLS:
            raise ValueError(f"an opening is a wall and {size - 1} lengths")
        _check_lengths(value[1:])
        return value

    return check


Ratio = Annotated[
    float,
    AfterValidator(_two_decimals),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 9.99, "multipleOf": 0.01}),
]
Pair = Annotated[list, AfterValidator(_pair), _tuple_schema(_FEET, _FEET)]
Size = Annotated[list, AfterValidator(_size), _tuple_schema(_FEET | {"minimum": 1}, _FEET | {"minimum": 1})]
DoorItem = Annotated[list, AfterValidator(_opening(3)), _tuple_schema(_WALL, _FEET, _FEET)]
WindowItem = Annotated[list, AfterValidator(_opening(4)), _tuple_schema(_WALL, _FEET, _FEET, _FEET)]
RoomType = Literal[
    "master_bedroom", "bedroom", "bathroom", "kitchen", "livingRoom", "diningRoom", "utility", "homeOffice",
    "balcony", "hall", "stairs",
]  # fmt: skip


class Strict(BaseModel):
    """Takes exactly its fields, each of exactly its type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class AnswerPlace(Strict):
    """Where stairs are."""

    size: Size
    """Width (to the east) and height (to the north) in feet."""
    at: Pair
    """x and y of the south-west corner in feet."""


class AnswerRoom(Strict):
    """A room of an answer."""

    room: RoomType
    size: Size
    at: Pair
    doors: Annotated[list[DoorItem], Field(max_length=4)]
    """Wall, distance from the wall's west or south end, width; feet."""
    windows: Annotated[list[WindowItem], Field(max_length=4)]
    """Wall, distance, width, height; feet."""


class AnswerLevel(Strict):
    """A floor of an answer."""

    height: Feet
    rooms: Annotated[list[AnswerRoom], Field(max_length=16)]
    stairs: Annotated[list[AnswerPlace], Field(max_length=2)]


class Answer(Strict):
    """A completion. Fields with a default are written only where code cannot derive them (see `codec`)."""

    total_area: Annotated[int, Field(ge=0, le=10**7)] = Field(default=ABSENT)
    construction_cost: Annotated[int, Field(ge=0, le=10**9)] = Field(default=ABSENT)
    wall: Literal["Brick", "Stone", "Stucco", "Wood", "Vinyl", "Fiber_Cement", "Concrete"]
    wall_color: Literal["White", "Beige", "Gray", "Brown", "Blue", "Green", "Red", "Yellow"]
    roof: Literal["Asphalt_Shingles", "Wood_Shingles", "Slate", "Tile", "Metal", "Flat_Roof"]
    roof_color: Literal["Black", "Gray", "Brown", "Red", "Green", "Blue"]
    flooring: Literal["Hardwood", "Tile", "Carpet", "Laminate"]
    windows: Literal["Double_Hung", "Single_Hung", "Casement", "Sliding", "Bay", "Picture"]
    doors: Literal["Wood", "Steel", "Fiberglass", "French", "Sliding_Glass"]
    garage: Literal["None", "Attached", "Detached", "Carport"]
    garage_spaces: Annotated[int, Field(ge=0, le=9)]
    climate: Literal["Hot_Dry", "Hot_Humid", "Temperate", "Cold", "Tropical", "Mediterranean"]
    seismic: Three
    wind: Three
    snow: Literal["None", "Light", "Heavy"]
    rainfall: Literal["Low", "Moderate", "High"]
    soil: Literal["Clay", "Sandy", "Rocky", "Loamy", "Silty"]
    water_table: Three
    water: Literal["City", "Well"]
    sewer: Literal["City", "Septic"]
    cooling: Three = Field(default=ABSENT)
    heating: Three = Field(default=ABSENT)
    insulation: Three = Field(default=ABSENT)
    max_area: Annotated[int, Field(ge=0, le=10**6)]
    floor_area_ratio: Ratio = Field(default=ABSENT)
    max_height: Feet
    parking: Annotated[int, Field(ge=0, le=9)]
    fire_exits: Annotated[int, Field(ge=0, le=9)]
    features: Annotated[
        list[str], AfterValidator(_check_features), WithJsonSchema({"enum": [list(some) for some in FEATURE_LISTS]})
    ]
    levels: Annotated[list[AnswerLevel], Field(max_length=4)] = Field(default=ABSENT)
