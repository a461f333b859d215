"""The audit as people read it: a summary of some twenty lines, figures, one HTML page that opens offline."""

from pathlib import Path

from housebrain_core.data.audit_result import AuditResult, RuleCount, summarize
from housebrain_core.display.plots import BLUE, LABEL, SKY, YELLOW, Picture, embed
from housebrain_core.display.results import Table
from housebrain_core.manifests import write_atomically
from housebrain_core.texts import render, shorten_names

SHOWN_NAMES = 3
"""Fields of a kind, and broken rules that the short form names."""


def describe(result: AuditResult) -> str:
    """The audit in short: what it comes to, how many fields are of which kind, lengths, and the rules broken most."""
    lines = [*summarize(result), ""]
    lines += [f"  {count} x {reason}" for reason, count in result.bad_reasons[:SHOWN_NAMES]]
    lines += [f"NOTE: {note}" for note in result.notes]
    lines += [str(_tabulate_kinds(result)), "", str(_tabulate_lengths(result))]
    broken = [f"{name.replace('_', ' ')} {rule.share:.1%}" for name, rule in rules_broken(result).items()]
    if broken:
        lines += ["", f"Rules that references break ({len(broken)}), most often: {', '.join(broken[:SHOWN_NAMES])}."]
    return "\n".join([*lines, ""])


def rules_broken(result: AuditResult) -> dict[str, RuleCount]:
    """The rules that some reference breaks, the one most often broken first."""
    broken = {name: rule for name, rule in result.rules.items() if rule.broken}
    return dict(sorted(broken.items(), key=lambda item: -item[1].share))


def _tabulate_kinds(result: AuditResult) -> Table:
    """How many fields are of which kind, their nats, and some of their names."""
    rows = []
    for kind in dict.fromkeys(field.kind for field in result.fields):
        fields = [field for field in result.fields if field.kind == kind]
        nats = sum(field.free or 0.0 for field in fields)
        known = any(field.free is not None for field in fields)
        names = [field.short_name.rpartition(".")[2] for field in fields[:SHOWN_NAMES]]
        more = ", ..." if len(fields) > SHOWN_NAMES else ""
        rows.append((kind, str(len(fields)), f"{nats:.2f}" if known else "unknown", ", ".join(names) + more))
    return Table(("fields of the design", "how many", "nats left", "such as"), rows)


def _tabulate_lengths(result: AuditResult) -> Table:
    """The lengths in both forms; with a tokenizer also the answers that stay whole."""
    columns = [("tokens" if result.tokenizer else "characters") + " per sample", "mean", "p99", "max"]
    rows = [[form, f"{one.mean:.0f}", f"{one.p99:.0f}", str(one.max)] for form, one in result.lengths.items()]
    if not result.tokenizer:
        return Table(columns, rows)
    for row, lengths in zip(rows, result.lengths.values(), strict=True):
        row.append(" / ".join(f"{cut.whole:.0%}" for cut in lengths.cut.values()))
    return Table([*columns, "answers whole at max_length 512 / 1024 / 2048"], rows)


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
    axes.barh(
        list(shorten_names([field.short_name for field in free], LABEL).values()),
        [field.free or 0.0 for field in free],
        color=SKY,
    )
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
    values = {"result": result, "figures": figures, "verdict": summarize(result), "broken": rules_broken(result)}
    write_atomically(path, render("data", "audit.html", **values))
    return path
