"""Briefs in, designs out: one as JSON and a drawing, or many as JSONL that continues where it was."""

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from housebrain_core.adapters.adapter import check_base_settings
from housebrain_core.config import GenerateConfig
from housebrain_core.contents import LINES_LIMIT, parse_json, read_bytes
from housebrain_core.data.fields import NAMES, PROMPT_NAMES
from housebrain_core.display import plots
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.house import codec, drawing
from housebrain_core.house.briefs import BRIEF_FIELDS, CheckedBrief, check_briefs, is_brief
from housebrain_core.house.codec import DesignError
from housebrain_core.house.rules import check_or_none
from housebrain_core.llm.decoding import Answered, Decoding, read_answer
from housebrain_core.llm.designer import Designer
from housebrain_core.llm.journal import Journal
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.manifests import sha256_of, write_atomically
from housebrain_core.outputs import check_file, lock_output
from housebrain_core.texts import as_shown, say

Row = dict[str, Any]
"""A line of the file of designs: the fields of `ORIGIN`, and `design` or `error`."""
ORIGIN = ("brief", "sha256", "model", "settings")
"""Where a design comes from: number of its brief, from 1, the brief's hash, a hash of base model, quantisation and
adapter weights, and how it was generated. A line of an earlier run is kept when all of these are the same."""
SHOWN = 10
"""Doubts or findings that are shown."""
OTHER = f"it is no house brief, which has {', '.join(BRIEF_FIELDS)}; the model gets it as it is"
ADVICE = (
    "\nA model that was trained little, or on briefs of another kind, often fails so; --constrained allows only "
    "answers of the schema."
)


def generate_designs(config: GenerateConfig, report: Callable[[str], None] | None = None) -> list[Row]:
    """Designs a house for each brief of a file.

    Args:
        config: which model, which briefs, where to.
        report: gets lines of progress; by default standard error, as standard output has the design.

    Returns:
        A row per brief: its number (from 1) and sha256, and `design`, or `error` with kind, message and text.

    Raises:
        DataError: briefs cannot be used; all problems of all of them.
        DesignError: no brief's answer is a design; of several, the reasons are in the file.
        ConfigError: the settings do not go together, or the output holds something else or is being written.
    """
    report = report or (lambda line: say(line, sys.stderr))
    checked, many = read_briefs(config.brief)
    if many and config.output is None:
        raise ConfigError(f"{config.brief} holds {len(checked)} briefs: name a file for the designs with --output.")
    _check_outputs(config, len(checked), many)
    if not is_brief(checked[0].plain) and (config.plot or config.constrained):
        raise ConfigError(f"{config.brief} holds no house brief; --plot and --constrained are for designs of houses.")
    check_base_settings([config.model], config.base_model, config.load_in_4bit)
    doubts = [f"brief {number}: {line}" for number, brief in enumerate(checked, 1) for line in brief.doubts]
    for line in shorten(doubts, "doubts"):
        report(f"WARNING: {line}")
    briefs = [brief.plain for brief in checked]
    with lock_output(config.output) if config.output else nullcontext():
        llm = HouseBrainLLM(config.model, config.base_model, config.load_in_4bit, report)
        if many:
            return _generate_many(llm, briefs, config, report)
        return [_generate_one(llm, briefs[0], config, report)]


def _check_outputs(config: GenerateConfig, briefs: int, many: bool) -> None:
    """Refuses names of files that cannot be written, or at which something lies that stays."""
    inputs = [Path(config.brief)]
    if config.output:
        check_file(config.output, ORIGIN if many else (), inputs, config.overwrite)
    if config.plot and config.plot == config.output:
        raise ConfigError(f"output and plot are both {config.plot}: the design is JSON, the drawing a PNG.")
    for path in drawing_paths(config.plot, briefs, many) if config.plot else ():
        check_file(path, inputs=inputs)


def drawing_paths(plot: Path, briefs: int, many: bool) -> list[Path]:
    """The files that the designs of so many briefs are drawn in: one, or a folder with one for each."""
    return [plot / f"design_{number:05d}.png" for number in range(1, briefs + 1)] if many else [plot]


def read_briefs(source: str) -> tuple[list[CheckedBrief], bool]:
    """Reads and checks briefs; a dataset's sample stands for its `input`.

    Args:
        source: a file, or - for standard input.

    Returns:
        The briefs, and whether there may be many: it is JSONL, not one JSON object.

    Raises:
        DataError: listing all problems of all briefs.
    """
    try:
        data = sys.stdin.read(LINES_LIMIT).encode() if source == "-" else read_bytes(Path(source), LINES_LIMIT)
        text = data.decode("utf-8-sig").strip() if source.endswith(".txt") else ""
    except (DataError, UnicodeError) as error:
        raise DataError(f"{source}: {error}. Give a JSON or JSONL file, or - for standard input.") from None
    values, problems = ([text], []) if text else _read_values(data, source.endswith(".jsonl"))
    many = len(values) != 1 or source.endswith(".jsonl")
    values = list(map(_input_of, values))
    if values and all(_is_other_input(value) for value in values):
        briefs, more = [CheckedBrief(value, [OTHER]) for value in values], []
    else:
        briefs, more = check_briefs(values)
    problems += more
    if problems or not values:
        lines = shorten(problems, "problems") or ["there is no brief in it"]
        raise DataError(f"{source} cannot be used:\n  " + "\n  ".join(lines))
    return briefs, many


