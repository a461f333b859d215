"""The page about an evaluation: one HTML file with its figures inside, which opens offline."""

import json
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from housebrain_core.display import plots
from housebrain_core.display.results import Table
from housebrain_core.evaluate.judging import DERIVED, design_score
from housebrain_core.evaluate.results import Evaluation
from housebrain_core.evaluate.tables import ROOMS, describe_same, draw_losses, draw_rates, tabulate_rules
from housebrain_core.evaluate.verdict import conclude, find_leads, has_designs, known_losses, order_models
from housebrain_core.house import drawing
from housebrain_core.house.codec import DesignError
from housebrain_core.house.json_text import REPAIR_LIMIT
from housebrain_core.house.rules import RULES, check_or_none
from housebrain_core.llm.decoding import Answered, read_answer
from housebrain_core.manifests import write_atomically
from housebrain_core.texts import render, shorten_names

SHOWN_FAILURES = 4
"""Kinds of failure that are shown with an example, the most frequent first."""
SHOWN_CHARACTERS = 1200


class Failure(NamedTuple):
    """A kind of answer that is no design, with its first example."""

    kind: str
    text: str
    message: str


class Drawing(NamedTuple):
    """A design as the page shows it."""

    title: str
    score: float
    """Share of the applicable rules that it keeps."""
    figure: plots.Embedded
    """The floor plan."""
    findings: list[str]


class ModelSection(NamedTuple):
    """What the page shows of one model's answers."""

    name: str
    kinds: list[tuple[str, int]]
    failures: list[tuple[Failure, int]]
    """The most frequent ones, and how often each came."""
    drawings: list[Drawing]


def write_report(result: Evaluation, answers: Path, path: Path) -> Path:
    """Writes the page.

    Args:
        result: the contents of evaluation.json.
        answers: the .jsonl beside it.
        path: the page to write.

    Returns:
        The page's path.
    """
    rows: dict[str, list[dict]] = defaultdict(list)
    lines = answers.read_text(encoding="utf-8").split("\n")  # splitlines would cut a text at U+2028
    for line in filter(None, lines):
        row = json.loads(line)
        rows[row["model"]].append(row)
    write_atomically(path, render("evaluate", "report.html", **_contents(result, rows)))
    return path


def report_path(output: Path) -> Path:
    """Where the page of an evaluation lies.

    Args:
        output: the file of the results.

    Returns:
        report.html beside evaluation.json; results of another name have a page of that name.
    """
    return output.with_name("report.html") if output.stem == "evaluation" else output.with_suffix(".html")


def _contents(result: Evaluation, rows: dict[str, list[dict]]) -> dict[str, Any]:
    """What the page's template uses."""
    limits = {name: limit.value for name, limit in result.limits.items()}
    models = result.models
    short = shorten_names(models)
    order = order_models(result)
    table = tabulate_rules(result)
    return {
        "result": result,
        "designs": has_designs(result),
        "day": date.today().isoformat(),
        "verdict": conclude(result),
        "best": order[0],
        "order": order,
        "leads": {lead.name: lead for lead in find_leads(result)},
        "short": short,
        "renamed": any(name != text for name, text in short.items()),
        "known_floor": any(model.loss_above_floor is not None for model in models.values()),
        "rooms_known": any(model.rooms is not None for model in models.values()),
        "rules": rule_table(),
        "broken": table.to_html() if isinstance(table, Table) else "",
        "kept": "" if isinstance(table, Table) else table,
        "repair_limit": f"{REPAIR_LIMIT:,}",
        "same": describe_same(result),
        "rooms": ROOMS,
        "derived": [field for field in DERIVED if any(m.exactness.get(field) is not None for m in models.values())],
        "drawn": [name for name in order if models[name].distribution.designs],
        "losses": plots.embed(draw_losses(result)) if known_losses(result) else None,
        "rate_bars": plots.embed(draw_rates(result)),
        "sections": [describe_model(name, rows[name], models[name].kinds, limits) for name in order],
    }


def rule_table() -> list[dict[str, str]]:
    """The rules' names, formulas, units and sources, for a report."""
    return [{k: v for k, v in rule._asdict().items() if k != "check"} for rule in RULES]


def describe_model(name: str, rows: list[dict], kinds: dict[str, int], limits: dict[str, float]) -> ModelSection:
    """One model's answers: failures with an example each, its best and its worst floor plan.

    Args:
        name: of the model.
        rows: its lines of the file of answers.
        kinds: kind of answer -> how many.
        limits: numbers of the rule checks.
    """
    failures: dict[str, Failure] = {}
    counts: Counter[str] = Counter()
    designs = []
    for row in rows:
        try:
            design = read_answer(row["brief"], Answered(row["text"], row["tokens"], row["complete"]))
        except DesignError as error:
            counts[error.kind] += 1
            failures.setdefault(error.kind, Failure(error.kind, _shorten(row["text"]), str(error)))
            continue
        rules = check_or_none(row["brief"], design, limits)
        score = design_score(rules) if rules else None
        if score is not None:
            designs.append((score, design, rules))
    designs.sort(key=lambda item: -item[0])
    chosen = {"best design": designs[0], "worst design": designs[-1]} if designs else {}
    return ModelSection(
        name,
        sorted(kinds.items(), key=lambda item: -item[1]),
        [(failures[kind], count) for kind, count in counts.most_common(SHOWN_FAILURES)],
        [_draw(title, *best_or_worst) for title, best_or_worst in chosen.items()],
    )


def _shorten(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} ..."


def _draw(title: str, score: float, design: dict, rules: dict[str, Any]) -> Drawing:
    findings = [f"{rule.replace('_', ' ')}: {line}" for rule, lines in rules.items() for line in lines or ()]
    return Drawing(title, score, plots.embed(drawing.floor_plan(design)), findings)
