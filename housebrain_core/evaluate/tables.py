"""An evaluation's results as tables and figures."""

from typing import Any

from housebrain_core import plots
from housebrain_core.results import Table, show

NOTES = (
    "above: nats per token above the data's own entropy. repaired: JSON after repair, to compare with strict;",
    "no design comes from it. rules: checks kept by the designs that parse strictly; - where none does.",
)
NO_FLOOR = "The data's own entropy is not known here: splits of 1,000 training samples and more know it."


def show_evaluation(result: dict[str, Any]) -> None:
    """Shows an evaluation: a line per model, losses, rates, and what became of each rule check.

    Args:
        result: the contents of evaluation.json.
    """
    show(tabulate_models(result), draw_losses(result), draw_rates(result), tabulate_rules(result))


def tabulate_models(result: dict[str, Any]) -> Table:
    """Makes a table with a line per model, the reference first.

    Args:
        result: the contents of evaluation.json.
    """
    rows: list[tuple[str, ...]] = [("reference", "", "", "", "", "", percent(result["reference"]["rule_score"]))]
    for name, model in result["models"].items():
        above = model["loss_above_floor"]
        rates = [percent(model["rates"][rate]) for rate in ("strict_parse", "repaired_parse", "schema_valid")]
        loss = f"{model['loss_nats_per_token']:.4f}"
        rows.append((name, loss, "-" if above is None else f"{above:+.4f}", *rates, percent(model["rule_score"])))
    unknown = all(model["loss_above_floor"] is None for model in result["models"].values())
    columns = ("model", "nats/token", "above", "strict", "repaired", "schema", "rules")
    return Table(columns, rows, (*NOTES, NO_FLOOR) if unknown else NOTES)


def tabulate_rules(result: dict[str, Any]) -> Table:
    """Makes a table of the rule checks, passed of applicable, the reference first.

    Args:
        result: the contents of evaluation.json.
    """
    columns = {"reference": result["reference"], **result["models"]}
    rows = []
    for rule in result["reference"]["rules"]:
        scores = [column["rules"][rule] for column in columns.values()]
        rows.append((rule, *(_passed(score) for score in scores)))
    return Table(("rule", *columns), rows)


def draw_losses(result: dict[str, Any]) -> plots.Picture:
    """Draws the validation loss of every model, and the data's own entropy where it is the same for all."""
    models = result["models"]
    floors = {model["floor_nats_per_token"] for model in models.values()}
    losses = {name: model["loss_nats_per_token"] for name, model in models.items()}
    return plots.loss_bars(losses, floors.pop() if len(floors) == 1 else None)


def draw_rates(result: dict[str, Any]) -> plots.Picture:
    """Draws the parse rates of every model."""
    return plots.rate_bars({name: model["rates"] for name, model in result["models"].items()})


def percent(share: float | None) -> str:
    """A share in [0, 1] as a person reads it; - where there is none."""
    return "-" if share is None else f"{share:.1%}"


def _passed(score: dict[str, int]) -> str:
    return f"{score['passed']} of {score['applicable']}" if score["applicable"] else "-"
