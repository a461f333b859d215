"""Figures: losses, rates, cosines. Each function returns a `Picture`, which notebooks show as PNG."""

import base64
import io
import textwrap
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.rcsetup import cycler
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator

from housebrain_core.manifests import write_atomically
from housebrain_core.texts import shorten_names, visible

BLUE, SKY, GREEN, YELLOW, WRONG, PURPLE = "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7"
"""Colours that colour-blind people tell apart (Okabe and Ito 2008); WRONG is a red."""
COLORS = (BLUE, WRONG, GREEN, PURPLE, YELLOW, SKY)
"""Of lines in one figure, in this order."""
LINES = cycler(linestyle=["-", "--", ":", "-."]) * cycler(color=COLORS)
RATE_COLORS = (BLUE, SKY, GREEN, "#9fdcc8")
RATES = ("strict_parse", "repaired_parse", "schema_valid", "schema_valid_repaired")
PNG: dict[str, Any] = {"format": "png", "bbox_inches": "tight", "metadata": {"Software": "HouseBrain"}}
"""No version of matplotlib in the file: the same figure is the same bytes. The name says later that it is ours."""
SCREEN_DPI = 100
FILE_DPI = 110
LABEL = 32
"""Characters in a line of a label at an axis, at most."""
BESIDE_INCHES = 9.0
"""Width of pictures side by side, at most: a notebook shows them as they are."""


class Picture(Figure):
    """A matplotlib figure that shows itself as PNG in every notebook, and in words where there is only text.

    Args:
        width: in inches.
        height: in inches.
        alt: what is to be seen, for those who cannot see it.
    """

    def __init__(self, width: float, height: float, alt: str) -> None:
        super().__init__(figsize=(width, height), layout="constrained")
        self.alt = visible(alt)

    def __repr__(self) -> str:
        return self.alt

    def png(self, dpi: int = SCREEN_DPI) -> bytes:
        """The figure as the bytes of a PNG file."""
        return self._write(dpi=dpi, **PNG)

    def svg(self) -> str:
        """The figure as the text of an SVG file; names from data are outlines in it, no text that could be markup."""
        return self._write(format="svg", bbox_inches="tight", metadata={"Date": None}).decode()

    def _write(self, **settings: Any) -> bytes:
        buffer = io.BytesIO()
        for axis in (axis for axes in self.axes for axis in (axes.xaxis, axes.yaxis)):
            _make_safe(axis.get_major_formatter())
        for text in self.findobj(Text):
            if isinstance(text, Text) and r"\math" not in text.get_text():  # names from data are no mathematics
                text.set_parse_math(False)
                text.set_text(visible(text.get_text()))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # a box is drawn for it
            self.savefig(buffer, **settings)
        return buffer.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a notebook shows, by type of content, and the alternative text of the image."""
        return {"image/png": self.png(), "text/plain": self.alt}, {"image/png": {"alt": self.alt}}


def _make_safe(formatter: Any) -> None:
    """Makes an axis write short labels without hidden characters: it gets them anew whenever it is drawn."""
    write = formatter.format_ticks
    formatter.format_ticks = lambda values: [_label(text) for text in write(values)]


def _label(text: str) -> str:
    """A label of two lines at most."""
    lines = visible(text).split("\n")[:2]
    return "\n".join(line if len(line) <= LABEL else f"{line[: LABEL - 3]}..." for line in lines)


def save(figure: Picture, path: Path) -> Path:
    """Writes a figure as PNG and returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, figure.png(FILE_DPI))
    return path


class Embedded(NamedTuple):
    """A figure inside an HTML page."""

    src: str
    """The address of the image, which holds the picture itself."""
    alt: str
    """What is to be seen."""


def embed(figure: Picture) -> Embedded:
    """Makes a figure part of an HTML page."""
    return Embedded("data:image/png;base64," + base64.b64encode(figure.png()).decode(), figure.alt)


