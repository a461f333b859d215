"""A merge's figures: its spectrum, and what was measured on the validation sample."""

from typing import Any

from housebrain_core import plots
from housebrain_core.results import show


def show_merge(result: dict[str, Any]) -> None:
    """Shows the singular values of the merged update, and the validation losses where they were measured.

    Args:
        result: the contents of merge.json.
    """
    figures = [plots.spectrum({"merged": result["spectrum"]}, rank=result["rank"])]
    if "validation" in result:
        figures.append(plots.loss_bars(result["validation"]["losses"]))
    show(*figures)
