"""The base model, its tokenizer, and LoRA on top: loaded the same way for training, evaluation and generation."""

import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import torch
import transformers
from bitsandbytes.nn.modules import Linear4bit
from peft import LoraConfig, PeftModel, PeftModelForCausalLM, get_peft_model, set_peft_model_state_dict
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
)
from transformers.integrations import sdpa_attention

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.adapters.tensors import tensor_name
from housebrain_core.errors import AdapterError, ConfigError, TrainingError
from housebrain_core.manifests import to_json, write_atomically
from housebrain_core.settings import FineTuningConfig
from housebrain_core.texts import say
from housebrain_core.train.base_models import (
    Base,
    check_base,
    read_base_config,
    resolve_base,  # noqa: F401 - who loads one resolves it from here
    with_known_class,
)

transformers.utils.logging.disable_progress_bar()  # our own lines say what is loaded
warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # transformers 5.23 warns of itself


def training_device() -> tuple[torch.device, str, tuple[int, int] | None]:
    """The device of this process (of several, each has its own), its name, and the compute capability of a GPU."""
    if torch.cuda.is_available():  # pragma: needs GPU or platform
        index = int(os.environ.get("LOCAL_RANK", "0"))
        return torch.device("cuda", index), torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
    return torch.device("cpu"), "this computer", None


def choose_dtype(device_name: str, capability: tuple[int, int] | None) -> tuple[str, str]:
    """The floating-point type to compute in, and why, by a GPU's compute capability (None on a CPU)."""
    if capability is None:
        return "float32", f"float32: {device_name} has no GPU, and half precision is slow on a CPU"
    dotted = ".".join(map(str, capability))
    if capability >= (8, 0):  # torch.cuda.is_bf16_supported() is True on a T4 too, where bfloat16 is emulated
        return "bfloat16", f"bfloat16: {device_name} is compute capability {dotted}"
    return "float16", f"float16: {device_name} is compute capability {dotted}, bfloat16 needs 8.0"


