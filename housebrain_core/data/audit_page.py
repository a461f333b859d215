"""The audit as people read it: a table on the terminal, figures, one HTML page that opens offline."""

import shutil
import textwrap
from pathlib import Path

from housebrain_core.data.audit_result import AuditResult
from housebrain_core.data.findings import Finding
from housebrain_core.plots import BLUE, SKY, YELLOW, Picture, embed
from housebrain_core.results import Table
from housebrain_core.templates import render

TEXT_WIDTH = 36
"""Characters of a line of text beside a table's other columns, at least."""


def describe(result: AuditResult, width: int | None = None) -> str:
    """The audit as text: samples, lengths, what every field is, and what follows.

    Args:
        result: what `audit_dataset` returns.
        width: characters in a line; by default those of the terminal, 120 where there is none.
    """
    width = width or shutil.get_terminal_size((120, 24)).columns
    parts = ", ".join(f"{count:,} {part}" for part, count in result.samples.items())
    lines = [f"{parts}; {result.bad} bad, {result.duplicates} duplicates by content, {result.leaks} leaks"]
    lines += [f"  {count} x {reason}" for reason, count in result.bad_reasons]
    lines += [f"NOTE: {note}" for note in result.notes]
    lines += ["", str(_tabulate_lengths(result)), "", *_describe_fields(result.fields, width)]
    broken = {name: rule for name, rule in result.rules.items() if rule.broken}
    if broken:
        lines += ["", f"rules that references break, of {result.rule_samples:,} samples"]
        lines += [f"{name:52} {rule.share:6.1%}" for name, rule in broken.items()]
    return "\n".join([*lines, "", *(f"- {line}" for line in result.conclusions), ""])


def _tabulate_lengths(result: AuditResult) -> Table:
    """The lengths in both forms; with a tokenizer also the answers that stay whole."""
    columns = [("tokens" if result.tokenizer else "characters") + " per sample", "mean", "p99", "max"]
    rows = [[form, f"{one.mean:.0f}", f"{one.p99:.0f}", str(one.max)] for form, one in result.lengths.items()]
    if not result.tokenizer:
        return Table(columns, rows, ["Tokens, and what a max_length cuts, need the base model's --tokenizer."])
    for row, lengths in zip(rows, result.lengths.values(), strict=True):
        row.append(" / ".join(f"{cut.whole:.0%}" for cut in lengths.cut.values()))
    return Table([*columns, "answers whole at max_length 512 / 1024 / 2048"], rows)


def _describe_fields(fields: list[Finding], width: int) -> list[str]:
    """A table of the fields whose texts go on in the lines below; where it is too narrow, the texts stand there."""
    longest = max((len(field.short_name) for field in fields), default=0)
    lines = [f"{'field of the design':{longest}} {'what it is':18} {'nats':>6}"]
    for field in fields:
        nats = "?" if field.free is None else f"{field.free:.2f}"
        row = f"{field.short_name:{longest}} {field.kind:18} {nats:>6}  "
        if len(row) + TEXT_WIDTH <= width:
            lines.append(_wrap(field.text, width, row, " " * len(row)))
        else:
            lines += [row.rstrip(), _wrap(field.text, width, " " * 4, " " * 4)]
    return lines


def _wrap(text: str, width: int, first: str, others: str) -> str:
    """A text in lines of this width, the first and the other lines indented; names of fields are never broken."""
    return textwrap.fill(
        text, width, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )


def entropy_bars(result: AuditResult) -> Picture:
    """Draws the nats per sample that are left of each field when the brief is given.

    Args:
        result: what `audit_dataset` returns.

    Returns:
        A bar for each field that is not decided.
    """
    free = [field for field in result.fields if field.free][::-1]
    total = result.entropy_nats_per_sample
    alt = f"Nats per sample that no model can know, for each of {len(free)} fields; together {total:.1f}."
    figure = Picture(8, 0.24 * len(free) + 1.2, alt)
    axes = figure.subplots()
    axes.barh([field.short_name for field in free], [field.free or 0.0 for field in free], color=SKY)
    axes.set_xlabel(f"nats per sample that no model can know; together {total:.1f}")
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def length_histogram(result: AuditResult) -> Picture:
    """Draws the lengths of prompt and answer together, in the original form and in ours, and where a max_length cuts.

    Args:
        result: what `audit_dataset` returns.

    Returns:
        Two histograms over tokens, or over characters where the audit had no tokenizer.
    """
    unit = "tokens" if result.tokenizer else "characters"
    means = [f"{form} {length.mean:.0f} on average" for form, length in result.lengths.items()]
    figure = Picture(8, 3.2, f"Histogram of {unit} per sample: {', '.join(means)}.")
    axes = figure.subplots()
    for form, color in (("original", YELLOW), ("ours", BLUE)):
        axes.hist(result.lengths[form].all, bins=40, color=color, label=form, alpha=0.8)
    if result.tokenizer:
        for limit in result.lengths["ours"].cut:
            axes.axvline(int(limit), color="grey", linestyle=":")
    axes.set(xlabel=f"{unit} per sample", ylabel="samples")
    axes.legend(frameon=False)
    return figure


def write_page(result: AuditResult, path: Path) -> Path:
    """Writes the audit as one HTML file with its figures inside, and returns its path."""
    figures = {"entropy": embed(entropy_bars(result)), "lengths": embed(length_histogram(result))}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render("data", "audit.html", result=result, figures=figures), encoding="utf-8")
    return path
