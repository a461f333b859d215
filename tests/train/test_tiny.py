"""The tiny base model: named by its recipe, made once, and the same from the same recipe."""

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from housebrain_core.train.tiny import EOS, TinyRecipe, cache_folder, tiny_base

RECIPE = TinyRecipe(hidden_size=64, layers=1, intermediate_size=64, vocabulary=400, samples=6)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache."""
    monkeypatch.setenv("HOUSEBRAIN_CACHE", str(tmp_path))
    return tmp_path


def test_another_recipe_is_another_model():
    assert TinyRecipe().key == TinyRecipe().key
    assert len({TinyRecipe().key, TinyRecipe(layers=3).key, TinyRecipe(codec_version=99).key}) == 3


def test_the_cache_is_where_the_variable_says(cache):
    assert cache_folder() == cache


def test_it_is_made_once_and_then_found(cache):
    lines = []
    folder = tiny_base(RECIPE, lines.append)
    assert folder == cache / f"tiny-{RECIPE.key}" and (folder / "recipe.json").is_file()
    assert any("step 6 of 6" in line for line in lines)
    lines.clear()
    assert tiny_base(RECIPE, lines.append) == folder
    assert lines == []
    assert [path.name for path in cache.iterdir()] == [folder.name], "no staging folder is left"


def test_transformers_load_it_and_its_tokenizer_ends_texts(cache):
    folder = tiny_base(RECIPE, lambda line: None)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert tokenizer.eos_token == EOS and model.config.eos_token_id == tokenizer.eos_token_id
    text = '{"wall":"Brick","roof":"Tile","max_area":1800}'
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert model.num_parameters() < 10**6
