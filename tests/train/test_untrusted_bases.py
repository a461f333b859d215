"""Base models that are cut off, at odds with themselves, or of absurd sizes: a sentence before anything is loaded."""

import codecs
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from housebrain_core.errors import ConfigError
from housebrain_core.train import tiny
from housebrain_core.train.base_models import INDEX, SINGLE, check_base, find_trained_base, locate_base, resolve_base

SIZES = {"vocab_size": 32, "hidden_size": 8, "num_hidden_layers": 2, "model_type": "llama"}
TENSORS = {
    "model.embed_tokens.weight": np.zeros((32, 8), np.float32),
    "model.layers.0.mlp.weight": np.zeros((8, 8), np.float32),
    "model.layers.1.mlp.weight": np.ones((8, 8), np.float32),
}


@pytest.fixture
def folder(tmp_path) -> Path:
    """As much of a base model as can be looked at without loading it."""
    folder = tmp_path / "a base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SIZES))
    (folder / "tokenizer.json").write_text('{"model": {"type": "BPE"}}')
    save_file(TENSORS, folder / SINGLE)
    return folder


def with_config(folder: Path, **changes) -> None:
    (folder / "config.json").write_text(json.dumps(SIZES | changes))


def shard(folder: Path, **index) -> None:
    """Puts the weights into two files with an index."""
    (folder / SINGLE).unlink()
    names = list(TENSORS)
    for number, part in enumerate((names[:1], names[1:])):
        save_file({name: TENSORS[name] for name in part}, folder / f"model-{number}.safetensors")
    places = {name: f"model-{int(name in names[1:])}.safetensors" for name in names}
    (folder / INDEX).write_text(json.dumps({"weight_map": places | index}))


def cut(path: Path, left: int) -> None:
    path.write_bytes(path.read_bytes()[:left])


def mark(path: Path) -> None:
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())


