"""Figures: losses, rates, cosines. Each function returns a matplotlib Figure; `save` writes it as PNG."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

RATE_COLORS = ("#7a9cc6", "#c6d4e8", "#5b9a8b", "#bcd9d1")


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG and returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    return path


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
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
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
        figure.legend(frameon=False, loc="outside upper right")
    axes.set_xlabel("validation loss, nats per token")
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def rate_bars(models: dict[str, dict]) -> Figure:
    """Parse and validity rates of several models as bars with their 95 % intervals.

    Args:
        models: model name -> rates in [0, 1], and under "intervals" rate -> (low, high).
    """
    rates = ("strict_parse", "repaired_parse", "schema_valid", "schema_valid_repaired")
    figure = Figure(figsize=(7, 0.7 * len(models) + 1.4), layout="constrained")
    axes = figure.subplots()
    for number, rate in enumerate(rates):
        places = [index + 0.2 * (number - 1.5) for index in range(len(models))]
        shares = [model[rate] for model in models.values()]
        spreads = [[abs(m[rate] - m["intervals"][rate][end]) for m in models.values()] for end in (0, 1)]
        axes.barh(places, shares, 0.18, xerr=spreads, label=rate.replace("_", " "), color=RATE_COLORS[number],
                  error_kw={"linewidth": 0.8, "ecolor": "#555555"})  # fmt: skip
    axes.set(yticks=range(len(models)), yticklabels=models, xlim=(0, 1.02), xlabel="share of answers")
    axes.invert_yaxis()
    axes.legend(frameon=False, ncols=4, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axes.spines[["top", "right"]].set_visible(False)
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
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3, which="both")
    return figure
