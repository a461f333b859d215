"""Adapters are untrusted input: what does not belong together, or is damaged, is refused with every reason."""

import pytest
import torch
from adapter_files import change_config, change_tensors

from housebrain_core.adapters.adapter import check_base_settings, read_adapter
from housebrain_core.config import MergeConfig
from housebrain_core.errors import AdapterError, ConfigError
from housebrain_core.merge.merge import merge_adapters

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def problem(folder, **more) -> str:
    with pytest.raises(AdapterError) as refused:
        read_adapter(folder, **more)
    return str(refused.value)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, "manifest.json", "run.json"])
def test_a_missing_file_is_named(name, copies):
    (copies[0] / name).unlink()
    assert name in problem(copies[0])


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, "run.json"])
def test_one_flipped_bit_is_found(name, copies):
    data = bytearray((copies[0] / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copies[0] / name).write_bytes(data)
    assert name in problem(copies[0])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"r": 0}, "r=0"),
        ({"r": 16}, "rank"),
    ],
)
def test_options_that_are_not_b_times_a_are_refused_with_the_reason(changes, said, copies):
    change_config(copies[0], **changes)
    assert said in problem(copies[0])


def test_nan_and_inf_are_refused(copies):
    for value in (float("nan"), float("inf")):

        def poison(tensors, value=value):
            name = sorted(tensors)[0]
            tensors[name][0, 0] = value
            return tensors

        change_tensors(copies[0], poison)
        adapter = read_adapter(copies[0])
        with pytest.raises(AdapterError, match="(?i)nan|finite"):
            [adapter.factors(module) for module in adapter.shapes]


def test_names_that_are_no_lora_weights_are_refused(copies):
    change_tensors(copies[0], lambda tensors: tensors | {"model.embed_tokens.weight": torch.zeros(2, 2)})
    assert "embed_tokens" in problem(copies[0])


def test_an_untrained_adapter_is_refused(copies):
    change_tensors(copies[1], lambda t: {n: v * 0 if "lora_B" in n else v for n, v in t.items()})
    with pytest.raises(AdapterError, match=f"{copies[1].name} is untrained"):
        merge_adapters(MergeConfig(models=copies, output=copies[0].parent / "out"), report=lambda line: None)


def test_an_ordinary_peft_folder_needs_accept_plain(copies):
    for name in ("manifest.json", "run.json"):
        (copies[0] / name).unlink()
    assert "--accept-plain" in problem(copies[0])
    assert read_adapter(copies[0], accept_plain=True).run is None


def test_a_folder_of_adapters_says_to_name_what_is_in_it(copies, tmp_path):
    assert f"holds {', '.join(sorted(path.name for path in copies))}: name these" in problem(tmp_path)


def test_settings_of_a_base_that_no_model_would_use_are_refused(adapters, base, tmp_path):
    whole, known = [base], str(base)
    with pytest.raises(ConfigError, match="base_model = .* would do nothing: none of .* is an adapter"):
        check_base_settings(whole, known, False)
    with pytest.raises(ConfigError, match="load_in_4bit would do nothing: of .* none is a whole model"):
        check_base_settings(adapters[:2], known, True)
    check_base_settings([*adapters, *whole], known, True)
    check_base_settings(adapters, known, False)
    check_base_settings(whole, None, True)
    with pytest.raises(AdapterError, match="gone: there is no such folder"):
        check_base_settings([*adapters, tmp_path / "gone"], known, True)