def set_loss_scale(axes: Any) -> None:
    """Makes the upright axis logarithmic, with a few numbers at it that do not run into each other."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6) if high > 5 * low else MaxNLocator(6))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")


def _name_lines(axes: Any) -> None:
    """Adds the legend: in the figure while there are few lines, else beside it."""
    lines = len(axes.get_lines())
    if lines <= len(COLORS):
        axes.legend(frameon=False)
    else:
        axes.get_figure().legend(frameon=False, fontsize=8, ncols=1 + lines // 25, loc="outside right upper")


def loss_curves(curves: dict[str, list[tuple[int, float]]], floor: float | None = None) -> Picture:
    """Training loss over optimizer steps, one line per run.

    Args:
        curves: run name -> (step, nats per token).
        floor: known entropy of the data in nats per token, drawn as a line.

    Returns:
        A figure with a logarithmic axis for the loss.
    """
    ends = [f"{name} from {curve[0][1]:.3g} to {curve[-1][1]:.3g}" for name, curve in curves.items() if curve]
    figure = Picture(7, 4, f"Training loss in nats per token over optimizer steps: {'; '.join(ends)}.")
    axes = figure.subplots()
    axes.set_prop_cycle(LINES)
    for name, curve in curves.items():
        axes.plot(*zip(*curve, strict=True), label=shorten_names(curves)[name], linewidth=1.5)
    if floor is not None:
        axes.axhline(floor, color="grey", linestyle=":", label="entropy of the data")
    axes.set(xlabel="optimizer step", ylabel="training loss, nats per token")
    set_loss_scale(axes)
    _name_lines(axes)
    axes.grid(alpha=0.3, which="both")
    return figure


def loss_bars(losses: dict[str, float], floor: float | None = None) -> Picture:
    """Validation loss of several models as bars, the lowest darker.

    Args:
        losses: model name -> nats per token.
        floor: known entropy of the data in nats per token, drawn as a line.
    """
    values = [f"{name} {loss:.4f}" for name, loss in losses.items()]
    figure = Picture(7, 0.45 * len(losses) + 1.2, f"Validation loss in nats per token: {', '.join(values)}.")
    axes = figure.subplots()
    values = list(losses.values())[::-1]
    colors = [BLUE if loss == min(values) else SKY for loss in values]
    bars = axes.barh(list(shorten_names(losses).values())[::-1], values, color=colors)
    axes.bar_label(bars, fmt="%.4f", padding=3)
    if floor is not None:
        axes.axvline(floor, color="grey", linestyle=":", label="entropy of the data")
        figure.legend(frameon=False, loc="outside upper right")
    axes.set_xlabel("validation loss, nats per token")
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def rate_bars(models: dict[str, dict]) -> Picture:
    """Parse and validity rates of several models as bars with their 95 % intervals.

    Args:
        models: model name -> rates in [0, 1], and under "intervals" rate -> (low, high).
    """
    values = [f"{name} {model['strict_parse']:.0%}" for name, model in models.items()]
    alt = f"Shares of answers that parse, strictly and repaired. Strictly: {', '.join(values)}."
    figure = Picture(7, 0.7 * len(models) + 1.4, alt)
    axes = figure.subplots()
    for number, rate in enumerate(RATES):
        places = [index + 0.2 * (number - 1.5) for index in range(len(models))]
        shares = [model[rate] for model in models.values()]
        spreads = [[abs(m[rate] - m["intervals"][rate][end]) for m in models.values()] for end in (0, 1)]
        axes.barh(places, shares, 0.18, xerr=spreads, label=rate.replace("_", " "), color=RATE_COLORS[number],
                  error_kw={"linewidth": 0.8, "ecolor": "#555555"})  # fmt: skip
    axes.set(yticks=range(len(models)), yticklabels=shorten_names(models).values())
    axes.set(xlim=(0, 1.02), xlabel="share of answers")
    axes.invert_yaxis()
    axes.legend(frameon=False, ncols=4, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def cosine_map(names: list[str], cosines: list[list[float]]) -> Picture:
    """Cosines between the updates of adapters, as a heat map with the numbers in it.

    Args:
        names: of the adapters.
        cosines: (N, N), in [-1, 1].
    """
    alt = f"Cosines between the updates of {', '.join(names)}, a row and a column each."
    names = list(shorten_names(names).values())
    side = 0.7 * len(names) + 2.2 + 0.08 * max(0, max(map(len, names)) - 14)
    figure = Picture(side + 0.8, side, alt)
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


def spectrum(curves: dict[str, list[float]], rank: int | None = None) -> Picture:
    """Singular values of merged updates, largest first, relative to the first.

    Args:
        curves: name -> singular values.
        rank: of the merged adapter, drawn as a line.
    """
    figure = Picture(7, 3.5, f"Singular values, largest first, relative to the largest: {', '.join(curves)}.")
    axes = figure.subplots()
    axes.set_prop_cycle(LINES)
    for name, values in curves.items():
        axes.plot(range(1, len(values) + 1), values, marker=".", label=shorten_names(curves)[name])
    if rank:
        axes.axvline(rank, color="grey", linestyle=":", label=f"rank {rank} of the merged adapter")
    axes.set(xlabel="singular value, largest first", ylabel="relative size")
    set_loss_scale(axes)
    _name_lines(axes)
    axes.grid(alpha=0.3, which="both")
    return figure


def beside(pictures: dict[str, Picture]) -> Picture:
    """Pictures side by side, each with its name above it.

    Args:
        pictures: name -> picture; their sizes may differ.

    Returns:
        One figure; its alternative text is that of all of them.
    """
    alt = " ".join(f"{name}: {picture.alt}" for name, picture in pictures.items())
    widths = [picture.get_figwidth() for picture in pictures.values()]
    height = max(picture.get_figheight() for picture in pictures.values())
    scale = min(1.0, BESIDE_INCHES / sum(widths))
    figure = Picture(scale * sum(widths), scale * height + 0.4, alt)
    columns = figure.subplots(1, len(pictures), squeeze=False, width_ratios=widths)[0]
    for axes, (name, picture) in zip(columns, pictures.items(), strict=True):
        axes.imshow(imread(io.BytesIO(picture.png(FILE_DPI))))
        axes.set_title(name, fontsize=11)
        axes.set_anchor("N")
        axes.axis("off")
    return figure


def text_picture(text: str, width: float = 4.0, height: float = 4.0) -> Picture:
    """A text as a picture, for what cannot be drawn.

    Args:
        text: shown as it is, in lines that fit.
        width: in inches.
        height: in inches.
    """
    figure = Picture(width, height, text)
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, int(11 * width)) or [""]]
    figure.text(0.03, 0.97, "\n".join(lines), va="top", fontsize=9, family="monospace", color=WRONG)
    return figure
