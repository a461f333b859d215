"""When training ends: the session's time is up, somebody asks, nothing more is learned, or the numbers are garbage."""

import math
import signal
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from housebrain_core.adapters.run import STOPPED_BY_YOU
from housebrain_core.errors import TrainingError
from housebrain_core.platforms import catch_signals
from housebrain_core.train.processes import gather

LEAST_GAIN = 0.005
"""Relative fall of the validation loss over `WINDOW` measurements below which nothing more is learned."""
WINDOW = 4
"""Measurements; three that did not fall were a plateau on real samples (benchmarks/learning_curve.py)."""
LEAST_SHARE = 0.2
"""Share of the planned steps that is always done: warm-up and the first plateau, where the form is learned."""
NEAR_FLOOR = 0.01
"""Relative distance to the data's known entropy at which there is nothing left to learn."""
COOL_DOWN = 0.1
"""Steps, as a share of those done, in which the learning rate falls to zero when all is learned."""
MEASURING_SHARE = 0.02
"""Share of the training time that measuring may take."""
FORWARD_SHARE = 0.5
"""Share of a training step of a frozen base that a forward pass takes at most."""
STOPPED_BY = {signal.SIGINT: STOPPED_BY_YOU, signal.SIGTERM: "stopped from outside (SIGTERM)"}
"""What signals mean: the stop button of a notebook and Ctrl-C send SIGINT, a platform sends SIGTERM."""
ADVICE = "The last checkpoint is intact. Use a lower learning rate and another folder; with float16, try another base."


class Schedule:
    """Learning rate as a share of its peak, and a short cool-down when nothing more is learned.

    A model that was stopped at a high rate still has its noise. The attributes are saved with the scheduler.

    Args:
        shares: of the peak, in [0, 1], at each step from 0 to the last.
        cools_down: whether the rate falls to zero before an early end; in a leg with others after it, it need not.
    """

    def __init__(self, shares: list[float], cools_down: bool = True) -> None:
        self.shares = shares
        self.cools_down = cools_down
        self.learned_at = 0  # the step at which nothing more was learned; 0 before

    @property
    def end(self) -> int:
        """The last step."""
        total = len(self.shares) - 1
        if not self.learned_at:
            return total
        cool_down = max(1, round(COOL_DOWN * self.learned_at)) if self.cools_down else 0
        return min(total, self.learned_at + cool_down)

    def __call__(self, step: int) -> float:
        """The share of the peak learning rate, in [0, 1], at a step."""
        share = self.shares[min(step, len(self.shares) - 1)]
        if self.learned_at and step > self.learned_at:
            share *= max(0.0, (self.end - step) / max(1, self.end - self.learned_at))
        return share


def cosine_shares(warmup: int, total: int) -> list[float]:
    """The learning rate of a run without a plan, as shares of its peak: a linear warm-up, then a cosine to zero.

    Args:
        warmup: steps in which the rate rises.
        total: planned steps.

    Returns:
        A share in [0, 1] for each step from 0 to `total`, (total + 1,).
    """
    rising = [step / warmup for step in range(min(warmup, total + 1))]
    falling = max(1, total - warmup)
    return rising + [0.5 * (1 + math.cos(math.pi * (step / falling))) for step in range(total + 1 - len(rising))]


def measuring_interval(validation_rows: int, rows_per_step: int) -> int:
    """Optimizer steps between measurements, which then take 2 % of the time.

    Worked out from counts and not from clocks, so that a resumed run measures at the same steps.
    """
    return max(1, math.ceil(FORWARD_SHARE * validation_rows / rows_per_step / MEASURING_SHARE))


def why_learned(losses: list[float], floor: float | None, share_done: float) -> str:
    """Why there is nothing more to learn, or "".

    Args:
        losses: validation losses so far, oldest first, in nats per learned token.
        floor: the data's entropy in nats per learned token, where it is known.
        share_done: share of the planned steps that are done.
    """
    if floor and losses[-1] <= floor * (1 + NEAR_FLOOR):
        return f"learned: validation loss {losses[-1]:.4f} is within {NEAR_FLOOR:.0%} of the data's floor {floor:.4f}"
    if share_done < LEAST_SHARE or len(losses) <= WINDOW:
        return ""
    before = min(losses[:-WINDOW])
    after = min(losses[-WINDOW:])
    if before - after >= LEAST_GAIN * before:
        return ""
    return f"learned: validation loss {before:.4f} fell by less than {LEAST_GAIN:.1%} in {WINDOW} measurements"


class StepCallback(TrainerCallback):
    """Passes on what transformers' Trainer says, each method with no more than what it is about."""

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        """Called by the Trainer."""
        self.begin(state)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        """Called by the Trainer."""
        self.after_step(state, control, parts)

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        """Called by the Trainer."""
        self.after_log(state, parts.get("logs") or {})

    def begin(self, state: TrainerState) -> None:
        """Before the first step of a session."""

    def after_step(self, state: TrainerState, control: TrainerControl, parts: dict[str, Any]) -> None:
        """After each optimizer step; `parts` are the Trainer's, such as its optimizer."""

    def after_log(self, state: TrainerState, logs: dict[str, Any]) -> None:
        """After each log, with its values."""


