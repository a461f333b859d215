"""What an evaluation comes to: the best model, by how much, which rules to look at, and what to do next, in words."""

from typing import NamedTuple

from housebrain_core.evaluate.results import Evaluation, RuleResult
from housebrain_core.house.rules import RULES
from housebrain_core.texts import shorten_names

ENOUGH_PARSE = 0.95
"""Share of answers that are JSON, below which that is the first thing to mend."""
FEW_COLUMNS = 6
"""Models that each have a column in a table of rules; of more, the best one and the lowest are shown."""


class Lead(NamedTuple):
    """How far another model is behind the best one, in nats per token."""

    name: str
    loss: float
    low: float | None
    """End of the 95 % interval of the difference; None where there is none."""
    high: float | None

    @property
    def is_sure(self) -> bool:
        """Whether the difference is beyond chance."""
        return self.low is not None and self.low > 0


class RuleRow(NamedTuple):
    """A rule that some design breaks, with a cell for each column; see `list_rules`."""

    name: str
    words: str
    cells: list[str]
    shares: list[float | None]
    """Share of the designs that keep it, in [0, 1]."""

    @property
    def alarm(self) -> float:
        """Share of the designs of the worst model that break it."""
        return 1 - min([1.0, *(share for share in self.shares[1:] if share is not None)])


def order_models(result: Evaluation) -> list[str]:
    """The models, the lowest validation loss first; then served ones, which have none, by their exact answers."""
    losses = known_losses(result)
    served = [name for name in result.models if name not in losses]
    return sorted(losses, key=losses.__getitem__) + sorted(served, key=lambda name: -result.models[name].same)


def known_losses(result: Evaluation) -> dict[str, float]:
    """Loss of each model in nats per token; served models have none."""
    losses = {name: model.loss_nats_per_token for name, model in result.models.items()}
    return {name: loss for name, loss in losses.items() if loss is not None}


def find_best(result: Evaluation) -> str:
    """The model with the lowest validation loss; where all are served, with the most exact answers."""
    return order_models(result)[0]


def find_leads(result: Evaluation) -> list[Lead]:
    """How far each other model is behind the best one, the nearest first; served models are left out."""
    best = find_best(result)
    losses = known_losses(result)
    leads = []
    intervals = {}
    for pair in result.pairs:
        low, high = pair.loss_interval or (None, None)
        if low is None or high is None:
            continue
        intervals[pair.first, pair.second] = (low, high)
        intervals[pair.second, pair.first] = (-high, -low)
    for name, loss in losses.items():
        if name != best:
            leads.append(Lead(name, loss - losses[best], *intervals.get((name, best), (None, None))))
    return sorted(leads, key=lambda lead: lead.loss)


def conclude(result: Evaluation) -> list[str]:
    """Says in three sentences which model did best, by how much, and what its designs are worth.

    Args:
        result: the contents of evaluation.json.

    Returns:
        The sentences; a fourth one says what to do next.
    """
    return [_name_winner(result), _describe_lead(result), _describe_designs(result), f"Next: {_advise(result)}"]


def _name_winner(result: Evaluation) -> str:
    best = find_best(result)
    model = result.models[best]
    count = len(result.models)
    first = f"{best} did best of {count} models" if count > 1 else f"{best} was measured"
    if model.loss_nats_per_token is None:
        return f"{first}: {model.same:.0%} of its answers are exactly the reference; a server does not tell a loss."
    above = model.loss_above_floor
    floor = f", {above:.4f} above the least that any model can have on these data" if above is not None else ""
    loss = f"{model.loss_nats_per_token:.4f} nats per token"
    return f"{first}: its loss on {result.loss_samples} unseen samples is {loss}{floor}."


def _describe_lead(result: Evaluation) -> str:
    leads = find_leads(result)
    if not leads and len(result.models) > 1:
        return "A served model has no loss to compare by, only its answers."
    if not leads:
        return "There is no other model to compare it with."
    next_one = leads[0]
    lead = f"It is {next_one.loss:.4f} ahead of the next, {shorten_names(result.models)[next_one.name]}"
    if next_one.low is None:
        return f"{lead}."
    interval = f"the 95 % interval of the difference is {next_one.low:+.4f} to {next_one.high:+.4f}"
    if next_one.is_sure:
        return f"{lead}, beyond chance: {interval}, all of it above zero."
    return f"{lead}, which may be chance: {interval}, zero included, so these samples cannot tell the two apart."


