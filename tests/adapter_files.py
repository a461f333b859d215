"""Adapter folders written by hand, byte by byte where a test needs it, for the tests of untrusted adapters."""

import json
import shutil
import struct
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from housebrain_core.adapters.run import BaseRecord, DataRecord, Run
from housebrain_core.config import MergeConfig
from housebrain_core.manifests import read_manifest, seal
from housebrain_core.merge.merge import merge_adapters
from housebrain_core.merge.result import MergeResult

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
NAME = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
SETTINGS = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "bias": "none",
            "target_modules": ["q_proj"], "base_model_name_or_path": "some/base", "revision": "abc",
            "rank_pattern": {}, "alpha_pattern": {}, "use_rslora": False, "init_lora_weights": True}  # fmt: skip


def tensors(seed: int = 0, dtype=torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = {"A": (2, 5), "B": (6, 2)}
    return {
        NAME.format(layer, side): torch.randn(*sizes[side], generator=generator).to(dtype)
        for layer in (0, 1)
        for side in "AB"
    }


def make_adapter(folder: Path, values=None, **settings) -> Path:
    folder.mkdir(parents=True)
    save_file(tensors() if values is None else values, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(SETTINGS | settings))
    return folder


def moved_from(values: dict[str, torch.Tensor], seed: int, size: float = 0.3) -> dict[str, torch.Tensor]:
    """Weights as if training had gone on from others, the seed's own way."""
    return {name: values[name] + size * step for name, step in tensors(seed).items()}


def make_trained(folder: Path, split_id: int, values=None, splits: int = 3, **run) -> Path:
    """An adapter folder as training writes it, with a run of a few invented figures."""
    make_adapter(folder, moved_from(tensors(), split_id) if values is None else values)
    record = Run(
        finished=True,
        steps=6,
        validation_loss=0.5 + split_id / 100,
        data=DataRecord(dataset="d" * 64, split_id=split_id, splits=splits),
        base=BaseRecord(name="some/base", revision="abc"),
    ).model_copy(update=run)
    (folder / "run.json").write_text(json.dumps(record.to_dict()))
    seal(folder, "adapter", finished=True)
    return folder


def merge(path: Path, output: Path) -> MergeResult:
    config = MergeConfig(models=[path], output=output, accept_plain=True, overwrite=True)
    return merge_adapters(config, report=lambda line: None)


def merged_update(path: Path, output: Path) -> torch.Tensor:
    merge(path, output)
    found = load_file(output / WEIGHTS)
    return found[NAME.format(0, "B")] @ found[NAME.format(0, "A")]


def split_file(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join_file(path: Path, header: dict | bytes, body: bytes, length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)


def zip_of(path: Path, members: dict[str, bytes], links: tuple[str, ...] = ()) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o120777 if name in links else 0o100644) << 16
            archive.writestr(info, data)
    return path


def change_config(folder, **changes) -> None:
    """Changes adapter_config.json and seals the folder again, as a person with the code could."""
    config = json.loads((folder / CONFIG).read_text()) | changes
    (folder / CONFIG).write_text(json.dumps(config))
    reseal(folder)


def change_tensors(folder, change) -> None:
    tensors = load_file(folder / WEIGHTS)
    save_file(change(tensors), folder / WEIGHTS)
    reseal(folder)


def reseal(folder) -> None:
    about = {
        k: v for k, v in read_manifest(folder, "adapter").items() if k not in ("kind", "files", "version", "format")
    }
    (folder / "manifest.json").unlink()
    seal(folder, "adapter", **about)


def as_trained_from_hub(source: Path, folder: Path, commit: str, **base) -> Path:
    """A copy of a trained adapter, as if its base had been some/base at a commit of the Hub."""
    shutil.copytree(source, folder)
    run = json.loads((folder / "run.json").read_text())
    run["base"] |= {"name": "some/base", "revision": commit, **base}
    (folder / "run.json").write_text(json.dumps(run))
    change_config(folder, base_model_name_or_path="some/base", revision=commit)
    return folder
