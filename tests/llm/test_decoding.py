"""Answers read as designs, or refused with how far they got; and draws that do not depend on the batch."""

import pytest
import torch

from housebrain_core.house import codec
from housebrain_core.house.codec import DesignError
from housebrain_core.llm.decoding import (
    Answered,
    SamplingProcessor,
    design_or_error,
    lacks_budget,
    last_key,
    read_answer,
)


@pytest.fixture
def pair(samples):
    """A brief and a whole answer to it."""
    return samples[0]["input"], codec.encode(samples[0]).completion


def test_a_whole_answer_is_the_design(samples, pair):
    brief, text = pair
    assert read_answer(brief, Answered(text, 300, True)) == samples[0]["output"]


def test_an_answer_at_the_limit_is_truncated_even_if_it_parses(pair):
    brief, text = pair
    with pytest.raises(DesignError, match="cut after 7 tokens") as error:
        read_answer(brief, Answered(text, 7, False))
    assert error.value.kind == "truncated"


def test_what_is_no_json_says_how_far_it_got_and_how_it_ends(pair):
    brief, text = pair
    cut = text[: text.index('"roof"') + 8]
    with pytest.raises(DesignError, match="is not JSON") as error:
        read_answer(brief, Answered(cut, 20, True))
    assert "last key roof" in str(error.value) and repr(cut[-60:]) in str(error.value)


def test_problems_of_many_come_as_values(pair):
    brief, text = pair
    assert design_or_error(brief, Answered(text, 300, True)).has_geometry
    assert isinstance(design_or_error(brief, Answered("[]", 2, True)), DesignError)


@pytest.mark.parametrize(("text", "key"), [("", "none"), ('{"a":1,"b', "a"), ('{"a":{"bc":"x', "bc"), ('"a"', "none")])
def test_the_last_key_is_the_last_that_has_a_value(text, key):
    assert last_key(text) == key


def test_a_brief_without_a_budget_leaves_the_cost_to_the_answer():
    assert lacks_budget({}) and lacks_budget({"basicDetails": {"budget": None}})
    assert not lacks_budget({"basicDetails": {"budget": 0}})


def test_a_row_draws_the_same_alone_and_in_a_batch():
    scores = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    together = SamplingProcessor(1.0, 5, [0, 1, 2], torch.device("cpu"))(None, scores)
    alone = SamplingProcessor(1.0, 5, [1], torch.device("cpu"))(None, scores[1:2])
    assert torch.equal(together[1:2], alone)


def test_draws_follow_the_softmax():
    scores = torch.log(torch.tensor([0.6, 0.3, 0.1])).repeat(4000, 1)
    drawn = SamplingProcessor(1.0, 1, list(range(4000)), torch.device("cpu"))(None, scores).argmax(1)
    shares = torch.bincount(drawn, minlength=3) / 4000
    assert torch.allclose(shares, torch.tensor([0.6, 0.3, 0.1]), atol=0.03)


def test_an_answer_of_other_data_is_any_value():
    assert read_answer("What is 2+2?", Answered('{"design":"It is 4."}', 5, True)) == "It is 4."
    assert read_answer({"question": 1}, Answered('{"design":{"walls":[]}}', 5, True)) == {"walls": []}
    with pytest.raises(DesignError, match="is JSON but not a design"):
        read_answer({"plot": {}}, Answered('{"design":{"levels":3}}', 5, True))
