"""The README.md of what a merge wrote: an adapter, or a full model."""

from housebrain_core.house.briefs import SANITY_BRIEF, check_brief
from housebrain_core.house.codec import write_prompt
from housebrain_core.merge.result import MergeRecord, MergeResult
from housebrain_core.templates import render


def describe_merged_adapter(base_model: str | None, result: MergeResult) -> str:
    """README.md of a merged adapter, from its merge.json."""
    verdict = f". On validation samples {result.validation.verdict}" if result.validation else "."
    text = (
        f"{describe_recipe(result)}. Written at rank {result.rank}, which changed it by {result.relative_error:.2e} "
        f"(relative Frobenius distance){verdict}"
    )
    return merge_card(base_model, "peft", text, result)


def describe_recipe(result: MergeRecord) -> str:
    """What was merged, and how."""
    used = sum(entry.weight != 0 for entry in result.inputs)
    given = len(result.inputs)
    text = f"{used} adapter{'s' * (used != 1)}"
    if used < given:
        text += f" of {given}"
    text += f", strategy {result.strategy}"
    if result.density is not None:
        text += f", density {result.density:g}"
    text += f", scale {result.scale:g}"
    if result.outer_rate != 1:
        text += f", {result.outer_rate:g} times as far from what they were trained from as their mean is"
    if result.error_of_strategy:
        text += f", {result.error_of_strategy:.1%} away from the exact mean of the updates"
    return text


def merge_card(base_model: str | None, library: str, text: str, result: MergeRecord) -> str:
    """README.md with the front matter that the Hugging Face Hub reads.

    Args:
        base_model: its id on the Hub, or the name of a folder; None where it is not known.
        library: what loads it, such as peft.
        text: what it is, a paragraph.
        result: what was merged; its notices come before everything else.
    """
    prompt = write_prompt(check_brief(SANITY_BRIEF))
    values = {"base_model": base_model, "library": library, "text": text, "prompt": prompt}
    return render("merge", "card.md.jinja", inputs=result.inputs, notices=result.notices, **values)
