"""HouseBrainLLM: the guide's own call works, an answer is a design or an error that says why."""

import shutil

import pytest
import torch
from adapter_files import as_trained_from_hub
from peft import PeftModel

from housebrain_core.config import MergeConfig
from housebrain_core.errors import ConfigError, HouseBrainError
from housebrain_core.export.into_base import merge_into_base
from housebrain_core.house import codec
from housebrain_core.house.briefs import check_brief
from housebrain_core.house.codec import DesignError
from housebrain_core.house.schema import Answer, HouseBrief
from housebrain_core.llm.constrained import safe_limit
from housebrain_core.llm.decoding import Answered, Decoding, read_answer
from housebrain_core.llm.llm import HouseBrainLLM, strict_json_parse
from housebrain_core.llm.losses import tokens_in_fields
from housebrain_core.merge.merge import merge_adapters

GUIDE_BRIEF = {"basicDetails": {"totalArea": 1200, "unit": "sqft", "bedrooms": 2, "bathrooms": 1, "floors": 1,
  "budget": 900000, "style": "Modern"}, "plot": {"length": 40, "width": 30, "unit": "ft", "orientation": "N",
  "setbacks_ft": {"front": 5, "rear": 5, "left": 3, "right": 3}}, "roomBreakdown": []}  # fmt: skip


@pytest.fixture(scope="module")
def llm(adapters, base):
    return HouseBrainLLM(model_path=adapters[0], base_model=str(base), report=lambda line: None)


def test_the_guides_call_gives_a_design_or_says_what_is_wrong(llm):
    try:
        design = llm.generate_design(GUIDE_BRIEF)
    except DesignError as error:
        assert error.kind and error.text is not None and str(error)
    else:
        assert design.model_dump()


def test_the_guides_call_is_a_design_with_derived_fields_when_constrained_alone_or_in_a_batch(llm, samples):
    pytest.importorskip("llguidance")
    limit = safe_limit()
    design = llm.generate_design(GUIDE_BRIEF, limit, constrained=True)
    assert design.total_area == 1200 and design.model_dump()["input"] == check_brief(GUIDE_BRIEF)
    assert design.climate_and_site["utilities"]["electricity"] == "Available"
    both = llm.generate_designs([samples[0]["input"], GUIDE_BRIEF], 2, limit, constrained=True, progress=False)
    assert both[1] == design and both[0].model_dump()["input"] == samples[0]["input"]


def test_batches_give_what_one_by_one_gives(llm, samples):
    briefs = [sample["input"] for sample in samples[:7]]
    alone = [llm.answer([brief], max_new_tokens=120)[0] for brief in briefs]
    for size in (2, 3, 7):
        assert llm.answer(briefs, batch_size=size, max_new_tokens=120) == alone


def test_a_sample_does_not_depend_on_its_batch(llm, samples):
    briefs = [sample["input"] for sample in samples[:4]]
    drawn = []
    for size in (1, 4):
        decoding = Decoding(batch_size=size, max_new_tokens=40, temperature=1.0, seed=5)
        batches = list(llm.answer_batches(briefs, decoding))
        drawn.append({i: a for batch in batches for i, a in zip(batch.indices, batch.answers, strict=True)})
    assert drawn[0] == drawn[1]
    assert len({answer.text for answer in drawn[0].values()}) > 1


def test_many_briefs_give_a_design_or_an_error_each_in_order(llm, samples):
    briefs = [sample["input"] for sample in samples[:3]]
    results = llm.generate_designs(briefs, batch_size=2, max_new_tokens=60, progress=False)
    for brief, result in zip(briefs, results, strict=True):
        if isinstance(result, DesignError):
            with pytest.raises(DesignError) as refused:
                llm.generate_design(brief, max_new_tokens=60)
            assert (refused.value.kind, refused.value.text) == (result.kind, result.text)
        else:
            assert result == llm.generate_design(brief, max_new_tokens=60)


def test_a_brief_may_be_a_dict_or_a_housebrief(llm):
    found = []
    for brief in (GUIDE_BRIEF, HouseBrief.model_validate(GUIDE_BRIEF)):
        with pytest.raises(DesignError) as refused:
            llm.generate_design(brief, max_new_tokens=6)
        found.append((refused.value.kind, refused.value.text, str(refused.value)))
    assert found[0] == found[1] and found[0][0] == "truncated" and "6 tokens" in found[0][2]


def test_problems_of_many_briefs_are_reported_together(llm):
    with pytest.raises(HouseBrainError, match="(?s)brief 1: .*brief 3: "):
        llm.generate_designs([{}, GUIDE_BRIEF, {"basicDetails": 1}], progress=False)


def test_an_error_says_how_far_the_answer_got():
    with pytest.raises(DesignError, match="90 tokens, 17 characters, last key wall") as refused:
        read_answer(GUIDE_BRIEF, Answered('{"wall":"Brick",,', 90, True))
    assert refused.value.kind == "truncated"
    assert refused.value.text == '{"wall":"Brick",,'


