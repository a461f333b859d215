"""Synthetic adapters and base models at real shapes for benchmarks/merge.py."""

import json
import os
from pathlib import Path

HIDDEN, INNER, LAYERS, VOCABULARY = 4096, 11008, 32, 32256
MODULES = {"self_attn": dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj"), (HIDDEN, HIDDEN)),
           "mlp": {"gate_proj": (INNER, HIDDEN), "up_proj": (INNER, HIDDEN), "down_proj": (HIDDEN, INNER)}}  # fmt: skip
CONFIG = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 16, "bias": "none",
          "target_modules": [name for group in MODULES.values() for name in group],
          "base_model_name_or_path": "synthetic/6.7b"}  # fmt: skip


def shapes(layers: int) -> dict[str, tuple[int, int]]:
    """Module -> (out_features, in_features)."""
    return {
        f"model.layers.{layer}.{part}.{name}": size
        for layer in range(layers)
        for part, group in MODULES.items()
        for name, size in group.items()
    }


def make_adapters(folder: Path, count: int, layers: int) -> list[Path]:
    """Writes synthetic adapters."""
    import torch
    from safetensors.torch import save_file

    made = []
    for number in range(count):
        tensors = {}
        for seed, (module, (out, inner)) in enumerate(shapes(layers).items()):
            common = torch.Generator().manual_seed(seed)
            particular = torch.Generator().manual_seed(1_000_003 * (number + 1) + seed)
            a = torch.randn(8, inner, generator=common) + 0.15 * torch.randn(8, inner, generator=particular)
            b = torch.randn(out, 8, generator=common) + 0.5 * torch.randn(out, 8, generator=particular)
            tensors[f"base_model.model.{module}.lora_A.weight"] = a / inner**0.5
            tensors[f"base_model.model.{module}.lora_B.weight"] = b * 0.01
        path = folder / f"a{number:03d}"
        path.mkdir()
        save_file(tensors, path / "adapter_model.safetensors", metadata={"format": "pt"})
        (path / "adapter_config.json").write_text(json.dumps(CONFIG))
        made.append(path)
    return made


def make_base(folder: Path, layers: int) -> Path:
    """Writes a float16 Llama of the real widths, one shard per layer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=layers, vocab_size=VOCABULARY,
                         num_attention_heads=32)  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).half().save_pretrained(folder, max_shard_size="500MB")
    return folder


def drop_cache(folders: list[Path]) -> None:
    """Asks the system to forget the files, so that reading them is cold."""
    for path in (file for folder in folders for file in folder.rglob("*.safetensors")):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
