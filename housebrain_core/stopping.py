"""When training ends: the session's time is up, somebody asks, nothing more is learned, or the numbers are garbage."""

import math
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from transformers import TrainerCallback

from housebrain_core.errors import TrainingError
from housebrain_core.platforms import session_start
from housebrain_core.settings import FineTuningConfig

LEAST_GAIN = 0.005
"""Relative fall of the validation loss over `WINDOW` measurements below which nothing more is learned."""
WINDOW = 4
"""Measurements: fewer that do not fall are noise. On 12,000 real samples (benchmarks/learning_curve.py) three
would have ended a tiny base at 30 % of the plan, on a plateau of a still high learning rate, and cost 2.0 % of the loss."""
LEAST_SHARE = 0.2
"""Share of the plan that is always done: warm-up and the first plateau, where the form is learned, lie in it."""
NEAR_FLOOR = 0.01
"""Relative distance to the data's known entropy at which there is nothing left to learn."""
COOL_DOWN = 0.1
"""Steps, as a share of those done, in which the learning rate falls to zero once nothing more is learned."""
MEASURING_SHARE = 0.02
"""Share of the training time that measuring may cost."""
FORWARD_SHARE = 0.5
"""A forward pass is at most half of a training step of a frozen base: forward, and backward to the inputs."""


class Schedule:
    """Learning rate as a share of its peak: warm-up, cosine over the plan, and a short cool-down when learned.

    Ending a cosine halfway would keep a model shaken by a high rate, so that the last steps lead down to zero.
    The attributes are part of the scheduler's state: a resumed run has the same rates.
    """

    def __init__(self, warmup: int, total: int):
        self.warmup, self.total, self.learned_at = warmup, total, 0

    @property
    def end(self) -> int:
        """The last step."""
        if not self.learned_at:
            return self.total
        return min(self.total, self.learned_at + max(1, round(COOL_DOWN * self.learned_at)))

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return step / self.warmup
        progress = (step - self.warmup) / max(1, self.total - self.warmup)
        share = max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))
        if self.learned_at and step > self.learned_at:
            share *= max(0.0, (self.end - step) / (self.end - self.learned_at))
        return share


def measuring_interval(validation_rows: int, rows_per_step: int) -> int:
    """Optimizer steps between measurements, so that they cost at most 2 % of the time.

    It depends on counts only, not on a clock, so that a resumed run measures at the same steps.
    """
    return max(1, math.ceil(FORWARD_SHARE * validation_rows / rows_per_step / MEASURING_SHARE))


def why_learned(losses: list[float], floor: float | None, share_done: float) -> str:
    """Why there is nothing more to learn, or "".

    Args:
        losses: validation losses so far, oldest first, nats per learned token.
        floor: the data's entropy in nats per learned token, where it is known.
        share_done: steps done of those planned, in [0, 1].
    """
    if floor and losses[-1] <= floor * (1 + NEAR_FLOOR):
        return f"learned: validation loss {losses[-1]:.4f} is within {NEAR_FLOOR:.0%} of the data's floor {floor:.4f}"
    if share_done < LEAST_SHARE or len(losses) <= WINDOW:
        return ""
    before, after = min(losses[:-WINDOW]), min(losses[-WINDOW:])
    if before - after >= LEAST_GAIN * before:
        return ""
    return (
        f"learned: validation loss {before:.4f} fell by less than {LEAST_GAIN:.1%} "
        f"in {WINDOW} measurements ({after:.4f})"
    )


class StopWhenLearned(TrainerCallback):
    """Measures the validation loss now and then; when it has stopped falling, cools down and ends.

    Args:
        measure: gives the validation loss in nats per learned token.
        every: optimizer steps between measurements.
        floor: of the data in nats per learned token, or None.
        schedule: gives the run's schedule, which exists once training has begun.
        report: gets each measurement.
    """

    def __init__(self, measure: Callable[[], float], every: int, floor: float | None,
                 schedule: Callable[[], Schedule], report: Callable[[str], None]):  # fmt: skip
        self.measure, self.every, self.floor, self.schedule, self.report = measure, every, floor, schedule, report

    def on_step_end(self, args, state, control, **kwargs):
        schedule, step = self.schedule(), state.global_step
        if schedule.learned_at:
            if step >= schedule.end:  # no checkpoint of the very end: a resumed one would take a step too many
                control.should_save, control.should_training_stop = False, True
            return
        if step % self.every or step >= state.max_steps:
            return
        entry: dict[str, Any] = {"step": step, "validation_loss": self.measure()}
        losses = [e["validation_loss"] for e in state.log_history if "validation_loss" in e]
        entry["learned"] = why_learned([*losses, entry["validation_loss"]], self.floor, step / state.max_steps)
        state.log_history.append(entry)
        self.report(f"step {step} of {state.max_steps}  validation loss {entry['validation_loss']:.4f}")
        if entry["learned"]:
            schedule.learned_at = step
            self.report(f"{entry['learned']}; the learning rate falls to zero until step {schedule.end}, then it ends")


class StopOnGarbage(TrainerCallback):
    """Ends a run whose numbers are no numbers any more, before it spends hours on them."""

    def __init__(self, scale: Callable[[], float | None]):
        self.scale = scale

    def on_log(self, args, state, control, logs=None, **kwargs):
        advice = (
            "The last sealed checkpoint is intact. Use a lower learning rate and another output folder; "
            "with float16 also a base model known to train in it (Qwen2.5, DeepSeek-Coder)."
        )
        if not math.isfinite(logs.get("loss", 0.0)):
            raise TrainingError(f"the loss is {logs['loss']} at step {state.global_step}. {advice}")
        scale = self.scale()  # None without float16, where one gradient overflow is routine and skipped
        if scale is None and not math.isfinite(logs.get("grad_norm", 0.0)):
            raise TrainingError(f"the gradient norm is {logs['grad_norm']} at step {state.global_step}. {advice}")
        if scale is not None and scale < 1:
            raise TrainingError(f"the gradient scaler fell to {scale} at step {state.global_step}. {advice}")


class StopInTime(TrainerCallback):
    """Ends training at the end of a step: when the time budget is nearly used, or when somebody asks for it."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, config: FineTuningConfig, started: float, report: Callable[[str], None]):
        self.report, self.stopped, self.asked = report, "", ""
        self.deadline = None
        if config.time_budget_hours:
            self.deadline = min(started, session_start()) + config.time_budget_hours * 3600
        self.handlers = ExitStack()

    def on_train_begin(self, args, state, control, **kwargs):
        self.step_started = time.time()
        self.longest = 0.0
        for number in self.SIGNALS:
            try:
                before = signal.signal(number, self._ask)
            except ValueError:  # not the main thread: nobody can signal us there
                return
            self.handlers.callback(signal.signal, number, before)

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = f"stopped by {signal.Signals(number).name}"

    def on_step_end(self, args, state, control, **kwargs):
        now = time.time()
        self.longest = max(self.longest, now - self.step_started)
        self.step_started = now
        if self.deadline and now + 2 * self.longest + 30 > self.deadline:
            self.asked = self.asked or "the time budget ended"
        if self.asked and state.global_step < state.max_steps:
            self.stopped = self.asked
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args, state, control, **kwargs):
        self.handlers.close()
