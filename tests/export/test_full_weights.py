"""A full model as a whole: what its numbers, its files and its index are, whatever the base's folder looks like."""

import json
import shutil

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from housebrain_core.config import MergeConfig
from housebrain_core.errors import ConfigError
from housebrain_core.export import into_base
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.manifests import check_files, read_manifest
from housebrain_core.merge.merge import merge_adapters
from housebrain_core.train.base_models import INDEX

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def any_base(monkeypatch):
    """Bases that are no adapter's own."""
    monkeypatch.setattr(into_base, "find_base_folder", lambda name, adapters: (into_base.Path(name), "of the test"))


def merge(models, output, **more):
    config = MergeConfig(models=models, output=output, **more)
    stage = into_base.merge_into_base if config.into_base else merge_adapters
    return stage(config, report=lambda line: None)


def small_base(folder, width: int = 64, shards: str = "40KB", **more):
    """A Llama with random float16 weights, by default in several files."""
    torch.manual_seed(1)
    config = LlamaConfig(hidden_size=width, intermediate_size=96, num_hidden_layers=1, vocab_size=256,
                         num_attention_heads=4, **more)  # fmt: skip
    LlamaForCausalLM(config).half().save_pretrained(folder, max_shard_size=shards)
    return folder


def small_adapter(folder, width: int = 64):
    """An ordinary PEFT folder for `small_base`: rank 2, alpha 6, so that the scaling is 3."""
    torch.manual_seed(2)
    tensors = {}
    for module, (out, inner) in {"self_attn.q_proj": (width, width), "mlp.down_proj": (width, 96)}.items():
        name = f"base_model.model.model.layers.0.{module}"
        tensors[f"{name}.lora_A.weight"] = torch.randn(2, inner)
        tensors[f"{name}.lora_B.weight"] = torch.randn(out, 2) / 100
    folder.mkdir()
    save_file(tensors, folder / WEIGHTS)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj"],
              "base_model_name_or_path": "some/base"}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def weights_of(folder) -> dict[str, torch.Tensor]:
    return {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}


def update_of(folder, name: str, scaling: float) -> torch.Tensor:
    """s B A in float64, read without the code under test."""
    tensors, prefix = load_file(folder / WEIGHTS), f"base_model.model.{name.removesuffix('.weight')}.lora_"
    return scaling * tensors[f"{prefix}B.weight"].double() @ tensors[f"{prefix}A.weight"].double()


