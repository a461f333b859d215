"""Briefs in, designs out: one as JSON and a drawing, or many as JSONL that continues where it was."""

import json
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from housebrain_core import plots
from housebrain_core.adapters.adapter import check_base_settings
from housebrain_core.config import GenerateConfig
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.house import codec, drawing
from housebrain_core.house.briefs import SANITY_BRIEF, CheckedBrief, check_briefs
from housebrain_core.house.codec import DesignError
from housebrain_core.house.rules import check_or_none
from housebrain_core.llm.decoding import Answered, Decoding, read_answer
from housebrain_core.llm.journal import Journal
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.manifests import sha256_of, write_atomically
from housebrain_core.outputs import check_file, lock_output

Row = dict[str, Any]
"""A line of the file of designs: the fields of `Origin`, and `design` or `error`."""
SHOWN = 10
"""Doubts or findings that are shown."""
ADVICE = (
    "\nA model that was trained little, or on briefs of another kind, often fails so; --constrained allows only "
    "answers of the schema."
)


class BriefFile(NamedTuple):
    """The briefs of a file, all of them checked."""

    briefs: list[CheckedBrief]
    many: bool
    """Whether it is JSONL, not one JSON object."""

    @property
    def doubts(self) -> list[str]:
        """What is possible in the briefs but seldom meant."""
        return [f"brief {number}: {line}" for number, brief in enumerate(self.briefs, 1) for line in brief.doubts]


class Origin(NamedTuple):
    """Where a design comes from; a line of an earlier run is kept when its origin is the same."""

    brief: int
    """Number of the brief in its file, from 1."""
    sha256: str
    """Of the brief."""
    model: str
    """Hash of base model, quantisation and adapter weights."""
    settings: str

    @classmethod
    def read(cls, row: Row) -> "Origin":
        """The origin of a line; KeyError or TypeError where it is no line of designs."""
        if "design" not in row and "error" not in row:
            raise KeyError("design")
        return cls(*(row[name] for name in cls._fields))


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
    report = report or (lambda line: print(line, file=sys.stderr, flush=True))
    file = read_briefs(config.brief)
    if file.many and config.output is None:
        raise ConfigError(f"{config.brief} holds {len(file.briefs)} briefs: name a file for the designs with --output.")
    if config.output:
        check_file(config.output)
    check_base_settings([config.model], config.base_model, config.load_in_4bit)
    for line in shorten(file.doubts, "doubts"):
        report(f"WARNING: {line}")
    briefs = [brief.plain for brief in file.briefs]
    with lock_output(config.output) if config.output else nullcontext():
        llm = HouseBrainLLM(config.model, config.base_model, config.load_in_4bit, report)
        if file.many:
            return _generate_many(llm, briefs, config, report)
        return [_generate_one(llm, briefs[0], config, report)]


