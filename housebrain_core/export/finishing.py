"""The rest of an export, beside its weights: what other programs read, the verification, licences, and the card."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.contents import read_record
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.evaluate.results import Evaluation, ModelResult
from housebrain_core.export.consumer_files import (
    SCHEMA,
    write_generation_config,
    write_model_config,
    write_requests,
    write_tokenizer,
)
from housebrain_core.export.servers import describe_use, is_on_hub, load_lines
from housebrain_core.export.settings import ExportConfig
from housebrain_core.export.verification import (
    Check,
    Source,
    answer_as_model,
    explain_room,
    verify_with_transformers,
)
from housebrain_core.house.briefs import SANITY_BRIEF, check_brief
from housebrain_core.house.codec import write_prompt
from housebrain_core.manifests import MANIFEST, write_atomically
from housebrain_core.splits.costs import UNKNOWN_LICENCE, find_facts
from housebrain_core.texts import render

HUB_LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "openrail", "gpl-3.0")
"""Names that the Hub has for licences, of those that are likely here; any other is "other" with its own name."""
LICENCE_FILES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
RELATIONS = {"adapter": "adapter", "full": "finetune", "vllm": "finetune", "gguf": "quantized", "ollama": "quantized"}
LIBRARIES = {"adapter": "peft", "full": "transformers", "vllm": "transformers", "gguf": "gguf", "ollama": "gguf"}
EVALUATION = Path("evaluation.json")
Report = Callable[[str], None]


def finish(
    folder: Path,
    source: Source,
    text: str,
    notices: list[str],
    config: ExportConfig,
    report: Report,
    checks: list[Check] | None = None,
) -> list[Check]:
    """Writes everything of an export but its weights and its manifest, and verifies it.

    Args:
        folder: has the weights.
        source: what they are made of.
        text: what the model is, for the card.
        notices: what whoever uses it has to know first.
        config: the settings of the export.
        report: gets lines of progress.
        checks: those that were made already; then none is made here.

    Returns:
        What was verified, and what could not be.

    Raises:
        ExportError: the export does not read or answer as its model does.
    """
    if config.format in ("adapter", "full", "vllm"):
        tokenizer = write_tokenizer(source.folder, folder)
        write_generation_config(tokenizer, folder)
        if config.is_full:
            write_model_config(folder, tokenizer)
    write_requests(folder)
    for pattern in LICENCE_FILES:
        for path in source.folder.glob(pattern):
            shutil.copyfile(path, folder / f"base_{path.name}")
    checks = _verify(folder, source, config, report) if checks is None else checks
    for check in checks:
        report(str(check))
    write_atomically(folder / "README.md", write_card(source, text, notices, config, checks, report))
    return checks


def _verify(folder: Path, source: Source, config: ExportConfig, report: Report) -> list[Check]:
    """What the libraries that load the folder make of it."""
    libraries = ["transformers", "peft"] if config.format == "adapter" else ["transformers"]
    if why := explain_room(source.folder):
        return [Check(" and ".join(libraries), False, why)]
    reference = answer_as_model(source, config, report)
    lines = load_lines(config, source, str(folder), str(source.folder))
    checks = [verify_with_transformers(reference, lines, folder, libraries)]
    if config.format == "vllm":
        checks.append(
            Check("vLLM", False, "it is not run here; command and request were tried with its version 0.32.0")
        )
    return checks


def write_card(
    source: Source, text: str, notices: list[str], config: ExportConfig, checks: list[Check], report: Report
) -> str:
    """README.md of an export, with the front matter that the Hugging Face Hub reads."""
    licences = describe_licences(source, config)
    for line in licences:
        if "not known" in line:
            report(f"WARNING: {line}")
    known = find_base_licence(source, config).lower()
    found = find_evaluation(config, report)
    return render(
        "export",
        "card.md.jinja",
        base_model=source.base_name if is_on_hub(source) else None,
        relation=RELATIONS[str(config.format)],
        library=LIBRARIES[str(config.format)],
        licence_id=known if known in HUB_LICENCES else "other",
        licence_name=find_base_licence(source, config),
        tags=["housebrain", "architecture", "json", *(["lora"] if config.format == "adapter" else [])],
        dataset=config.dataset,
        model_index=_model_index(config, found) if found else None,
        notices=notices,
        text=text,
        inputs=list(zip(source.adapters, source.merge.recipe.weights if source.merge else [], strict=True)),
        usage=describe_use(config, source),
        prompt=write_prompt(check_brief(SANITY_BRIEF)),
        schema=SCHEMA,
        checks=checks,
        evaluation=[(name, f"{value:.4g}") for _, name, value in _measures(found)] if found else None,
        licences=licences,
    )


def find_notices(adapters: list[Adapter]) -> list[str]:
    """What whoever uses a model has to know first: that its merge is worse than a split, or a leg is not the last."""
    runs = [adapter.run for adapter in adapters if adapter.run]
    lines = [run.warning for run in runs if run.warning]
    lines += [f"its training ended before its plan did: {run.why_it_ended}" for run in runs if not run.finished]
    if any(run.leg and run.legs and run.leg < run.legs for run in runs):
        lines.append("NOT A FINISHED MODEL: legs of its plan come after it. The plan's next step: housebrain round")
    return lines


def find_base_licence(source: Source, config: ExportConfig) -> str:
    """The licence of the base model: as given, as known, or as its card says."""
    if config.base_licence:
        return config.base_licence
    facts = find_facts(source.base_name) if source.base_name else None
    if facts and facts.licence != UNKNOWN_LICENCE:
        return facts.licence
    card = source.folder / "README.md"
    front = card.read_text(encoding="utf-8").partition("\n---")[0] if card.is_file() else ""
    named = re.search(r"^license: *[\"']?([\w.-]+)", front, re.MULTILINE)
    return named[1] if named else UNKNOWN_LICENCE


def describe_licences(source: Source, config: ExportConfig) -> list[str]:
    """The licences of base model and dataset in plain words, or that they are not known."""
    base = find_base_licence(source, config)
    name = source.base_name or "the base model"
    lines = [f"Base model {name}: {base}. What is made of it, as this is, falls under it too."]
    if base == UNKNOWN_LICENCE:
        lines = [
            f"Base model {name}: its licence is not known here. Read it before you give this to anybody, and name it "
            "with --base-licence."
        ]
    dataset = f"Dataset {config.dataset}" if config.dataset else "The dataset that it was trained on"
    unknown = "its licence is not known here. Name it with --dataset-licence"
    lines.append(f"{dataset}: {config.dataset_licence or unknown}.")
    return lines


def find_evaluation(config: ExportConfig, report: Report) -> ModelResult | None:
    """What an evaluation found of the model: the one given, or the current folder's where it is not older than it.

    Raises:
        ConfigError: the one given cannot be read, or says nothing of this model.
    """
    path = config.evaluation or EVALUATION
    if not config.evaluation and not _is_of_model(path, config.model):
        return None
    try:
        models = read_record(Evaluation, path).models
    except DataError as error:
        raise ConfigError(f"evaluation = {path} {error}. Give what housebrain evaluate wrote.") from None
    if config.model.name not in models:
        if config.evaluation:
            raise ConfigError(
                f"evaluation = {path}: it is of {', '.join(models)}, and says nothing of {config.model.name}."
            )
        return None
    report(f"the card has the evaluation of {path}")
    return models[config.model.name]


def _is_of_model(path: Path, model: Path) -> bool:
    """Whether an evaluation may be of a model: it is there, and was made after it."""
    made = model / MANIFEST
    return path.is_file() and made.is_file() and path.stat().st_mtime >= made.stat().st_mtime


def _measures(result: ModelResult) -> list[tuple[str, str, float]]:
    """The figures of an evaluation that a card shows: kind, name, value; a served model has no loss."""
    figures = [
        ("loss", "validation loss, nats per token", result.loss_nats_per_token),
        ("invalid_json_rate", "invalid-JSON rate", result.rates.invalid_json),
        ("strict_parse_rate", "strict parse rate", result.rates.strict_parse),
        ("schema_valid_rate", "schema-valid rate", result.rates.schema_valid),
        ("all_hard_rules", "designs that keep every hard rule", result.all_hard),
        ("exact", "answers that are the reference", result.same),
    ]
    return [(kind, name, value) for kind, name, value in figures if value is not None]


def _model_index(config: ExportConfig, result: ModelResult) -> list[dict[str, Any]]:
    """The same for the Hub, in its older form, which takes measures of one's own."""
    metrics = [{"type": kind, "name": name, "value": round(value, 6)} for kind, name, value in _measures(result)]
    dataset = {"name": config.dataset or "validation sample", "type": config.dataset or "validation"}
    results = [{"task": {"type": "text-generation"}, "dataset": dataset, "metrics": metrics}]
    return [{"name": config.push or config.model.name, "results": results}]