def assert_rounded_once(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Half a spacing of float16 is one rounding; the rest is for the float32 sum before it."""
    _, exponent = torch.frexp(expected.abs().clamp(min=2**-14))
    spacing = torch.ldexp(torch.ones_like(expected, dtype=torch.float64), exponent - 11)
    before = 4 * torch.finfo(torch.float32).eps * expected.abs().max()
    assert ((found.double() - expected).abs() <= spacing / 2 + before).all()


def rewrite_index(base, change) -> None:
    index = json.loads((base / INDEX).read_text())
    change(index["weight_map"])
    (base / INDEX).write_text(json.dumps(index))


def test_weights_are_the_float64_sum_rounded_once_and_all_others_are_untouched(any_base, tmp_path):
    base, adapter = small_base(tmp_path / "base"), small_adapter(tmp_path / "a")
    merge([adapter], tmp_path / "full", into_base=str(base), base_view="fp16", accept_plain=True)
    before, after = weights_of(base), weights_of(tmp_path / "full")
    assert set(before) == set(after)
    for name, weight in before.items():
        if "q_proj" in name or "down_proj" in name:
            assert_rounded_once(after[name], weight.double() + update_of(adapter, name, 3.0))
        else:
            assert torch.equal(after[name], weight), name


def test_several_adapters_are_merged_first_and_exactly(adapters, base, tmp_path):
    merge(adapters, tmp_path / "full", into_base=str(base), base_view="fp16")
    before, after = weights_of(base), weights_of(tmp_path / "full")
    config = json.loads((adapters[0] / "adapter_config.json").read_text())
    changed = [name for name in before if not torch.equal(before[name].half(), after[name])]
    assert any("down_proj" in name for name in changed)
    for name in changed:
        updates = [update_of(folder, name, config["lora_alpha"] / config["r"]) for folder in adapters]
        assert_rounded_once(after[name], before[name].double() + sum(updates) / 3)


@pytest.mark.parametrize("width", [64, 72])
def test_the_dequantised_view_keeps_the_blocks_of_nf4_in_any_width(any_base, width, tmp_path, monkeypatch):
    base, adapter = small_base(tmp_path / "base", width), small_adapter(tmp_path / "a", width)
    monkeypatch.setattr(into_base, "ROWS", 7)
    merge([adapter], tmp_path / "full", into_base=str(base), base_view="nf4-dequant", accept_plain=True)
    before, after = weights_of(base), weights_of(tmp_path / "full")
    for name in (name for name in before if "q_proj" in name or "down_proj" in name):
        codes, state = quantize_4bit(before[name].flatten(), quant_type="nf4", compress_statistics=True)
        seen = dequantize_4bit(codes, state).double().view_as(before[name])
        assert_rounded_once(after[name], seen + update_of(adapter, name, 3.0))


def test_transformers_and_housebrain_load_it_and_tied_embeddings_stay_tied(adapters, base, tmp_path):
    merge(adapters, tmp_path / "full", into_base=str(base), base_view="fp16")
    assert json.loads((base / "config.json").read_text())["tie_word_embeddings"]
    assert "lm_head.weight" not in weights_of(tmp_path / "full")
    model, notes = AutoModelForCausalLM.from_pretrained(tmp_path / "full", output_loading_info=True)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert not any(notes[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    llm = HouseBrainLLM(model_path=tmp_path / "full")
    (answered,) = llm.answer([{"plot": {"length": 40, "width": 30}}], max_new_tokens=4)
    assert answered.tokens


def test_the_index_names_the_file_of_every_tensor_and_the_true_size(any_base, tmp_path, monkeypatch):
    monkeypatch.setattr(into_base, "SHARD_BYTES", 40_000)
    base, adapter = small_base(tmp_path / "base"), small_adapter(tmp_path / "a")
    for path in base.glob("*.safetensors"):  # float32 on disk, so that the size changes
        save_file({name: value.float() for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    merge([adapter], tmp_path / "full", into_base=str(base), accept_plain=True)
    check_index(tmp_path / "full")
    assert len(list((tmp_path / "full").glob("*.safetensors"))) > 1


def check_index(folder) -> None:
    index = json.loads((folder / INDEX).read_text())
    held = {name: path.name for path in folder.glob("*.safetensors") for name in load_file(path)}
    assert index["weight_map"] == held
    assert index["metadata"]["total_size"] == sum(v.numel() * v.element_size() for v in weights_of(folder).values())


def test_one_file_is_written_without_the_index_that_the_base_had(any_base, tmp_path):
    base, adapter = small_base(tmp_path / "base", shards="5GB"), small_adapter(tmp_path / "a")
    name = "model-00001-of-00001.safetensors"
    tensors = {key: value.float() for key, value in load_file(base / "model.safetensors").items()}
    (base / "model.safetensors").unlink()
    save_file(tensors, base / name, metadata={"format": "pt"})
    (base / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(tensors, name)}))
    merge([adapter], tmp_path / "full", into_base=str(base), accept_plain=True)
    assert [path.name for path in (tmp_path / "full").glob("model*")] == ["model.safetensors"]
    _, notes = AutoModelForCausalLM.from_pretrained(tmp_path / "full", output_loading_info=True)
    assert not any(notes[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


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


def test_what_belongs_to_other_weights_or_to_an_earlier_stage_is_not_taken_along(any_base, tmp_path):
    base, adapter = small_base(tmp_path / "base"), small_adapter(tmp_path / "a")
    foreign = ["pytorch_model.bin.index.json", "adapter_config.json", "run.json", "trainer_state.json"]
    for name in [*foreign, "manifest.json", "merge.json", "tokenizer.json", "merges.txt", "chat_template.jinja"]:
        (base / name).write_text('{"of": "the base"}')
    merge([adapter], tmp_path / "full", into_base=str(base), accept_plain=True)
    made = {path.name for path in (tmp_path / "full").iterdir()}
    assert not made & set(foreign)
    assert {"tokenizer.json", "merges.txt", "chat_template.jinja", "generation_config.json"} <= made
    manifest = read_manifest(tmp_path / "full", "model")
    check_files(tmp_path / "full", manifest)
    assert set(manifest["files"]) == made - {"manifest.json"}
    assert json.loads((tmp_path / "full" / "merge.json").read_text())["strategy"] == "average"


def test_the_same_inputs_give_the_same_bytes_in_any_order(adapters, base, tmp_path):
    merge(adapters, tmp_path / "a", into_base=str(base))
    merge(adapters[::-1], tmp_path / "b", into_base=str(base))
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_another_base_than_the_one_trained_on_is_refused(adapters, tmp_path):
    with pytest.raises(ConfigError, match="the very base model of the training"):
        merge(adapters, tmp_path / "full", into_base=str(small_base(tmp_path / "base")))
    assert not (tmp_path / "full").exists()


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
