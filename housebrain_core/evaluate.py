"""Judges models on validation samples: loss, parse rates, rule checks, always beside the reference's own score."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import ValidationError

from housebrain_core import codec
from housebrain_core.adapters import CONFIG
from housebrain_core.config import EvaluateConfig
from housebrain_core.errors import DesignError
from housebrain_core.llm import Answered, HouseBrainLLM, read_answer
from housebrain_core.manifests import to_json, write_atomically
from housebrain_core.parsing import NEVER_TRUSTED, repaired_parse
from housebrain_core.rules import Findings, check_design, score_rules, total_score
from housebrain_core.schema import Answer
from housebrain_core.splits import read_validation


def evaluate(config: EvaluateConfig, report: Callable[[str], None] = print) -> dict[str, Any]:
    """Evaluates models on the same validation samples and writes evaluation.json.

    Args:
        config: which models, on what, and how many samples.
        report: gets lines of progress.

    Returns:
        The contents of evaluation.json: `reference` and, per model, loss, rates, kinds of failure and rule scores.
    """
    examples = read_validation(config.data)
    briefs = [codec.read_prompt(example.prompt) for example in examples[: config.samples]]
    references = [codec.decode(brief, example.completion) for brief, example in zip(briefs, examples, strict=False)]
    result: dict[str, Any] = {
        "data": str(config.data),
        "loss_samples": len(examples),
        "samples": len(briefs),
        "models": {},
    }
    lines = []
    result["reference"] = describe_rules([check_or_none(b, d) for b, d in zip(briefs, references, strict=True)])
    for llm in load_models(config, report):
        report(f"{llm.name}: loss on {len(examples)} samples and {len(briefs)} designs")
        name = llm.name if llm.name not in result["models"] else f"{llm.name} ({len(result['models']) + 1})"
        result["models"][name], answers = evaluate_model(llm, examples, briefs, config, report)
        lines += [codec.dumps({"model": name, "brief": b, **a._asdict()}) for b, a in zip(briefs, answers, strict=True)]
    config.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(config.output.with_suffix(".jsonl"), "\n".join(lines) + "\n")
    write_atomically(config.output, to_json(result))
    report(describe_evaluation(result))
    report(f"results in {config.output}")
    return result


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


def evaluate_model(
    llm: HouseBrainLLM,
    examples: list[codec.Example],
    briefs: list[dict],
    config: EvaluateConfig,
    report: Callable[[str], None],
) -> tuple[dict[str, Any], list[Answered]]:
    """Loss, parse rates, kinds of failure and rule scores of one model, and its answers."""
    sums, tokens = llm.losses(examples)
    limit = max(tokens) * 5 // 4 if config.max_new_tokens == "auto" else config.max_new_tokens
    started = time.monotonic()
    answers = llm.answer(briefs, config.batch_size, limit, report)
    seconds = time.monotonic() - started
    judged = [judge(brief, answer) for brief, answer in zip(briefs, answers, strict=True)]
    result = {
        "loss_nats_per_token": sum(sums) / sum(tokens),
        "loss_nats_per_sample": sum(sums) / len(sums),
        "rates": describe_rates(judged),
        "kinds": dict(Counter(verdict["kind"] for verdict in judged)),
        **describe_rules([verdict["rules"] for verdict in judged]),
        "tokens_per_second": sum(answer.tokens for answer in answers) / seconds,
    }
    return result, answers


def judge(brief: dict, answer: Answered) -> dict[str, Any]:
    """One answer: how it parses strictly and repaired, whether it is an Answer, and which rules it keeps.

    Returns:
        kind ("ok", "schema", or why the text is not JSON), strict_parse, repaired_parse, schema_valid,
        schema_valid_repaired, and rules (None where there is no design).
    """
    repaired, verdict = repaired_parse(answer.text)
    if not answer.complete:
        verdict = "truncated"
    try:
        design = read_answer(brief, answer)
    except DesignError as error:
        design, kind = None, error.kind
    else:
        kind = "ok"
    return {
        "kind": kind,
        "strict_parse": verdict == "ok",
        "repaired_parse": repaired is not None,
        "schema_valid": kind == "ok",
        "schema_valid_repaired": kind == "ok" or (verdict not in NEVER_TRUSTED and _is_answer(repaired)),
        "rules": check_or_none(brief, design) if design else None,
    }


def describe_rates(judged: list[dict[str, Any]]) -> dict[str, float]:
    """Shares in [0, 1]; strict and repaired are never mixed."""
    names = ("strict_parse", "repaired_parse", "schema_valid", "schema_valid_repaired")
    rates = {name: sum(verdict[name] for verdict in judged) / len(judged) for name in names}
    return {"invalid_json": 1 - rates["strict_parse"], **rates}


def check_or_none(brief: dict, design: dict) -> dict[str, Findings] | None:
    """Rule findings, or None where brief or design is of a shape that the rules do not know."""
    try:
        return check_design(brief, design)
    except ValidationError:
        return None


def describe_rules(results: list[dict[str, Findings] | None]) -> dict[str, Any]:
    """Rule scores over the designs that could be checked."""
    checked = [result for result in results if result is not None]
    scores = score_rules(checked)
    return {
        "checked": len(checked),
        "rules": {name: {**score._asdict(), "share": score.share} for name, score in scores.items()},
        "rule_score": total_score(scores).share,
    }


def describe_evaluation(result: dict[str, Any]) -> str:
    """The results as a table for a terminal: a line per model, the reference first."""
    lines = [f"{'model':28} {'nats/token':>10} {'strict':>7} {'repaired':>8} {'schema':>7} {'rules':>7}"]
    lines.append(f"{'reference':28} {'':>10} {'':>7} {'':>8} {'':>7} {_percent(result['reference']['rule_score']):>7}")
    for name, model in result["models"].items():
        rates = model["rates"]
        shares = f"{_percent(rates['strict_parse']):>7} {_percent(rates['repaired_parse']):>8}"
        shares += f" {_percent(rates['schema_valid']):>7} {_percent(model['rule_score']):>7}"
        lines.append(f"{name:28} {model['loss_nats_per_token']:10.4f} {shares}")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _is_answer(value: dict | None) -> bool:
    try:
        Answer.model_validate(value)
    except ValidationError:
        return False
    return True
