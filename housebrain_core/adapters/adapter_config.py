"""adapter_config.json as untrusted data: the factor of B @ A in every module, and what cannot be merged exactly.

PEFT has many options that change what an adapter means. Harmless ones are listed and passed over, harmful ones are
listed with the reason why they are refused, and one that is in neither list is refused as soon as it is set.
"""

import math
import re
import types
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Any

from housebrain_core.adapters.folders import CONFIG
from housebrain_core.contents import read_json
from housebrain_core.errors import AdapterError, DataError

REFUSED_OPTIONS = {
    "use_dora": "DoRA's magnitudes cannot be averaged as updates",
    "lora_bias": "bias terms are not part of the update B @ A",
    "modules_to_save": "whole trained modules are not part of the update B @ A",
    "trainable_token_indices": "trained embeddings are not part of the update B @ A",
    "target_parameters": "LoRA on experts or other bare parameters is not supported: as target_modules name linear "
    "layers, such as those of the attention; all-linear takes the experts too",
    "layer_replication": "replicated layers change the base model",
    "megatron_config": "Megatron layers are not supported",
    "alora_invocation_tokens": "activated LoRA depends on the prompt",
    "kasa_config": "KaSA changes the base model",
    "use_qalora": "QA-LoRA pools the inputs of A",
    "use_bdlora": "block-diagonal LoRA is not B @ A",
    "arrow_config": "routing between adapters depends on the prompt",
    "monteclora_config": "MonteCLoRA samples its update",
}
"""Options of PEFT that change what an adapter means, and why each is refused."""
HARMLESS_OPTIONS = {
    "task_type", "peft_type", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "r",
    "target_modules", "exclude_modules", "lora_alpha", "lora_dropout", "bias", "use_rslora", "init_lora_weights",
    "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "megatron_core", "qalora_group_size",
    "velora_config", "ensure_weight_tying", "runtime_config", "fan_in_fan_out", "auto_mapping",
    "eva_config", "corda_config", "loftq_config", "lora_ga_config",
    "lora_dtype", "lorap_lr_ratio", "lorap_emb_lr", "swift_type",
}  # fmt: skip
"""Options that are honoured, or matter only in training, as the settings of an initialisation do: whether one was used
says init_lora_weights. auto_mapping names a class to load; it is neither followed nor passed on. The last four are
ms-swift's."""
HARMLESS_INITS = (None, True, False, "gaussian", "orthogonal", "eva")
"""Initialisations that set A alone. The others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) change the base model too."""
TASKS = (None, "", "CAUSAL_LM", "SEQ_2_SEQ_LM", "SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION")
"""What PEFT's task_type can be."""
RANK_LIMIT, ALPHA_LIMITS, PATTERN_LIMIT = 1024, (2**-10, 2**16), 2048
NAME_LIMIT = 400
"""Characters of a base model's name, which may be a path of another machine."""
BRANCHES = ("main", "master")
"""Revisions that move: which commit they meant in training is not known."""
_PATTERN_KEY = re.compile(r"\^?(?:[\w.\-|]|\\[.d]|\[[\w-]{1,20}\]|(?<=[.d\]])[+*](?![+*]))+\$?")
"""What a key of rank_pattern may be: names, and regular expressions that cannot take exponential time."""


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of an adapter folder, checked.

    Args:
        folder: with an adapter_config.json.

    Returns:
        Its contents.

    Raises:
        AdapterError: it is no JSON, or names what cannot be merged exactly or safely.
    """
    try:
        config = read_json(folder / CONFIG)
    except DataError as error:
        raise AdapterError(f"{folder / CONFIG} {error}. Ask for it as its trainer wrote it.") from None
    problems = check_config(config)
    if problems:
        raise AdapterError(
            f"{folder} cannot be merged exactly:\n  "
            + "\n  ".join(problems[:20])
            + "\nAsk for an adapter of plain LoRA "
            "in its place, or leave it out."
        )
    return config


def check_config(config: dict[str, Any]) -> list[str]:
    """Everything in a configuration that cannot be merged exactly or safely, one line each."""
    problems = []
    kind = config.get("peft_type")
    if kind is None:
        whose = "MLX-LM" if "lora_parameters" in config else "another trainer"
        return [f"peft_type is missing: this is a configuration of {whose}, not of PEFT"]
    if kind != "LORA":
        return [f"peft_type={_show(kind)}: only LORA is a sum of updates B @ A"]
    if not any(config.get("task_type") == word for word in TASKS):
        problems.append(f"task_type={_show(config['task_type'])}: expected a word of PEFT such as CAUSAL_LM")
    problems += [f"{name}: {why}" for name, why in REFUSED_OPTIONS.items() if config.get(name)]
    unknown = set(config) - set(REFUSED_OPTIONS) - HARMLESS_OPTIONS
    problems += [f"{_show(n)}: this version does not know what it means" for n in sorted(unknown) if config[n]]
    if config.get("bias") not in (None, "none"):
        problems.append(f"bias={_show(config['bias'])}: bias terms are not part of the update B @ A")
    init = config.get("init_lora_weights")
    if not any(init is value or (isinstance(init, str) and init.lower() == value) for value in HARMLESS_INITS):
        problems.append(
            f"init_lora_weights={_show(init)}: it changes the base model too, so the update is not B @ A. PEFT makes "
            "an ordinary adapter of it: save_pretrained(path_initial_model_for_weight_conversion=...)"
        )
    for name in ("use_rslora", "fan_in_fan_out"):
        if type(config.get(name, False)) not in (bool, types.NoneType):
            problems.append(f"{name}={_show(config[name])}: expected true or false")
    problems += _check_numbers(config)
    problems += [
        f"{name}={_show(config[name])}: this is no name"
        for name in ("base_model_name_or_path", "revision")
        if config.get(name) is not None and not _is_name(config[name])
    ]
    return problems


def _is_name(value: Any) -> bool:
    """Whether a value is a name or path as people have them: any text without control characters and text direction."""
    if not isinstance(value, str) or len(value) > NAME_LIMIT:
        return False
    return not any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") or sign in _DIRECTIONS for sign in value)


_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that reorder what is printed around them."""


