"""A design as a drawing to scale: rooms, openings, stairs, plot; what is wrong is drawn in red, never hidden."""

import re
import textwrap
from itertools import product

from matplotlib.axes import Axes
from matplotlib.patches import Arc, Rectangle

from housebrain_core.house.geometry import TOUCH, overlaps
from housebrain_core.house.layout import Placed, place_opening, read_plan
from housebrain_core.house.schema import Bounds, HouseDesign, Level, Room
from housebrain_core.house.site import Box, Site, draw_site, find_site, margin_of
from housebrain_core.plots import Picture

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
TREAD = 250 / 304.8
"""Feet from tread to tread of a drawn stair, as NBC Part 4 has it."""


def floor_plan(design: dict | HouseDesign | str, title: str = "", brief: dict | None = None) -> Picture:
    """A design as a drawing: one axes per level; a card with the specification where there is no geometry.

    Args:
        design: lengths in feet, or any structure that plan_reader knows.
        title: above the drawing.
        brief: for plot and setbacks; the design's own `input` where not given.

    Returns:
        A figure that notebooks show as PNG; `alt` says what is drawn.
    """
    plan = read_plan(design)
    levels = [level for level in plan.design.levels if level.rooms or plan.problems.get(level.level_number)]
    if not levels:
        return specification_card(plan.design, title)
    site = find_site(brief or (plan.design.model_extra or {}).get("input"), levels)
    frames = [_frame(level, site) for level in levels]
    widths = [right - left for left, _, right, _ in frames]
    scale = min(0.2, 7.6 * len(levels) / sum(widths))
    tallest = max(top - bottom for _, bottom, _, top in frames)
    width, height = max(5, scale * sum(widths) + 1.2), scale * tallest + 1.2
    figure = Picture(width, height, _describe(levels, title))
    columns = figure.subplots(1, len(levels), squeeze=False, width_ratios=widths)[0]
    for axes, level, frame in zip(columns, levels, frames, strict=True):
        _draw_level(
            axes, level, frame, site, list(plan.problems.get(level.level_number, ())), 0.8 * 72 * scale
        )  # axes take the rest
    figure.suptitle(title or None)
    return figure


def _describe(levels: list[Level], title: str) -> str:
    """The drawing in words."""
    rooms = [f"level {level.level_number}: {', '.join(_words(room.type) for room in level.rooms)}" for level in levels]
    return f"{title or 'Floor plan'}, drawn to scale; {'; '.join(rooms)}."


def _frame(level: Level, site: Site | None) -> Box:
    """Left, bottom, right and top of a level's drawing, with room for labels and the north arrow."""
    boxes = [(b.x, b.y, b.width, b.height) for b in (room.bounds for room in level.rooms)] or [(0, 0, 10, 10)]
    boxes += [site.plot] if site else []
    left, right = min(x for x, _, _, _ in boxes), max(x + width for x, _, width, _ in boxes)
    bottom, top = min(y for _, y, _, _ in boxes), max(y + height for _, y, _, height in boxes)
    margin = margin_of(right - left)
    return left - 1.3 * margin, bottom - (1.7 if site else 1) * margin, right + 2.5 * margin, top + margin


def _draw_level(axes: Axes, level: Level, frame: Box, site: Site | None, wrong: list[str], points: float) -> None:
    """Draws a level; `wrong` has what is known to be wrong with it, `points` are those of a foot on paper."""
    left, bottom, right, top = frame
    if site:
        draw_site(axes, site)
    names: dict[tuple[Box, str], list[str]] = {}  # rooms in one and the same place share a label
    for room in level.rooms:
        wrong += _draw_room(axes, room, site.inside if site else None)
        place = _beside_stairs(room, level), f"{room.bounds.width:.4g} x {room.bounds.height:.4g}"
        names.setdefault(place, []).append(_words(room.type))
    for (box, size), found in names.items():
        _write_in(axes, " + ".join(found), size, box, points)
    for stair in level.stairs:
        if stair.bounds:
            _draw_stair(axes, stair.bounds)
    for one, other, wide, high in overlaps(level):
        corner = max(one.bounds.x, other.bounds.x), max(one.bounds.y, other.bounds.y)
        axes.add_patch(Rectangle(corner, wide, high, fill=False, hatch="xxx", edgecolor=WRONG, zorder=4))
        wrong.append(f"{one.type} {one.id} and {other.type} {other.id} overlap by {wide:.4g} x {high:.4g} ft")
    north = right - max(2, 0.035 * (right - left)), top - 2
    axes.annotate("N", north, (0, -32), textcoords="offset points", ha="center", arrowprops={"arrowstyle": "->"})
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    axes.set_title(f"level {level.level_number}")
    shown = wrong[:8] + ([f"and {len(wrong) - 8} more"] if len(wrong) > 8 else [])
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
    for kind, openings in (("door", room.doors), ("window", room.windows)):
        for opening in openings:
            placed = place_opening(box, opening)
            _draw_opening(axes, placed, kind)
            if not placed.fits:
                wrong.append(f"a {kind} of {room.type} {room.id} is not on its {placed.wall} wall")
    return wrong


