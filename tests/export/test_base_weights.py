"""A base model's folder: found by name or path, whole, and the very one that the adapters were trained on."""

import json
import shutil

import pytest
import torch
from adapter_files import as_trained_from_hub
from full_models import merge, rewrite_index, small_adapter, small_base, weights_of
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from housebrain_core.errors import AdapterError, ConfigError
from housebrain_core.train.base_models import INDEX

COMMIT = "df3ce67c0e24480f20468b6ef2894622d69eb73b"

pytestmark = pytest.mark.usefixtures("unverified")


def test_a_single_file_beside_a_foreign_index_is_what_transformers_would_load(any_base, tmp_path):
    base, adapter = small_base(tmp_path / "base"), small_adapter(tmp_path / "a")
    other = small_base(tmp_path / "other", shards="5GB")
    tensors = load_file(other / "model.safetensors")
    tensors["model.norm.weight"] += 1
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    merge([adapter], tmp_path / "full", into_base=str(base), base_view="fp16", accept_plain=True)
    loaded = AutoModelForCausalLM.from_pretrained(base).state_dict()["model.norm.weight"]
    assert torch.equal(weights_of(tmp_path / "full")["model.norm.weight"], loaded)
    assert [path.name for path in (tmp_path / "full").glob("model*")] == ["model.safetensors"]


def test_a_tensor_that_the_index_lists_and_no_file_holds_is_refused_by_name(any_base, tmp_path):
    base, adapter = small_base(tmp_path / "base"), small_adapter(tmp_path / "a")
    rewrite_index(base, lambda files: files.update({"model.layers.0.lost.weight": files["model.norm.weight"]}))
    with pytest.raises(ConfigError, match="model.layers.0.lost.weight is in it 0 times"):
        merge([adapter], tmp_path / "full", into_base=str(base), accept_plain=True)
    assert not (tmp_path / "full").exists()


def test_a_tensor_in_two_files_is_refused_by_name_even_if_no_update_goes_into_it(any_base, tmp_path):
    base, adapter = small_base(tmp_path / "base"), small_adapter(tmp_path / "a")
    files = json.loads((base / INDEX).read_text())["weight_map"]
    other = next(name for name in files.values() if name != files["model.norm.weight"])
    tensors = load_file(base / other) | {"model.norm.weight": torch.zeros(64).half()}
    save_file(tensors, base / other, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match="model.norm.weight is in it 2 times"):
        merge([adapter], tmp_path / "full", into_base=str(base), accept_plain=True)


@pytest.mark.parametrize("stored", [False, True])
def test_an_update_of_a_head_that_is_tied_to_the_embeddings_is_refused(any_base, tmp_path, stored):
    """Trap: on loading, the embeddings would take the place of the changed head (peft 2244)."""
    base = small_base(tmp_path / "base", shards="5GB", tie_word_embeddings=True)
    adapter = small_adapter(tmp_path / "a", lm_head=(1024, 64))
    if stored:  # as some checkpoints have it
        tensors = load_file(base / "model.safetensors")
        save_file(
            tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()},
            base / "model.safetensors",
            metadata={"format": "pt"},
        )
    with pytest.raises(AdapterError, match="lm_head has the weights of the embeddings; only an adapter can change"):
        merge([adapter], tmp_path / "full", into_base=str(base), accept_plain=True)


def test_a_base_in_the_cache_of_the_hub_is_found_without_network(tmp_path, monkeypatch):
    commit, cache = "1" * 40, tmp_path / "hub"
    snapshot = cache / "models--some--base" / "snapshots" / commit
    shutil.copytree(small_base(tmp_path / "base"), snapshot)
    (cache / "models--some--base" / "refs").mkdir()
    (cache / "models--some--base" / "refs" / "main").write_text(commit)
    for name, value in {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}.items():  # here and in child processes
        monkeypatch.setenv(name, value)
        monkeypatch.setattr(constants, name, str(cache) if name == "HF_HUB_CACHE" else True)
    result = merge([small_adapter(tmp_path / "a")], tmp_path / "full", into_base="some/base", accept_plain=True)
    assert result.base.revision == commit
    assert set(weights_of(tmp_path / "full")) == set(weights_of(tmp_path / "base"))


def test_another_base_than_the_one_trained_on_is_refused(adapters, tmp_path):
    with pytest.raises(ConfigError, match="the very base model of the training"):
        merge(adapters, tmp_path / "full", into_base=str(small_base(tmp_path / "base")))
    assert not (tmp_path / "full").exists()


@pytest.mark.parametrize("recorded", [True, False])
def test_trained_from_the_hub_and_merged_into_a_folder_or_a_snapshot(recorded, adapters, base, tmp_path):
    """Contents decide where the run recorded them; else the commit, which a snapshot's folder names."""
    more = {} if recorded else {"content": None}
    adapter = as_trained_from_hub(adapters[0], tmp_path / "hb", COMMIT, **more)
    snapshot = shutil.copytree(base, tmp_path / "snapshots" / COMMIT)
    merge([adapter], tmp_path / "one", into_base=str(snapshot))
    if recorded:
        merge([adapter], tmp_path / "two", into_base=str(base))
        one, two = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
        assert all(torch.equal(one[name], two[name]) for name in one)
    else:
        with pytest.raises(ConfigError, match="Give the very base model of the training"):
            merge([adapter], tmp_path / "two", into_base=str(base))


def test_other_contents_are_refused_even_under_the_name_of_the_commit(adapters, base, tmp_path):
    adapter = as_trained_from_hub(adapters[0], tmp_path / "hb", COMMIT)
    other = shutil.copytree(base, tmp_path / "snapshots" / COMMIT)
    tensors = load_file(other / "model.safetensors")
    tensors["model.norm.weight"] += 1
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=f"trained on some/base at {COMMIT}; .* Give the very base model"):
        merge([adapter], tmp_path / "full", into_base=str(other))
    assert not (tmp_path / "full").exists()
