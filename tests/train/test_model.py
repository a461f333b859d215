"""Base models: really 4-bit, the right dtype, the same LoRA for every split, and a name that says which weights."""

import json
import shutil
from functools import partial

import bitsandbytes
import httpx
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, Gemma2Config, LlamaConfig

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.config import FineTuningConfig
from housebrain_core.errors import AdapterError, ConfigError, HouseBrainError, TrainingError
from housebrain_core.train import model
from housebrain_core.train.model import add_lora, choose_dtype, load_adapter, load_base, resolve_base, start_from


def quiet(line: str) -> None:
    pass


def test_the_base_is_really_4_bit_on_the_cpu(base):
    loaded = load_base(resolve_base(str(base)), load_in_4bit=True, report=quiet)
    linear = [module for name, module in loaded.named_modules() if name.endswith("proj")]
    assert linear and all(isinstance(module, bitsandbytes.nn.Linear4bit) for module in linear)
    weight = linear[0].weight
    assert weight.quant_state.quant_type == "nf4" and weight.quant_state.nested
    assert weight.numel() * weight.element_size() * 2 == linear[0].in_features * linear[0].out_features


def test_an_evaluation_changes_no_weight_and_no_later_result(base):
    loaded = load_base(resolve_base(str(base)), load_in_4bit=True, report=quiet)
    weights = [m.weight.data.clone() for m in loaded.modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        trained, evaluated = loaded.train()(ids).logits, loaded.eval()(ids).logits
        again = loaded.train()(ids).logits
    assert torch.equal(trained, evaluated) and torch.equal(trained, again)
    after = [m.weight.data for m in loaded.modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]
    assert all(torch.equal(one, other) for one, other in zip(weights, after, strict=True))


@pytest.mark.parametrize(
    ("capability", "dtype"), [((7, 5), "float16"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16"), (None, "float32")]
)
def test_dtype_is_chosen_by_compute_capability_and_says_why(capability, dtype):
    chosen, reason = choose_dtype("Tesla T4", capability)
    assert chosen == dtype and reason


def test_every_split_starts_from_the_same_lora_whatever_its_seed(base):
    found = resolve_base(str(base))
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        config = FineTuningConfig(dataset_path="x", output_dir=f"y{seed}", base_model=str(base), seed=seed)
        adapted = add_lora(load_base(found, True, quiet), found, config)
        weights.append({name: value.clone() for name, value in adapted.named_parameters() if "lora_" in name})
    assert weights[0].keys() == weights[1].keys() and weights[0]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert all(value.dtype == torch.float32 for value in weights[0].values())
    assert all(not value.any() for name, value in weights[0].items() if "lora_B" in name)


def test_a_folder_is_known_by_its_contents(base, tmp_path):
    import shutil

    copy = shutil.copytree(base, tmp_path / "copy")
    assert resolve_base(str(copy)).revision == resolve_base(str(base)).revision
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert resolve_base(str(copy)).revision != resolve_base(str(base)).revision


def test_a_revision_of_a_folder_is_refused_and_so_is_a_folder_without_configuration(base, tmp_path):
    with pytest.raises(HouseBrainError, match="a folder has no revision df3ce67"):
        resolve_base(str(base), "df3ce67")
    (tmp_path / "model.zip").write_text("")
    for name in (tmp_path, tmp_path / "model.zip"):
        with pytest.raises(HouseBrainError, match=rf"base_model = {name}: it holds no config.json"):
            resolve_base(str(name))


def test_a_base_that_is_not_there_says_what_to_do():
    with pytest.raises(HouseBrainError, match="nobody/nothing"):
        resolve_base("nobody/nothing")


def test_a_long_answer_of_the_hub_ends_at_a_word(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("404 Client Error.\n\n" + "Repository not found. " * 40)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(HouseBrainError, match=r"\(404 Client Error\. Repository .* (not|found\.) \[\.\.\.\]\)"):
        resolve_base("nobody/nothing")


def test_no_network_is_a_sentence_and_a_cached_base_needs_none(monkeypatch, tmp_path):
    def unreachable(*args, **kwargs):
        raise httpx.ConnectError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.get_hf_file_metadata", unreachable)
    with pytest.raises(HouseBrainError, match="Internet connection"):
        resolve_base("nobody/nothing")
    folder = tmp_path / "models--nobody--nothing"
    (folder / "snapshots" / "ab12").mkdir(parents=True)
    (folder / "snapshots" / "ab12" / "config.json").write_text("{}")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("ab12")
    assert resolve_base("nobody/nothing") == ("nobody/nothing", "ab12", "nobody/nothing")


def test_on_compute_capability_7_5_attention_never_gets_enable_gqa_and_logits_agree(base, tmp_path, monkeypatch):
    settings = AutoConfig.from_pretrained(base)
    settings.num_attention_heads, settings.num_key_value_heads, settings.head_dim = 4, 2, 16
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(settings, dtype=torch.float32).save_pretrained(tmp_path)
    monkeypatch.setattr(model.sdpa_attention, "use_gqa_in_sdpa", model.sdpa_attention.use_gqa_in_sdpa)  # put back
    monkeypatch.setattr(model, "choose_dtype", lambda name, capability: ("float32", "float32: for the comparison"))
    seen, attention = [], torch.nn.functional.scaled_dot_product_attention

    def spy(query, key, value, **options):
        seen.append((bool(options.get("enable_gqa")), query.shape[1] == key.shape[1]))
        return attention(query, key, value, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    ids, logits = torch.arange(5, 69)[None], {}
    for capability in ((8, 0), (7, 5)):
        monkeypatch.setattr(model, "training_device", lambda: (torch.device("cpu"), "faked", capability))  # noqa: B023
        seen.clear()
        with torch.no_grad():
            loaded = load_base(resolve_base(str(tmp_path)), load_in_4bit=False, report=quiet)
            logits[capability] = loaded(ids, use_cache=False).logits
        assert seen and set(seen) == ({(True, False)} if capability == (8, 0) else {(False, True)})
    assert (logits[8, 0] - logits[7, 5]).abs().max() < 1e-5


def test_norms_are_float32_and_embeddings_stay_as_they_are(base):
    found = resolve_base(str(base))
    loaded = load_base(found, False, quiet).half()
    config = FineTuningConfig(dataset_path="x", output_dir="y", base_model=str(base))
    adapted = add_lora(loaded, found, config)
    norms = [m.weight.dtype for n, m in adapted.named_modules() if n.endswith("norm") and hasattr(m, "weight")]
    assert norms and set(norms) == {torch.float32}
    assert adapted.get_input_embeddings().weight.dtype == adapted.lm_head.weight.dtype == torch.float16


def test_lora_weights_in_half_precision_are_refused_before_the_gradient_scaler_fails_on_them(base, monkeypatch):
    found = resolve_base(str(base))
    monkeypatch.setattr(model, "get_peft_model", partial(model.get_peft_model, autocast_adapter_dtype=False))
    config = FineTuningConfig(dataset_path="x", output_dir="y", base_model=str(base))
    with pytest.raises(TrainingError, match="not float32"):
        add_lora(load_base(found, False, quiet).half(), found, config)


def change_weights(adapter, folder, change):
    """A copy of an adapter whose tensors, by name, were changed."""
    shutil.copytree(adapter, folder, ignore=shutil.ignore_patterns("checkpoint-*"))
    weights = load_file(folder / "adapter_model.safetensors")
    change(weights)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "manifest.json").unlink()
    return folder


def rename_a_layer(weights):
    for name in [name for name in weights if ".layers.1." in name]:
        weights[name.replace(".layers.1.", ".layers.7.")] = weights.pop(name)


def test_weights_that_find_no_place_are_an_error_also_beside_another_adapter(adapters, base, tmp_path):
    broken = read_adapter(change_weights(adapters[1], tmp_path / "broken", rename_a_layer), accept_plain=True)
    loaded = load_base(resolve_base(str(base)), load_in_4bit=True, report=quiet)
    whole = load_adapter(loaded, read_adapter(adapters[0]), "0")
    for name, place in (("1", whole), ("again", load_base(resolve_base(str(base)), load_in_4bit=True, report=quiet))):
        with pytest.raises(AdapterError, match=r"layers\.7\.\S+ has no place in this base model"):
            load_adapter(place, broken, name)


def test_a_start_whose_modules_are_not_the_models_is_an_error(adapters, base, tmp_path):
    config = FineTuningConfig(dataset_path=tmp_path, output_dir=tmp_path, base_model=str(base))
    known = resolve_base(str(base))
    fresh = add_lora(load_base(known, load_in_4bit=True, report=quiet), known, config)
    adapter = read_adapter(adapters[0])
    factors = {module: adapter.factors(module) for module in adapter.shapes}
    start_from(fresh, factors, "all")
    with pytest.raises(AdapterError, match="half was loaded only in part"):
        start_from(fresh, dict(list(factors.items())[:3]), "half")
    with pytest.raises(AdapterError, match="model.layers.9.mlp.lora_A.weight has no place"):
        start_from(fresh, factors | {"model.layers.9.mlp": factors[next(iter(factors))]}, "more")


def test_a_base_that_brings_code_of_its_own_is_refused_in_a_sentence_and_its_code_never_runs(base, tmp_path):
    folder = shutil.copytree(base, tmp_path / "base")
    ran = tmp_path / "ran"
    (folder / "own.py").write_text(
        f"open({str(ran)!r}, 'w')\nfrom transformers import LlamaConfig as C, LlamaForCausalLM as M\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="brings code of its own, which is never run"):
        load_base(resolve_base(str(folder)), load_in_4bit=False, report=quiet)
    assert not ran.exists()


@pytest.mark.parametrize(("name", "value"), [("rms_norm_eps", "x"), ("num_attention_heads", 3), ("hidden_act", "no")])
def test_a_configuration_of_wrong_types_or_sizes_is_a_sentence(name, value, base, tmp_path):
    folder = tmp_path / "b"
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text()) | {name: value}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="base_model = 'b': its .* cannot be loaded .*Download or copy it again"):
        model.load_tokenizer(resolve_base(str(folder)))
        load_base(resolve_base(str(folder)), load_in_4bit=False, report=quiet)


@pytest.mark.parametrize(("kind", "attention"), [(Gemma2Config, "eager"), (LlamaConfig, "sdpa")])
def test_a_base_gets_the_attention_that_its_architecture_has_whatever_its_config_names(kind, attention, tmp_path):
    config = kind(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=32,
                  num_key_value_heads=1, head_dim=8)  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text()) | {"attn_implementation": "somebody/kernel"}
    (tmp_path / "config.json").write_text(json.dumps(written))
    loaded = load_base(resolve_base(str(tmp_path)), load_in_4bit=False, report=quiet)
    assert loaded.config._attn_implementation == attention
