"""How an export is used: the lines that load it, the commands that serve it, and Ollama's Modelfile."""

from pathlib import Path

from housebrain_core.adapters.run import HASH_PREFIX
from housebrain_core.export.consumer_files import REQUEST, SERVED
from housebrain_core.export.settings import REPOSITORY, ExportConfig
from housebrain_core.export.verification import Source
from housebrain_core.llm.decoding import NEW_TOKENS

PLACE = "Run this in the folder, or name the folder instead of '.'."
BASE_PLACE = "`{base}` is no model of the Hub: name the folder that holds it instead."
ENDS = ("lm_head", "embed_tokens", "wte")
"""Modules whose adapters vLLM and llama.cpp's adapter files do not take."""
CONTEXT = 4096
"""Tokens of prompt and answer that a server keeps room for."""
ANSWER = """line = '{"style":"Modern",...}'  # the brief in its short form, see below
inputs = tokenizer.apply_chat_template([{"role": "user", "content": line}], return_tensors="pt", return_dict=True)
settings = GenerationConfig.from_pretrained(FOLDER)
output = model.generate(**inputs, generation_config=settings)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))"""
ASK = """    curl http://localhost:{port}/v1/chat/completions -H "Content-Type: application/json" -d @{request}

`{request}` asks for the design of one brief and sends the JSON schema along."""
MODELFILE = '''FROM ./{file}
TEMPLATE """{{{{ .Prompt }}}}
"""
PARAMETER temperature 0
PARAMETER repeat_penalty 1
PARAMETER num_ctx {context}
PARAMETER num_predict {tokens}
PARAMETER stop "{stop}"
'''
"""Its template is the training prompt: the line that is sent, and a newline. Ollama adds a BOS where the GGUF says."""


def load_lines(config: ExportConfig, source: Source, folder: str, base: str | None = None) -> str:
    """Python that loads an export of weights: `model` and `tokenizer`.

    Args:
        config: the settings of the export.
        source: what it is made of.
        folder: where it is.
        base: where its base model is; by default its id on the Hub and the commit.
    """
    tokenizer = f"tokenizer = AutoTokenizer.from_pretrained({folder!r})"
    if config.format != "adapter":
        return (
            "from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig\n\n"
            f"model = AutoModelForCausalLM.from_pretrained({folder!r})\n{tokenizer}\n"
        )
    named = base or source.base_name or "THE BASE MODEL"
    revision = f", revision={source.base_revision!r}" if base is None and _is_commit(source) else ""
    return (
        "from peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig\n\n"
        f"base = AutoModelForCausalLM.from_pretrained({named!r}{revision})\n"
        f"model = PeftModel.from_pretrained(base, {folder!r})\n{tokenizer}\n"
    )


def describe_use(config: ExportConfig, source: Source) -> str:
    """How to use an export, for its card."""
    name = config.push or "."
    if config.format in ("gguf", "ollama"):
        return _describe_gguf(config, name)
    places = [] if config.push else [PLACE]
    if config.format == "adapter" and source.base_name and not is_on_hub(source):
        places.append(BASE_PLACE.format(base=source.base_name))
    place = " ".join(places) + "\n\n" * bool(places)
    parts = [f"{place}```python\n{load_lines(config, source, name)}\n{ANSWER.replace('FOLDER', repr(name))}\n```"]
    if config.format == "adapter":
        parts.append(_describe_lora(config, source, name))
    if config.format == "vllm":
        parts = [serve_with_vllm(name), *parts]
    return "\n\n".join(parts)


def is_on_hub(source: Source) -> bool:
    """Whether the base model's name is an id on the Hub, and not that of a folder, or its path."""
    return _is_commit(source) or REPOSITORY.fullmatch(source.base_name or "") is not None


def _is_commit(source: Source) -> bool:
    return not source.base_revision.startswith((HASH_PREFIX, "unknown"))


def serve_with_vllm(name: str) -> str:
    """The command that serves a whole model with vLLM, and a request to it."""
    command = f"    vllm serve {name} --served-model-name {SERVED} --max-model-len {CONTEXT} --dtype auto"
    return (
        f"With vLLM, which reads `generation_config.json` and the chat template of this folder:\n\n{command}\n\n"
        + ASK.format(port=8000, request=REQUEST)
        + ' vLLM also takes the schema as `"structured_outputs": {"json": ...}`.'
    )


def _describe_lora(config: ExportConfig, source: Source, name: str) -> str:
    rank = source.merge.rank if source.merge else 0
    ends = [module for module in (source.merge.modules if source.merge else ()) if module.endswith(ENDS)]
    if ends:
        return f"vLLM does not serve an adapter of {', '.join(ends)}: export it with --as vllm."
    base = source.base_name or "THE_BASE_MODEL"
    allowed = next((size for size in (8, 16, 32, 64, 128, 256, 320, 512) if size >= rank), rank)
    return (
        "vLLM serves it beside its base model, with the chat template of this folder:\n\n"
        f"    vllm serve {base} --enable-lora --lora-modules {SERVED}={name} --max-lora-rank {allowed} \\\n"
        f"        --chat-template {name}/chat_template.jinja --generation-config {name} --max-model-len {CONTEXT}\n\n"
        + ASK.format(port=8000, request=REQUEST)
    )


def _describe_gguf(config: ExportConfig, name: str) -> str:
    file = gguf_name(config)
    served = (
        f"With llama.cpp:\n\n    llama-server -m {file} -c {CONTEXT} --alias {SERVED} --port 8080\n\n"
        + ASK.format(port=8080, request=REQUEST)
    )
    if config.format == "gguf":
        return served
    return (
        f"With Ollama, in this folder:\n\n    ollama create {SERVED} -f Modelfile\n    ollama run {SERVED}\n\n"
        + ASK.format(port=11434, request=REQUEST)
        + f" Ollama's template adds the newline itself: send the line without one.\n\n{served}"
    )


def gguf_name(config: ExportConfig) -> str:
    """The file name of a GGUF."""
    return f"housebrain-{config.quantise or 'f16'}.gguf"


def write_modelfile(config: ExportConfig, stop: str, folder: Path) -> None:
    """Writes the Modelfile that Ollama makes a model of.

    Args:
        config: the settings of the export.
        stop: the end-of-text token.
        folder: of the export.
    """
    text = MODELFILE.format(file=gguf_name(config), context=CONTEXT, tokens=NEW_TOKENS, stop=stop)
    (folder / "Modelfile").write_text(text, encoding="utf-8")
