"""A design as a drawing to scale: rooms, openings, stairs, plot; what is wrong is drawn in red, never hidden."""

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Rectangle

from housebrain_core.geometry import TOUCH, extent, overlaps
from housebrain_core.plan_reader import Placed, place_opening, read_plan
from housebrain_core.schema import HouseBrief, HouseDesign, Level, Room

ROOM_COLORS = {
    "bedroom": "#c9d7ee",
    "bath": "#bfe3e0",
    "toilet": "#bfe3e0",
    "kitchen": "#f6d9b8",
    "living": "#f7ecbb",
    "dining": "#f3cfc6",
    "hall": "#eeeeee",
    "stair": "#d9d9d9",
    "balcony": "#d5e8c8",
}
OTHER_COLOR = "#e6dcef"
WRONG = "#c62828"
Box = tuple[float, float, float, float]
"""x, y, width, height in feet."""


def floor_plan(design: dict | HouseDesign | str, title: str = "", brief: dict | None = None) -> Figure:
    """A design as a drawing: one axes per level; a card with the specification where there is no geometry.

    Args:
        design: lengths in feet, or any structure that plan_reader knows.
        title: above the drawing.
        brief: for plot and setbacks; the design's own `input` where not given.
    """
    plan = read_plan(design)
    levels = [level for level in plan.design.levels if level.rooms or plan.problems.get(level.level_number)]
    if not levels:
        return specification_card(plan.design, title)
    site = _find_site(brief or (plan.design.model_extra or {}).get("input"), levels)
    frames = [_frame(level, site) for level in levels]
    widths = [right - left for left, _, right, _ in frames]
    scale = min(0.17, 6.5 * len(levels) / sum(widths))
    tallest = max(top - bottom for _, bottom, _, top in frames)
    figure = Figure(figsize=(max(5, scale * sum(widths) + 1.2), scale * tallest + 2), layout="constrained")
    columns = figure.subplots(1, len(levels), squeeze=False, width_ratios=widths)[0]
    for axes, level, frame in zip(columns, levels, frames, strict=True):
        _draw_level(axes, level, frame, site, list(plan.problems.get(level.level_number, ())))
    figure.suptitle(title)
    return figure


def _find_site(brief: object, levels: list[Level]) -> tuple[Box, Box] | None:
    """Plot and what its setbacks leave, the house turned and placed into the corner where it does not say."""
    try:
        plot = HouseBrief.model_validate(brief).plot
    except ValueError:
        return None
    boxes = [room.bounds for level in levels for room in level.rooms]
    if not boxes or plot.length is None or plot.width is None:
        return None
    factor = 1 / 0.3048 if plot.unit == "m" else 1
    length, width = plot.length * factor, plot.width * factor
    back = plot.setbacks_ft
    front, rear, left, right = (back.front, back.rear, back.left, back.right) if back else (0, 0, 0, 0)
    wide, high = extent(boxes)
    if (wide >= high) != (width >= length):  # the house lies across
        length, width, front, rear, left, right = width, length, left, right, front, rear
    x, y = min(box.x for box in boxes), min(box.y for box in boxes)
    if x >= left - TOUCH and y >= front - TOUCH:  # coordinates are the plot's own
        x, y = left, front
    return (x - left, y - front, width, length), (x, y, width - left - right, length - front - rear)


def _frame(level: Level, site: tuple[Box, Box] | None) -> Box:
    """Left, bottom, right and top of a level's drawing, with a margin for the north arrow."""
    boxes = [(b.x, b.y, b.width, b.height) for b in (room.bounds for room in level.rooms)] or [(0, 0, 10, 10)]
    boxes += [site[0]] if site else []
    return (
        min(x for x, _, _, _ in boxes) - 2,
        min(y for _, y, _, _ in boxes) - 2,
        max(x + width for x, _, width, _ in boxes) + 5,
        max(y + height for _, y, _, height in boxes) + 2,
    )


