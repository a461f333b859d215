"""A design as a drawing to scale: rooms, openings, stairs, plot; what is wrong is drawn in red, never hidden."""

import math
import re
import textwrap
from itertools import product
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Arc, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from housebrain_core.display.plots import WRONG, Picture
from housebrain_core.house.layout import Box, Site, arrange_levels, as_box, find_extent, find_site, read_layout
from housebrain_core.house.measures import NBC, TOUCH, Placed, find_overlaps, place_opening
from housebrain_core.house.schema import Bounds, HouseDesign, Level, Room

Json = dict[str, Any]
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
SIDES = {"south": "lower", "north": "upper", "west": "left", "east": "right"}
"""Names of walls in a design -> where they are drawn; north is where the brief says."""
HALO = withStroke(linewidth=2, foreground="white")
"""Around the letters of a room's name: stairs may be below it."""
SITE_INCHES = 2.3
"""Width of the drawing of the plot."""
Row = tuple[str, str]  # name and value in the table of a specification; a heading has no value


def floor_plan(
    design: Json | HouseDesign | str, title: str = "", brief: Json | None = None, width: float = 8.8
) -> Picture:
    """Draws a design to scale, all levels alike; a card with the specification where it has no geometry.

    Args:
        design: lengths in feet, or any structure that `layout.read_layout` reads.
        title: above the drawing.
        brief: for plot, setbacks and north; the design's own `input` where not given.
        width: of the paper in inches, at most; a notebook shows 8.8 inches as they are.

    Returns:
        A figure that notebooks show as PNG; what is wrong is red and written below its level; `alt` says what is drawn.

    Raises:
        DataError: the design cannot be drawn, whatever is mended.
    """
    layout = read_layout(design)
    levels = [level for level in layout.design.levels if level.rooms or layout.problems.get(level.level_number)]
    if not levels:
        return specification_card(layout.design, title, width)
    site = find_site(brief or (layout.design.model_extra or {}).get("input"), levels)
    extent = find_extent(levels)
    sheet = arrange_levels(len(levels), extent, width - (SITE_INCHES if site else 0))
    figure = Picture(sheet.width + (SITE_INCHES if site else 0), sheet.height + 0.5, _describe(levels, title))
    inches = [sheet.width / sheet.columns] * sheet.columns + [SITE_INCHES] * bool(site)
    grid = figure.add_gridspec(-(-len(levels) // sheet.columns), len(inches), width_ratios=inches)
    for number, level in enumerate(levels):
        axes = figure.add_subplot(grid[divmod(number, sheet.columns)])
        problems = layout.problems.get(level.level_number, []) + _draw_level(axes, level, site, 66 * sheet.scale)
        _finish_axes(axes, sheet.frame(extent), f"level {level.level_number}", problems, inches[0])
    _draw_scale(figure.axes[0], extent, 1 / sheet.scale, site.north if site else None)
    if site:
        _draw_site(figure.add_subplot(grid[:, -1]), site, levels)
    figure.suptitle(title)
    return figure


def _describe(levels: list[Level], title: str) -> str:
    """The drawing in words."""
    rooms = [f"level {level.level_number}: {', '.join(_words(room.type) for room in level.rooms)}" for level in levels]
    return f"{title or 'Floor plan'}, drawn to scale; {'; '.join(rooms)}."


def _draw_level(axes: Axes, level: Level, site: Site | None, points: float) -> list[str]:
    """Draws a level where a foot is so many points on paper; returns what is wrong with it."""
    problems = []
    labels: dict[tuple[Box, str], list[str]] = {}  # rooms in one and the same place share a label
    for room in level.rooms:
        problems += _draw_room(axes, room, site)
        size = f"{room.bounds.width:.4g} x {room.bounds.height:.4g}"
        labels.setdefault((as_box(room.bounds), size), []).append(_words(room.type))
    for (box, size), names in labels.items():
        _write_in(axes, " + ".join(names), size, box, points)
    for stair in level.stairs:
        if stair.bounds:
            _draw_stair(axes, stair.bounds)
    style: Json = {"fill": False, "hatch": "xxx", "edgecolor": WRONG, "zorder": 4}
    for overlap in find_overlaps(level):
        axes.add_patch(Rectangle((overlap.x, overlap.y), overlap.width, overlap.height, **style))
        problems.append(str(overlap))
    return problems


def _finish_axes(axes: Axes, frame: Box, title: str, problems: list[str], inches: float) -> None:
    """The frame, and below the level, in lines that fit, what is wrong with it."""
    x, y, wide, high = frame
    axes.set(xlim=(x, x + wide), ylim=(y, y + high), aspect="equal", xticks=(), yticks=())
    axes.set_title(title, fontsize=10, loc="left")
    shown = problems[:8] + ([f"and {len(problems) - 8} more"] if len(problems) > 8 else [])
    lines = [line for text in shown for line in textwrap.wrap(text, max(24, int(19 * inches)))]
    axes.set_xlabel("\n".join(lines), color=WRONG, fontsize=7)
    axes.spines[:].set_visible(False)


def _draw_scale(axes: Axes, extent: Box, inch: float, north: float | None) -> None:
    """Below the first level a bar of so many feet, and north where the brief says it; an inch of paper is in feet."""
    x, y, wide, _ = extent
    feet = next((step for step in (50, 20, 10, 5) if step <= wide / 2), 2)
    low = y - 0.36 * inch
    axes.plot((x, x + feet), (low, low), color="black", marker="|", linewidth=1)
    axes.text(x + feet + 0.08 * inch, low, f"{feet} ft", va="center", fontsize=8)
    if north is None:
        return
    across, up = (0.14 * inch * turn(math.radians(north)) for turn in (math.sin, math.cos))
    middle = x + wide - 0.3 * inch
    style: Json = {"ha": "center", "va": "center", "fontsize": 9}
    axes.annotate("", (middle + across, low + up), (middle - across, low - up), arrowprops={"arrowstyle": "-|>"})
    axes.text(middle + 1.9 * across, low + 1.9 * up, "N", **style)


def _draw_site(axes: Axes, site: Site, levels: list[Level]) -> None:
    """The plot with the house in it, the setbacks as a dashed line, and along the edges what they are."""
    x, y, width, height = site.plot
    axes.add_patch(Rectangle((x, y), width, height, facecolor="#f7f7f2", edgecolor="#888888", zorder=0))
    left, bottom, wide, high = site.inside
    style: Json = {"fill": False, "edgecolor": "#888888", "linestyle": "--", "zorder": 2}
    axes.add_patch(Rectangle((left, bottom), max(0, wide), max(0, high), **style))
    for room in (room for level in levels for room in level.rooms):
        color = WRONG if site.beyond(room.bounds) > TOUCH else "#bbbbbb"
        axes.add_patch(Rectangle((room.bounds.x, room.bounds.y), room.bounds.width, room.bounds.height, color=color))
    places: dict[str, tuple[Any, Any, Json]] = {
        "bottom": ((x + width / 2, y), (0, -3), {"va": "top", "ha": "center"}),
        "top": ((x + width / 2, y + height), (0, 3), {"va": "bottom", "ha": "center"}),
        "left": ((x, y + height / 2), (-3, 0), {"va": "center", "ha": "right", "rotation": 90}),
        "right": ((x + width, y + height / 2), (3, 0), {"va": "center", "ha": "left", "rotation": 90}),
    }
    for edge, text in site.labels.items():
        place, offset, alignment = places[edge]
        axes.annotate(text, place, offset, textcoords="offset points", fontsize=7, color="#444444", **alignment)
    axes.set_title(site.title, fontsize=8)
    half = 0.8 * max(width, height)
    middle = x + width / 2, y + height / 2
    limits = {"xlim": (middle[0] - half, middle[0] + half), "ylim": (middle[1] - half, middle[1] + half)}
    axes.set(aspect="equal", xticks=(), yticks=(), **limits)
    axes.spines[:].set_visible(False)


def _draw_room(axes: Axes, room: Room, site: Site | None) -> list[str]:
    """Draws a room with its openings; returns what is wrong with it."""
    box = room.bounds
    problems = []
    if site and (over := site.beyond(box)) > TOUCH:
        problems.append(f"{room.type} {room.id} is {over:g} ft beyond the setbacks")
    color = next((color for word, color in ROOM_COLORS.items() if word in room.type.lower()), OTHER_COLOR)
    edge, order = (WRONG, 2.5) if problems else ("#444444", 1)
    style: Json = {"facecolor": color, "edgecolor": edge, "linewidth": 1.8, "alpha": 0.85, "zorder": order}
    axes.add_patch(Rectangle((box.x, box.y), box.width, box.height, **style))
    for kind, openings in (("door", room.doors), ("window", room.windows)):
        for opening in openings:
            placed = place_opening(box, opening)
            _draw_opening(axes, placed, kind)
            if not placed.fits:
                problems.append(f"a {kind} of {room.type} {room.id} is not on its {SIDES[placed.wall]} wall")
    return problems


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
              rotation=turned, zorder=6, path_effects=[HALO])  # fmt: skip


def _draw_stair(axes: Axes, box: Bounds) -> None:
    """Treads across the run, and an arrow along it."""
    style: Json = {"facecolor": "white", "edgecolor": "#777777", "zorder": 2.7}
    axes.add_patch(Rectangle((box.x, box.y), box.width, box.height, **style))
    x = box.x + box.width / 2
    y = box.y + box.height / 2
    tread = NBC["tread"].value
    lines: Json = {"color": "#aaaaaa", "linewidth": 0.7, "zorder": 2.8}
    treads = [n * tread for n in range(1, min(60, int(max(box.width, box.height) / tread)))]
    if box.width >= box.height:
        axes.vlines([box.x + run for run in treads], box.y, box.y + box.height, **lines)
        head, tail = (box.x + box.width, y), (box.x, y)
    else:
        axes.hlines([box.y + run for run in treads], box.x, box.x + box.width, **lines)
        head, tail = (x, box.y + box.height), (x, box.y)
    axes.annotate("", head, tail, arrowprops={"arrowstyle": "->", "color": "#555555"}, zorder=5)


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
    style: Json = {"color": "#999999" if placed.fits else WRONG, "linewidth": 0.8, "zorder": 3}
    axes.add_patch(Arc((x0, y0), reach, reach, theta1=quarter[0], theta2=quarter[1], **style))
    inwards = {"south": (0, 0.5), "north": (0, -0.5), "west": (0.5, 0), "east": (-0.5, 0)}[placed.wall]
    axes.plot((x0, x0 + inwards[0] * reach), (y0, y0 + inwards[1] * reach), **style)  # the open door


def specification_card(design: HouseDesign, title: str, width: float) -> Picture:
    """Draws a table of the specification, in two columns where there is room, for designs without rooms."""
    area = design.total_area
    house = {"total area": "not given" if area is None else f"{area:,.0f} ft2"}
    if design.construction_cost is not None:
        house["construction cost"] = f"{design.construction_cost:,.0f}"
    outside = {"house": house, "materials": design.materials, "exterior": design.exterior_specifications}
    around = {"climate and site": design.climate_and_site, "building codes": design.building_codes}
    together = [outside, around] if width > 6 else [outside | around]
    columns = [_rows_of(parts) for parts in together if any(parts.values())]
    rows = max(map(len, columns))
    alt = f"{title or 'Specification'}: a table, because this design has no geometry."
    figure = Picture(min(width, 4 * len(columns)), 0.22 * rows + 0.8, alt)
    for axes, column in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
        axes.axis("off")
        _draw_table(axes, column, rows)
    figure.suptitle(f"{title}\nspecification only: this design has no geometry".strip(), fontsize=10)
    return figure


def _rows_of(parts: dict[str, Json]) -> list[Row]:
    """For each part that there is, a heading with nothing beside it, and a row for each value."""
    rows: list[Row] = []
    for heading, part in parts.items():
        rows += [(heading, "")] if part else []
        for key, value in part.items():
            inner = value.items() if isinstance(value, dict) else [("", value)]
            rows += [(_words(f"{key} {name}").strip(), _as_text(one)) for name, one in inner]
    return rows


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("_", " ")


def _draw_table(axes: Axes, column: list[Row], rows: int) -> None:
    share = len(column) / rows
    table = axes.table(
        column, cellLoc="left", edges="B", colWidths=(0.62, 0.38), bbox=Bbox.from_bounds(0, 1 - share, 1, share)
    )
    table.auto_set_font_size(False)
    table.set_fontsize(7)
    for (row, place), cell in table.get_celld().items():
        heading = column[row][1] == ""
        cell.set(edgecolor="#888888" if heading else "#dddddd", linewidth=0.8)
        cell.set_text_props(weight="bold" if heading else "normal", color="#333333" if place == 0 else "black")
