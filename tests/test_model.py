"""Base models: really 4-bit, the right dtype, the same LoRA for every split, and a name that says which weights."""

import bitsandbytes
import httpx
import pytest
import torch

from housebrain_core.config import FineTuningConfig
from housebrain_core.errors import HouseBrainError
from housebrain_core.model import add_lora, load_base, resolve_base
from housebrain_core.platforms import choose_dtype


def quiet(line: str) -> None:
    pass


def test_the_base_is_really_4_bit_on_the_cpu(base):
    model = load_base(resolve_base(str(base)), load_in_4bit=True, report=quiet)
    linear = [module for name, module in model.named_modules() if name.endswith("proj")]
    assert linear and all(isinstance(module, bitsandbytes.nn.Linear4bit) for module in linear)
    weight = linear[0].weight
    assert weight.quant_state.quant_type == "nf4" and weight.quant_state.nested
    assert weight.numel() * weight.element_size() * 2 == linear[0].in_features * linear[0].out_features


def test_an_evaluation_changes_no_weight_and_no_later_result(base):
    model = load_base(resolve_base(str(base)), load_in_4bit=True, report=quiet)
    weights = [m.weight.data.clone() for m in model.modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        trained, evaluated = model.train()(ids).logits, model.eval()(ids).logits
        again = model.train()(ids).logits
    assert torch.equal(trained, evaluated) and torch.equal(trained, again)
    after = [m.weight.data for m in model.modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]
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
        model = add_lora(load_base(found, True, quiet), found, config)
        weights.append({name: value.clone() for name, value in model.named_parameters() if "lora_" in name})
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


def test_a_base_that_is_not_there_says_what_to_do():
    with pytest.raises(HouseBrainError, match="nobody/nothing"):
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
