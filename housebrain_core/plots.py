"""Figures: floor plans, losses. Each function returns a matplotlib Figure; `save` writes it as PNG."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from housebrain_core.schema import HouseDesign, Level, Room

ROOM_COLORS = {
    "bedroom": "#c9d7ee",
    "bath": "#bfe3e0",
    "kitchen": "#f6d9b8",
    "living": "#f7ecbb",
    "dining": "#f3cfc6",
    "hall": "#eeeeee",
    "stair": "#d9d9d9",
    "balcony": "#d5e8c8",
}
OTHER_COLOR = "#e6dcef"


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG and returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    return path


def floor_plan(design: dict | HouseDesign, title: str = "") -> Figure:
    """A design as a drawing: one axes per level; a card with the specification where there is no geometry.

    Args:
        design: lengths in feet.
        title: above the drawing.
    """
    design = design if isinstance(design, HouseDesign) else HouseDesign.model_validate(design)
    levels = [level for level in design.levels if level.rooms]
    if not levels:
        return _specification_card(design, title)
    frames = [_frame(level) for level in levels]
    widths = [right - left for left, _, right, _ in frames]
    tallest = max(top - bottom for _, bottom, _, top in frames)
    figure = Figure(figsize=(0.17 * sum(widths) + 1.2, 0.17 * tallest + 1.2), layout="constrained")
    columns = figure.subplots(1, len(levels), squeeze=False, width_ratios=widths)[0]
    for axes, level, frame in zip(columns, levels, frames, strict=True):
        _draw_level(axes, level, frame)
    figure.suptitle(title)
    return figure


def loss_curves(curves: dict[str, list[tuple[int, float]]], floor: float | None = None) -> Figure:
    """Training loss over optimizer steps, one line per run.

    Args:
        curves: run name -> (step, nats per token).
        floor: known entropy of the data in nats per token, drawn as a line.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot(*zip(*curve, strict=True), label=name, linewidth=1.5)
    if floor is not None:
        axes.axhline(floor, color="grey", linestyle=":", label="entropy of the data")
    axes.set(xlabel="optimizer step", ylabel="training loss, nats per token", yscale="log")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3, which="both")
    return figure


def loss_bars(losses: dict[str, float], floor: float | None = None) -> Figure:
    """Validation loss of several models as bars.

    Args:
        losses: model name -> nats per token.
        floor: known entropy of the data in nats per token, drawn as a line.
    """
    figure = Figure(figsize=(7, 0.45 * len(losses) + 1.2), layout="constrained")
    axes = figure.subplots()
    names = list(losses)[::-1]
    bars = axes.barh(names, [losses[name] for name in names], color="#7a9cc6")
    axes.bar_label(bars, fmt="%.4f", padding=3)
    if floor is not None:
        axes.axvline(floor, color="grey", linestyle=":", label="entropy of the data")
        axes.legend(frameon=False, loc="lower right")
    axes.set_xlabel("validation loss, nats per token")
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _frame(level: Level) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of a level's drawing, with a margin for the north arrow."""
    boxes = [room.bounds for room in level.rooms]
    return (
        min(box.x for box in boxes) - 2,
        min(box.y for box in boxes) - 2,
        max(box.x + box.width for box in boxes) + 5,
        max(box.y + box.height for box in boxes) + 2,
    )