def scaling_of(config: dict[str, Any], module: str, rank: int) -> float:
    """The factor of B @ A in a module's update: alpha / rank, or alpha / sqrt(rank) with rslora."""
    alpha = find_pattern(config, "alpha_pattern", module, config["lora_alpha"])
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def find_pattern(config: dict[str, Any], name: str, module: str, default: float) -> float:
    """PEFT's rank_pattern and alpha_pattern: the first key that matches the end of the module's name.

    Source: peft.utils.other.get_pattern_key.
    """
    for key, value in (config.get(name) or {}).items():
        if _compiled(key).match(module):
            return value
    return default


@lru_cache(maxsize=PATTERN_LIMIT)
def _compiled(key: str) -> re.Pattern:
    return re.compile(rf"(.*\.)?({key})$")


def check_ranks(folder: Path, config: dict[str, Any], ranks: dict[str, int]) -> None:
    """Refuses weights whose ranks (module -> rank) are not those of the configuration.

    Raises:
        AdapterError: naming the first five.
    """
    wrong = [
        f"{module} has rank {rank} instead of {expected:g}"
        for module, rank in ranks.items()
        if rank != (expected := find_pattern(config, "rank_pattern", module, config["r"]))
    ]
    if wrong:
        raise AdapterError(
            f"{folder}: weights and {CONFIG} disagree: {'; '.join(wrong[:5])}. They are of two trainings or "
            "transposed: ask for both files as PEFT saves them."
        )


def _check_numbers(config: dict[str, Any]) -> list[str]:
    """Problems of r, lora_alpha and their patterns."""
    problems = []
    limits = {"r": (1, RANK_LIMIT), "lora_alpha": ALPHA_LIMITS}
    for name, (low, high) in limits.items():
        if not _is_number(config.get(name), low, high):
            problems.append(f"{name}={_show(config.get(name))}: expected a number from {low:g} to {high:g}")
    for name, (low, high) in (("rank_pattern", limits["r"]), ("alpha_pattern", limits["lora_alpha"])):
        pattern = config.get(name) or {}
        if not isinstance(pattern, dict) or not all(_is_number(value, low, high) for value in pattern.values()):
            problems.append(f"{name}: expected module names with numbers from {low:g} to {high:g}")
        elif len(pattern) > PATTERN_LIMIT:
            problems.append(f"{name} has {len(pattern)} keys; expected at most {PATTERN_LIMIT}")
        else:
            problems += [f"{name}: {why}" for key in pattern if (why := _explain_key(key))]
    return problems


def _explain_key(key: str) -> str | None:
    """Why a pattern's key is not used, or None."""
    if len(key) > 200 or not _PATTERN_KEY.fullmatch(key) or len(re.findall(r"[+*]", key)) > 2:
        return f"the key {_show(key)} is neither a module's name nor a simple regular expression"
    try:
        re.compile(key)
    except re.error as error:
        return f"the key {_show(key)} is no regular expression: {error}"
    return None


def _is_number(value: Any, low: float, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high


def _show(value: Any) -> str:
    """A value in a message: short, and with everything unprintable escaped."""
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:76]} ..."
