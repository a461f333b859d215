"""Small base models and adapters for them, for the tests of full weights."""

import json
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from housebrain_core.config import MergeConfig
from housebrain_core.export import into_base
from housebrain_core.merge.merge import merge_adapters
from housebrain_core.train.base_models import INDEX
from housebrain_core.train.tiny import SHIPPED

WEIGHTS = "adapter_model.safetensors"


def merge(models, output, **more):
    config = MergeConfig(models=models, output=output, **more)
    stage = into_base.merge_into_base if config.into_base else merge_adapters
    return stage(config, report=lambda line: None)


def small_base(folder, width: int = 64, shards: str = "40KB", **more):
    """A Llama with random float16 weights, by default in several files, and the tiny base's tokenizer."""
    torch.manual_seed(1)
    config = LlamaConfig(hidden_size=width, intermediate_size=96, num_hidden_layers=1, vocab_size=1024,
                         num_attention_heads=4, **more)  # fmt: skip
    LlamaForCausalLM(config).half().save_pretrained(folder, max_shard_size=shards)
    for path in SHIPPED.glob("tokenizer*.json"):
        shutil.copyfile(path, folder / path.name)
    return folder


def small_adapter(folder, width: int = 64, **more: tuple[int, int]):
    """An ordinary PEFT folder for `small_base`: rank 2, alpha 6, so scaling 3; `more`: further modules."""
    torch.manual_seed(2)
    tensors = {}
    layer = "model.layers.0"
    sizes = {f"{layer}.self_attn.q_proj": (width, width), f"{layer}.mlp.down_proj": (width, 96), **more}
    for module, (out, inner) in sizes.items():
        name = f"base_model.model.{module}"
        tensors[f"{name}.lora_A.weight"] = torch.randn(2, inner)
        tensors[f"{name}.lora_B.weight"] = torch.randn(out, 2) / 100
    folder.mkdir()
    save_file(tensors, folder / WEIGHTS)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj", *more],
              "base_model_name_or_path": "some/base"}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def weights_of(folder) -> dict[str, torch.Tensor]:
    return {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}


def rewrite_index(base, change) -> None:
    index = json.loads((base / INDEX).read_text())
    change(index["weight_map"])
    (base / INDEX).write_text(json.dumps(index))