def _draw_level(axes: Axes, level: Level, frame: tuple[float, float, float, float]) -> None:
    left, bottom, right, top = frame
    for stair in level.stairs:
        if stair.bounds:
            box = stair.bounds
            corner = (box.x, box.y)
            style = {"fill": False, "hatch": "|||", "edgecolor": "#aaaaaa", "zorder": 2}
            axes.add_patch(Rectangle(corner, box.width, box.height, **style))
            axes.text(box.x + 0.5, box.y + 0.5, "stairs", fontsize=7, zorder=5, backgroundcolor="white")
    for room in level.rooms:
        _draw_room(axes, room)
    axes.annotate("N", (right - 2, top - 2), (right - 2, top - 7), ha="center", arrowprops={"arrowstyle": "<-"})
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xlabel="feet")
    axes.set_title(f"level {level.level_number}")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_room(axes: Axes, room: Room) -> None:
    box = room.bounds
    color = next((color for word, color in ROOM_COLORS.items() if word in room.type.lower()), OTHER_COLOR)
    axes.add_patch(
        Rectangle((box.x, box.y), box.width, box.height, facecolor=color, edgecolor="#444444", linewidth=1.8)
    )
    label = f"{room.type}\n{box.width:g} x {box.height:g}"
    size = 8 if min(box.width, box.height) >= 6 else 6
    axes.text(box.x + box.width / 2, box.y + box.height / 2, label, ha="center", va="center", fontsize=size)
    for door in room.doors:
        _draw_opening(axes, room, door, "white", 4)
    for window in room.windows:
        _draw_opening(axes, room, window, "#2f6fb7", 3.2)


def _draw_opening(axes: Axes, room: Room, opening: Any, color: str, width: float) -> None:
    """A line on the wall: white for a door, blue for a window; openings without a place are left out."""
    if type(opening.position) not in (int, float) or not opening.width:
        return
    box, start, end = room.bounds, opening.position, opening.position + opening.width
    line = {
        "south": ((box.x + start, box.x + end), (box.y, box.y)),
        "north": ((box.x + start, box.x + end), (box.y + box.height,) * 2),
        "west": ((box.x, box.x), (box.y + start, box.y + end)),
        "east": ((box.x + box.width,) * 2, (box.y + start, box.y + end)),
    }.get(str(opening.wall).lower())
    if line:
        axes.plot(*line, color=color, linewidth=width, solid_capstyle="butt", zorder=3)


def _specification_card(design: HouseDesign, title: str) -> Figure:
    """A table of the specification, for designs without rooms."""
    rows = [("total area", f"{design.total_area:,.0f} ft2" if design.total_area is not None else "not given")]
    if design.construction_cost is not None:
        rows.append(("construction cost", f"{design.construction_cost:,.0f}"))
    for section in (design.exterior_specifications, design.climate_and_site, design.building_codes):
        rows += [(key.replace("_", " "), str(value)) for key, value in section.items() if not isinstance(value, dict)]
    figure = Figure(figsize=(6, 0.28 * len(rows) + 1), layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    axes.set_title(title or "specification only: this design has no geometry", fontsize=10)
    table = axes.table(rows, cellLoc="left", edges="horizontal", loc="upper center")
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    return figure


def cosine_map(names: list[str], cosines: list[list[float]]) -> Figure:
    """Cosines between the updates of adapters, as a heat map with the numbers in it.

    Args:
        names: of the adapters.
        cosines: (N, N), in [-1, 1].
    """
    side = 0.7 * len(names) + 2.2
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(cosines, vmin=-1, vmax=1, cmap="RdBu")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    for row, line in enumerate(cosines) if len(names) <= 20 else ():
        for column, value in enumerate(line):
            color = "white" if abs(value) > 0.6 else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize=8)
    axes.set_title("cosine between updates", fontsize=10)
    figure.colorbar(image, shrink=0.7)
    return figure


def spectrum(curves: dict[str, list[float]], rank: int | None = None) -> Figure:
    """Singular values of merged updates, largest first, relative to the first.

    Args:
        curves: name -> singular values.
        rank: of the merged adapter, drawn as a line.
    """
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, values in curves.items():
        axes.plot(range(1, len(values) + 1), values, marker=".", label=name)
    if rank:
        axes.axvline(rank, color="grey", linestyle=":", label=f"rank {rank} of the merged adapter")
    axes.set(xlabel="singular value, largest first", ylabel="relative size", yscale="log")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3, which="both")
    return figure
