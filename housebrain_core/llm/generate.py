"""Briefs in, designs out: one as JSON and a drawing, or many as JSONL that goes on where it was."""

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from housebrain_core import plots
from housebrain_core.adapters.adapter import check_base_settings
from housebrain_core.config import GenerateConfig
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.evaluate.judging import check_or_none
from housebrain_core.house import codec, drawing
from housebrain_core.house.briefs import check_brief, find_doubts, find_problems
from housebrain_core.house.codec import DesignError
from housebrain_core.llm.decoding import Decoding, read_answer
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.manifests import sha256_of, write_atomically
from housebrain_core.outputs import check_file

ADVICE = (
    "\nA model that was trained little, or on briefs of another kind, often fails so; --constrained allows only "
    "answers of the schema."
)


def generate_designs(config: GenerateConfig, report: Callable[[str], None] | None = None) -> list[dict[str, Any]]:
    """Designs a house for each brief of a file.

    Args:
        config: which model, which briefs, where to.
        report: gets lines of progress; by default standard error, as standard output has the design.

    Returns:
        A row per brief: its number (from 1) and sha256, and `design`, or `error` with kind, message and text.

    Raises:
        DataError: briefs cannot be used; all problems of all of them.
        DesignError: no brief's answer is a design; of several, the reasons are in the file.
    """
    report = report or (lambda line: print(line, file=sys.stderr, flush=True))
    briefs, many = read_briefs(config.brief)
    if many and config.output is None:
        raise ConfigError(f"{config.brief} holds {len(briefs)} briefs: name a file for the designs with --output.")
    if config.output:
        check_file(config.output)
    check_base_settings([config.model], config.base_model, config.load_in_4bit)
    doubts = [f"brief {n}: {line}" for n, brief in enumerate(briefs, 1) for line in find_doubts(brief)]
    for line in shorten(doubts, "doubts"):
        report(f"WARNING: {line}")
    llm = HouseBrainLLM(config.model, config.base_model, config.load_in_4bit, report)
    if many:
        return _generate_many(llm, briefs, config, report)
    decoding = Decoding(1, config.max_new_tokens, config.constrained)
    (answer,) = next(llm.answer_batches(briefs, decoding)).answers
    try:
        design = read_answer(briefs[0], answer)
    except DesignError as error:
        raise DesignError(f"{error}{'' if config.constrained else ADVICE}", error.kind, error.text) from None
    text = json.dumps(design, indent=2, ensure_ascii=False)
    for line in describe_findings(briefs[0], design):
        report(line)
    if config.output:
        config.output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(config.output, text + "\n")
        report(f"design in {config.output}")
    else:
        print(text)
    if config.plot:
        report(f"drawn in {plots.save(drawing.floor_plan(design, llm.name), config.plot)}")
    return [_row(1, briefs[0], llm, config) | {"design": design}]


def describe_findings(brief: dict, design: dict) -> list[str]:
    """What the rule checks say of one design, a line each, the first ten."""
    rules = check_or_none(brief, design) or {}
    found = [f"rule {name}: {finding}" for name, findings in rules.items() for finding in findings or ()]
    return shorten(found, "findings")


def shorten(lines: list[str], what: str, shown: int = 10) -> list[str]:
    """The first lines, and how many there are more."""
    return [*lines[:shown], *([f"and {len(lines) - shown} {what} more"] if len(lines) > shown else [])]


def read_briefs(source: str) -> tuple[list[dict], bool]:
    """Checked briefs from a file or standard input, and whether they are many: JSONL, not one JSON object.

    A dataset's sample stands for its `input`.

    Raises:
        DataError: listing all problems of all briefs.
    """
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise DataError(
            f"{source} cannot be read: {reason}. Give a JSON or JSONL file, or - for standard input."
        ) from None
    many = source.endswith(".jsonl")
    try:
        values = [json.loads(text)] if not many else []
    except ValueError:
        many = True
    problems = []
    if many:
        values = []
        for number, line in enumerate(text.splitlines(), 1):
            try:
                values += [json.loads(line)] if line.strip() else []
            except ValueError as error:
                problems.append(f"line {number} is not JSON: {error}")
    values = [value["input"] if isinstance(value, dict) and "input" in value else value for value in values]
    problems += [f"brief {n}: {line}" for n, value in enumerate(values, 1) for line in find_problems(value)]
    if problems or not values:
        raise DataError(f"{source} cannot be used:\n  " + "\n  ".join(problems or ["there is no brief in it"]))
    return [check_brief(value) for value in values], many


