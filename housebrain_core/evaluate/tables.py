"""An evaluation's results as tables and figures."""

from housebrain_core.display import plots
from housebrain_core.display.results import Page, Table, show
from housebrain_core.evaluate.results import Evaluation
from housebrain_core.evaluate.verdict import (
    conclude,
    count_kept,
    find_best,
    has_designs,
    known_losses,
    list_columns,
    list_rules,
)
from housebrain_core.texts import shorten_names

NOTES = (
    "nats/token: the loss, lower is better: minus the logarithm of the share that a model gives to the right token.",
    "above: nats per token above the data's own entropy, which no model gets below.",
    "strict: answers that are JSON as they stand.",
    "repaired: JSON after repair, to compare with strict; no design comes from it.",
    "schema: answers that are designs with the right fields.",
    "rules: checks kept by the designs that parse strictly; nothing where none does.",
    "hard: answers that are a design which keeps every hard rule.",
)
ROOMS = "rooms: the reference's rooms that the answer has in the same place."
RULES_NOTE = "Checks of common sense, worst first; the references break some too. They are no code compliance."
BEST = " (best)"
NO_LOSS = "no loss of {}: a server does not tell how probable the reference answers are."
NO_FLOOR = "The data's own entropy is not known here: splits of 1,000 training samples and more know it."


def show_evaluation(result: Evaluation) -> None:
    """Shows an evaluation: what it comes to, a line per model, losses, rates, and the rule checks that designs break.

    Args:
        result: of `evaluate_models`.
    """
    verdict = Page("  \n".join(conclude(result)))  # Markdown: a notebook breaks its lines between words
    losses = [draw_losses(result)] if known_losses(result) else []
    more = [] if result.text else [draw_rates(result), tabulate_rules(result)]
    show(verdict, tabulate_models(result), *losses, *more)


def tabulate_models(result: Evaluation) -> Table:
    """Makes a table with a line per model, the reference first; what says nothing of these data is left out.

    Args:
        result: of `evaluate_models`.
    """
    reference = map(percent, (result.reference.rule_score, result.reference.all_hard))
    rows: list[tuple[str, ...]] = [("reference", "", "", "", "", "", *reference, "", "")] if has_designs(result) else []
    short = shorten_names(result.models)
    best = find_best(result)
    for name, model in result.models.items():
        above = "" if model.loss_above_floor is None else f"{model.loss_above_floor:+.4f}"
        rates = model.rates
        shares = (rates.strict_parse, rates.repaired_parse, rates.schema_valid, model.rule_score, model.all_hard)
        figures = map(percent, (*shares, model.same, model.rooms))
        loss = "" if model.loss_nats_per_token is None else f"{model.loss_nats_per_token:.4f}"
        rows.append((short[name] + BEST * (name == best), loss, above, *figures))
    same = "exact" if result.drawn else "same"
    columns = ("model", "nats/token", "above", "strict", "repaired", "schema", "rules", "hard", same, "rooms")
    idle = () if has_designs(result) else ("schema", "rules", "hard")
    idle += ("strict", "repaired") if result.text else ()
    kept = [n for n, column in enumerate(columns) if column not in idle and any(row[n] for row in rows)]
    notes = (*NOTES, describe_same(result), ROOMS)
    losses = known_losses(result)
    more = [NO_LOSS.format(short[name]) for name in result.models if name not in losses]
    more += [NO_FLOOR] if losses and not any(row[2] for row in rows) else []
    return Table(
        [columns[place] for place in kept],
        [tuple(row[place] for place in kept) for row in rows],
        [note for note in notes if note.partition(":")[0] in {columns[place] for place in kept}] + more,
    )


def describe_same(result: Evaluation) -> str:
    """Says what the share of designs that are the reference's counts.

    Args:
        result: of `evaluate_models`.
    """
    if result.drawn:
        drawn = ", ".join(name.replace("_", " ") for name in result.drawn)
        return f"exact: answers that are exactly the reference, but for what was drawn there: {drawn}."
    return "same: answers that are the same as the reference in everything."


def tabulate_rules(result: Evaluation) -> Table | str:
    """Makes a table of the rule checks that some design breaks, worst first: passed of applicable, the reference first.

    Args:
        result: of `evaluate_models`.

    Returns:
        The table; a sentence where every design keeps all rules.
    """
    models = list_columns(result)
    rows = list_rules(result, models)
    if not rows:
        return count_kept(result, rows)
    short = shorten_names(result.models)
    lowest = ["lowest of all"] if len(models) < len(result.models) else []
    return Table(
        ("rule", "reference", *(short[name] for name in models), *lowest, "what it asks"),
        [(row.name, *row.cells, row.words) for row in rows],
        [count_kept(result, rows), RULES_NOTE],
        [row.alarm for row in rows],
    )


def draw_losses(result: Evaluation) -> plots.Picture:
    """Draws the loss of every model that has one, the lowest first, and the data's own entropy where there is one."""
    short = shorten_names(result.models)
    losses = {short[name]: loss for name, loss in known_losses(result).items()}
    return plots.loss_bars(dict(sorted(losses.items(), key=lambda item: item[1])), result.floor)


def draw_rates(result: Evaluation) -> plots.Picture:
    """Draws the parse rates of every model."""
    short = shorten_names(result.models)
    return plots.rate_bars({short[name]: model.rates.model_dump() for name, model in result.models.items()})


def percent(share: float | None) -> str:
    """A share in [0, 1] as a person reads it; nothing where there is none."""
    return "" if share is None else f"{share:.1%}"