def _input_of(value: Any) -> Any:
    """The input of a sample: all of its fields where one, such as Alpaca's instruction, is a part of the prompt."""
    if not isinstance(value, dict) or "input" not in value:
        return value
    if any(value.get(name) for name in PROMPT_NAMES):
        return {name: part for name, part in value.items() if name not in NAMES - {"input"}}
    return value["input"]


def _is_other_input(value: Any) -> bool:
    """Whether a value is no house brief but may be the input of other data."""
    return bool(value) and isinstance(value, str | dict | list) and not is_brief(value)


def _read_values(data: bytes, is_jsonl: bool) -> tuple[list[Any], list[str]]:
    """The values of JSON, or else of JSONL, and the lines that are none."""
    if not is_jsonl:
        with suppress(DataError):
            return [parse_json(data)], []
    values = []
    problems = []
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            values += [parse_json(line)] if line.strip() else []
        except DataError as error:
            problems.append(f"line {number} {error}")
    return values, problems


def shorten(lines: list[str], what: str) -> list[str]:
    """The first lines, and how many more there are."""
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], f"and {more} {what} more"] if more > 0 else lines


def _generate_one(llm: Designer, brief: dict, config: GenerateConfig, report: Callable[[str], None]) -> Row:
    """Writes or prints one design, with what the rule checks say of it, and draws it."""
    (answer,) = next(llm.answer_batches([brief], Decoding(1, config.max_new_tokens, config.constrained))).answers
    try:
        design = read_answer(brief, answer)
    except DesignError as error:
        raise DesignError(f"{error}{_advice(config)}", error.kind, error.text) from None
    for line in describe_findings(brief, design):
        report(line)
    text = design if isinstance(design, str) else json.dumps(design, indent=2, ensure_ascii=False)
    if config.output:
        config.output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(config.output, text + "\n")
        report(f"design in {config.output}")
    else:
        say(text if as_shown(text, sys.stdout) == text or isinstance(design, str) else json.dumps(design, indent=2))
    if config.plot:
        report(f"drawn in {plots.save(drawing.floor_plan(design, llm.name), config.plot)}")
    return describe_origin(1, brief, llm, config) | {"design": design}


def describe_findings(brief: dict, design: dict) -> list[str]:
    """What the rule checks say of one design, a line each, the first ten."""
    rules = check_or_none(brief, design) or {}
    return shorten([f"rule {name}: {line}" for name, findings in rules.items() for line in findings or ()], "findings")


def _generate_many(
    llm: Designer, briefs: list[dict], config: GenerateConfig, report: Callable[[str], None]
) -> list[Row]:
    """Writes a line per brief as it comes, sorted at the end; lines of the same origin are kept."""
    output = config.output
    assert output is not None, "checked by the caller"
    if config.overwrite:
        output.unlink(missing_ok=True)
    rows = _answer_all(llm, briefs, Journal(output, origin_of), config, report)
    write_atomically(output, "".join(codec.dumps(row) + "\n" for row in rows))
    designs = [row for row in rows if "design" in row]
    report(f"{len(designs)} of {len(rows)} answers are designs; {output} has them, and why the others are none")
    if config.plot:
        for row in designs:
            figure = drawing.floor_plan(row["design"], f"brief {row['brief']}")
            plots.save(figure, drawing_paths(config.plot, len(rows), many=True)[row["brief"] - 1])
        report(f"drawings in {config.plot}")
    if not designs:
        error = rows[0]["error"]
        message = f"none of the {len(rows)} answers is a design; the first: {error['kind']}.{_advice(config)}"
        raise DesignError(message, error["kind"], error["text"])
    return rows


def _answer_all(
    llm: Designer, briefs: list[dict], journal: Journal, config: GenerateConfig, report: Callable[[str], None]
) -> list[Row]:
    """A row per brief, from the journal or from the model."""
    origins = [describe_origin(number, brief, llm, config) for number, brief in enumerate(briefs, 1)]
    keys = [origin_of(origin) for origin in origins]
    if journal.rows.keys() - set(keys):
        raise ConfigError(
            f"{journal.path} holds designs of another model, other briefs or other settings. They stay: name another "
            "--output, or replace them with --overwrite."
        )
    done = {index for index, key in enumerate(keys) if key in journal.rows}
    if done:
        report(f"{len(done)} of {len(briefs)} designs are in {journal.path} already")
    decoding = Decoding(config.batch_size, config.max_new_tokens, config.constrained)
    for batch in llm.answer_batches(briefs, decoding, done, report):
        for index, answer in zip(batch.indices, batch.answers, strict=True):
            journal.add(origins[index] | _design_or_error(briefs[index], answer))
    return [journal.rows[key] for key in keys]


def describe_origin(number: int, brief: dict, llm: Designer, config: GenerateConfig) -> Row:
    """The fields of `ORIGIN` for the design of a brief."""
    model = sha256_of(llm.identity.encode())[:16]
    settings = f"{config.max_new_tokens} {'constrained' if config.constrained else 'free'}"
    return {"brief": number, "sha256": sha256_of(codec.dumps(brief).encode()), "model": model, "settings": settings}


def origin_of(row: Row) -> tuple:
    """The values of `ORIGIN` in a row."""
    return tuple(row[name] for name in ORIGIN)


def _design_or_error(brief: dict, answer: Answered) -> Row:
    """The design of an answer, or why it is none."""
    try:
        return {"design": read_answer(brief, answer)}
    except DesignError as error:
        return {"error": {"kind": error.kind, "message": str(error), "text": error.text}}


def _advice(config: GenerateConfig) -> str:
    return "" if config.constrained else ADVICE
