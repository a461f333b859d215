"""The base model, its tokenizer, and LoRA on top: loaded the same way for training, evaluation and generation."""

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import httpx  # what huggingface_hub fetches with, and whose errors it lets through
import torch
import transformers
from bitsandbytes.nn import Linear4bit
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel
from transformers.integrations import sdpa_attention

from housebrain_core.errors import ConfigError, TrainingError
from housebrain_core.manifests import sha256_of
from housebrain_core.platforms import choose_dtype
from housebrain_core.settings import FineTuningConfig

transformers.utils.logging.disable_progress_bar()  # our own lines say what is loaded
warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # transformers 5.23 warns of itself


class Base(NamedTuple):
    """Which base model: adapters are merged only when this is equal."""

    name: str
    """Hugging Face id, or the name of a folder."""
    revision: str
    """Commit on the Hub; for a folder "sha256:" and a hash over its configuration and weights."""
    source: str
    """What to load from: the id, or the folder's path. Differs between machines, so it is never compared."""


def resolve_base(name: str, revision: str | None = None) -> Base:
    """Finds out exactly which base model a name means.

    Args:
        name: a Hugging Face id or a folder.
        revision: branch, tag or commit on the Hub; the default branch when None.

    Raises:
        ConfigError: there is no such folder or model, or the Hub cannot be reached.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(f"base_model = {name!r}: the folder has no config.json, so it is no model.")
        return Base(folder.name, _hash_folder(folder), str(folder))
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ConfigError(f"base_model = {name!r}: there is no such folder. Give a folder or a Hugging Face id.")
    try:
        return Base(name, HfApi().model_info(name, revision=revision).sha, name)
    except HFValidationError as error:
        raise ConfigError(f"base_model = {name!r} is neither a folder nor a Hugging Face id: {error}") from None
    except (HfHubHTTPError, httpx.TransportError, OfflineModeIsEnabled, OSError) as error:
        cached = try_to_load_from_cache(name, "config.json", revision=revision)
        if isinstance(cached, str):
            return Base(name, Path(cached).parent.name, name)
        raise ConfigError(
            f"base_model = {name!r} cannot be found on the Hugging Face Hub ({str(error).splitlines()[0][:160]}). "
            "Check the name and the Internet connection, or give a folder that holds the model."
        ) from None


def _hash_folder(folder: Path) -> str:
    """A hash over configuration, tokenizer and the weights' sizes, headers and ends: fast, and catches any swap."""
    parts = {}
    for path in sorted(folder.glob("*.safetensors")) + [folder / "config.json", folder / "tokenizer.json"]:
        if path.is_file():
            with path.open("rb") as file:
                head = file.read(2**20)
                file.seek(max(0, path.stat().st_size - 2**20))
                parts[path.name] = [path.stat().st_size, sha256_of(head), sha256_of(file.read())]
    return "sha256:" + sha256_of(json.dumps(parts, sort_keys=True).encode())


def training_device() -> tuple[torch.device, str, tuple[int, int] | None]:
    """The device of this process, its name, and the compute capability of a GPU."""
    if torch.cuda.is_available():
        index = int(os.environ.get("LOCAL_RANK", "0"))
        return torch.device("cuda", index), torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
    return torch.device("cpu"), "this computer", None


def load_tokenizer(base: Base):
    """The base model's tokenizer; one without padding token pads with its EOS.

    Raises:
        ConfigError: it has no EOS, so that a model could not learn where an answer ends.
    """
    revision = None if Path(base.source).is_dir() else base.revision
    tokenizer = AutoTokenizer.from_pretrained(base.source, revision=revision)
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"the tokenizer of {base.name} has no end-of-sequence token; use another base model.")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(base: Base, load_in_4bit: bool, report: Callable[[str], None] = print) -> PreTrainedModel:
    """Loads the base model onto this process's device, in 4 bits or in the device's floating-point type.

    Args:
        base: from `resolve_base`.
        load_in_4bit: NF4 with double quantisation (bitsandbytes; also on a CPU).
        report: gets the choice of type, with its reason.
    """
    device, device_name, capability = training_device()
    name, reason = choose_dtype(device_name, capability)
    report(f"compute type {reason}")
    dtype = getattr(torch, name)
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    if capability is not None and capability < (8, 0):
        keep_efficient_attention()
    model = AutoModelForCausalLM.from_pretrained(
        base.source,
        revision=None if Path(base.source).is_dir() else base.revision,
        dtype=dtype,
        quantization_config=quantization if load_in_4bit else None,
        attn_implementation="sdpa",
        device_map={"": device},
    )
    model.config.use_cache = False
    if device.type == "cpu":
        keep_one_cpu_kernel(model)
    return model


def keep_one_cpu_kernel(model: PreTrainedModel) -> None:
    """Makes 4-bit layers compute the same in training and evaluation, and on every CPU.

    On a CPU with AVX512-BF16, bitsandbytes 0.50 repacks a layer's weights in place at its first forward pass in
    evaluation, for a bfloat16 kernel that has no gradient (nn/modules.py, Linear4bit.forward). Losses then depend on
    what ran before, and training that goes on after an evaluation uses that kernel.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def keep_efficient_attention() -> None:
    """Makes grouped-query models use the memory-efficient kernel on GPUs before 8.0.

    transformers passes `enable_gqa` without looking at the GPU; there it excludes every kernel but the slow,
    quadratic one. With keys and values repeated instead, the efficient one serves. Source: transformers#48633.
    """
    sdpa_attention.use_gqa_in_sdpa = lambda *args, **kwargs: False


def add_lora(model: PreTrainedModel, base: Base, config: FineTuningConfig):
    """Puts a fresh LoRA adapter on a base model, the same for every split.

    Raises:
        TrainingError: the trainable weights are not float32, which the fp16 gradient scaler needs.
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
    model = get_peft_model(model, settings)
    settings.base_model_name_or_path, settings.revision = base.name, base.revision  # not this machine's path
    trainable = {name: weight.dtype for name, weight in model.named_parameters() if weight.requires_grad}
    wrong = [name for name, dtype in trainable.items() if dtype != torch.float32]
    if wrong:
        raise TrainingError(f"trainable weights are not float32: {', '.join(wrong[:3])}")
    return model
