"""Base models of any shape with random weights in NF4: for benchmarks/train_throughput.py."""

import torch
from bitsandbytes.nn import Linear4bit, Params4bit
from transformers import LlamaConfig, LlamaForCausalLM

from housebrain_core.settings import FineTuningConfig
from housebrain_core.splits.costs import Shape
from housebrain_core.train.base_models import Base
from housebrain_core.train.model import add_lora


def random_model(shape: Shape):
    """A base model of a shape with random NF4 weights on the CPU, and LoRA on it as in training."""
    config = LlamaConfig(
        hidden_size=shape.hidden, num_hidden_layers=shape.layers, intermediate_size=shape.intermediate,
        num_attention_heads=shape.heads, num_key_value_heads=shape.key_value_heads, vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied, max_position_embeddings=16384, use_cache=False,
        attn_implementation="sdpa", bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    torch.manual_seed(1)
    layers = shape.layers
    config.num_hidden_layers = 1
    model = LlamaForCausalLM(config)
    (first,) = model.model.layers
    config.num_hidden_layers = layers
    stack = [quantised(type(first)(config, layer)) for layer in range(layers)]
    model.model.layers = torch.nn.ModuleList(stack)
    for weight in model.parameters():
        weight.requires_grad = False
    model.is_loaded_in_4bit = True
    for module in model.modules():  # as model.load_base does it
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
    return add_lora(model, Base("random", "0", "random"), FineTuningConfig(dataset_path=".", output_dir="."))


def quantised(block: torch.nn.Module) -> torch.nn.Module:
    """A transformer block whose linear layers are NF4 with double quantisation."""
    for module in list(block.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.Linear):
                four = Linear4bit(child.in_features, child.out_features, bias=False, compute_dtype=torch.float32,
                                  compress_statistics=True, quant_type="nf4")  # fmt: skip
                four.weight = Params4bit(child.weight.data, requires_grad=False, quant_type="nf4", module=four)
                setattr(module, name, four.to("cpu"))
    return block
