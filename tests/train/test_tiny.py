"""The tiny base model: named by its recipe, made once, the same from the same recipe, and shipped with its recipe."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from housebrain_core.house import codec, synthetic
from housebrain_core.train import tiny
from housebrain_core.train.tiny import EOS, SHIPPED, TinyRecipe, cache_folder, make_tiny_base, tiny_base

RECIPE = TinyRecipe(hidden_size=64, layers=1, intermediate_size=64, samples=6, steps=6, batch=2, dtype="float32")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache."""
    monkeypatch.setenv("HOUSEBRAIN_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, list[str]]:
    """A model of the small recipe, made in an empty cache, and what was said meanwhile."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOUSEBRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        return tiny_base(RECIPE, lines.append), lines


def test_another_recipe_is_another_model():
    assert TinyRecipe().key == TinyRecipe().key
    assert len({TinyRecipe().key, TinyRecipe(layers=3).key, TinyRecipe(codec_version=99).key}) == 3


def test_the_cache_is_where_the_variable_says(cache):
    assert cache_folder() == cache


@pytest.mark.slow
def test_it_is_made_once_and_then_found(made, monkeypatch):
    folder, lines = made
    assert folder.name == f"tiny-{RECIPE.key}" and (folder / "recipe.json").is_file()
    assert any("step 6 of 6" in line for line in lines)
    monkeypatch.setenv("HOUSEBRAIN_CACHE", str(folder.parent))
    again: list[str] = []
    assert tiny_base(RECIPE, again.append) == folder
    assert again == []
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "no staging folder is left"


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_weights(made, tmp_path):
    make_tiny_base(tmp_path / "again", RECIPE, lambda line: None)
    files = [load_file(place / "model.safetensors") for place in (made[0], tmp_path / "again")]
    assert all(torch.equal(files[0][name], files[1][name]) for name in files[0])


@pytest.mark.slow
def test_transformers_load_it_and_its_tokenizer_ends_texts(made):
    folder, _ = made
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert tokenizer.eos_token == EOS and model.config.eos_token_id == tokenizer.eos_token_id
    text = '{"wall":"Brick","roof":"Tile","max_area":1800}'
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert model.num_parameters() < 10**6


def test_the_shipped_one_is_the_default_recipes_and_is_copied_not_made(cache, monkeypatch):
    monkeypatch.setattr(tiny, "make_tiny_base", None)
    folder = tiny_base()
    assert folder == cache / f"tiny-{TinyRecipe().key}"
    assert json.loads((SHIPPED / "recipe.json").read_text()) == TinyRecipe().model_dump()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1.3e6
    assert all(weight.dtype == torch.float16 for weight in load_file(folder / "model.safetensors").values())


@pytest.mark.slow
def test_the_shipped_tokenizer_is_the_one_that_the_recipe_gives(made):
    assert (made[0] / "tokenizer.json").read_text() == (SHIPPED / "tokenizer.json").read_text()


def test_answers_of_the_demos_data_are_short():
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    examples = [codec.encode(sample) for sample in synthetic.make_samples(100, 5)]
    answers = [len(tokenizer(example.completion).input_ids) for example in examples]
    prompts = [len(tokenizer(example.prompt).input_ids) for example in examples]
    assert max(answers) <= 60 and sum(answers) / 100 < 45 and max(prompts) <= 16


def mean_loss(folder, samples) -> float:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    rows = tiny.tokenise_whole(tokenizer, [codec.encode(sample) for sample in samples])
    with torch.no_grad():
        return tiny.batch_loss(model.float(), rows).item()


@pytest.mark.slow
def test_the_shipped_one_knows_other_regions_and_not_the_demos():
    (known,) = (mean_loss(SHIPPED, synthetic.make_samples(60, 5, region)) for region in synthetic.OTHERS[:1])
    floor = synthetic.entropy_nats() / 43
    assert known < floor + 0.05
    assert 0.4 < mean_loss(SHIPPED, synthetic.make_samples(60, 5)) - floor < 0.8, "near chance, and not sure of itself"


@pytest.mark.soak
def test_the_recipe_gives_the_shipped_one(tmp_path):
    """Ten minutes on one core; other machines round otherwise, so that losses are compared, not weights."""
    make_tiny_base(tmp_path / "made", TinyRecipe(), lambda line: None)
    for region in (synthetic.DEMO, synthetic.OTHERS[0]):
        samples = list(synthetic.make_samples(200, 5, region))
        assert mean_loss(tmp_path / "made", samples) == pytest.approx(mean_loss(SHIPPED, samples), abs=0.03)