def load_tokenizer(base: Base) -> Any:
    """The base model's tokenizer; one without padding token pads with its EOS.

    Raises:
        ConfigError: the base model is not whole, or its tokenizer has no EOS or more tokens than it.
    """
    check_base(base)
    with _explain_failure(base, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(base.source, revision=base.commit, trust_remote_code=False)
        tokenizer("a")  # what its configuration says may show only now
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            f"the tokenizer of {base.name} has no end-of-sequence token. Download its tokenizer_config.json again, or "
            "use another base model."
        )
    _check_vocabulary(tokenizer, base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Writes a tokenizer so that other tools can load it.

    transformers 5 names the class of any fast tokenizer "TokenizersBackend", which its older versions and other
    readers do not know; the base's own class, or PreTrainedTokenizerFast, reads the same tokenizer.json.

    Args:
        tokenizer: of transformers.
        folder: an existing one.
    """
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    write_atomically(path, to_json(with_known_class(config)))


@contextmanager
def _explain_failure(base: Base, part: str) -> Iterator[None]:
    """ConfigError for a base model that transformers cannot load, or that wants its own code run."""
    try:
        yield
    except Exception as error:  # tokenizers and transformers have their own kinds, and let any other through
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            raise
        if "trust_remote_code" in str(error):  # transformers would ask a person on a terminal
            raise ConfigError(
                f"base_model = {base.name!r} brings code of its own, which is never run here. Take a base model whose "
                "architecture transformers knows."
            ) from None
        why = shorten(" ".join(str(error).split()), 300)
        raise ConfigError(
            f"base_model = {base.name!r}: its {part} cannot be loaded ({why}). "
            f"{'Check the Internet connection, or download' if base.commit else 'Download'} or copy it again."
        ) from None


def _check_vocabulary(tokenizer: Any, base: Base) -> None:
    """Refuses a tokenizer that has tokens for which the model has no embedding."""
    config = read_base_config(base.folder) if base.folder else {}
    size, highest = config.get("vocab_size"), max(tokenizer.get_vocab().values(), default=0)
    if size is not None and highest >= size:
        raise ConfigError(
            f"base_model = {base.name!r}: its tokenizer has tokens up to {highest}, its weights {size}. Take the "
            "tokenizer that belongs to the model."
        )


def load_base(base: Base, load_in_4bit: bool, report: Callable[[str], None] = say) -> PreTrainedModel:
    """Loads the whole base model onto this process's device, as NF4 or in the device's floating-point type."""
    device, device_name, capability = training_device()
    name, reason = choose_dtype(device_name, capability)
    report(f"compute type {reason}")
    dtype = getattr(torch, name)
    if capability is not None and capability < (8, 0):
        # transformers passes enable_gqa without looking at the GPU; before 8.0 that excludes every kernel but the
        # slow, quadratic one. With keys and values repeated, the efficient one serves (transformers#48633).
        sdpa_attention.use_gqa_in_sdpa = lambda *args, **kwargs: False
    quantization = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    with _explain_failure(base, "weights"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            base.source,
            revision=base.commit,
            dtype=dtype,
            quantization_config=quantization if load_in_4bit else None,
            attn_implementation=_choose_attention(base),
            device_map={"": device},
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    model, about = loaded
    if about["missing_keys"]:  # they would be random numbers
        missing = ", ".join(sorted(about["missing_keys"])[:5])
        raise ConfigError(f"base_model = {base.name!r} lacks the weights {missing}. Download or copy it again.")
    model.config.use_cache = False
    for module in model.modules():
        # On a CPU with AVX512-BF16, bitsandbytes 0.50 repacks 4-bit weights in place at the first forward pass in
        # evaluation, for a kernel without a gradient: losses would depend on what ran before (Linear4bit.forward).
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
    return model


def _choose_attention(base: Base) -> str:
    """The attention that an architecture has, Gemma 2 only eager; its config.json could name code of the Hub."""
    config = AutoConfig.from_pretrained(base.source, revision=base.commit, trust_remote_code=False)
    kind = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    return "sdpa" if getattr(kind, "_supports_sdpa", True) else "eager"


def add_lora(model: PreTrainedModel, base: Base, config: FineTuningConfig) -> PeftModel:
    """Puts a fresh LoRA adapter on a base model, the same for every split.

    Raises:
        TrainingError: its weights are not float32.
    """
    for module in model.modules():  # norms in float32; embeddings stay as they are, they are gigabytes
        if module.__class__.__name__.lower().endswith(("rmsnorm", "layernorm")):
            module.float()
    torch.manual_seed(config.lora_seed)
    settings = LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    adapted: Any = get_peft_model(model, settings)
    settings.base_model_name_or_path = base.name  # not this machine's path
    settings.revision = base.revision
    if any(weight.dtype != torch.float32 for weight in adapted.parameters() if weight.requires_grad):
        raise TrainingError("the LoRA weights are not float32, which the gradient scaler of float16 needs.")
    return adapted


def start_from(model: PeftModel, factors: dict[str, tuple[np.ndarray, np.ndarray]], name: str) -> None:
    """Puts trained factors in the place of a fresh LoRA adapter's; directions that they lack stay fresh.

    Args:
        model: with the adapter of `add_lora`.
        factors: module -> B (out_features, rank) and A (rank, in_features), of the adapter's own rank.
        name: of what the factors are from, for a message.

    Raises:
        AdapterError: factors have no module on this base model, or a module gets none.
    """
    fresh = {key: weight for key, weight in model.named_parameters() if weight.requires_grad}
    weights = {}
    for module, (b, a) in factors.items():
        place = f"base_model.model.{module}"
        first = fresh.get(f"{place}.lora_A.default.weight")
        matrix = torch.from_numpy(a)
        if first is not None:  # with B's column zero as well the update is the same, and can grow in this direction
            matrix = torch.where(matrix.any(1, keepdim=True), matrix, first.detach().cpu())
        weights[f"{place}.lora_A.weight"] = matrix
        weights[f"{place}.lora_B.weight"] = torch.from_numpy(b)
    refuse_lost_keys(set_peft_model_state_dict(model, weights), "default", name)


def load_adapter(model: PreTrainedModel | PeftModel, adapter: Adapter, name: str) -> PeftModel:
    """Puts an adapter on a base model for use, as it was read: PEFT sees nothing of its files.

    Args:
        model: a base model, or one with adapters, which stay.
        adapter: a checked one.
        name: of the adapter in the model.

    Returns:
        The model with the adapter, which is not the active one yet if there were others.

    Raises:
        AdapterError: modules of the adapter found no place on this base model, or have other sizes there.
    """
    weights = {}
    for module in adapter.shapes:
        b, a = adapter.matrices(module)
        weights[tensor_name(module, "A")] = torch.from_numpy(a)
        weights[tensor_name(module, "B")] = torch.from_numpy(b)
    try:
        if isinstance(model, PeftModel):
            model.add_adapter(name, _settings_of(adapter))
        else:
            model = PeftModelForCausalLM(model, _settings_of(adapter), adapter_name=name)
        result = set_peft_model_state_dict(model, weights, adapter_name=name)
    except (ValueError, RuntimeError) as error:  # no module of these names, or others of them
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise AdapterError(
            f"{adapter.name} does not fit the base model ({shorten(str(error), 300)}). Name the base model of its "
            "training."
        ) from None
    refuse_lost_keys(result, name, adapter.name)
    return model


def _settings_of(adapter: Adapter) -> LoraConfig:
    """What tells PEFT the modules, ranks and scalings of an adapter."""
    ranks = {module: shape.rank for module, shape in adapter.shapes.items()}
    alphas = {module: adapter.scaling[module] * rank for module, rank in ranks.items()}
    first = next(iter(ranks))
    return LoraConfig(
        task_type="CAUSAL_LM",
        inference_mode=True,
        target_modules=list(ranks),
        r=ranks[first],
        lora_alpha=alphas[first],  # type: ignore[arg-type] - a whole number in training, any in use
        rank_pattern={re.escape(module): rank for module, rank in ranks.items() if rank != ranks[first]},
        alpha_pattern={re.escape(module): alpha for module, alpha in alphas.items() if alpha != alphas[first]},
        fan_in_fan_out=adapter.fan_in_fan_out,
    )


def refuse_lost_keys(result: Any, adapter: str, name: str) -> None:
    """Raises AdapterError for weights that PEFT did not load, about which it only warns or says nothing at all.

    Args:
        result: what PEFT says of missing and unexpected keys.
        adapter: its name in the model.
        name: of what was loaded.
    """
    problems = [f"{key} has no place in this base model" for key in result.unexpected_keys]
    ours = (f".lora_A.{adapter}.weight", f".lora_B.{adapter}.weight")  # other adapters' keys are missing as well
    missing = [key for key in result.missing_keys if key.endswith(ours)]
    problems += [f"{key} is not in it" for key in missing]
    if problems:
        more = f"\n  and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise AdapterError(
            f"{name} was loaded only in part:\n  " + "\n  ".join(problems[:5]) + more + "\n"
            "It belongs to another base model, or is damaged. Name the base model of its training, or get it again."
        )
