"""What counts as the same answer: every token, or another one that the model holds for as good as equal."""

import json

import pytest
import torch

from housebrain_core.errors import DataError, ExportError
from housebrain_core.export.gguf import count_answers
from housebrain_core.export.settings import ExportConfig
from housebrain_core.export.verification import (
    NearTokens,
    Reference,
    choose_prompts,
    compare_answers,
    compare_prompts,
    cut_answers,
    first_difference,
)

ANSWERS = [[5, 6, 7, 0], [5, 9, 0]]
NEAR = [[{5}, {6, 8}, {7}, {0}], [{5}, {9}, {0}]]
REFERENCE = Reference(["a", "b"], "generated", [[1, 2], [3]], ANSWERS, NEAR)


def test_the_same_tokens_are_the_same_answer():
    text = compare_answers(REFERENCE, ANSWERS, "x")
    assert text == "2 of 2 greedy answers are the model's, token by token (briefs: generated)"


def test_an_answer_may_part_only_where_the_model_holds_two_tokens_for_as_good_as_equal():
    text = compare_answers(REFERENCE, [[5, 8, 1, 1], [5, 9, 0]], "x")
    assert (
        text.startswith("1 of 2 ") and "1 parts from it at a token that the model itself holds for at least 90%" in text
    )
    with pytest.raises(ExportError, match=r"the answers to brief 1 part at token 2, where \[9\] stands for \[7\]"):
        compare_answers(REFERENCE, [[5, 6, 9, 0], [5, 9, 0]], "x")


def test_of_a_quantised_model_it_is_said_how_many_answers_part_where_rounding_may_turn():
    text = count_answers(REFERENCE, [[5, 8, 1, 1], [4, 9, 0]])
    assert text.startswith(
        "it loads, and 0 of 2 greedy answers are the model's; quantising changes the others, of which 1 "
    )
    assert "for at least 90% as probable" in text
    assert count_answers(REFERENCE, ANSWERS) == "it loads, and 2 of 2 greedy answers are the model's"


@pytest.mark.parametrize("answer", [[5, 9], [5, 9, 0, 4], []])
def test_an_answer_that_ends_elsewhere_is_another(answer):
    with pytest.raises(ExportError, match="the answers to brief 2 part"):
        compare_answers(REFERENCE, [ANSWERS[0], answer], "x")


def test_a_prompt_that_is_tokenised_otherwise_is_refused():
    """Trap: a server that cuts a prompt differently serves another model (llama.cpp 7062)."""
    compare_prompts(REFERENCE, [[1, 2], [3]], "x")
    with pytest.raises(
        ExportError, match=r"x reads other tokens from prompt 1 .* from token 0 on \[9, 1, 2\] for \[1, 2\]"
    ):
        compare_prompts(REFERENCE, [[9, 1, 2], [3]], "x")


def test_tokens_are_near_from_nine_tenths_of_the_probability_of_the_best():
    near = NearTokens()
    scores = torch.tensor([[0.0, -0.1, -0.2], [3.0, 1.0, 3.0]])
    assert near(torch.zeros(2, 1), scores) is scores
    assert near.steps == [[{0, 1}, {0, 2}]]


def test_answers_are_cut_behind_their_end():
    output = torch.tensor([[1, 1, 4, 0, 0], [1, 1, 4, 5, 6]])
    assert cut_answers(output, 2, 0) == [[4, 0], [4, 5, 6]]
    assert first_difference([1, 2], [1, 2, 3]) == 2


def test_briefs_are_those_given_else_the_validation_sample_else_generated(splits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prompts, origin = choose_prompts(ExportConfig(model="m", format="full"))
    assert origin == "generated" and len(set(prompts)) == 8
    validation, origin = choose_prompts(ExportConfig(model="m", format="full", data=splits))
    assert origin == f"validation of {splits}" and len(validation) == 8
    with pytest.raises(DataError):
        choose_prompts(ExportConfig(model="m", format="full", data=tmp_path / "nothing"))


def test_an_object_that_is_no_brief_is_verified_with_and_said(tmp_path):
    (tmp_path / "evaluation.json").write_text(json.dumps({"models": {}, "reference": 1}))
    lines = []
    given = str(tmp_path / "evaluation.json")
    prompts, _ = choose_prompts(ExportConfig(model="m", format="full", briefs=given), lines.append)
    assert len(prompts) == 1 and "evaluation.json: it is no house brief" in lines[0]
