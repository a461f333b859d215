"""Judges models on validation samples: loss, parse rates, rule checks, always beside the reference's own score."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from housebrain_core.adapters.adapter import CONFIG, check_base_settings
from housebrain_core.config import EvaluateConfig
from housebrain_core.data.samples import read_samples
from housebrain_core.evaluate.judging import (
    Evaluated,
    check_or_none,
    compare_models,
    count_values,
    describe_distribution,
    describe_exactness,
    describe_loss,
    describe_rates,
    describe_rules,
    judge,
)
from housebrain_core.evaluate.report import write_report
from housebrain_core.house import codec
from housebrain_core.house.limits import read_limits, values_of
from housebrain_core.llm.constrained import safe_limit
from housebrain_core.llm.decoding import Answered, Decoding
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.manifests import sha256_of, to_json, write_atomically
from housebrain_core.outputs import check_file
from housebrain_core.splits.bundle import is_bundle, read_bundle, read_validation
from housebrain_core.splits.parts import read_splits

TRAINING_SAMPLES = 5000
"""Training samples whose free fields are counted."""


def evaluate_models(config: EvaluateConfig, report: Callable[[str], None] = print) -> dict[str, Any]:
    """Evaluates models on the same validation samples; writes evaluation.json, the answers, and report.html.

    Answers go to a journal beside the output as they come, so that a killed evaluation goes on where it was.

    Args:
        config: which models, on what, and how many samples.
        report: gets lines of progress.

    Returns:
        The contents of evaluation.json: `reference`; per model loss, rates, kinds of failure, rule scores,
        exactness, distribution and speed; and `pairs` of models. All but the speed is the same every time.
    """
    check_file(config.output, {"models", "reference", "pairs"})
    check_base_settings(config.models, config.base_model, config.load_in_4bit)
    examples = read_validation(config.data)
    briefs = [codec.read_prompt(example.prompt) for example in examples[: config.samples]]
    limits = read_limits(config.limits)
    floor, training = read_training(config.data)
    journal = Journal(config.output.with_suffix(".partial.jsonl"))
    evaluated: dict[str, Evaluated] = {}
    models: dict[str, dict] = {}
    lines = []
    for llm in load_models(config, report):
        name = llm.name if llm.name not in models else f"{llm.name} ({len(models) + 1})"
        report(f"{name}: loss on {len(examples)} samples and {len(briefs)} designs")
        run = ModelRun(llm, examples, briefs, config, journal, report)
        answers, seconds = run.answers(run.decoding, len(briefs))
        drawn, _ = run.answers(run.decoding._replace(temperature=1.0), min(config.sampled, len(briefs)))
        judged = [judge(brief, answer, values_of(limits)) for brief, answer in zip(briefs, answers, strict=True)]
        evaluated[name] = Evaluated(run.nats, run.tokens, judged)
        models[name] = {
            **describe_loss(run.nats, run.tokens, floor),
            "rates": describe_rates(judged),
            "kinds": dict(Counter(one.kind for one in judged)),
            **describe_rules([one.rules for one in judged]),
            "exactness": describe_exactness(briefs, [answer.text for answer in answers]),
            "distribution": describe_distribution(count_values(answer.text for answer in drawn), training),
            "tokens_per_second": sum(answer.tokens for answer in answers) / seconds,
        }
        lines += [codec.dumps({"model": name, "brief": b, **a._asdict()}) for b, a in zip(briefs, answers, strict=True)]
    result = {
        "data": str(config.data),
        "loss_samples": len(examples),
        "samples": len(briefs),
        "constrained": config.constrained,
        "limits": {name: limit._asdict() for name, limit in limits.items()},
        "reference": describe_reference(briefs, examples, values_of(limits)),
        "models": models,
        "pairs": compare_models(evaluated),
    }
    config.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(config.output.with_suffix(".jsonl"), "\n".join(lines) + "\n")
    write_atomically(config.output, to_json(result))
    page = write_report(result, config.output.with_suffix(".jsonl"), report_path(config.output))
    journal.path.unlink(missing_ok=True)
    report(f"results in {config.output}, with figures in {page}")
    return result


def report_path(output: Path) -> Path:
    """report.html beside evaluation.json; results of another name get a page of that name."""
    return output.with_name("report.html") if output.stem == "evaluation" else output.with_suffix(".html")


def load_models(config: EvaluateConfig, report: Callable[[str], None]) -> Iterator[HouseBrainLLM]:
    """The models one after another; a base model stays loaded as long as the next adapter is for the same one."""
    llm = None
    for folder in config.models:
        same = llm is not None and (folder / CONFIG).is_file() and llm.can_use(folder)
        if same:
            llm.use(folder)
        else:
            llm = HouseBrainLLM(folder, config.base_model, config.load_in_4bit, report)
        yield llm


class Journal:
    """What is done so far, a line each, so that a killed evaluation loses one batch at most."""

    def __init__(self, path: Path):
        self.path = path
        self.rows: dict[str, Any] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            try:
                key, value = json.loads(line)
            except ValueError:  # the line that was being written when the process was killed
                continue
            self.rows[key] = value

    def add(self, key: str, value: Any) -> None:
        """Notes a value under its key, on disk too."""
        self.rows[key] = value
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps([key, value]))  # a new line first: the last one may be torn


class ModelRun:
    """One model's losses and answers, taken from the journal as far as they are in it."""

    def __init__(self, llm: HouseBrainLLM, examples: list, briefs: list[dict], config: EvaluateConfig, journal, report):
        self.llm, self.briefs, self.journal, self.report = llm, briefs, journal, report
        data = sha256_of("\0".join(text for example in examples for text in example).encode())
        identity = [llm.weights, llm.base.revision, llm.load_in_4bit, data, len(briefs)]
        self.key = sha256_of(json.dumps(identity).encode())
        if f"{self.key} losses" not in journal.rows:
            journal.add(f"{self.key} losses", llm.losses(examples))
        self.nats, self.tokens = journal.rows[f"{self.key} losses"]
        limit = max(self.tokens) * 5 // 4 if config.max_new_tokens == "auto" else config.max_new_tokens
        if config.constrained and config.max_new_tokens == "auto":
            limit = max(limit, safe_limit())
        self.decoding = Decoding(config.batch_size, limit, config.constrained, seed=config.seed)

    def answers(self, decoding: Decoding, count: int) -> tuple[list[Answered], float]:
        """Answers for the first briefs, and the seconds that generating them took."""
        prefix = f"{self.key} {json.dumps(decoding)} {count}"
        rows = self.journal.rows
        done = {index for index in range(count) if f"{prefix} {index}" in rows}
        for batch in self.llm.answer_batches(self.briefs[:count], decoding, done, self.report):
            for index, answer in zip(batch.indices, batch.answers, strict=True):
                self.journal.add(f"{prefix} {index}", [answer, batch.seconds / len(batch.indices)])
        found = [rows[f"{prefix} {index}"] for index in range(count)]
        return [Answered(*answer) for answer, _ in found], sum(seconds for _, seconds in found)


def read_training(data: Path) -> tuple[float | None, dict[str, Counter]]:
    """The known entropy of the data in nats per sample, and how often free fields have each value in training."""
    if (data / "split_summary.json").is_file():
        data = data / read_splits(data)[0].bundle
    if is_bundle(data):
        bundle = read_bundle(data)
        completions = bundle.train.column("completion")[:TRAINING_SAMPLES].to_pylist()
        return bundle.manifest.get("entropy_nats_per_sample"), count_values(completions)
    samples = islice(read_samples(data, "train"), TRAINING_SAMPLES)
    return None, count_values(codec.encode(sample).completion for sample in samples)


def describe_reference(briefs: list[dict], examples: list, limits: dict[str, float]) -> dict[str, Any]:
    """The same figures for the reference designs, which models are compared with."""
    completions = [example.completion for example in examples[: len(briefs)]]
    designs = [codec.decode(brief, text) for brief, text in zip(briefs, completions, strict=True)]
    rules = [check_or_none(brief, design, limits) for brief, design in zip(briefs, designs, strict=True)]
    return {**describe_rules(rules), "exactness": describe_exactness(briefs, completions)}
