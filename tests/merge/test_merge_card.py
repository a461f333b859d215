"""README.md of a merge: the recipe in words, every input with its sha256, and the prompt byte by byte."""

from dataclasses import replace

from housebrain_core.house.briefs import SANITY_BRIEF, check_brief
from housebrain_core.house.codec import write_prompt
from housebrain_core.merge.merge_card import describe_recipe, merge_card
from housebrain_core.merge.result import MergeInput, MergeRecord

INPUTS = [
    MergeInput(f"hb-{n}", f"{n}" * 64, weight, None, True, 1.0, None) for n, weight in enumerate((0.75, 0.25, 0.0))
]
NO_PLAN = {"plan": None, "leg": None, "legs": None, "parent_sha256": None}
PLAIN = MergeRecord(
    strategy="average", rank=8, scale=1.0, density=None, error_of_strategy=0.0, inputs=INPUTS, **NO_PLAN
)


def test_a_recipe_names_what_was_used_of_what_was_given_and_how():
    record = MergeRecord(
        strategy="ties", rank=8, scale=1.2, density=0.5, error_of_strategy=0.25, inputs=INPUTS, **NO_PLAN
    )
    away = "25.0% away from the exact mean of the updates"
    assert describe_recipe(record) == f"2 adapters of 3, strategy ties, density 0.5, scale 1.2, {away}"
    plain = replace(PLAIN, inputs=INPUTS[:1])
    assert describe_recipe(plain) == "1 adapter, strategy average, scale 1"
    further = "1.5 times as far from what they were trained from as their mean is"
    assert describe_recipe(replace(plain, outer_rate=1.5)) == f"1 adapter, strategy average, scale 1, {further}"


def test_the_card_has_front_matter_a_row_for_each_input_and_the_prompt():
    text = merge_card("some/base", "peft", "What it is.", PLAIN)
    front, _, rest = text.removeprefix("---\n").partition("\n---\n")
    assert front.splitlines() == ["base_model: some/base", "library_name: peft", "pipeline_tag: text-generation"]
    assert rest.startswith("\n# HouseBrain, merged\n\nWhat it is.\n\n")
    assert (
        f"| hb-0 | 0.7500 | `{'0' * 64}` |\n| hb-1 | 0.2500 | `{'1' * 64}` |\n| hb-2 | 0.0000 | `{'2' * 64}` |\n"
        in rest
    )
    assert rest.endswith(f"```\n{write_prompt(check_brief(SANITY_BRIEF))}```\n")


def test_a_merge_before_the_last_leg_of_a_plan_says_so_before_everything_else():
    early = replace(PLAIN, plan="abc", leg=1, legs=3)
    text = merge_card("some/base", "peft", "What it is.", early).partition("\n---\n")[2]
    assert text.startswith("\n**NOT A FINISHED MODEL: this is leg 1 of 3 of a plan")
    assert "housebrain round" in text.partition("# HouseBrain, merged")[0]
    assert replace(early, leg=3).notices == []
