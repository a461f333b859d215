"""A merge's figures: its spectrum, and what was measured on the validation sample."""

from housebrain_core import plots
from housebrain_core.merge.result import MergeResult
from housebrain_core.results import show


def show_merge(result: MergeResult) -> None:
    """Shows the singular values of the merged update, and the validation losses where they were measured.

    Args:
        result: what `merge_adapters` returns.
    """
    figures = [plots.spectrum({"merged": result.spectrum}, rank=result.rank)]
    if result.validation:
        figures.append(plots.loss_bars(result.validation.losses))
    show(*figures)