def _words(name: str) -> str:
    """livingRoom or living_room as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name).lower()


def _write_in(axes: Axes, name: str, size: str, box: Box, points: float) -> None:
    """Writes a name and a size into a box as large as fits: upright rather than turned, in few lines."""
    x, y, width, height = box
    best = (0.0, "", 0)
    for turned, rows in product((0, 90), ([name, size], [f"{name} {size}"], [*name.split(), size])):
        wide, high = (height, width) if turned else (width, height)
        fits = points * min(0.92 * wide / (0.58 * max(map(len, rows))), 0.9 * high / (1.25 * len(rows)))
        if min(fits, 9) > 1.15 * best[0]:
            best = (min(fits, 9), "\n".join(rows), turned)
    fontsize, text, turned = best
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=max(fontsize, 3.5),
              rotation=turned, zorder=6)  # fmt: skip


def _beside_stairs(room: Room, level: Level) -> Box:
    """The room, or the largest part of it beside the stairs that are in its middle."""
    box = room.bounds
    for stair in (stair.bounds for stair in level.stairs if stair.bounds):
        middle = box.x + box.width / 2, box.y + box.height / 2
        if all(low - 3 <= at <= low + size + 3 for at, low, size in
               zip(middle, (stair.x, stair.y), (stair.width, stair.height), strict=True)):  # fmt: skip
            right, top = stair.x + stair.width, stair.y + stair.height
            parts = [
                (box.x, box.y, stair.x - box.x, box.height),
                (right, box.y, box.x + box.width - right, box.height),
                (box.x, box.y, box.width, stair.y - box.y),
                (box.x, top, box.width, box.y + box.height - top),
            ]
            largest = max(parts, key=lambda part: max(0, part[2]) * max(0, part[3]))
            if min(largest[2:]) >= 2:
                return largest
    return box.x, box.y, box.width, box.height


def _draw_stair(axes: Axes, box: Bounds) -> None:
    """Treads across the run, and an arrow along it."""
    axes.add_patch(
        Rectangle((box.x, box.y), box.width, box.height, facecolor="#ffffff", edgecolor="#777777", zorder=2.7)
    )
    lies = box.width >= box.height
    start, run = (box.x, box.width) if lies else (box.y, box.height)
    for tread in range(1, min(60, int(run / TREAD))):
        at = start + tread * TREAD
        ends = ((at, at), (box.y, box.y + box.height)) if lies else ((box.x, box.x + box.width), (at, at))
        axes.plot(*ends, color="#aaaaaa", linewidth=0.7, zorder=2.8)
    middle = box.x + box.width / 2, box.y + box.height / 2
    head, tail = (
        ((start + run, middle[1]), (start, middle[1])) if lies else ((middle[0], start + run), (middle[0], start))
    )
    axes.annotate("", head, tail, arrowprops={"arrowstyle": "->", "color": "#555555"}, zorder=5)
    axes.text(*middle, "stairs", ha="center", va="center", fontsize=5.5, rotation=0 if lies else 90, zorder=6,
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # fmt: skip


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
    style = {"linewidth": 0.8, "zorder": 3}
    line = color if not placed.fits else "#999999"
    axes.add_patch(Arc((x0, y0), reach, reach, theta1=quarter[0], theta2=quarter[1], edgecolor=line, **style))
    inwards = {"south": (0, 0.5), "north": (0, -0.5), "west": (0.5, 0), "east": (-0.5, 0)}[placed.wall]
    axes.plot((x0, x0 + inwards[0] * reach), (y0, y0 + inwards[1] * reach), color=line, **style)  # the open door


def specification_card(design: HouseDesign, title: str) -> Picture:
    """A table of the specification in two columns, for designs without rooms."""
    area, cost = design.total_area, design.construction_cost
    house = {"total area": "not given" if area is None else f"{area:,.0f} ft2"}
    house |= {} if cost is None else {"construction cost": f"{cost:,.0f}"}
    parts = {"house": house, "materials": design.materials, "exterior": design.exterior_specifications,
             "climate and site": design.climate_and_site, "building codes": design.building_codes}  # fmt: skip
    blocks = [_rows_of(name, part) for name, part in parts.items() if part]
    longest = sum(map(len, blocks)) / 2 + 1
    columns: list[list[tuple[str, str]]] = [[], []]
    for block in blocks:
        columns[0 if len(columns[0]) + len(block) <= longest + 2 and not columns[1] else 1] += block
    columns = [column for column in columns if column]
    rows = max(map(len, columns))
    alt = f"{title or 'Specification'}: a table, because this design has no geometry."
    figure = Picture(4 * len(columns), 0.22 * rows + 0.8, alt)
    for axes, column in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
        axes.axis("off")
        _draw_table(axes, column, rows)
    heading = f"{title}\n" if title else ""
    figure.suptitle(f"{heading}specification only: this design has no geometry", fontsize=10)
    return figure


def _rows_of(heading: str, part: dict) -> list[tuple[str, str]]:
    """A heading with nothing beside it, and a row for each value."""
    rows = [(heading, "")]
    for key, value in part.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        rows += [(_words(f"{key} {name}").strip(), _as_text(one)) for name, one in inner]
    return rows


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("_", " ")


def _draw_table(axes: Axes, column: list[tuple[str, str]], rows: int) -> None:
    table = axes.table(column, cellLoc="left", edges="B", bbox=(0, 1 - len(column) / rows, 1, len(column) / rows))
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    for (row, place), cell in table.get_celld().items():
        heading = column[row][1] == ""
        cell.set(edgecolor="#888888" if heading else "#dddddd", linewidth=0.8)
        cell.set_text_props(weight="bold" if heading else "normal", color="#333333" if place == 0 else "black")
