"""The page about an evaluation: one HTML file with its figures inside, which opens offline."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from housebrain_core import plots
from housebrain_core.evaluate.judging import RATES, check_or_none, design_score, rule_table
from housebrain_core.evaluate.tables import draw_losses, draw_rates, percent
from housebrain_core.house import drawing
from housebrain_core.house.codec import DesignError
from housebrain_core.house.json_text import REPAIR_LIMIT
from housebrain_core.html_pages import render_page
from housebrain_core.llm.decoding import Answered, read_answer

SHOWN_FAILURES = 4
"""Kinds of failure that are shown with an example, the most frequent first."""
SHOWN_CHARACTERS = 1200
SHOWN_FINDINGS = 8


def write_report(result: dict[str, Any], answers: Path, path: Path) -> Path:
    """Writes the page.

    Args:
        result: the contents of evaluation.json.
        answers: the .jsonl beside it.
        path: the page to write.

    Returns:
        The page's path.
    """
    rows: dict[str, list[dict]] = defaultdict(list)
    for line in answers.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        rows[row["model"]].append(row)
    limits = {name: limit["value"] for name, limit in result["limits"].items()}
    page = render_page(
        "evaluate",
        "report.html",
        filters={"percent": percent},
        result=result,
        rules=rule_table(),
        repair_limit=f"{REPAIR_LIMIT:,}",
        rates=("invalid_json", *RATES),
        columns=[result["reference"], *result["models"].values()],
        figures={
            "losses": plots.embed(draw_losses(result)),
            "rates": plots.embed(draw_rates(result)),
        },
        pages=[describe_model(name, rows[name], model, limits) for name, model in result["models"].items()],
    )
    path.write_text(page, encoding="utf-8")
    return path


def describe_model(name: str, rows: list[dict], model: dict[str, Any], limits: dict[str, float]) -> dict[str, Any]:
    """What the page shows of one model: failures with an example each, its best and its worst floor plan."""
    failures: dict[str, dict] = {}
    designs = []
    for row in rows:
        try:
            design = read_answer(row["brief"], Answered(row["text"], row["tokens"], row["complete"]))
        except DesignError as error:
            text = row["text"] if len(row["text"]) <= SHOWN_CHARACTERS else f"{row['text'][:SHOWN_CHARACTERS]} ..."
            example = {"kind": error.kind, "count": 0, "text": text, "message": str(error)}
            failures.setdefault(error.kind, example)["count"] += 1
            continue
        rules = check_or_none(row["brief"], design, limits)
        score = design_score(rules) if rules else None
        if score is not None:
            designs.append((score, len(designs), design, rules))
    designs.sort(key=lambda item: (-item[0], item[1]))
    chosen = {"best design": designs[0], "worst design": designs[-1]} if designs else {}
    return {
        "name": name,
        "kinds": sorted(model["kinds"].items(), key=lambda item: -item[1]),
        "failures": sorted(failures.values(), key=lambda failure: -failure["count"])[:SHOWN_FAILURES],
        "plans": [
            {
                "title": title,
                "score": score,
                "figure": plots.embed(drawing.floor_plan(design)),
                "findings": findings[:SHOWN_FINDINGS],
                "more": len(findings[SHOWN_FINDINGS:]),
            }
            for title, (score, _, design, rules) in chosen.items()
            for findings in [
                [f"{rule.replace('_', ' ')}: {f}" for rule, several in rules.items() for f in several or ()]
            ]
        ],
    }
