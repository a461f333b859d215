"""What an evaluation comes to, in words: the winner, chance or not, the worst rules first, and what to do."""

import pytest
from test_tables import model
from test_tables import result as make_result

from housebrain_core.evaluate.results import Evaluation, PairResult
from housebrain_core.evaluate.verdict import (
    conclude,
    count_kept,
    find_best,
    find_leads,
    list_columns,
    list_rules,
    order_models,
)

result = make_result
LONG = "housebrain-qwen2.5-coder-1.5b-instruct-r16-lr2e-4-split-{:02d}-of-20"


def compared(first: str, second: str, difference: float, spread: float) -> PairResult:
    return PairResult(
        first=first,
        second=second,
        loss_difference=difference,
        loss_interval=(difference - spread, difference + spread),
        lower_loss=0.5,
        valid_only_first=0,
        valid_only_second=0,
        rule_difference=None,
        rule_interval=None,
        rule_pairs=0,
    )


def with_pair(result: Evaluation, spread: float) -> Evaluation:
    return result.model_copy(update={"pairs": [compared("second", "first", 0.25, spread)]})


def many(result: Evaluation) -> Evaluation:
    """Twenty models with long names, and all pairs of them."""
    models = {LONG.format(number): model(1 - 0.01 * number, 0.4, 0.8, number % 5) for number in range(1, 21)}
    names = list(models)
    pairs = [compared(a, b, 0.01 * (names.index(b) - names.index(a)), 0.015) for a in names for b in names if a < b]
    return result.model_copy(update={"models": models, "pairs": pairs})


def test_the_verdict_names_winner_lead_designs_and_what_to_do(result):
    winner, lead, designs, todo = conclude(with_pair(result, 0.1))
    assert winner.startswith(
        "first did best of 2 models: its loss on 4 unseen samples is 0.5000 nats per token, 0.1000"
    )
    assert lead.startswith("It is 0.2500 ahead of the next, second, beyond chance")
    assert "+0.1500 to +0.3500" in lead
    assert "50% are JSON" in designs and "keep 80% of the rule checks, the references 90%" in designs
    assert todo.startswith("Next: 50% of its answers are no JSON. Train longer")


def test_where_the_references_are_no_houses_no_schema_and_no_rule_is_spoken_of(result):
    texts = result.model_copy(update={"reference": result.reference.model_copy(update={"checked": 0})})
    assert conclude(texts)[3] == "Next: 50% of its answers are no JSON. Train longer."
    assert "no rule applies" in count_kept(texts, [])


def test_a_lead_whose_interval_has_zero_in_it_may_be_chance(result):
    assert "which may be chance" in conclude(with_pair(result, 0.3))[1]


def test_one_model_alone_is_compared_with_nothing(result):
    alone = result.model_copy(update={"models": {"only": model(0.5, None, None, 4)}})
    winner, lead, designs, _ = conclude(alone)
    assert winner == "only was measured: its loss on 4 unseen samples is 0.5000 nats per token."
    assert "no other model" in lead and "rule" not in designs
    good = model(0.5, None, None, 4)
    good = good.model_copy(update={"rates": good.rates.model_copy(update={"strict_parse": 1.0})})
    todo = conclude(alone.model_copy(update={"models": {"only": good}}))[3]
    assert todo.startswith("Next: name the base model or a split beside it") and "or use only: housebrain" in todo


def test_when_all_parses_the_next_step_is_the_weakest_rule_then_more_samples_then_use(result):
    def advice(passed, spread):
        good = model(0.5, 0.4, 0.8, passed)
        good = good.model_copy(update={"rates": good.rates.model_copy(update={"strict_parse": 1.0})})
        return conclude(with_pair(result.model_copy(update={"models": result.models | {"first": good}}), spread))[3]

    assert advice(3, 0.1).startswith("Next: see why its designs break the rule stairs more often")
    assert advice(4, 0.3).startswith("Next: choose between these two on more samples")
    assert advice(4, 0.1).startswith("Next: use first")


def test_only_pairs_with_the_best_are_looked_at_and_turned_the_right_way(result):
    wide = many(result)
    leads = find_leads(wide)
    assert find_best(wide) == LONG.format(20) and len(leads) == 19
    assert [lead.name for lead in leads[:2]] == [LONG.format(19), LONG.format(18)]
    assert (leads[0].low, leads[1].low) == (pytest.approx(-0.005), pytest.approx(0.005))


def test_of_many_models_the_best_and_the_lowest_have_a_column(result):
    wide = many(result)
    assert list_columns(wide) == [LONG.format(20)] and list_columns(result) == ["first", "second"]
    (row,) = list_rules(wide, list_columns(wide))
    assert row.cells == ["4 of 4", "0 of 4", "0 of 4, 05-of-20"]


def test_served_models_have_no_loss_and_come_after_those_that_have_one_by_their_exact_answers(result):
    nothing = dict.fromkeys(("loss_nats_per_token", "loss_interval", "loss_nats_per_sample", "loss_above_floor"))
    served = model(1.0, None, 0.5, 2).model_copy(update=nothing)
    models = {"worse": served, "better": served.model_copy(update={"same": 0.75}), **result.models}
    mixed = result.model_copy(update={"models": models})
    assert order_models(mixed)[-2:] == ["better", "worse"] and find_best(mixed) == find_best(result)
    assert [lead.name for lead in find_leads(mixed)] == [lead.name for lead in find_leads(result)]
    alone = result.model_copy(update={"models": {"worse": served, "better": models["better"]}})
    winner, lead, *_ = conclude(alone)
    assert "better did best of 2 models: 75% of its answers are exactly the reference; a server does not tell" in winner
    assert lead == "A served model has no loss to compare by, only its answers."
