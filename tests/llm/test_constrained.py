"""Constrained decoding gives a schema-valid answer within the token limit, whatever the weights."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from housebrain_core.errors import ConfigError
from housebrain_core.house import codec
from housebrain_core.house.json_text import strict_json_parse
from housebrain_core.house.schema import Answer, HouseDesign
from housebrain_core.llm.constrained import AnswerProcessor, answer_schema, closing_tokens, longest_text, safe_limit
from housebrain_core.llm.decoding import Decoding, read_answer
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.train.tiny import train_tokenizer

pytest.importorskip("llguidance", reason="the extra `constrained` is not installed")


def random_model(folder: Path, tokenizer, width: int) -> Path:
    """A model folder with random weights: one layer, logits of the given width."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=width, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
                         num_attention_heads=2, max_position_embeddings=8192, bos_token_id=None,
                         eos_token_id=tokenizer.eos_token_id, initializer_range=1.0)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def count_valid(llm: HouseBrainLLM, briefs: list[dict], batch_size: int) -> list[int]:
    """Tokens of each answer, after checking that every one is complete and valid; weights are drawn at random."""
    decoding = Decoding(batch_size, safe_limit(), constrained=True, temperature=1.0, seed=1)
    tokens = []
    for batch in llm.answer_batches(briefs, decoding):
        for index, answer in zip(batch.indices, batch.answers, strict=True):
            assert answer.complete, answer.text[-200:]
            Answer.model_validate(strict_json_parse(answer.text))
            HouseDesign.model_validate(read_answer(briefs[index], answer))
            tokens.append(answer.tokens)
    assert max(tokens) <= safe_limit()
    return tokens


@pytest.fixture(scope="module")
def tokenizer_2k(samples):
    return train_tokenizer([text for sample in samples for text in codec.encode(sample)], 2000)


@pytest.fixture(scope="module")
def llm_2k(tokenizer_2k, tmp_path_factory):
    return HouseBrainLLM(random_model(tmp_path_factory.mktemp("random") / "model", tokenizer_2k, 2048))


def briefs_of(samples: list[dict], count: int) -> list[dict]:
    return [samples[index % len(samples)]["input"] for index in range(count)]


@pytest.mark.slow
def test_random_weights_give_valid_answers_within_the_limit(llm_2k, samples):
    assert len(count_valid(llm_2k, briefs_of(samples, 8), 8)) == 8


@pytest.mark.soak
@pytest.mark.parametrize(("name", "width"), [("tiny", 2048), ("deepseek-coder", 32_256), ("qwen2", 151_936)])
def test_200_designs_from_random_weights_are_valid(name, width, llm_2k, samples, request, tmp_path):
    llm = llm_2k
    if name != "tiny":
        tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue("shared") / "tokenizers" / name)
        llm = HouseBrainLLM(random_model(tmp_path / "model", tokenizer, width))
    tokens = count_valid(llm, briefs_of(samples, 200), 50)
    print(f"{name}: 200 of 200 valid, {min(tokens)} to {max(tokens)} tokens, limit {safe_limit()}")


def test_a_brief_without_budget_gets_the_cost_from_the_answer(llm_2k, samples):
    brief = json.loads(json.dumps(samples[0]["input"]))
    del brief["basicDetails"]["budget"]
    design = llm_2k.generate_design(brief, constrained=True)
    assert design.construction_cost is not None


def test_the_schema_is_the_trained_format(samples):
    """Every real completion passes the mask token by token: nothing that training taught is forbidden."""
    tokenizer = train_tokenizer([codec.encode(samples[0]).completion], 400)
    for sample in samples[:3]:
        ids = tokenizer(codec.encode(sample).completion).input_ids + [tokenizer.eos_token_id]
        processor = AnswerProcessor(tokenizer, len(tokenizer), 5000, [False])
        for place, token in enumerate(ids):
            scores = processor(torch.tensor([ids[:place] or [0]]), torch.zeros(1, len(tokenizer)))
            assert scores[0, token] == 0, tokenizer.decode(ids[:place])


def test_the_longest_text_of_a_schema_by_hand():
    number = {"type": "integer", "minimum": 0, "maximum": 999}
    schema = {"properties": {"a": number, "b": {"items": number, "maxItems": 3}}, "additionalProperties": False}
    assert longest_text(schema, {}) == len('{"a":999,"b":[999,999,999]}') + 1  # a list is counted with a last comma
    assert longest_text({"enum": ["x", ["y", "z"]]}, {}) == len('["y","z"]')
    ratio = {"type": "number", "minimum": 0, "maximum": 9.99, "multipleOf": 0.01}
    assert longest_text(ratio, {}) == len("9.99")
    for unbounded in ({"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "array", "items": number}):
        with pytest.raises(ValueError, match="no upper bound"):
            longest_text(unbounded, {})


def test_every_terminal_of_an_answer_is_bounded():
    schema = json.loads(answer_schema())
    assert longest_text(schema, schema["$defs"]) < 40_000
    assert '"items":false' not in answer_schema().replace(" ", ""), "llama-server takes no schema that is no object"
    assert closing_tokens() < safe_limit() < 1024


def test_a_limit_that_cannot_hold_an_answer_is_refused(llm_2k, samples):
    with pytest.raises(ConfigError, match=f"max_new_tokens = 300.*{safe_limit()} tokens"):
        llm_2k.generate_design(samples[0]["input"], max_new_tokens=300, constrained=True)


def test_the_answer_model_refuses_what_the_schema_does_not_have(samples):
    answer = json.loads(codec.encode(samples[0]).completion)
    for change in ({"wall": "Glass"}, {"extra": 1}, {"parking": -1}, {"max_height": 30.5},
                   {"levels": [{"height": 9, "rooms": [], "stairs": [{"size": [0, 4], "at": [0, 0]}]}]}):  # fmt: skip
        with pytest.raises(ValidationError):
            Answer.model_validate(answer | change)
