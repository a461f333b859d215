"""adapter_config.json as untrusted data: what changes the meaning of B @ A is refused, patterns are PEFT's."""

import pytest
from adapter_files import make_adapter

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.errors import AdapterError


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"bias": "all"}, {"init_lora_weights": "pissa_niter_4"},
        {"init_lora_weights": ["x"]}, {"auto_mapping": {"base_model_class": "os.system"}}, {"new_in_2030": 1},
        {"rank_pattern": {"((a+)+)+$": 2}}, {"alpha_pattern": {"a.*b.*c.*d.*": 2}}, {"r": True}, {"r": 1e300},
        {"lora_alpha": float("inf")}, {"rank_pattern": [1]}, {"base_model_name_or_path": "x\nlicense: evil"},
        {"revision": {"a": 1}}, {"peft_type": ["LORA"]}, {"task_type": {}}, {"use_rslora": "yes"},
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