def _describe_designs(result: Evaluation) -> str:
    model = result.models[find_best(result)]
    parts = [] if result.text else [f"{model.rates.strict_parse:.0%} are JSON as it should be"]
    parts.append(f"{model.same:.0%} are exactly the reference")
    if model.rule_score is not None and result.reference.rule_score is not None:
        reference = result.reference.rule_score
        parts.append(f"and they keep {model.rule_score:.0%} of the rule checks, the references {reference:.0%}")
    return f"Of its {result.samples} answers {', '.join(parts)}."


def _advise(result: Evaluation) -> str:
    """What to do now, the most urgent first."""
    best = find_best(result)
    model = result.models[best]
    if model.rates.strict_parse < ENOUGH_PARSE:
        only = ", or let only designs of the schema come out (the setting constrained)" if has_designs(result) else ""
        what = "do not come to their end, or not in the form of the training" if result.text else "are no JSON"
        return f"{1 - model.rates.strict_parse:.0%} of its answers {what}. Train longer{only}."
    worse = [row for row in list_rules(result, [best]) if _is_behind(row)]
    if worse:
        worst = min(worse, key=lambda row: row.shares[1] or 0)
        return f"see why its designs break the rule {worst.name} more often than the references do."
    leads = find_leads(result)
    if leads and not leads[0].is_sure:
        return f"choose between these two on more samples (the setting samples), or take {best}."
    compare = "name the base model or a split beside it, to see what training and merging brought; or " * (
        len(result.models) == 1
    )
    return f"{compare}use {best}: housebrain generate --model, or HouseBrainLLM in Python."


def _is_behind(row: RuleRow) -> bool:
    reference, model = row.shares[:2]
    return model is not None and reference is not None and model < reference


def list_columns(result: Evaluation) -> list[str]:
    """The models that a table of rules shows: all of them where they are few, else the best one."""
    return list(result.models) if len(result.models) <= FEW_COLUMNS else [find_best(result)]


def list_rules(result: Evaluation, models: list[str]) -> list[RuleRow]:
    """The rules that some design breaks, worst first.

    Args:
        result: the contents of evaluation.json.
        models: that have a column.

    Returns:
        A row for each; its cells are of the reference, of these models, and, where there are more than `FEW_COLUMNS`
        in all, of the model that keeps the rule least.
    """
    words = {rule.name: (rule.check.__doc__ or rule.formula).splitlines()[0] for rule in RULES}
    rows = []
    for name, reference in result.reference.rules.items():
        kept = {model: result.models[model].rules[name] for model in result.models}
        columns = [reference, *(kept[model] for model in models)]
        cells = [_count(column) for column in columns]
        if len(kept) > FEW_COLUMNS:
            lowest = min(kept, key=lambda model: _share(kept[model]))
            columns.append(kept[lowest])
            cells.append(f"{_count(kept[lowest])}, {shorten_names(result.models)[lowest]}")
        if any(_share(column) < 1 for column in columns):
            rows.append(RuleRow(name.replace("_", " "), words.get(name, ""), cells, [one.share for one in columns]))
    return sorted(rows, key=lambda row: -row.alarm)


def _share(rule: RuleResult) -> float:
    return 1.0 if rule.share is None else rule.share


def _count(rule: RuleResult) -> str:
    return f"{rule.passed} of {rule.applicable}" if rule.applicable else ""


def has_designs(result: Evaluation) -> bool:
    """Whether the references are house designs; other data have no rules."""
    return result.reference.checked > 0


def count_kept(result: Evaluation, rows: list[RuleRow]) -> str:
    """Says how many rules are not in the table because every design keeps them."""
    if not has_designs(result):
        return "The references are no house designs, so no rule applies to them."
    kept = len(result.reference.rules) - len(rows)
    return f"{kept} of {len(result.reference.rules)} rule checks are kept by every design that they apply to."
