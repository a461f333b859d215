"""What other programs read: each trap of transformers 5's own files, and the training prompt byte for byte."""

import json

import pytest
from outside import SHARED
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from housebrain_core.errors import ExportError
from housebrain_core.export.consumer_files import chat_template, legacy_names, write_requests, write_tokenizer
from housebrain_core.house.briefs import SANITY_BRIEF, check_brief
from housebrain_core.house.codec import write_prompt
from housebrain_core.house.schema import Answer
from housebrain_core.train.tiny import SHIPPED

PROMPT = write_prompt(check_brief(SANITY_BRIEF))


def byte_tokenizer(template: str | None = None, **more) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes; with a template, tokens that it adds to every text."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {token: place for place, token in enumerate(["<b>", "<e>", *sorted(alphabet)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if template:
        special = [(token, vocabulary[token]) for token in ("<b>", "<e>")]
        tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<b>", eos_token="<e>", **more)


def save_base(folder, tokenizer):
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    return folder


def test_the_template_adds_the_bos_where_the_tokenizer_does_and_nothing_else(tmp_path):
    for name, tokenizer in (("with", byte_tokenizer("<b> $A")), ("without", byte_tokenizer())):
        (tmp_path / name).mkdir()
        written = write_tokenizer(save_base(tmp_path / f"{name}-base", tokenizer), tmp_path / name)
        loaded = AutoTokenizer.from_pretrained(tmp_path / name)
        message = [{"role": "user", "content": PROMPT.rstrip("\n")}]
        assert loaded.apply_chat_template(message)["input_ids"] == loaded(PROMPT).input_ids == written(PROMPT).input_ids
        text = loaded.apply_chat_template(message, tokenize=False)
        assert text.encode() == b"<b>" * (name == "with") + PROMPT.encode()
        config = json.loads((tmp_path / name / "tokenizer_config.json").read_text())
        assert config["add_bos_token"] == (name == "with") and config["add_eos_token"] is False


def test_a_tokenizer_that_adds_what_no_template_can_is_refused():
    with pytest.raises(ExportError, match=r"adds the tokens \[0, 1\] to every text"):
        chat_template(byte_tokenizer("<b> $A <e>"))


@pytest.mark.parametrize("name", ["deepseek-coder", "qwen2"])
def test_the_real_tokenizers_get_the_same_tokens_from_a_message_as_in_training(name, shared):
    tokenizer = AutoTokenizer.from_pretrained(SHARED / "tokenizers" / name)
    tokenizer.chat_template = chat_template(tokenizer)
    message = [{"role": "user", "content": PROMPT}]
    assert tokenizer.apply_chat_template(message)["input_ids"] == tokenizer(PROMPT).input_ids


def test_the_files_have_what_older_readers_look_for(tmp_path):
    """Traps: TokenizersBackend, special_tokens_map.json, a list of extra tokens, the template in a file of its own."""
    tokenizer = byte_tokenizer("<b> $A", extra_special_tokens=["<b>"])
    (tmp_path / "out").mkdir()
    write_tokenizer(save_base(tmp_path / "base", tokenizer), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["model_input_names"] == ["input_ids", "attention_mask"], "the card's lines give them to generate"
    assert config["additional_special_tokens"] == ["<b>"] and "extra_special_tokens" not in config
    assert config["chat_template"] == (tmp_path / "out" / "chat_template.jinja").read_text()
    assert config["padding_side"] == AutoTokenizer.from_pretrained(tmp_path / "out").padding_side == "left"
    named = json.loads((tmp_path / "out" / "special_tokens_map.json").read_text())
    assert named == {"bos_token": "<b>", "eos_token": "<e>", "pad_token": "<e>"}


def test_legacy_names_stand_beside_the_new_ones_and_mean_the_same():
    """Trap: Ollama's converters read rope_theta and rope_scaling only, and take defaults without a word."""
    plain = {"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}, "dtype": "bfloat16"}
    assert legacy_names(plain) == {"rope_theta": 1e6, "rope_scaling": None, "torch_dtype": "bfloat16"}
    linear = {"rope_parameters": {"rope_theta": 1e5, "rope_type": "linear", "factor": 4.0}}
    scaling = {"rope_type": "linear", "type": "linear", "factor": 4.0}
    assert legacy_names(linear) == {"rope_theta": 1e5, "rope_scaling": scaling}
    both = LlamaConfig(**linear, **legacy_names(linear))
    assert both.rope_parameters["rope_theta"] == 1e5 and both.rope_parameters["factor"] == 4.0
    assert legacy_names({"rope_theta": 1e6, "torch_dtype": "float16"}) == {}, "as the Hub has it: nothing is changed"


def test_the_request_sends_the_training_line_and_the_schema_in_the_order_of_training(tmp_path):
    """Trap: engines write keys in the order of the schema's properties."""
    write_requests(tmp_path, "hb")
    schema = json.loads((tmp_path / "answer_schema.json").read_text())
    assert list(schema["properties"]) == list(Answer.model_fields)
    request = json.loads((tmp_path / "request.json").read_text())
    assert request["messages"] == [{"role": "user", "content": PROMPT.rstrip("\n")}] and request["model"] == "hb"
    assert request["response_format"]["json_schema"]["schema"] == schema and request["temperature"] == 0
    assert request["repeat_penalty"] == 1, "servers that have another by themselves answer otherwise"


def test_the_shipped_tokenizer_is_written_as_it_was_read(tmp_path):
    written = write_tokenizer(SHIPPED, tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)(PROMPT).input_ids == written(PROMPT).input_ids