class StopWhenLearned(StepCallback):
    """Measures the validation loss every few steps; when it has stopped falling, cools down and ends.

    Args:
        measure: gives the validation loss.
        every: optimizer steps between measurements.
        floor: the data's entropy in nats per learned token, where it is known.
        report: gets a line for each measurement.
    """

    def __init__(
        self, measure: Callable[[], float], every: int, floor: float | None, report: Callable[[str], None]
    ) -> None:
        self.measure = measure
        self.every = every
        self.floor = floor
        self.report = report

    def after_step(self, state: TrainerState, control: TrainerControl, parts: dict[str, Any]) -> None:
        """Measures when it is time, or ends when the cool-down is over."""
        schedule = parts["lr_scheduler"].lr_lambdas[0]
        step = state.global_step
        if schedule.learned_at:
            if step >= schedule.end:
                self._end(control)
            return
        if step % self.every or step >= state.max_steps:
            return
        earlier = [entry["validation_loss"] for entry in state.log_history if "validation_loss" in entry]
        loss = self.measure()
        learned = why_learned([*earlier, loss], self.floor, step / state.max_steps)
        log: list[Any] = state.log_history
        log.append({"step": step, "validation_loss": loss, "learned": learned})
        self.report(f"step {step} of {state.max_steps}  validation loss {loss:.4f}")
        if learned:
            schedule.learned_at = step
            if schedule.cools_down:
                self.report(f"{learned}; the learning rate falls to zero until step {schedule.end}, then it ends")
            else:
                self.report(f"{learned}; the leg ends here")
                self._end(control)

    def _end(self, control: TrainerControl) -> None:
        """Ends training without a checkpoint of the very end: resumed from that, it would take a step too many."""
        control.should_save = False
        control.should_training_stop = True


class StopOnGarbage(StepCallback):
    """Ends a run whose loss or gradients are no finite numbers any more, before it spends hours on them."""

    is_scaled = False  # gradients are, with float16 only

    def after_step(self, state: TrainerState, control: TrainerControl, parts: dict[str, Any]) -> None:
        """Watches the gradient scaler: it starts at 65,536, and halves in each step whose gradients overflow."""
        scaler = getattr(parts["optimizer"], "scaler", None)
        self.is_scaled = scaler is not None
        if scaler and scaler.get_scale() < 1:
            raise TrainingError(f"the gradient scaler fell below 1 at step {state.global_step}. {ADVICE}")

    def after_log(self, state: TrainerState, logs: dict[str, Any]) -> None:
        """Looks at loss and gradients; with a scaler one overflow of gradients is routine, that step is skipped."""
        for name in ("loss",) if self.is_scaled else ("loss", "grad_norm"):
            value = logs.get(name, 0.0)
            if not math.isfinite(value):
                raise TrainingError(f"the {name} is {value} at step {state.global_step}. {ADVICE}")


class KeepTime(StepCallback):
    """Saves every few minutes; saves and stops, all processes in one step, at a signal or when the time is over.

    Args:
        save_minutes: minutes between checkpoints.
        deadline: when the session's time is over, in seconds of `time.time()`; None for no end.
        report: gets a line at once when somebody asks it to stop.
    """

    def __init__(
        self, save_minutes: float, deadline: float | None, report: Callable[[str], None] = lambda line: None
    ) -> None:
        self.every = save_minutes * 60
        self.deadline = deadline
        self.report = report
        self.asked = ""  # why this process wants to stop
        self.stopped = ""  # why all of them stop

    def begin(self, state: TrainerState) -> None:
        """Starts the clock, and takes over the signals."""
        self.step_began = time.time()
        self.saved = self.step_began
        self.longest = 0.0  # seconds of a step
        self.signals = catch_signals(self._ask)

    def _ask(self, number: int, frame: Any) -> None:
        if not self.asked:
            self.report("stopping: finishing this step, then saving")
        self.asked = STOPPED_BY[signal.Signals(number)]

    def after_step(self, state: TrainerState, control: TrainerControl, parts: dict[str, Any]) -> None:
        """Decides, together with the other processes, whether to save and whether to stop."""
        if control.should_training_stop:  # another callback ends the run with this step
            return
        now = time.time()
        self.longest = max(self.longest, now - self.step_began)
        self.step_began = now
        if self.deadline and now + 2 * self.longest + 30 > self.deadline:
            self.asked = self.asked or "the time budget ended"
        decisions = gather((self.asked, now - self.saved > self.every))
        self.stopped = next((asked for asked, _ in decisions if asked), "")
        control.should_training_stop = bool(self.stopped)
        control.should_save |= bool(self.stopped) or any(due for _, due in decisions)

    def on_save(self, *args: Any, **parts: Any) -> None:
        """Starts the minutes to the next checkpoint."""
        self.saved = time.time()

    def on_train_end(self, *args: Any, **parts: Any) -> None:
        """Gives the signals back."""
        self.signals.close()
