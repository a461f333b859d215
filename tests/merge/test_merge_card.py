"""README.md of a merge: the recipe in words, every input with its sha256, and the prompt byte by byte."""

from housebrain_core.house.briefs import SANITY_BRIEF, check_brief
from housebrain_core.house.codec import write_prompt
from housebrain_core.merge.merge_card import describe_recipe, merge_card
from housebrain_core.merge.result import MergeInput, MergeRecord

INPUTS = [
    MergeInput(f"hb-{n}", f"{n}" * 64, weight, None, True, 1.0, None) for n, weight in enumerate((0.75, 0.25, 0.0))
]
NO_PLAN = {"leg": None, "legs": None, "parent_sha256": None}


def test_a_recipe_names_what_was_used_of_what_was_given_and_how():
    record = MergeRecord(
        strategy="ties", rank=8, scale=1.2, density=0.5, error_of_strategy=0.25, inputs=INPUTS, **NO_PLAN
    )
    away = "25.0% away from the exact mean of the updates"
    assert describe_recipe(record) == f"2 adapters of 3, strategy ties, density 0.5, scale 1.2, {away}"
    plain = MergeRecord(
        strategy="average", rank=8, scale=1.0, density=None, error_of_strategy=0.0, inputs=INPUTS[:1], **NO_PLAN
    )
    assert describe_recipe(plain) == "1 adapter, strategy average, scale 1"


def test_the_card_has_front_matter_a_row_for_each_input_and_the_prompt():
    text = merge_card("some/base", "peft", "What it is.", INPUTS)
    front, _, rest = text.removeprefix("---\n").partition("\n---\n")
    assert front.splitlines() == ["base_model: some/base", "library_name: peft", "pipeline_tag: text-generation"]
    assert "\n\nWhat it is.\n\n" in rest
    assert (
        f"| hb-0 | 0.7500 | `{'0' * 64}` |\n| hb-1 | 0.2500 | `{'1' * 64}` |\n| hb-2 | 0.0000 | `{'2' * 64}` |\n"
        in rest
    )
    assert rest.endswith(f"```\n{write_prompt(check_brief(SANITY_BRIEF))}```\n")