def _generate_many(llm: HouseBrainLLM, briefs: list[dict], config: GenerateConfig, report) -> list[dict[str, Any]]:
    """Writes a line per brief as it comes, sorted at the end; lines of the same model and brief are kept."""
    rows = _read_rows(config.output)
    keys = [json.dumps(_row(number, brief, llm, config)) for number, brief in enumerate(briefs, 1)]
    if rows.keys() - set(keys):
        raise ConfigError(
            f"{config.output} holds designs of another model, other briefs or other settings. They stay: name another "
            "--output, or delete that file."
        )
    done = {index for index, key in enumerate(keys) if key in rows}
    if done:
        report(f"{len(done)} of {len(briefs)} designs are in {config.output} already")
    config.output.parent.mkdir(parents=True, exist_ok=True)
    decoding = Decoding(config.batch_size, config.max_new_tokens, config.constrained)
    with config.output.open("a", encoding="utf-8") as file:
        for batch in llm.answer_batches(briefs, decoding, done, report):
            for index, answer in zip(batch.indices, batch.answers, strict=True):
                try:
                    result = {"design": read_answer(briefs[index], answer)}
                except DesignError as error:
                    result = {"error": {"kind": error.kind, "message": str(error), "text": error.text}}
                rows[keys[index]] = json.loads(keys[index]) | result
                file.write("\n" + codec.dumps(rows[keys[index]]))  # a new line first: the last one may be torn
            file.flush()
    ordered = [rows[key] for key in keys]
    write_atomically(config.output, "".join(codec.dumps(row) + "\n" for row in ordered))
    failed = [row for row in ordered if "error" in row]
    report(
        f"{len(ordered) - len(failed)} of {len(ordered)} answers are designs; they are in {config.output}"
        + (f", and there with the reason the {len(failed)} that are not" if failed else "")
    )
    broken = Counter(
        name
        for row in ordered
        for name, findings in (check_or_none(briefs[row["brief"] - 1], row.get("design")) or {}).items()
        if findings
    )
    if broken:
        report("rules broken, by how many designs: " + ", ".join(f"{name} {n}" for name, n in broken.most_common()))
    if config.plot:
        for row in ordered:
            if "design" in row:
                plots.save(drawing.floor_plan(row["design"], f"brief {row['brief']}"),
                           config.plot / f"design_{row['brief']:05d}.png")  # fmt: skip
        report(f"drawings in {config.plot}")
    if len(failed) == len(ordered):
        kind, text = failed[0]["error"]["kind"], failed[0]["error"]["text"]
        advice = "" if config.constrained else ADVICE
        raise DesignError(f"none of the {len(ordered)} answers is a design; the first: {kind}.{advice}", kind, text)
    return ordered


def _row(number: int, brief: dict, llm: HouseBrainLLM, config: GenerateConfig) -> dict[str, Any]:
    """What a line says of where its design comes from; only equal lines are taken over."""
    model = sha256_of(f"{llm.base.revision} {llm.load_in_4bit} {llm.weights}".encode())[:16]
    settings = f"{config.max_new_tokens} {'constrained' if config.constrained else 'free'}"
    return {"brief": number, "sha256": sha256_of(codec.dumps(brief).encode()), "model": model, "settings": settings}


def _read_rows(path: Path) -> dict[str, dict]:
    """Lines of an earlier run by what they say of their origin; a torn one is left out."""
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
            key = {name: row[name] for name in ("brief", "sha256", "model", "settings")}
        except (ValueError, KeyError, TypeError):
            continue
        if "design" in row or "error" in row:
            rows[json.dumps(key)] = row
    return rows
