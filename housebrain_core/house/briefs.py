"""Whether a brief can be used, with all its problems at once, and the one form in which models are given it."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from housebrain_core.errors import DataError
from housebrain_core.house.brief_text import BEDROOMS, BRIEF_FIELDS
from housebrain_core.house.measures import FT_PER_M, SQFT_PER_SQM, sides_of
from housebrain_core.house.schema import BasicDetails, HouseBrief, Plot, RoomNeed, Setbacks
from housebrain_core.texts import as_given

WHOLE = {"totalArea", "bathrooms", "budget", "minArea", "front", "rear", "left", "right", "is_corner_plot"}
"""Fields that are whole numbers in the dataset, so that 1200.0 and 1200 give the same prompt."""
DECIMAL = {"length", "width", "slope_degrees"}
UNITS = {"front": "ft", "rear": "ft", "left": "ft", "right": "ft", "budget": "of your currency", "slope_degrees": "°"}

SANITY_BRIEF = {
    "basicDetails": {"totalArea": 1200, "unit": "sqft", "bedrooms": 2, "bathrooms": 1, "floors": 1, "budget": 900000,
                     "style": "Modern"},
    "plot": {"length": 40, "width": 30, "unit": "ft", "orientation": "N",
             "setbacks_ft": {"front": 5, "rear": 5, "left": 3, "right": 3}},
    "roomBreakdown": [],
}  # fmt: skip
"""The brief of the guide's sanity check."""


def is_brief(value: Any) -> bool:
    """Whether a value is meant as a house brief, and not as the input of other data: a text, or other fields.

    Args:
        value: any JSON value.
    """
    return isinstance(value, dict) and any(name in value for name in BRIEF_FIELDS)


class CheckedBrief(NamedTuple):
    """A brief that can be used."""

    plain: Any
    """As plain JSON values, in the dataset's order of keys and types of numbers; unknown fields stay as they are. Of
    other data any value."""
    doubts: list[str]
    """What is possible in it but seldom meant, a line each."""


def check_brief(brief: dict[str, Any] | HouseBrief) -> dict[str, Any]:
    """A brief as plain JSON values, after all of it was checked.

    Args:
        brief: with the field names of schema.HouseBrief; areas in basicDetails.unit, lengths in plot.unit.

    Returns:
        The brief in the dataset's order of keys and types of numbers; unknown fields stay as they are.

    Raises:
        DataError: listing every problem in the brief's own field names and units.
    """
    checked, problems = _check(brief)
    if not checked:
        raise DataError("the brief cannot be used:\n  " + "\n  ".join(problems))
    return checked.plain


def check_briefs(briefs: Iterable[Any]) -> tuple[list[CheckedBrief], list[str]]:
    """Checks many briefs.

    Args:
        briefs: as for `check_brief`.

    Returns:
        Those that can be used, and the problems of the others, a line each with the number of the brief from 1.
    """
    usable = []
    problems = []
    for number, brief in enumerate(briefs, 1):
        checked, lines = _check(brief)
        usable += [checked] if checked else []
        problems += [f"brief {number}: {line}" for line in lines]
    return usable, problems


def _check(brief: Any) -> tuple[CheckedBrief | None, list[str]]:
    """A brief, or everything that is wrong with it, a line each."""
    plain = brief.model_dump(exclude_unset=True) if isinstance(brief, HouseBrief) else brief
    try:
        parsed = HouseBrief.model_validate(plain)
    except ValidationError as error:
        return None, [_describe(plain, problem) for problem in error.errors()]
    problems = _find_overlaps(parsed)
    if problems:
        return None, problems
    return CheckedBrief(_arrange(plain, HouseBrief), find_doubts(parsed)), []


def _find_overlaps(checked: HouseBrief) -> list[str]:
    """Setbacks that leave nothing of the plot, a line each."""
    plot = checked.plot
    unit = plot.unit
    setbacks = plot.setbacks_ft
    factor = 1 / FT_PER_M if unit == "m" else 1
    problems = []
    for side, ends in (("length", ("front", "rear")), ("width", ("left", "right"))):
        size = getattr(plot, side)
        if setbacks and size and size <= factor * sum(getattr(setbacks, end) for end in ends):
            given = " and ".join(f"{end} {getattr(setbacks, end):g} ft" for end in ends)
            problems.append(f"plot.setbacks_ft: {given} leave nothing of the plot's {side} of {size:g} {unit}")
    return problems


def find_doubts(checked: HouseBrief) -> list[str]:
    """What is possible in a brief but seldom meant, a line each: its numbers do not go together."""
    details = checked.basicDetails
    plot = checked.plot
    rooms = checked.roomBreakdown
    area = details.totalArea
    unit = details.unit
    doubts = []
    beds = sum(room.count for room in rooms if room.type in BEDROOMS)
    if rooms and beds != details.bedrooms:
        doubts.append(f"basicDetails.bedrooms = {details.bedrooms}, but roomBreakdown has {beds}")
    needed = sum(room.count * (room.minArea or 0) for room in rooms)
    if needed > area:
        doubts.append(f"the rooms need {needed:,.0f} {unit} together, but basicDetails.totalArea = {area:,.0f} {unit}")
    sides = sides_of(plot)
    if sides:
        inside = sides[0] * sides[1] * details.floors / (SQFT_PER_SQM if unit == "sqm" else 1)
        if area > 1.01 * inside:
            floors = f"{details.floors} floor{'s' * (details.floors > 1)}"
            doubts.append(
                f"basicDetails.totalArea = {area:,.0f} {unit}, but {floors} on the whole plot have {inside:,.0f}"
            )
    return doubts


def _describe(brief: Any, problem: Mapping[str, Any]) -> str:
    """A problem that pydantic found, with the value, its unit, and what was expected."""
    path = ".".join(map(str, problem["loc"])) or "brief"
    if problem["type"] == "missing":
        return f"{path} is missing"
    text = problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
    if problem["type"] in ("model_type", "dict_type"):
        text = "should be a JSON object"
    unit = _unit_of(brief, str(problem["loc"][-1]) if problem["loc"] else "")
    return f"{path} = {as_given(problem['input'])}{f' {unit}' if unit else ''}: {text}"


def _unit_of(brief: Any, field: str) -> str:
    if field in ("totalArea", "minArea", "area", "min_area"):
        return _given_unit(brief, "basicDetails", "sqft")
    return _given_unit(brief, "plot", "ft") if field in ("length", "width") else UNITS.get(field, "")


def _given_unit(brief: Any, section: str, default: str) -> str:
    part = brief.get(section) if isinstance(brief, dict) else None
    return str(part.get("unit", default)) if isinstance(part, dict) else default


def _arrange(value: Any, model: Any, field: str = "") -> Any:
    """The model's fields in its order, then the others; whole numbers as integers."""
    if isinstance(value, list):
        return [_arrange(item, model, field) for item in value]
    if isinstance(value, dict):
        fields = model.model_fields if model else {}
        order = [name for name in fields if name in value] + [name for name in value if name not in fields]
        return {name: _arrange(value[name], _MODELS.get(name), name) for name in order}
    if field in WHOLE and isinstance(value, bool | float) and float(value).is_integer():
        return int(value)
    return float(value) if field in DECIMAL and type(value) is int else value


_MODELS = {"basicDetails": BasicDetails, "plot": Plot, "roomBreakdown": RoomNeed, "setbacks_ft": Setbacks}
"""Field of a brief -> the model of what is in it."""
