"""What is in a dataset, and what a model can learn from it, before anyone spends a GPU hour.

Every sample is read, and every field of every design is looked at. Two things are measured on a sample of the
dataset, evenly spaced: token lengths (500 samples) and how often the references break a rule (2,000).
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from pydantic import ValidationError

from housebrain_core.config import AuditConfig
from housebrain_core.data.audit_page import describe, write_page
from housebrain_core.data.columns import Columns, read_columns
from housebrain_core.data.findings import SIGMAS, Finding, entropy_floor, study_fields
from housebrain_core.data.samples import list_items
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.house import codec
from housebrain_core.house.rules import check_design, score_rules
from housebrain_core.manifests import to_json, write_atomically
from housebrain_core.outputs import check_file

LENGTHS = (512, 1024, 2048)
"""max_length values whose cut is reported."""
TOKEN_SAMPLES, RULE_SAMPLES = 500, 2000


def audit_dataset(config: AuditConfig, report: Callable[[str], None] = print) -> dict[str, Any]:
    """Audits a dataset and writes the report as HTML and JSON.

    Args:
        config: the dataset, the tokenizer, and where the report goes.
        report: gets lines of progress and the findings as a table.

    Returns:
        The contents of the JSON file; `entropy_nats_per_sample` is the floor for a bundle's manifest.

    Raises:
        DataError: there is no dataset, or none of its samples can be read.
        ConfigError: the tokenizer cannot be loaded, or the report would replace somebody's file.
    """
    start = time.monotonic()
    check_file(config.output)
    check_file(config.output.with_suffix(".json"), {"entropy_nats_per_sample", "conclusions"})
    count_tokens = load_tokenizer(config.tokenizer)
    columns = read_columns(config.source, report)
    report("looking at every field")
    findings = study_fields(columns.fields)
    examples = list(pick_samples(config.source, len(columns.parts), RULE_SAMPLES))
    result = {
        "source": config.source.name,
        **count_samples(columns),
        "fields": [asdict(finding) for finding in findings],
        "entropy_nats_per_sample": entropy_floor(findings),
        "floor_is_lower_bound": any(finding.free is None for finding in findings),
        "tokenizer": config.tokenizer,
        "lengths": measure_lengths(examples[:: max(1, len(examples) // TOKEN_SAMPLES)], count_tokens),
        "rules": measure_rules(examples),
        "rule_samples": len(examples),
    }
    result["floor_nats_per_token"] = None
    if config.tokenizer:
        result["floor_nats_per_token"] = result["entropy_nats_per_sample"] / result["lengths"]["ours"]["answer_mean"]
    result["conclusions"] = conclude(result, findings)
    result["seconds"] = time.monotonic() - start
    report(describe(result))
    write_page(result, config.output)
    write_atomically(config.output.with_suffix(".json"), to_json(result))
    report(f"wrote {config.output} and {config.output.with_suffix('.json')} in {result['seconds']:.0f} s")
    return result


def count_samples(columns: Columns) -> dict[str, Any]:
    """Samples per part, bad ones with reasons, duplicates by content and leaks between the parts."""
    parts = dict.fromkeys(columns.digests)
    train = {digest for digest, part in zip(columns.digests, columns.parts, strict=True) if part == "train"}
    leaks = sum(
        digest in train for digest, part in zip(columns.digests, columns.parts, strict=True) if part == "validation"
    )
    return {
        "samples": dict(Counter(columns.parts)),
        "bad": len(columns.log.bad),
        "bad_reasons": Counter(bad.reason for bad in columns.log.bad).most_common(10),
        "bad_examples": [bad._asdict() for bad in columns.log.bad[:10]],
        "duplicates": len(columns.digests) - len(parts),
        "leaks": leaks,
    }


def pick_samples(source: Path, total: int, wanted: int):
    """Evenly spaced good samples of both parts."""
    step = max(1, total // wanted)
    for item in islice(list_items(source, ("train", "validation")), 0, None, step):
        try:
            yield item.read()[1]
        except DataError:  # counted by read_columns
            continue


def load_tokenizer(name: str | None) -> Callable[[list[str]], list[int]]:
    """A function that counts tokens of texts; characters where there is no tokenizer."""
    if name is None:
        return lambda texts: [len(text) for text in texts]
    if (Path(name) / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        own = Tokenizer.from_file(str(Path(name) / "tokenizer.json"))
        return lambda texts: [len(code) for code in own.encode_batch_fast(texts, add_special_tokens=False)]
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"tokenizer = {name!r} cannot be loaded ({shorten(str(error), 240)}). "
            "Give a folder with tokenizer.json or a Hub id."
        ) from None
    return lambda texts: [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def measure_lengths(samples: list[dict], count: Callable[[list[str]], list[int]]) -> dict[str, dict]:
    """Lengths in the original form (indented JSON, the answer repeats the brief) and in ours, and what a limit cuts."""
    forms = {
        "original": [(json.dumps(s["input"], indent=2), json.dumps(s["output"], indent=2)) for s in samples],
        "ours": [tuple(codec.encode(sample)) for sample in samples],
    }
    result = {}
    for form, texts in forms.items():
        prompts = np.array(count([prompt for prompt, _ in texts]))
        answers = np.array(count([answer for _, answer in texts])) + 1  # EOS
        total = prompts + answers
        result[form] = {
            "samples": len(texts),
            "mean": float(total.mean()),
            "median": float(np.median(total)),
            "p99": float(np.quantile(total, 0.99)),
            "max": int(total.max()),
            "prompt_mean": float(prompts.mean()),
            "answer_mean": float(answers.mean()),
            "cut": {str(limit): _cut(prompts, answers, limit) for limit in LENGTHS},
            "all": total.tolist(),
        }
    return result


def _cut(prompts: np.ndarray, answers: np.ndarray, limit: int) -> dict[str, float]:
    """What a cut from the right at `limit` leaves, as shares in [0, 1]."""
    kept = np.clip(limit - prompts, 0, answers)
    return {
        "answer_kept": float(kept.sum() / answers.sum()),
        "whole": float((kept == answers).mean()),
        "no_answer": float((kept == 0).mean()),
    }


def measure_rules(samples: list[dict]) -> dict[str, dict]:
    """How often the references break each rule; nothing for data that is no house design."""
    results = []
    for sample in samples:
        try:
            results.append(check_design(sample["input"], sample["output"]))
        except ValidationError:
            continue
    scores = score_rules(results) if results else {}
    return {
        name: {"broken": score.applicable - score.passed, "applicable": score.applicable}
        for name, score in scores.items()
        if score.applicable
    }


def conclude(result: dict, findings: list[Finding]) -> list[str]:
    """What a model can and cannot learn, in plain words."""
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.kind, []).append(finding)

    def names(*some: str) -> str:
        return ", ".join(f.name.removeprefix("output.") for kind in some for f in kinds.get(kind, []))

    free = [f for f in findings if f.free]
    blind = [f for f in free if f.kind != "nearly derivable" and f.brief_sigmas <= SIGMAS]
    lines = []
    for f in kinds.get("constant", []):
        if f.text == "always empty":
            lines.append(f"{f.name.removeprefix('output.')} is always empty: a model learns to leave it empty.")
    if any(f.text == "a copy of the whole brief" for f in findings):
        lines.append("Designs repeat the whole brief: tokens spent on an echo that code can write.")
    if names("copied", "derivable", "constant"):
        lines.append(f"Code can write these, no model is needed: {names('copied', 'derivable', 'constant')}.")
    if blind:
        nats = sum(f.free for f in blind)
        lines.append(
            f"{len(blind)} fields are independent of every single field of the brief ({nats:.1f} nats). A model learns "
            f"how often each value occurs, and no more: {', '.join(f.name.removeprefix('output.') for f in blind)}."
        )
    told = [f for f in free if f.brief_sigmas > SIGMAS]
    for f in told:
        lines.append(f"{f.name.removeprefix('output.')} depends on {f.brief_field}: a model can learn that part of it.")
    text = names("free text")
    if text:
        lines.append(f"Free text or structure, whose floor these statistics do not know: {text}.")
    bound = "at least " if result["floor_is_lower_bound"] else ""
    per_token = f", {result['floor_nats_per_token']:.4f} nats per token" if result["floor_nats_per_token"] else ""
    lines.append(
        f"No honest model gets a validation loss clearly below {bound}{result['entropy_nats_per_sample']:.1f} nats per "
        f"sample{per_token}, as estimated from these samples. A lower one means that it has seen the answers."
    )
    return lines
