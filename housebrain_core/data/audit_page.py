"""The audit as people read it: a table on the terminal, figures, one HTML page that opens offline."""

import shutil
import textwrap
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from housebrain_core.plots import Picture, embed

TEXT_WIDTH = 36
"""Characters of a line of text beside a table's other columns, at least."""


def describe(result: dict[str, Any], width: int | None = None) -> str:
    """The findings as text: samples, lengths, every field with all that was found of it, and what follows.

    Args:
        result: what `audit` found.
        width: characters in a line; by default those of the terminal, 120 where there is none.
    """
    unit = "tokens" if result["tokenizer"] else "characters"
    parts = ", ".join(f"{count:,} {part}" for part, count in result["samples"].items())
    lines = [
        f"{parts}; {result['bad']} bad, {result['duplicates']} duplicates by content, {result['leaks']} leaks",
        *(f"  {count} x {reason}" for reason, count in result["bad_reasons"]),
        "",
        f"{unit + ' per sample':24} {'mean':>7} {'p99':>7} {'max':>7}"
        + ("   answers whole at max_length 512 / 1024 / 2048" if result["tokenizer"] else ""),
    ]
    for form, length in result["lengths"].items():
        cut = " / ".join(f"{cut['whole']:.0%}" for cut in length["cut"].values()) if result["tokenizer"] else ""
        lines.append(f"{form:24} {length['mean']:7.0f} {length['p99']:7.0f} {length['max']:7d}   {cut}")
    if not result["tokenizer"]:
        lines.append("Tokens, and what a max_length cuts, need the base model's --tokenizer.")
    lines += ["", *_describe_fields(result["fields"], width or shutil.get_terminal_size((120, 24)).columns)]
    broken = {name: rule for name, rule in result["rules"].items() if rule["broken"]}
    if broken:
        lines += ["", f"rules that references break, of {result['rule_samples']:,} samples"]
        lines += [f"{name:52} {rule['broken'] / rule['applicable']:6.1%}" for name, rule in broken.items()]
    return "\n".join([*lines, "", *(f"- {line}" for line in result["conclusions"]), ""])


def _describe_fields(fields: list[dict[str, Any]], width: int) -> list[str]:
    """A table of the fields whose texts go on in the lines below; where it is too narrow, the texts stand there."""
    names = [field["name"].removeprefix("output.") for field in fields]
    longest = max(map(len, names), default=0)
    lines = [f"{'field of the design':{longest}} {'what it is':18} {'nats':>6}"]
    for name, field in zip(names, fields, strict=True):
        nats = "?" if field["free"] is None else f"{field['free']:.2f}"
        row = f"{name:{longest}} {field['kind']:18} {nats:>6}  "
        beside = len(row) + TEXT_WIDTH <= width
        first, others = (row, " " * len(row)) if beside else (" " * 4, " " * 4)
        text = textwrap.fill(field["text"], width, initial_indent=first, subsequent_indent=others,
                             break_long_words=False, break_on_hyphens=False)  # fmt: skip
        lines += [text] if beside else [row.rstrip(), text]
    return lines


def entropy_bars(result: dict[str, Any]) -> Picture:
    """Nats per sample that are left of each field when the brief is known."""
    free = [field for field in result["fields"] if field["free"]]
    total = result["entropy_nats_per_sample"]
    alt = f"Nats per sample that no model can know, for each of {len(free)} fields; together {total:.1f}."
    figure = Picture(8, 0.24 * len(free) + 1.2, alt)
    axes = figure.subplots()
    names = [field["name"].removeprefix("output.") for field in free][::-1]
    axes.barh(names, [field["free"] for field in free][::-1], color="#7a9cc6")
    axes.set_xlabel(f"nats per sample that no model can know; together {total:.1f}")
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def length_histogram(result: dict[str, Any]) -> Picture:
    """Lengths of prompt and answer together, in both forms, and what a max_length cuts."""
    unit = "tokens" if result["tokenizer"] else "characters"
    means = [f"{form} {length['mean']:.0f} on average" for form, length in result["lengths"].items()]
    figure = Picture(8, 3.2, f"Histogram of {unit} per sample: {', '.join(means)}.")
    axes = figure.subplots()
    for form, color in (("original", "#d9a577"), ("ours", "#7a9cc6")):
        axes.hist(result["lengths"][form]["all"], bins=40, color=color, label=form)
    if result["tokenizer"]:
        for limit in (512, 1024, 2048):
            axes.axvline(limit, color="grey", linestyle=":")
    axes.set(xlabel=f"{unit} per sample", ylabel="samples")
    axes.legend(frameon=False)
    return figure


def write_page(result: dict[str, Any], path: Path) -> Path:
    """Writes the report as one HTML file with its figures inside."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    figures = {"entropy": embed(entropy_bars(result)), "lengths": embed(length_histogram(result))}
    page = environment.get_template("audit.html").render(result=result, figures=figures)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path