BROKEN = {
    "layers without end": (lambda at: with_config(at, num_hidden_layers=10**9), "num_hidden_layers = 1000000000"),
    "hidden size of a continent": (lambda at: with_config(at, hidden_size=10**12), "hidden_size = 1000000000000"),
    "vocabulary below zero": (lambda at: with_config(at, vocab_size=-1), "vocab_size = -1; expected a whole number"),
    "layers a text": (lambda at: with_config(at, num_hidden_layers="2"), "num_hidden_layers = '2'"),
    "sizes inside": (lambda at: with_config(at, text_config={"intermediate_size": 10**12}), "intermediate_size"),
    "more layers than weights": (lambda at: with_config(at, num_hidden_layers=900), "has 900 layers, its weights 2"),
    "another vocabulary": (lambda at: with_config(at, vocab_size=33), "vocab_size = 33, which no tensor"),
    "another hidden size": (lambda at: with_config(at, hidden_size=7), "hidden_size = 7, which no tensor"),
    "config a list": (lambda at: (at / "config.json").write_text("[]"), "config.json is no JSON object"),
    "config a web page": (lambda at: (at / "config.json").write_text("<html>login"), "config.json is a web page"),
    "config without end": (lambda at: (at / "config.json").write_text('{"a":' * 100_000), "nested too deeply"),
    "weights cut": (lambda at: cut(at / SINGLE, 600), "model.safetensors is damaged"),
    "weights a pointer": (lambda at: (at / SINGLE).write_text("version https://git-lfs.github.com"), "Git LFS pointer"),
    "no weights": (lambda at: (at / SINGLE).unlink(), "lacks model.safetensors"),
    "a shard missing": (lambda at: (shard(at), (at / "model-1.safetensors").unlink()), "lacks model-1.safetensors"),
    "a tensor missing": (lambda at: shard(at, lm_head="model-1.safetensors"), "it lacks lm_head"),
    "index elsewhere": (lambda at: shard(at, x="../x.safetensors"), "does not say which tensors"),
    "index a list": (lambda at: (shard(at), (at / INDEX).write_text("[]")), "index.json is no JSON object"),
    "no tokenizer": (lambda at: (at / "tokenizer.json").unlink(), "it has no tokenizer"),
    "tokenizer cut": (lambda at: cut(at / "tokenizer.json", 9), "tokenizer.json is not JSON"),
    "tokenizer of something": (lambda at: (at / "tokenizer.json").write_text("{}"), "holds no tokenizer"),
    "config of Notepad": (lambda at: mark(at / "config.json"), "config.json begins with a byte order mark"),
    "tokenizer of Notepad": (lambda at: mark(at / "tokenizer.json"), "tokenizer.json begins with .*: save it as UTF-8"),
    "pickled": (lambda at: (at / SINGLE).rename(at / "pytorch_model.bin"), "pickled, which could run code"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_base_that_is_not_whole_is_refused_before_it_is_loaded(kind, folder):
    breaks, said = BROKEN[kind]
    check_base(resolve_base(str(folder)))
    breaks(folder)
    with pytest.raises(ConfigError, match=said) as refused:
        check_base(resolve_base(str(folder)))
    assert "a base" in str(refused.value) and len(str(refused.value)) < 600


def test_weights_in_shards_are_whole_and_layers_of_another_tower_are_no_layers(folder):
    shard(folder)
    check_base(resolve_base(str(folder)))
    with_config(folder, num_hidden_layers=1)  # as where a draft layer lies beside the model's
    check_base(resolve_base(str(folder)))


def test_only_what_the_demo_made_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOUSEBRAIN_CACHE", str(tmp_path))
    made = tmp_path / f"tiny-{tiny.QUICK.key}"
    assert locate_base(made.name) == made.name, "nothing was made"
    made.mkdir()
    (tmp_path / "tiny-random").mkdir()
    assert locate_base(made.name) == str(made)
    for name in ("tiny-random", "tiny-random/llama", "tiny-", "someone/tiny-03c11dcd66d1"):
        assert locate_base(name) == name
    folder = resolve_base("tiny").folder
    assert folder == tmp_path / f"tiny-{tiny.TinyRecipe().key}" and (folder / "config.json").is_file()
    assert find_trained_base("tiny", None, None, "it was trained on something").folder == folder


@pytest.mark.parametrize(
    ("file", "name", "value", "said"),
    [
        ("config.json", "hidden_act", 1.5, "its tokenizer cannot be loaded .*hidden_act"),
        ("config.json", "num_attention_heads", None, "cannot be loaded .*num_attention_heads"),
        ("tokenizer_config.json", "model_max_length", "9", "its tokenizer cannot be loaded"),
        ("tokenizer_config.json", "eos_token", None, "no end-of-sequence token. Download its tokenizer_config.json"),
    ],
)
def test_a_setting_of_the_wrong_kind_is_a_sentence(file, name, value, said, base, tmp_path):
    from housebrain_core.train.model import load_tokenizer

    folder = shutil.copytree(base, tmp_path / "base")
    settings = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(settings | {name: value}))
    with pytest.raises(ConfigError, match=said):
        load_tokenizer(resolve_base(str(folder)))


@pytest.mark.parametrize("kind", ["tokenizer", "weights", "vocabulary"])
def test_what_shows_only_in_loading_is_a_sentence_too(kind, base, tmp_path):
    from safetensors.torch import load_file
    from safetensors.torch import save_file as save

    from housebrain_core.train.model import load_base, load_tokenizer

    folder = shutil.copytree(base, tmp_path / "base")
    if kind == "weights":
        tensors = load_file(folder / SINGLE)
        save({name: value for name, value in tensors.items() if "layers.0.mlp" not in name}, folder / SINGLE)
        with pytest.raises(ConfigError, match=r"lacks the weights .*layers.0.mlp"):
            load_base(resolve_base(str(folder)), False, lambda line: None)
        return
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    if kind == "tokenizer":
        tokenizer["model"] = {"type": "BPE", "vocab": {}}
    else:
        special = tokenizer["added_tokens"][-1]
        tokenizer["added_tokens"].append(special | {"id": 10**6, "content": "<|another|>"})
        tokenizer["model"]["vocab"]["<|another|>"] = 10**6
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ConfigError, match="tokenizer"):
        load_tokenizer(resolve_base(str(folder)))


def test_nothing_is_sent_to_the_hub_that_nobody_asked_for():
    code = "import housebrain_core, huggingface_hub.constants as hub; print(hub.HF_HUB_DISABLE_TELEMETRY)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.strip() == "True", ran.stderr
