"""The files of a merge: which base they name, a tokenizer that other tools can load, and the card."""

import json
import shutil
from dataclasses import replace

import pytest
from transformers import AutoTokenizer

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.adapters.run import read_run
from housebrain_core.errors import AdapterError
from housebrain_core.house.briefs import SANITY_BRIEF, check_brief
from housebrain_core.house.codec import write_prompt
from housebrain_core.merge.compute import Recipe, compute_merge
from housebrain_core.merge.merged_files import (
    TOKENIZER_CONFIG,
    describe_recipe,
    merge_card,
    merged_run,
    reference_adapter,
    write_adapter,
)
from housebrain_core.merge.result import MergeInput, MergeRecord

COMMIT = "df3ce67c0e24480f20468b6ef2894622d69eb73b"
INPUTS = [
    MergeInput(f"hb-{n}", f"{n}" * 64, weight, None, True, 1.0, None) for n, weight in enumerate((0.75, 0.25, 0.0))
]
NO_PLAN = {"plan": None, "leg": None, "legs": None, "parent_sha256": None}
PLAIN = MergeRecord(
    strategy="average", rank=8, scale=1.0, density=None, error_of_strategy=0.0, inputs=INPUTS, **NO_PLAN
)


def write(adapters, folder) -> None:
    folder.mkdir()
    merge = compute_merge(adapters, Recipe("average", [1 / len(adapters)] * len(adapters)), "auto")
    write_adapter(folder, adapters, merge.rank, merge.factors)


def test_the_tokenizer_of_an_older_adapter_gets_a_class_that_other_tools_know(adapters, tmp_path):
    old = shutil.copytree(adapters[0], tmp_path / "old")
    for name in ("manifest.json", "run.json"):
        (old / name).unlink()
    config = json.loads((old / TOKENIZER_CONFIG).read_text()) | {"tokenizer_class": "TokenizersBackend"}
    (old / TOKENIZER_CONFIG).write_text(json.dumps(config))
    write([read_adapter(old, accept_plain=True)], tmp_path / "merged")
    written = json.loads((tmp_path / "merged" / TOKENIZER_CONFIG).read_text())
    assert written["tokenizer_class"] == "PreTrainedTokenizerFast"
    text = '{"plot": {"length": 40}}\n'
    trained = AutoTokenizer.from_pretrained(adapters[0])(text).input_ids
    assert AutoTokenizer.from_pretrained(tmp_path / "merged")(text).input_ids == trained


def test_a_trained_and_a_merged_adapter_name_a_class_that_other_tools_know(adapters, tmp_path):
    write([read_adapter(folder) for folder in adapters], tmp_path / "merged")
    for folder in (adapters[0], tmp_path / "merged"):
        assert json.loads((folder / TOKENIZER_CONFIG).read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_a_tokenizer_configuration_that_is_no_json_is_refused(adapters, tmp_path):
    broken = shutil.copytree(adapters[0], tmp_path / "broken")
    (broken / "manifest.json").unlink()
    (broken / TOKENIZER_CONFIG).write_text("{")
    with pytest.raises(AdapterError, match=f"broken/{TOKENIZER_CONFIG} is not JSON"):
        write([read_adapter(broken, accept_plain=True)], tmp_path / "merged")


def test_a_base_that_can_be_downloaded_is_named_where_one_adapter_names_its_commit(adapters):
    one, two, three = map(read_adapter, adapters)
    hub = replace(two, base_model="some/base", revision=COMMIT)
    assert reference_adapter([one, hub, three]) is hub and reference_adapter([one, three]) is one
    run = merged_run([one, hub, three])
    assert (run.base.name, run.base.revision, run.base.content) == ("some/base", COMMIT, one.base_content)


def test_run_json_adds_up_what_the_adapters_were_trained_on(adapters, tmp_path):
    opened = [read_adapter(folder) for folder in adapters]
    write(opened, tmp_path / "merged")
    run = read_run((tmp_path / "merged" / "run.json").read_bytes())
    assert run.finished and run.why_it_ended == "merged from 3 adapters"
    assert run.tokens == sum(adapter.run.tokens for adapter in opened)
    assert run.samples == sum(adapter.run.samples for adapter in opened)
    assert run.data.dataset == opened[0].dataset and run.settings.load_in_4bit


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
