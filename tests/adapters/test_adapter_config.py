"""adapter_config.json as untrusted data: what changes the meaning of B @ A is refused, patterns are PEFT's."""

import json

import pytest
import torch
import yaml
from adapter_files import CONFIG, make_adapter, merge, merged_update

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.errors import AdapterError


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"bias": "all"}, {"init_lora_weights": "pissa_niter_4"},
        {"init_lora_weights": ["x"]}, {"init_lora_weights": "corda"}, {"fan_in_fan_out": "yes"}, {"new_in_2030": 1},
        {"rank_pattern": {"((a+)+)+$": 2}}, {"alpha_pattern": {"a.*b.*c.*d.*": 2}}, {"r": True}, {"r": 1e300},
        {"lora_alpha": float("inf")}, {"rank_pattern": [1]}, {"base_model_name_or_path": "x\nlicense: evil"},
        {"revision": {"a": 1}}, {"peft_type": ["LORA"]}, {"task_type": {}}, {"use_rslora": "yes"},
        {"task_type": "WRITING"}, {"task_type": 1}, {"peft_type": None},
    ],
)  # fmt: skip
def test_configurations_that_lie_or_change_the_meaning_are_refused(settings, tmp_path):
    with pytest.raises(AdapterError):
        read_adapter(make_adapter(tmp_path / "a", **settings), accept_plain=True)


def test_patterns_and_rslora_are_honoured_as_peft_does(tmp_path):
    """alpha 8 in layer 1 only; rslora divides by the root of the rank."""
    scaled = make_adapter(
        tmp_path / "a", alpha_pattern={r"layers\.1\.self_attn\.q_proj": 8}, rank_pattern={"q_proj": 2}, r=4
    )
    adapter = read_adapter(scaled, accept_plain=True)
    assert list(adapter.scaling.values()) == [2.0, 4.0]
    rooted = read_adapter(make_adapter(tmp_path / "b", use_rslora=True), accept_plain=True)
    assert list(rooted.scaling.values()) == [pytest.approx(4 / 2**0.5)] * 2


@pytest.mark.parametrize(
    "settings",
    [
        {"init_lora_weights": "eva", "eva_config": {"rho": 2.0, "tau": 0.99}}, {"task_type": None},
        {"auto_mapping": {"base_model_class": "Qwen2ForCausalLM", "parent_library": "transformers"}},
        {"loftq_config": {"loftq_bits": 4}}, {"fan_in_fan_out": True}, {"target_modules": ".*proj"}, {"bias": None},
        {"lora_dtype": None, "lorap_lr_ratio": 16.0, "lorap_emb_lr": 1e-06, "swift_type": "LORA"},
        {"init_lora_weights": "Gaussian"},
    ],
)  # fmt: skip
def test_what_does_not_change_b_times_a_is_accepted(settings, tmp_path):
    folder = make_adapter(tmp_path / "a", **settings)
    found = merged_update(folder, tmp_path / "out")
    plain = merged_update(make_adapter(tmp_path / "b"), tmp_path / "plain")
    assert torch.equal(found, plain)
    written = json.loads((tmp_path / "out" / CONFIG).read_text())
    assert "auto_mapping" not in written and written["fan_in_fan_out"] == settings.get("fan_in_fan_out", False)
    assert written["target_modules"] == [f"model.layers.{layer}.self_attn.q_proj" for layer in (0, 1)]


def test_a_configuration_that_a_windows_editor_saved_is_read_and_one_of_mlx_named(tmp_path):
    folder = make_adapter(tmp_path / "a")
    (folder / CONFIG).write_bytes(b"\xef\xbb\xbf" + (folder / CONFIG).read_bytes())
    assert read_adapter(folder, accept_plain=True).base_model == "some/base"
    (folder / CONFIG).write_text('{"fine_tune_type": "lora", "lora_parameters": {"rank": 8, "scale": 20.0}}')
    with pytest.raises(AdapterError, match="(?s)a configuration of MLX-LM, not of PEFT.*leave it out"):
        read_adapter(folder, accept_plain=True)


def test_a_missing_task_type_stays_missing(tmp_path):
    merge(make_adapter(tmp_path / "a", task_type=None), tmp_path / "out")
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["task_type"] is None


NAMES = {
    "C:\\models\\Qwen2.5 (1)": "Qwen2.5 (1)", "/home/o'brien/o'llama": "o'llama", "/drive/a/b, v2": "b, v2",
    '"quoted"': '"quoted"', "模型/通义": "模型/通义", "é: #1": "é: #1",
}  # fmt: skip
"""What an adapter names -> what a merge and its card name: of a path, which may hold a user's name, the end."""


@pytest.mark.parametrize(("name", "public"), NAMES.items())
def test_names_of_base_models_are_text_and_cards_can_be_read(name, public, tmp_path):
    merge(make_adapter(tmp_path / "a", base_model_name_or_path=name), tmp_path / "out")
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["base_model_name_or_path"] == public
    front = (tmp_path / "out" / "README.md").read_text().split("---")[1]
    assert yaml.safe_load(front)["base_model"] == public


@pytest.mark.parametrize("name", [None, "", "  "])
def test_an_unknown_base_stays_unknown(name, tmp_path):
    merge(make_adapter(tmp_path / "a", base_model_name_or_path=name), tmp_path / "out")
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["base_model_name_or_path"] is None
    assert "base_model" not in (tmp_path / "out" / "README.md").read_text().split("---")[1]


def test_names_that_would_reorder_or_end_a_line_are_refused(tmp_path):
    for number, name in enumerate(["a\nb", "a\x1b[2Jb", "a\u202eb", "\ud800"]):
        with pytest.raises(AdapterError, match="base_model_name_or_path=.* this is no name"):
            read_adapter(make_adapter(tmp_path / str(number), base_model_name_or_path=name), accept_plain=True)


def test_a_branch_is_no_revision_and_is_doubted(tmp_path):
    folder = make_adapter(tmp_path / "a", revision="main")
    adapter = read_adapter(folder, accept_plain=True)
    assert adapter.revision is None and "the branch main" in adapter.doubts[0]
    assert any("the branch main" in line for line in merge(folder, tmp_path / "out").warnings)


def test_four_bits_are_believed_only_of_a_base_that_says_so(tmp_path):
    names = {"some/base": False, "unsloth/Qwen2.5-Coder-1.5B-bnb-4bit": True, "some/base-NF4": True}
    for number, (name, expected) in enumerate(names.items()):
        folder = make_adapter(tmp_path / str(number), base_model_name_or_path=name)
        assert read_adapter(folder, accept_plain=True).trained_in_4bit is expected