def _draw_level(axes: Axes, level: Level, frame: Box, site: tuple[Box, Box] | None, wrong: list[str]) -> None:
    left, bottom, right, top = frame
    if site:
        (x, y, width, height), inner = site
        axes.add_patch(Rectangle((x, y), width, height, facecolor="#f7f7f2", edgecolor="#888888", zorder=0))
        style = {"fill": False, "edgecolor": "#888888", "linestyle": "--", "zorder": 0.5}
        axes.add_patch(Rectangle(inner[:2], max(0, inner[2]), max(0, inner[3]), **style))
        axes.text(x + 0.5, y + 0.5, f"plot {width:g} x {height:g} ft", fontsize=6, color="#666666")
    for room in level.rooms:
        wrong += _draw_room(axes, room, site[1] if site else None)
    for stair in level.stairs:
        if stair.bounds:
            box = stair.bounds
            style = {"fill": False, "hatch": "|||", "edgecolor": "#aaaaaa", "zorder": 2.8}
            axes.add_patch(Rectangle((box.x, box.y), box.width, box.height, **style))
            axes.text(box.x + 0.5, box.y + 0.5, "stairs", fontsize=6, zorder=5, backgroundcolor="#ffffffaa")
    for one, other, wide, high in overlaps(level):
        corner = max(one.bounds.x, other.bounds.x), max(one.bounds.y, other.bounds.y)
        axes.add_patch(Rectangle(corner, wide, high, fill=False, hatch="xxx", edgecolor=WRONG, zorder=4))
        wrong.append(f"{one.type} {one.id} and {other.type} {other.id} overlap by {wide:g} x {high:g} ft")
    axes.annotate("N", (right - 2, top - 2), (right - 2, top - 7), ha="center", arrowprops={"arrowstyle": "->"})
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    axes.set_title(f"level {level.level_number}")
    shown = wrong[:6] + ([f"and {len(wrong) - 6} more"] if len(wrong) > 6 else [])
    lines = [line for text in shown for line in textwrap.wrap(text, 58)]
    axes.set_xlabel("\n".join(["feet", *lines]), color=WRONG if lines else "black", fontsize=7 if lines else 9)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_room(axes: Axes, room: Room, inside: Box | None) -> list[str]:
    """Draws a room with its openings; returns what is wrong with it."""
    box, wrong = room.bounds, []
    color = next((color for word, color in ROOM_COLORS.items() if word in room.type.lower()), OTHER_COLOR)
    over = _beyond(box, inside) if inside else 0
    if over > TOUCH:
        wrong.append(f"{room.type} {room.id} is {over:g} ft beyond the setbacks")
    edge = WRONG if wrong else "#444444"
    style = {"facecolor": color, "edgecolor": edge, "linewidth": 1.8, "alpha": 0.85, "zorder": 2.5 if wrong else 1}
    axes.add_patch(Rectangle((box.x, box.y), box.width, box.height, **style))
    label = f"{room.type}\n{box.width:.4g} x {box.height:.4g}"
    size = 8 if min(box.width, box.height) >= 6 and box.width >= 0.8 * len(room.type) else 5.5
    axes.text(box.x + box.width / 2, box.y + box.height / 2, label, ha="center", va="center", fontsize=size, zorder=6)
    for kind, openings in (("door", room.doors), ("window", room.windows)):
        for opening in openings:
            placed = place_opening(box, opening)
            _draw_opening(axes, placed, kind)
            if not placed.fits:
                wrong.append(f"a {kind} of {room.type} {room.id} is not on its {placed.wall} wall")
    return wrong


def _beyond(box, inside: Box) -> float:
    """Feet that a room reaches beyond what the setbacks leave."""
    x, y, width, height = inside
    return max(x - box.x, y - box.y, box.x + box.width - x - width, box.y + box.height - y - height)


def _draw_opening(axes: Axes, placed: Placed, kind: str) -> None:
    """A gap with a swing for a door, a blue double line for a window; red where the wall does not hold it."""
    (x0, y0), (x1, y1) = placed.start, placed.end
    color = WRONG if not placed.fits else "white" if kind == "door" else "#2f6fb7"
    axes.plot((x0, x1), (y0, y1), color=color, linewidth=4, solid_capstyle="butt", zorder=3)
    if kind == "window":
        axes.plot((x0, x1), (y0, y1), color="white", linewidth=1.2, solid_capstyle="butt", zorder=3.1)
        return
    reach = 2 * max(abs(x1 - x0), abs(y1 - y0))
    quarter = {"south": (0, 90), "north": (270, 360), "west": (0, 90), "east": (90, 180)}[placed.wall]
    swing = {"edgecolor": color if not placed.fits else "#999999", "linewidth": 0.8, "zorder": 3}
    axes.add_patch(Arc((x0, y0), reach, reach, theta1=quarter[0], theta2=quarter[1], **swing))


def specification_card(design: HouseDesign, title: str) -> Figure:
    """A table of the specification, for designs without rooms."""
    rows = [("total area", f"{design.total_area:,.0f} ft2" if design.total_area is not None else "not given")]
    if design.construction_cost is not None:
        rows.append(("construction cost", f"{design.construction_cost:,.0f}"))
    for section in (design.materials, design.exterior_specifications, design.climate_and_site, design.building_codes):
        for key, value in section.items():
            part = value.items() if isinstance(value, dict) else [("", value)]
            rows += [(f"{key} {name}".replace("_", " ").strip(), str(inner)) for name, inner in part]
    figure = Figure(figsize=(6, 0.26 * len(rows) + 1), layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    title = f"{title}\n" if title else ""
    axes.set_title(f"{title}specification only: this design has no geometry", fontsize=10)
    table = axes.table(rows, cellLoc="left", edges="horizontal", loc="upper center")
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    return figure
