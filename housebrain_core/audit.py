"""What is in a dataset, and what a model can and cannot learn from it, before anyone spends a GPU hour."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from housebrain_core import codec
from housebrain_core.audit_report import report_html
from housebrain_core.config import AuditConfig
from housebrain_core.data import Item, ReadLog, list_items, read_samples
from housebrain_core.encoding import map_chunks
from housebrain_core.entropy import Columns, Field, describe_fields, floor_of
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.manifests import to_json, write_atomically
from housebrain_core.rules import check_design, score_rules

EXAMINED = 2_000
"""Samples that rules and token lengths are measured on: the first of the training part."""


class AuditChunk(NamedTuple):
    """What a worker finds in some items."""

    columns: Columns
    """Of the good training samples."""
    good: list[tuple[str, str, bytes]]
    """Part, id and hash of the content of each good sample."""
    bad: list[tuple[str, str]]
    """Origin and reason."""


def audit_dataset(config: AuditConfig, report: Callable[[str], None] = print) -> dict:
    """Reads a whole dataset and writes audit.html and audit.json.

    Returns:
        The contents of audit.json.

    Raises:
        DataError: there is no dataset, or none of its samples can be read.
        ConfigError: the tokenizer cannot be loaded.
    """
    tokenizer = load_tokenizer(config.tokenizer) if config.tokenizer else None
    columns, log = Columns(), ReadLog()
    hashes: dict[str, list[bytes]] = {"train": [], "validation": []}
    shown = 0
    for _, chunk in map_chunks(audit_chunk, list_items(config.source, ("train", "validation"))):
        columns.merge(chunk.columns)
        for origin, reason in chunk.bad:
            log.refuse(origin, reason)
        for part, sample_id, digest in chunk.good:
            _note(log, sample_id)
            hashes[part].append(digest)
        if log.good // 50_000 > shown:
            shown = log.good // 50_000
            report(f"read {log.good:,} samples")
    log.check(1.0)
    if not columns.count:
        raise DataError(f"{config.source} has no training samples.")
    fields = describe_fields(columns)
    result = _summarise(hashes, log, fields) | _examine(config, tokenizer)
    floor, lengths = result["entropy_nats_per_sample"], result["tokens"]
    result["entropy_nats_per_token"] = round(floor / lengths["answer_mean"], 4) if floor and lengths else None
    result["findings"] = findings = explain(result, fields)
    config.output.mkdir(parents=True, exist_ok=True)
    write_atomically(config.output / "audit.json", to_json(result))
    write_atomically(config.output / "audit.html", report_html(config.source.name, result))
    for line in findings:
        report(line)
    report(f"wrote {config.output / 'audit.html'} and audit.json")
    return result


def audit_chunk(items: list[Item]) -> AuditChunk:
    """Reads and checks some items; runs in a worker process."""
    chunk = AuditChunk(Columns(), [], [])
    for item in items:
        try:
            part, sample = item.read()
            text = codec.dumps([sample["input"], sample["output"]])
        except DataError as error:
            chunk.bad.append((item.origin, str(error)))
            continue
        chunk.good.append((part, sample["id"], hashlib.blake2b(text.encode(), digest_size=16).digest()))
        if part == "train":
            chunk.columns.add(sample["input"], sample["output"])
    return chunk


def load_tokenizer(name: str) -> Any:
    """A fast tokenizer from a folder with tokenizer.json, or from the Hub."""
    from huggingface_hub import hf_hub_download
    from tokenizers import Tokenizer

    file = Path(name) / "tokenizer.json"
    try:
        text = (file if file.is_file() else Path(hf_hub_download(name, "tokenizer.json"))).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"tokenizer = {name!r} cannot be loaded ({error}). Give a folder or a Hub id.") from None
    return Tokenizer.from_str(text)


def explain(result: dict, fields: list[Field]) -> list[str]:
    """What a model can and cannot learn, in plain words."""

    def names(kind: str) -> list[Field]:
        return [item for item in fields if item.kind == kind]

    lines = [f"{result['train']:,} training and {result['validation']:,} validation samples, {result['bad']:,} bad."]
    lines += [f"{result['duplicates']:,} samples repeat another; {result['leaks']:,} validation samples are in train."]
    for item in names("constant"):
        lines.append(f"{item.name} is the same in every sample: nothing can be learned about it.")
    for item in names("derived"):
        lines.append(f"{item.name} follows from the data: {item.source}. Code can write it.")
    free = [item for item in names("choice") if item.brief_information < 0.02]
    if free:
        lines.append(
            f"{len(free)} fields are independent of the brief as far as single fields tell "
            f"({', '.join(item.name.rsplit('.', 1)[-1] for item in free)}): a model can learn which values occur and "
            "how often, but not which one a brief asks for."
        )
    for item in names("unknown"):
        lines.append(f"{item.name} takes too many values to estimate its entropy.")
    floor = result["entropy_nats_per_sample"]
    if floor is None:
        return [*lines, "The least validation loss is therefore not known."]
    return [*lines, f"No model gets below a validation loss of about {floor:.1f} nats per sample (an estimate)."]


def _note(log: ReadLog, sample_id: str) -> None:
    try:
        log.add(sample_id)
    except DataError as error:
        log.refuse(sample_id, str(error))


def _summarise(hashes: dict[str, list[bytes]], log: ReadLog, fields: list[Field]) -> dict:
    train, validation = set(hashes["train"]), hashes["validation"]
    repeated = len(hashes["train"]) - len(train) + len(validation) - len(set(validation))
    return {
        "train": len(hashes["train"]),
        "validation": len(validation),
        "bad": len(log.bad),
        "bad_samples": [bad._asdict() for bad in log.bad[:1000]],
        "duplicates": repeated,
        "leaks": sum(digest in train for digest in validation),
        "entropy_nats_per_sample": floor_of(fields),
        "fields": [item._asdict() for item in fields],
    }


def _examine(config: AuditConfig, tokenizer: Any) -> dict:
    """How often the references break each rule, and how long samples are in tokens."""
    results, lengths, answers = [], [], []
    log = ReadLog()
    for sample in islice(read_samples(config.source, "train", log), EXAMINED):
        with suppress(ValidationError):  # a design of another kind: the rules have nothing to say
            results.append(check_design(sample["input"], sample["output"]))
        if tokenizer is not None:
            example = codec.encode(sample)
            answers.append(len(tokenizer.encode(example.completion).ids))
            lengths.append(len(tokenizer.encode(example.prompt).ids) + answers[-1] + 1)
    rules = {name: score._asdict() for name, score in score_rules(results).items()} if results else {}
    if not lengths:
        return {"rules": rules, "tokens": None}
    ordered = sorted(lengths)
    tokens = {
        "samples": len(lengths),
        "mean": sum(lengths) / len(lengths),
        "median": ordered[len(ordered) // 2],
        "p99": ordered[len(ordered) * 99 // 100],
        "max": ordered[-1],
        "answer_mean": sum(answers) / len(answers),
        "max_length": config.max_length,
        "too_long": sum(length > config.max_length for length in lengths),
    }
    return {"rules": rules, "tokens": tokens}
