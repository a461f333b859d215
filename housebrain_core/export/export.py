"""A model as other programs load it: an adapter for PEFT, full weights, a GGUF, with Ollama's or vLLM's commands.

Every folder is verified before it is called done: its own consumer answers as the model that it was made of.
"""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from housebrain_core.adapters.folders import CONFIG
from housebrain_core.config import MergeConfig
from housebrain_core.display.results import Shown, Table
from housebrain_core.errors import ConfigError
from housebrain_core.export.base_weights import find_base_folder
from housebrain_core.export.consumer_files import write_model_config, write_tokenizer
from housebrain_core.export.finishing import find_notices, finish
from housebrain_core.export.gguf import ask_gguf, check_tools, convert, quantise, verify_gguf
from housebrain_core.export.into_base import FullModelResult, seal_model, write_weights
from housebrain_core.export.servers import gguf_name, write_modelfile
from housebrain_core.export.settings import ExportConfig
from housebrain_core.export.verification import Check, Source, answer_as_model, explain_room
from housebrain_core.house.codec import write_prompt
from housebrain_core.llm.decoding import read_answer
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.manifests import seal
from housebrain_core.merge.compute import Recipe, compute_merge
from housebrain_core.merge.merge import opened_adapters
from housebrain_core.merge.merged_files import reference_adapter, write_adapter
from housebrain_core.outputs import staged_output
from housebrain_core.splits.handouts import describe_size
from housebrain_core.texts import say
from housebrain_core.train.base_models import read_base_config, resolve_base

Report = Callable[[str], None]
KINDS = {"adapter": "adapter", "full": "model", "vllm": "model", "gguf": "gguf", "ollama": "gguf"}
"""Format -> kind of its manifest."""


@dataclass(frozen=True)
class Exported(Shown):
    """What an export made."""

    folder: Path
    checks: list[Check]
    """What was verified, and what could not be."""
    sizes: dict[str, int]
    """File -> bytes."""

    def outputs(self) -> Iterable[Any]:
        """The checks, and a table of the files."""
        rows = [(name, describe_size(size)) for name, size in sorted(self.sizes.items())]
        return ["\n".join(map(str, self.checks)), Table(("file", "size"), rows)]


def export_model(config: ExportConfig, report: Report = say) -> Exported:
    """Makes a folder that other programs load, verifies it, and uploads it where that is asked for.

    Args:
        config: which model, in which form, where to.
        report: gets lines of progress.

    Returns:
        What was made.

    Raises:
        ExportError: the export does not answer as its model does, or cannot be made or uploaded.
        AdapterError: the adapter is damaged, or does not fit the base.
        ConfigError: the output exists, or the model cannot be exported like that.
    """
    if config.format:
        checks = _make(config, report)
        report(f"done: {config.folder}")
    else:
        checks = []
    folder = config.folder if config.format else config.model
    if config.push:
        from housebrain_core.export.hub import push_folder

        push_folder(folder, config, report)
    return Exported(folder, checks, {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()})


def ask_export(folder: Path, brief: dict[str, Any], base_model: str | None = None) -> Any:
    """Asks an export for the design of one brief: a GGUF through llama.cpp, anything else through our own loading.

    Args:
        folder: what `export_model` made.
        brief: a checked one.
        base_model: where the base of an exported adapter is, when that is not its recorded name.

    Returns:
        The design.

    Raises:
        DesignError: the answer is none.
        ConfigError: llama-cpp-python is not installed, and the export is a GGUF.
    """
    files = sorted(folder.glob("*.gguf"))
    if files:
        return read_answer(brief, ask_gguf(files[0], write_prompt(brief)))
    return read_answer(brief, HouseBrainLLM(folder, base_model).answer([brief])[0])


def _make(config: ExportConfig, report: Report) -> list[Check]:
    """Writes and verifies the folder of a format."""
    if not config.model.is_dir():
        what = "is a file; unpack it first" if config.model.is_file() else "does not exist"
        raise ConfigError(f"model = {config.model}: that {what}. Give an adapter folder, or a whole model's.")
    whole = not (config.model / CONFIG).is_file()
    if whole and config.format not in ("gguf", "ollama"):
        raise ConfigError(
            f"{config.model} is no adapter, so --as {config.format} has nothing to do. A whole model becomes gguf or "
            "ollama."
        )
    if config.folder.resolve() == config.model.resolve():
        raise ConfigError(f"{config.folder} is the model itself. Choose another --output.")
    makers = {
        "adapter": _make_adapter,
        "full": _make_full,
        "vllm": _make_full,
        "gguf": _make_gguf,
        "ollama": _make_gguf,
    }
    make = makers[str(config.format)]
    with staged_output(config.folder, KINDS[str(config.format)], config.overwrite) as staging:
        return make(config, staging, report)


