"""The plot around a drawn house: its place, what the setbacks leave of it, and which side is the street's."""

from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from housebrain_core.house.geometry import TOUCH, extent
from housebrain_core.house.schema import HouseBrief, Level, Plot

Box = tuple[float, float, float, float]
"""x, y, width, height in feet."""
FACING = {"bottom": "south", "left": "west"}
"""Which way a plot faces whose street is at this edge of the drawing; north is up."""


class Site(NamedTuple):
    """A plot as it is drawn."""

    plot: Box
    inside: Box
    """What the setbacks leave."""
    labels: dict[str, str]
    """Edge of the drawing (bottom, top, left, right) -> what is written along it."""


def find_site(brief: object, levels: list[Level]) -> Site | None:
    """Plot and what its setbacks leave, the house turned and placed into the corner where it does not say.

    The street is at the bottom, or on the left where the house lies across; left and right are seen from it.
    """
    try:
        plot = HouseBrief.model_validate(brief).plot
    except ValueError:
        return None
    boxes = [room.bounds for level in levels for room in level.rooms]
    if not boxes or plot.length is None or plot.width is None:
        return None
    factor = 1 / 0.3048 if plot.unit == "m" else 1
    high, wide = plot.length * factor, plot.width * factor
    back, edges = plot.setbacks_ft, {"bottom": "front", "top": "rear", "left": "left", "right": "right"}
    house = extent(boxes)
    if (house[0] >= house[1]) != (wide >= high):  # the house lies across
        high, wide = wide, high
        edges = {"left": "front", "right": "rear", "top": "left", "bottom": "right"}
    bottom, top, left, right = (
        getattr(back, edges[edge]) if back else 0 for edge in ("bottom", "top", "left", "right")
    )
    x, y = min(box.x for box in boxes), min(box.y for box in boxes)
    if x >= left - TOUCH and y >= bottom - TOUCH:  # coordinates are the plot's own
        x, y = left, bottom
    return Site(
        (x - left, y - bottom, wide, high),
        (x, y, wide - left - right, high - bottom - top),
        _write_labels(plot, edges, f"plot {wide:g} x {high:g} ft"),
    )


def _write_labels(plot: Plot, edges: dict[str, str], size: str) -> dict[str, str]:
    """What stands along each edge: its side and setback, and at the bottom the plot's size and way."""
    labels = {}
    for edge, side in edges.items():
        name = "street side (front)" if side == "front" else side
        name += " (seen from the street)" if side in ("left", "right") and edge in ("top", "bottom") else ""
        setback = f"setback {getattr(plot.setbacks_ft, side):g} ft" if plot.setbacks_ft else ""
        if setback or side == "front":
            labels[edge] = f"{name}\n{setback}".strip() if side == "front" else f"{name}: {setback}"
    facing = next(FACING[edge] for edge, side in edges.items() if side == "front")
    if plot.orientation:
        same = plot.orientation.strip().lower() in (facing, facing[0])
        size += f", facing {facing}" if same else f", drawn facing {facing}; the brief says {plot.orientation}"
    labels["bottom"] = f"{labels.get('bottom', '')}\n{size}".strip()
    return labels


def margin_of(width: float) -> float:
    """Feet beside a drawing so wide that its labels need: about 20 points on paper."""
    return max(2.5, 0.05 * width)


def draw_site(axes: Axes, site: Site) -> None:
    """The plot, the setbacks as a dashed line, and along the edges what they are."""
    x, y, width, height = site.plot
    axes.add_patch(Rectangle((x, y), width, height, facecolor="#f7f7f2", edgecolor="#888888", zorder=0))
    style = {"fill": False, "edgecolor": "#888888", "linestyle": "--", "zorder": 0.5}
    axes.add_patch(Rectangle(site.inside[:2], max(0, site.inside[2]), max(0, site.inside[3]), **style))
    places = {
        "bottom": ((x + width / 2, y), (0, -2), {"va": "top", "ha": "center"}),
        "top": ((x + width / 2, y + height), (0, 2), {"va": "bottom", "ha": "center"}),
        "left": ((x, y + height / 2), (-2, 0), {"va": "center", "ha": "right", "rotation": 90}),
        "right": ((x + width, y + height / 2), (2, 0), {"va": "center", "ha": "left", "rotation": 90}),
    }
    for edge, text in site.labels.items():
        at, offset, how = places[edge]
        axes.annotate(text, at, offset, textcoords="offset points", fontsize=7, color="#555555",
                      multialignment="center", **how)  # fmt: skip
