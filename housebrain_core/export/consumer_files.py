"""What other programs need beside the weights: a tokenizer, the prompt as a chat template, settings, schema, a request.

Names and places are those that transformers 4 and 5, vLLM, llama.cpp and Ollama read; transformers 5 alone writes
fewer of them (special_tokens_map.json, add_bos_token, the template in tokenizer_config.json, rope_theta).
"""

import json
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from housebrain_core.errors import ExportError
from housebrain_core.house.briefs import SANITY_BRIEF, check_brief
from housebrain_core.house.codec import write_prompt
from housebrain_core.llm.constrained import answer_schema
from housebrain_core.llm.decoding import NEW_TOKENS
from housebrain_core.manifests import to_json, write_atomically
from housebrain_core.train.base_models import resolve_base
from housebrain_core.train.model import load_tokenizer, save_tokenizer

SCHEMA = "answer_schema.json"
REQUEST = "request.json"
SERVED = "housebrain"
"""What servers call the model."""
LINE = "{{ messages[-1]['content'] | trim + '\\n' }}"
"""The training prompt as a chat template: what was sent as one line of JSON, and a newline."""
NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def write_tokenizer(base: Path, folder: Path) -> Any:
    """Writes the base's tokenizer with the training prompt as its chat template.

    Args:
        base: folder of the base model, or of a whole model.
        folder: of the export.

    Returns:
        The tokenizer.

    Raises:
        ExportError: it adds tokens that a chat template cannot.
    """
    tokenizer = load_tokenizer(resolve_base(str(base)))
    tokenizer.chat_template = chat_template(tokenizer)
    save_tokenizer(tokenizer, folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(config.get("extra_special_tokens"), list):  # a dictionary in transformers 4, which knows this name
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    begins = _begins_with_bos(tokenizer)
    config |= {"add_bos_token": begins, "add_eos_token": False, "chat_template": tokenizer.chat_template}
    config["padding_side"] = "left"  # of prompts in batches; a model that goes on after padding answers otherwise
    write_atomically(path, to_json(config))
    named = {name: str(token) for name in NAMED_TOKENS if (token := getattr(tokenizer, name, None)) is not None}
    write_atomically(folder / "special_tokens_map.json", to_json(named))
    write_atomically(folder / "chat_template.jinja", tokenizer.chat_template)
    return tokenizer


def chat_template(tokenizer: Any) -> str:
    """The training prompt as a chat template, which has to add the tokens that the tokenizer adds by itself."""
    return ("{{ bos_token }}" if _begins_with_bos(tokenizer) else "") + LINE


def _begins_with_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts its BOS before a text; ExportError where it adds anything else."""
    text = write_prompt(check_brief(SANITY_BRIEF))
    whole, plain = tokenizer(text).input_ids, tokenizer(text, add_special_tokens=False).input_ids
    if whole == plain:
        return False
    if whole == [tokenizer.bos_token_id, *plain]:
        return True
    added = [token for token in whole if token not in plain]
    raise ExportError(
        f"this base model's tokenizer adds the tokens {added} to every text, which no server's template can do. "
        "Serve it with housebrain itself, or train another base model."
    )


def write_generation_config(tokenizer: Any, folder: Path) -> None:
    """Writes generation_config.json: greedy, and none of the base's own penalties and sampling."""
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    settings.save_pretrained(str(folder))


def write_model_config(folder: Path, tokenizer: Any) -> None:
    """Adds to config.json the names that transformers 4, Ollama and others read, beside those of transformers 5."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= legacy_names(config)
    config |= {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    write_atomically(path, to_json(config))


def legacy_names(config: dict[str, Any]) -> dict[str, Any]:
    """The older names of settings in a config.json: rope_theta and rope_scaling, and torch_dtype.

    Readers of the older names alone would take their defaults without a word, Ollama's for Qwen2 a theta of 0.

    Args:
        config: with the names of transformers 5, or the older ones already.
    """
    names: dict[str, Any] = {}
    rope = config.get("rope_parameters")
    if isinstance(rope, dict) and "rope_theta" in rope:  # by type of layer it has no older form
        names["rope_theta"] = rope["rope_theta"]
        scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
        kind = scaling.get("rope_type", "default")
        names["rope_scaling"] = None if kind == "default" else scaling | {"type": kind}
    if "dtype" in config:
        names["torch_dtype"] = config["dtype"]
    return {name: value for name, value in names.items() if name not in config}


def write_requests(folder: Path, name: str = SERVED) -> None:
    """Writes the JSON schema of an answer, and a request to any OpenAI-compatible server that uses it.

    Args:
        folder: of the export.
        name: what the server calls the model.
    """
    schema = json.loads(answer_schema())
    write_atomically(folder / SCHEMA, json.dumps(schema, indent=1) + "\n")  # the order of keys is the answer's
    brief = write_prompt(check_brief(SANITY_BRIEF)).rstrip("\n")
    request = {
        "model": name,
        "messages": [{"role": "user", "content": brief}],
        "temperature": 0,
        "repeat_penalty": 1.0,  # some servers have 1.1, and JSON repeats its keys; others do not know it
        "max_tokens": NEW_TOKENS,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    }
    write_atomically(folder / REQUEST, json.dumps(request, indent=1) + "\n")