def read_briefs(source: str) -> BriefFile:
    """Checked briefs from a file or standard input. A dataset's sample stands for its `input`.

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
    values = None if source.endswith(".jsonl") else _read_json(text)
    many = values is None
    problems = []
    if values is None:
        values, problems = _read_lines(text)
    values = [value["input"] if isinstance(value, dict) and "input" in value else value for value in values]
    briefs, more = check_briefs(values)
    problems += more
    if problems or not values:
        raise DataError(f"{source} cannot be used:\n  " + "\n  ".join(problems or ["there is no brief in it"]))
    return BriefFile(briefs, many)


def _read_json(text: str) -> list[Any] | None:
    """A text that is one JSON value; None where it is not."""
    try:
        return [json.loads(text)]
    except ValueError:
        return None


def _read_lines(text: str) -> tuple[list[Any], list[str]]:
    """The values of JSONL, and the lines that are none."""
    values = []
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            values += [json.loads(line)] if line.strip() else []
        except ValueError as error:
            problems.append(f"line {number} is not JSON: {error}")
    return values, problems


def shorten(lines: list[str], what: str) -> list[str]:
    """The first lines, and how many more there are."""
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], f"and {more} {what} more"] if more > 0 else lines


def _generate_one(llm: HouseBrainLLM, brief: dict, config: GenerateConfig, report: Callable[[str], None]) -> Row:
    """Writes or prints one design, with what the rule checks say of it, and draws it."""
    (answer,) = next(llm.answer_batches([brief], Decoding(1, config.max_new_tokens, config.constrained))).answers
    try:
        design = read_answer(brief, answer)
    except DesignError as error:
        raise DesignError(f"{error}{_advice(config)}", error.kind, error.text) from None
    for line in describe_findings(brief, design):
        report(line)
    text = json.dumps(design, indent=2, ensure_ascii=False)
    if config.output:
        config.output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(config.output, text + "\n")
        report(f"design in {config.output}")
    else:
        print(text)
    if config.plot:
        report(f"drawn in {plots.save(drawing.floor_plan(design, llm.name), config.plot)}")
    return origin_of(1, brief, llm, config)._asdict() | {"design": design}


def describe_findings(brief: dict, design: dict) -> list[str]:
    """What the rule checks say of one design, a line each, the first ten."""
    rules = check_or_none(brief, design) or {}
    return shorten([f"rule {name}: {line}" for name, findings in rules.items() for line in findings or ()], "findings")


def _generate_many(
    llm: HouseBrainLLM, briefs: list[dict], config: GenerateConfig, report: Callable[[str], None]
) -> list[Row]:
    """Writes a line per brief as it comes, sorted at the end; lines of the same origin are kept."""
    output = config.output
    assert output is not None, "checked by the caller"
    journal = Journal(output, Origin.read)
    origins = [origin_of(number, brief, llm, config) for number, brief in enumerate(briefs, 1)]
    if journal.rows.keys() - set(origins):
        raise ConfigError(
            f"{output} holds designs of another model, other briefs or other settings. They stay: name another "
            "--output, or delete that file."
        )
    _answer_missing(llm, briefs, origins, journal, config, report)
    rows = [journal.rows[origin] for origin in origins]
    write_atomically(output, "".join(codec.dumps(row) + "\n" for row in rows))
    failed = [row for row in rows if "error" in row]
    reasons = f", and there with the reason the {len(failed)} that are not" if failed else ""
    report(f"{len(rows) - len(failed)} of {len(rows)} answers are designs; they are in {output}{reasons}")
    _report_broken_rules(briefs, rows, report)
    if config.plot:
        _draw_all(rows, config.plot)
        report(f"drawings in {config.plot}")
    if len(failed) == len(rows):
        error = failed[0]["error"]
        message = f"none of the {len(rows)} answers is a design; the first: {error['kind']}.{_advice(config)}"
        raise DesignError(message, error["kind"], error["text"])
    return rows


def origin_of(number: int, brief: dict, llm: HouseBrainLLM, config: GenerateConfig) -> Origin:
    """Where the design of a brief comes from."""
    model = sha256_of(f"{llm.base.revision} {llm.load_in_4bit} {llm.weights}".encode())[:16]
    settings = f"{config.max_new_tokens} {'constrained' if config.constrained else 'free'}"
    return Origin(number, sha256_of(codec.dumps(brief).encode()), model, settings)


def _answer_missing(
    llm: HouseBrainLLM,
    briefs: list[dict],
    origins: list[Origin],
    journal: Journal,
    config: GenerateConfig,
    report: Callable[[str], None],
) -> None:
    """Answers the briefs that the journal has no line of."""
    done = {index for index, origin in enumerate(origins) if origin in journal.rows}
    if done:
        report(f"{len(done)} of {len(briefs)} designs are in {journal.path} already")
    decoding = Decoding(config.batch_size, config.max_new_tokens, config.constrained)
    for batch in llm.answer_batches(briefs, decoding, done, report):
        for index, answer in zip(batch.indices, batch.answers, strict=True):
            journal.add(origins[index]._asdict() | _design_or_error(briefs[index], answer))


def _design_or_error(brief: dict, answer: Answered) -> Row:
    """The design of an answer, or why it is none."""
    try:
        return {"design": read_answer(brief, answer)}
    except DesignError as error:
        return {"error": {"kind": error.kind, "message": str(error), "text": error.text}}


def _report_broken_rules(briefs: list[dict], rows: list[Row], report: Callable[[str], None]) -> None:
    """Reports how many designs break each rule."""
    broken: Counter[str] = Counter()
    for brief, row in zip(briefs, rows, strict=True):
        rules = check_or_none(brief, row["design"]) if "design" in row else None
        broken.update(name for name, findings in (rules or {}).items() if findings)
    if broken:
        report("rules broken, by how many designs: " + ", ".join(f"{name} {n}" for name, n in broken.most_common()))


def _draw_all(rows: list[Row], folder: Path) -> None:
    """Draws each design into a file named by the number of its brief."""
    for row in rows:
        if "design" in row:
            figure = drawing.floor_plan(row["design"], f"brief {row['brief']}")
            plots.save(figure, folder / f"design_{row['brief']:05d}.png")


def _advice(config: GenerateConfig) -> str:
    return "" if config.constrained else ADVICE


def check_sanity(llm: HouseBrainLLM) -> str:
    """Generates a design for the guide's own brief and says how its answer parsed: "ok", or the kind of failure."""
    try:
        llm.generate_design(SANITY_BRIEF)
    except DesignError as error:
        return error.kind
    return "ok"
