"""One call between two legs of a plan: sorts what came back, ends the leg when all of it is there, says what is next.

A second call with the same files changes nothing. The state is written last, so that a call that was killed is made up
for by the next one.
"""

from collections.abc import Callable

from housebrain_core.adapters.archives import unpacked
from housebrain_core.config import RoundConfig
from housebrain_core.display.results import say
from housebrain_core.errors import ConfigError
from housebrain_core.legs import TrainingPlan
from housebrain_core.manifests import write_atomically
from housebrain_core.merge.merge import choose_models
from housebrain_core.outputs import check_file, check_replaceable, lock_output
from housebrain_core.rounds.arrivals import Arrivals, sort_arrivals
from housebrain_core.rounds.leg_end import end_leg, first_parent, write_next_leg
from housebrain_core.rounds.overview import RoundResult, draw_legs
from housebrain_core.rounds.state import FILE, RoundsState, first_state, read_state, write_state
from housebrain_core.splits.parts import read_plan

Report = Callable[[str], None]
PICTURE = "legs.png"


def run_round(config: RoundConfig, report: Report = say) -> RoundResult:
    """Looks at what came back, and ends the leg if all of its adapters are there.

    Args:
        config: which adapters, the plan's splits folder, and where state and models are.
        report: gets lines of progress.

    Returns:
        The state of the plan; it shows itself as tables and figure, with what to do next.

    Raises:
        AdapterError: an adapter is damaged, or does not belong to this leg of this plan; with all reasons. Nothing was
            changed.
        ConfigError: the splits have no plan, or a setting would do nothing.
        DataError: the state or the splits folder is damaged.
    """
    plan = _plan_of(config)
    check_file(config.output / PICTURE)
    models = choose_models(config.models, config.exclude)
    with lock_output(config.output / FILE), unpacked(models) as folders:
        before = _state_of(config, plan)
        if not before.is_finished and not before.place.is_last:
            _check_merged(config)
        arrivals = sort_arrivals(folders, before)
        state = before if before.is_finished else before.with_sent(arrivals.adapters)
        state, merged = _end_when_complete(config, state, arrivals, report)
        if config.finish:
            state = _finish_early(state, report)
        if state.current.number > 1 and not state.is_finished:
            write_next_leg(config.output, state.place, report)
        _draw(config, state)
        write_state(config.output, state)
    return RoundResult(state, config.output, config.merged, tuple(arrivals.left_out), merged)


def _plan_of(config: RoundConfig) -> TrainingPlan:
    plan = read_plan(config.splits)
    if plan is None:
        raise ConfigError(
            f"{config.splits} has no plan of legs: each of its splits is trained once. Merge them with: housebrain "
            "merge --models models/hb-* --validate. A plan is made by housebrain split --rounds 3, or --relay."
        )
    return plan


def _state_of(config: RoundConfig, plan: TrainingPlan) -> RoundsState:
    """The state that is there, or that of a plan of which nothing came back."""
    state = read_state(config.output) or first_state(plan, first_parent(config.splits))
    if state.plan.id != plan.id:
        raise ConfigError(
            f"{config.output / FILE} is of the plan {state.plan.id}, {config.splits} of the plan {plan.id}. Choose "
            "another --output, or name the splits folder that belongs to it with --splits."
        )
    return state


def _check_merged(config: RoundConfig) -> None:
    """Refuses already in the first leg what could not be written after the last."""
    try:
        check_replaceable(config.merged, "adapter", config.overwrite)
    except ConfigError as error:
        words = str(error).replace("output = ", "merged = ").replace("--output", "--merged")
        raise ConfigError(words) from None


def _end_when_complete(
    config: RoundConfig, state: RoundsState, arrivals: Arrivals, report: Report
) -> tuple[RoundsState, int | None]:
    """The state after the newest leg if it can end now, and its number; the state as it is and None otherwise."""
    current = state.current
    if state.is_finished or not current.sent or (current.missing and not config.accept_missing):
        return state, None
    ended, _ = end_leg(config, state, arrivals.adapters, report)
    if ended.place.is_last:
        return ended, current.number
    following = ended.with_next_leg(None)
    return following.with_current(parent_sha256=write_next_leg(config.output, following.place, report)), current.number


def _finish_early(state: RoundsState, report: Report) -> RoundsState:
    """The state of a plan whose next leg is the last; the leg that is trained now is merged first, if it has begun."""
    current = state.current
    if state.is_finished or state.place.is_last:
        report(f"--finish: leg {current.number} is the last already")
        return state
    if current.sent:
        names = ", ".join(sent.name for sent in current.sent)
        report(f"--finish: leg {current.number} ends first. {names} came; --accept-missing goes on without the others")
        return state
    plan = state.plan.ended_early(current.number - 1)
    report(f"the plan ends with leg {current.number}, a short one in which everybody's learning rate falls to zero")
    return state.model_copy(update={"plan": plan}).with_current(missing=plan.leg(current.number).people)


def _draw(config: RoundConfig, state: RoundsState) -> None:
    """Writes the picture of all legs so far, where losses were measured."""
    figure = draw_legs(state)
    path = config.output / PICTURE
    if figure is None:
        return
    image = figure.png()
    if not path.exists() or path.read_bytes() != image:
        write_atomically(path, image)
