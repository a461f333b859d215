"""HouseBrainLLM: the guide's own call works, an answer is a design or an error that says why."""

import pytest

from housebrain_core import codec
from housebrain_core.errors import DesignError, HouseBrainError
from housebrain_core.llm import Answered, HouseBrainLLM, check_brief, read_answer, strict_json_parse

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


def test_a_reference_answer_is_read_as_the_references_design(samples):
    example = codec.encode(samples[0])
    design = read_answer(samples[0]["input"], Answered(example.completion, 100, True))
    assert design == samples[0]["output"]


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
    together, counts = llm.losses(examples)
    alone = [llm.losses([example]) for example in examples]
    assert counts == [one[1][0] for one in alone]
    assert together == pytest.approx([one[0][0] for one in alone], rel=1e-4)


def test_strict_json_parse_is_importable_from_where_the_guide_says():
    assert strict_json_parse('{"a": 1}') == {"a": 1}