def _make_adapter(config: ExportConfig, staging: Path, report: Report) -> list[Check]:
    """The update alone, under the names that PEFT reads."""
    merge_config = as_merge(config)
    with opened_adapters(merge_config, report) as adapters:
        base, revision = find_base_folder(str(merge_config.into_base), adapters)
        merge = compute_merge(adapters, Recipe("average", [1.0]), "full")
        write_adapter(staging, adapters, merge.rank, merge.factors)
        source = Source(merge, base, reference_adapter(adapters).public_base or base.name, revision)
        text = f"a LoRA adapter of rank {merge.rank} for {source.base_name}, revision {revision}."
        if all(adapter.trained_in_4bit for adapter in adapters):
            text += " It was trained on that base in 4 bits (NF4), and is verified here on the base as it is."
        checks = finish(staging, source, text, find_notices(adapters), config, report)
        seal(staging, "adapter", finished=True, merged_from=[adapter.sha256 for adapter in adapters])
    return checks


def _make_full(config: ExportConfig, staging: Path, report: Report) -> list[Check]:
    """Base and update in one."""
    result, source, checks = make_full(config, staging, report)
    seal_model(staging, result, source)
    return checks


def make_full(config: ExportConfig, staging: Path, report: Report) -> tuple[FullModelResult, Source, list[Check]]:
    """Writes a full model, without its manifest."""
    merge_config = as_merge(config)
    with opened_adapters(merge_config, report) as adapters:
        result, source = write_weights(merge_config, adapters, staging, config.dtype, report)
        return result, source, finish(staging, source, result.describe(), result.notices, config, report)


def _make_gguf(config: ExportConfig, staging: Path, report: Report) -> list[Check]:
    """One file for llama.cpp, and for Ollama what makes a model of it."""
    check_tools(config)
    work = staging / ".full"
    work.mkdir()
    text, notices, source = _gather_full(config, work, report)
    tokenizer = write_tokenizer(source.folder, work)
    write_model_config(work, tokenizer)
    file = staging / "housebrain-f16.gguf"
    convert(work, file, report)
    shutil.rmtree(work)
    checks = _verify_gguf(config, source, file, report)
    if config.format == "ollama":
        write_modelfile(config, tokenizer.eos_token, staging)
        checks.append(Check("Ollama", False, "it is not run here; the Modelfile's template is the training prompt"))
    finish(staging, source, f"{text} As a GGUF for llama.cpp.", notices, config, report, checks)
    seal(staging, "gguf", merged_from=[adapter.sha256 for adapter in source.adapters])
    return checks


def _gather_full(config: ExportConfig, work: Path, report: Report) -> tuple[str, list[str], Source]:
    """Full weights in a folder: made of the adapter, or those of a whole model; what they are, and notices."""
    if (config.model / CONFIG).is_file():
        merge_config = as_merge(config)
        with opened_adapters(merge_config, report) as adapters:
            result, source = write_weights(merge_config, adapters, work, config.dtype, report)
        return result.describe(), result.notices, source
    if "quantization_config" in read_base_config(config.model):
        raise ConfigError(
            f"{config.model} is quantised, and llama.cpp converts whole numbers only. Give the whole model."
        )
    for path in config.model.iterdir():
        if path.suffix == ".safetensors":
            (work / path.name).symlink_to(path.resolve())
        elif path.suffix in (".json", ".txt", ".model"):
            shutil.copyfile(path, work / path.name)
    base = resolve_base(str(config.model))
    return f"the whole model {base.name}.", [], Source(None, config.model, base.name, base.revision)


def _verify_gguf(config: ExportConfig, source: Source, file: Path, report: Report) -> list[Check]:
    """What llama.cpp makes of the file; where it is to be smaller, of both, and the smaller one stays."""
    why = explain_room(source.folder)
    reference = None if why else answer_as_model(source, config, report)
    checks = verify_gguf(file, reference, exact=True) if reference else [Check("llama.cpp", False, why)]
    if config.quantise:
        smaller = file.with_name(gguf_name(config))
        quantise(file, smaller, config.quantise, report)
        checks += verify_gguf(smaller, reference, exact=False) if reference else []
        file.unlink()
    return checks


def as_merge(config: ExportConfig) -> MergeConfig:
    """The settings of an export as those of a merge of one adapter into its base."""
    from housebrain_core.adapters.adapter import read_adapter

    adapter = read_adapter(config.model, accept_plain=True)
    if config.base_model is None and adapter.base_model is None:
        raise ConfigError(f"{config.model} does not say which base model it is for. Name it with --base-model.")
    given = config.model_fields_set & {"base_view", "run_validation", *(("data",) if config.run_validation else ())}
    return MergeConfig(
        models=[config.model],
        output=config.folder,
        into_base=config.base_model or adapter.base_model,
        accept_plain=True,
        accept_unfinished=True,
        **config.model_dump(include=given),
    )
