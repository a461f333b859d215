"""An evaluation's results as tables and figures."""

from housebrain_core import plots
from housebrain_core.evaluate.results import Evaluation, RuleResult
from housebrain_core.results import Table, show

NOTES = (
    "above: nats per token above the data's own entropy.",
    "repaired: JSON after repair, to compare with strict; no design comes from it.",
    "rules: checks kept by the designs that parse strictly; - where none does.",
    "hard: answers that are a design which keeps every hard rule.",
)
ROOMS = "rooms: the reference's rooms that the answer has in the same place."
NO_LOSS = "no loss of {}: a server does not tell how probable the reference answers are."
NO_FLOOR = "The data's own entropy is not known here: splits of 1,000 training samples and more know it."


def show_evaluation(result: Evaluation) -> None:
    """Shows an evaluation: a line per model, losses, rates, and what became of each rule check.

    Args:
        result: of `evaluate_models`.
    """
    losses = [draw_losses(result)] if known_losses(result) else []
    show(tabulate_models(result), *losses, draw_rates(result), tabulate_rules(result))


def tabulate_models(result: Evaluation) -> Table:
    """Makes a table with a line per model, the reference first.

    Args:
        result: of `evaluate_models`.
    """
    reference = map(percent, (result.reference.rule_score, result.reference.all_hard))
    rows: list[tuple[str, ...]] = [("reference", "", "", "", "", "", *reference, "", "")]
    for name, model in result.models.items():
        above = "-" if model.loss_above_floor is None else f"{model.loss_above_floor:+.4f}"
        rates = model.rates
        shares = (rates.strict_parse, rates.repaired_parse, rates.schema_valid, model.rule_score, model.all_hard)
        loss = "-" if model.loss_nats_per_token is None else f"{model.loss_nats_per_token:.4f}"
        rows.append((name, loss, above, *map(percent, (*shares, model.same, model.rooms))))
    known = known_losses(result)
    served = [NO_LOSS.format(name) for name in result.models if name not in known]
    unknown = known and all(result.models[name].loss_above_floor is None for name in known)
    same = "exact" if result.drawn else "same"
    columns = ("model", "nats/token", "above", "strict", "repaired", "schema", "rules", "hard", same, "rooms")
    return Table(columns, rows, (*NOTES, describe_same(result), ROOMS, *served, *([NO_FLOOR] if unknown else [])))


def describe_same(result: Evaluation) -> str:
    """Says what the share of designs that are the reference's counts.

    Args:
        result: of `evaluate_models`.
    """
    if result.drawn:
        drawn = ", ".join(name.replace("_", " ") for name in result.drawn)
        return f"exact: answers that are exactly the reference, but for what was drawn there: {drawn}."
    return "same: answers that are the same as the reference in everything."


def tabulate_rules(result: Evaluation) -> Table:
    """Makes a table of the rule checks, passed of applicable, the reference first.

    Args:
        result: of `evaluate_models`.
    """
    columns = {"reference": result.reference, **result.models}
    rows = []
    for rule in result.reference.rules:
        rows.append((rule, *(_passed(column.rules[rule]) for column in columns.values())))
    return Table(("rule", *columns), rows)


def draw_losses(result: Evaluation) -> plots.Picture:
    """Draws the validation loss of every model, and the data's own entropy where it is the same for all."""
    return plots.loss_bars(known_losses(result), result.floor)


def known_losses(result: Evaluation) -> dict[str, float]:
    """Loss of each model in nats per token; served models have none.

    Args:
        result: of `evaluate_models`.
    """
    losses = {name: model.loss_nats_per_token for name, model in result.models.items()}
    return {name: loss for name, loss in losses.items() if loss is not None}


def draw_rates(result: Evaluation) -> plots.Picture:
    """Draws the parse rates of every model."""
    return plots.rate_bars({name: model.rates.model_dump() for name, model in result.models.items()})


def percent(share: float | None) -> str:
    """A share in [0, 1] as a person reads it; - where there is none."""
    return "-" if share is None else f"{share:.1%}"


def _passed(rule: RuleResult) -> str:
    return f"{rule.passed} of {rule.applicable}" if rule.applicable else "-"
