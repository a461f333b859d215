"""Pickles made into safetensors in a process of its own: no code runs, and what comes out is checked."""

import os

import pytest
import torch
from adapter_files import CONFIG, NAME, WEIGHTS, make_adapter, merged_update, tensors

from housebrain_core.adapters.convert import convert_adapters
from housebrain_core.config import ConvertConfig
from housebrain_core.errors import AdapterError

pytestmark = pytest.mark.slow

EXPECTED = (lambda t: 2 * t[NAME.format(0, "B")] @ t[NAME.format(0, "A")])(tensors())


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_convert_makes_safetensors_and_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = make_adapter(tmp_path / "a")
    (folder / WEIGHTS).unlink()
    torch.save(tensors(), folder / "adapter_model.bin")
    convert_adapters(ConvertConfig(models=[folder]), report=lambda line: None)
    assert torch.allclose(merged_update(folder, tmp_path / "out"), EXPECTED, atol=1e-5)
    (folder / WEIGHTS).unlink()
    torch.save({"x": Evil()}, folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match="not converted"):
        convert_adapters(ConvertConfig(models=[folder]), report=lambda line: None)
    assert not (tmp_path / "pwned").exists() and not (folder / WEIGHTS).exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"extra": torch.ones(3)}, "its tensors: 'extra': no LoRA weight"),
        ({NAME.format(0, "A"): None}, "has only lora_B"),
        ({NAME.format(1, "B"): torch.full((6, 2), float("nan"))}, "holds NaN"),
        ({NAME.format(1, "A"): torch.ones(3, 5)}, "A has rank 3, B has rank 2"),
    ],
)
def test_what_converts_to_no_adapter_is_refused_and_leaves_nothing(changes, said, tmp_path):
    folder = make_adapter(tmp_path / "a")
    (folder / WEIGHTS).unlink()
    kept = {name: tensor for name, tensor in (tensors() | changes).items() if tensor is not None}
    torch.save(kept, folder / "adapter_model.bin")
    before, lines = sorted(folder.iterdir()), []
    with pytest.raises(AdapterError, match="adapter_model.bin is not converted: .*" + said) as refused:
        convert_adapters(ConvertConfig(models=[folder]), report=lines.append)
    assert sorted(folder.iterdir()) == before and not lines and ".converting" not in str(refused.value)


def test_a_pickle_without_its_configuration_is_not_converted(tmp_path):
    folder = make_adapter(tmp_path / "a")
    (folder / WEIGHTS).unlink()
    (folder / CONFIG).unlink()
    torch.save(tensors(), folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match="without the adapter_config.json"):
        convert_adapters(ConvertConfig(models=[folder]), report=lambda line: None)
    assert [path.name for path in folder.iterdir()] == ["adapter_model.bin"]


def test_what_cannot_be_converted_is_said_in_one_sentence(tmp_path):
    (tmp_path / "cut").mkdir()
    torch.save({"a": torch.ones(3)}, tmp_path / "cut" / "adapter_model.bin")
    os.truncate(tmp_path / "cut" / "adapter_model.bin", 300)
    for name, said in (("gone", "gone does not exist"), ("cut", r"not converted: \w+Error: [^.]+\. Ask")):
        with pytest.raises(AdapterError, match=said):
            convert_adapters(ConvertConfig(models=[tmp_path / name]), report=lambda line: None)
