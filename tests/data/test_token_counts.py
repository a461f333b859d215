"""Counting tokens: with and without what a tokenizer puts around a text, and characters where there is none."""

import json

import pytest

from housebrain_core.data.token_counts import load_counter, read_counter
from housebrain_core.errors import ConfigError


@pytest.fixture
def tokenizer(tmp_path):
    """A tokenizer of words that puts one token before each text, and cuts texts after two."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    made = Tokenizer(models.WordLevel({"<s>": 0, "house": 1, "?": 2}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made.enable_truncation(2)
    path = tmp_path / "tokenizer.json"
    path.write_text(made.to_str())
    assert json.loads(path.read_text())["truncation"]
    return path


def test_tokens_are_counted_whole_with_and_without_special_ones(tokenizer):
    texts = ["house house a house", ""]
    assert read_counter(tokenizer)(texts) == [4, 0]
    assert read_counter(tokenizer, special=True)(texts) == [5, 1]
    assert load_counter(str(tokenizer.parent))(texts) == [4, 0]


def test_without_a_tokenizer_characters_are_counted_and_one_that_is_not_there_is_refused(tmp_path):
    assert load_counter(None)(["abc", ""]) == [3, 0]
    with pytest.raises(ConfigError, match="cannot be loaded.*Give a folder with tokenizer.json"):
        load_counter(str(tmp_path))