def test_a_full_model_folder_is_used_without_adapter(base):
    whole = HouseBrainLLM(model_path=base)
    assert whole.answer([GUIDE_BRIEF], max_new_tokens=8)[0].tokens == 8


def test_a_merged_full_model_answers_as_its_adapter_does(adapters, base, samples, tmp_path):
    """4-bit weights stay out of it: the adapter is put on the base in full precision by hand."""
    merge = MergeConfig(models=adapters[:2], output=tmp_path / "merged", rank="full")
    merge_adapters(merge, report=lambda line: None)
    full = MergeConfig(models=[tmp_path / "merged"], output=tmp_path / "full", into_base=str(base), base_view="fp16")
    merge_into_base(full, report=lambda line: None)
    whole = HouseBrainLLM(model_path=tmp_path / "full")
    by_hand = HouseBrainLLM(model_path=base)
    by_hand.model = PeftModel.from_pretrained(by_hand.model, tmp_path / "merged").eval()
    examples = [codec.encode(sample) for sample in samples[:4]]
    assert whole.losses(examples)[0] == pytest.approx(by_hand.losses(examples)[0], rel=2e-3)  # float16 weights
    assert whole.answer([GUIDE_BRIEF], max_new_tokens=8)[0].tokens == 8


def test_a_reference_answer_is_read_as_the_references_design(samples):
    example = codec.encode(samples[0])
    design = read_answer(samples[0]["input"], Answered(example.completion, 100, True))
    assert design == samples[0]["output"]


@pytest.mark.parametrize("text", ['{"design":5}', '{"design":{"levels":"none"}}', '{"design":{"total_area":-1}}', "{}"])
def test_json_that_is_no_design_is_an_error_of_kind_schema(text):
    with pytest.raises(DesignError, match="JSON but not a design") as refused:
        read_answer(GUIDE_BRIEF, Answered(text, 5, True))
    assert refused.value.kind == "schema" and refused.value.text == text


def test_a_cut_answer_is_truncated_even_if_it_parses(samples):
    example = codec.encode(samples[0])
    with pytest.raises(DesignError) as refused:
        read_answer(samples[0]["input"], Answered(example.completion, 7, False))
    assert refused.value.kind == "truncated" and "7 tokens" in str(refused.value)


def test_a_bad_brief_is_refused_with_all_problems_at_once():
    with pytest.raises(HouseBrainError) as refused:
        check_brief({"basicDetails": {"floors": "many"}})
    assert "totalArea" in str(refused.value) and "floors" in str(refused.value)


def test_loss_does_not_depend_on_the_company_of_a_sample(llm, samples):
    examples = [codec.encode(sample) for sample in samples[:6]]
    together, counts, _ = llm.losses(examples)
    alone = [llm.losses([example]) for example in examples]
    assert counts == [one[1][0] for one in alone]
    assert together == pytest.approx([one[0][0] for one in alone], rel=1e-4)


def test_a_completion_is_exact_where_the_most_probable_token_is_the_right_one_outside_drawn_fields(llm, samples):
    example = codec.encode(samples[0])
    prompt = llm.tokenizer(example.prompt).input_ids
    answer = llm.tokenizer(example.completion, add_special_tokens=False).input_ids + [llm.tokenizer.eos_token_id]
    with torch.no_grad():
        logits = llm.model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    right = (logits.argmax(-1) == torch.tensor(answer)).tolist()
    for drawn in ((), ("wall",), tuple(Answer.model_fields)):
        left_out = tokens_in_fields(llm.tokenizer, example.completion, drawn)
        expected = all(a or b for a, b in zip(right, left_out, strict=True))
        assert llm.losses([example], drawn).exact == [expected]
    assert llm.losses([example]).exact == [False] and not all(right), "so poor a model cannot know the conventions"


def test_an_adapter_has_the_same_loss_loaded_first_or_switched_to(adapters, base, samples):
    examples = [codec.encode(sample) for sample in samples[:3]]
    first = HouseBrainLLM(adapters[1], base_model=str(base))
    switched = HouseBrainLLM(adapters[0], base_model=str(base))
    switched.use(adapters[1])
    assert first.losses(examples) == switched.losses(examples)


def test_strict_json_parse_is_importable_from_where_the_guide_says():
    assert strict_json_parse('{"a": 1}') == {"a": 1}


def test_an_adapter_trained_from_the_hub_is_judged_on_the_same_base_in_a_folder(adapters, base, tmp_path):
    commit = "df3ce67c0e24480f20468b6ef2894622d69eb73b"
    adapter = as_trained_from_hub(adapters[0], tmp_path / "hb", commit)
    llm = HouseBrainLLM(adapter, base_model=str(base))
    assert llm.can_use(adapter) and llm.can_use(adapters[0])
    llm.use(adapters[1])
    other = shutil.copytree(base, tmp_path / "other")
    (other / "config.json").write_text((other / "config.json").read_text() + " ")
    with pytest.raises(ConfigError, match=f"trained on some/base at {commit}; .*Give the very base model"):
        HouseBrainLLM(adapter, base_model=str(other))
