"""A full model as a whole: what its numbers, its files and its index are, whatever the base's folder looks like."""

import json

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from full_models import WEIGHTS, merge, small_adapter, small_base, weights_of
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from housebrain_core.export import streaming
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.manifests import check_files, read_manifest
from housebrain_core.train.base_models import INDEX

pytestmark = pytest.mark.usefixtures("unverified")


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
def test_the_dequantised_view_is_what_4_bit_loading_sees_on_a_cpu_in_any_width(any_base, width, tmp_path, monkeypatch):
    base, adapter = small_base(tmp_path / "base", width), small_adapter(tmp_path / "a", width)
    monkeypatch.setattr(streaming, "ROWS", 7)
    merge([adapter], tmp_path / "full", into_base=str(base), base_view="nf4-dequant", accept_plain=True)
    before, after = weights_of(base), weights_of(tmp_path / "full")
    for name in (name for name in before if "q_proj" in name or "down_proj" in name):
        codes, state = quantize_4bit(before[name], quant_type="nf4", compress_statistics=True)
        seen = dequantize_4bit(codes, state).double()
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
    monkeypatch.setattr(streaming, "SHARD_BYTES", 40_000)
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


def test_what_belongs_to_other_weights_or_to_an_earlier_stage_is_not_taken_along(any_base, tmp_path):
    base, adapter = small_base(tmp_path / "base"), small_adapter(tmp_path / "a")
    foreign = ["pytorch_model.bin.index.json", "adapter_config.json", "run.json", "trainer_state.json"]
    for name in [*foreign, "manifest.json", "merge.json", "merges.txt", "generation_config.json"]:
        (base / name).write_text('{"of": "the base"}')
    merge([adapter], tmp_path / "full", into_base=str(base), accept_plain=True)
    made = {path.name for path in (tmp_path / "full").iterdir()}
    assert not made & set(foreign)
    assert {"tokenizer.json", "merges.txt", "chat_template.jinja", "generation_config.json"} <= made
    assert "the base" not in (tmp_path / "full" / "generation_config.json").read_text()
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
