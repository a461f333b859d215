"""When training ends: the session's time is up, somebody asks, nothing more is learned, or the numbers are garbage."""

import math
import signal
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from housebrain_core.errors import TrainingError
from housebrain_core.platforms import catch_signals
from housebrain_core.train.processes import gather

LEAST_GAIN = 0.005  # relative fall of the validation loss over WINDOW measurements; below, nothing more is learned
WINDOW = 4  # measurements: on real samples (benchmarks/learning_curve.py) three that did not fall were a plateau
LEAST_SHARE = 0.2  # of the plan that is always done: warm-up and the first plateau, where the form is learned
NEAR_FLOOR = 0.01  # relative distance to the data's known entropy at which there is nothing left to learn
COOL_DOWN = 0.1  # steps, as a share of those done, in which the learning rate falls to zero when all is learned
MEASURING_SHARE = 0.02  # of the training time that measuring may cost
FORWARD_SHARE = 0.5  # of a training step of a frozen base that a forward pass takes at most
ADVICE = "The last checkpoint is intact. Use a lower learning rate and another folder; with float16, try another base."
FALLS = 10  # of the gradient scaler in a row that end a run: from its start at 65,536 the first few are routine


class Schedule:
    """Learning rate as a share of its peak: warm-up, cosine over the plan, and a short cool-down when learned.

    Ended halfway, a cosine leaves a model shaken by a high rate. The attributes are saved with the scheduler.
    """

    def __init__(self, warmup: int, total: int):
        self.warmup, self.total, self.learned_at = warmup, total, 0

    @property
    def end(self) -> int:
        """The last step."""
        cool_down = max(1, round(COOL_DOWN * self.learned_at))
        return min(self.total, self.learned_at + cool_down) if self.learned_at else self.total

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return step / self.warmup
        progress = (step - self.warmup) / max(1, self.total - self.warmup)
        share = 0.5 * (1 + math.cos(math.pi * progress))
        if self.learned_at and step > self.learned_at:
            share *= max(0.0, (self.end - step) / (self.end - self.learned_at))
        return share


def measuring_interval(validation_rows: int, rows_per_step: int) -> int:
    """Optimizer steps between measurements that cost 2 % of the time: by counts, so that a resumed run does as much."""
    return max(1, math.ceil(FORWARD_SHARE * validation_rows / rows_per_step / MEASURING_SHARE))


def why_learned(losses: list[float], floor: float | None, share_done: float) -> str:
    """Why there is nothing more to learn after this share of the planned steps, or "".

    Validation losses, oldest first, and the floor, the data's entropy where known, are in nats per learned token.
    """
    if floor and losses[-1] <= floor * (1 + NEAR_FLOOR):
        return f"learned: validation loss {losses[-1]:.4f} is within {NEAR_FLOOR:.0%} of the data's floor {floor:.4f}"
    if share_done < LEAST_SHARE or len(losses) <= WINDOW:
        return ""
    before, after = min(losses[:-WINDOW]), min(losses[-WINDOW:])
    learned = f"learned: validation loss {before:.4f} fell by less than {LEAST_GAIN:.1%} in {WINDOW} measurements"
    return "" if before - after >= LEAST_GAIN * before else learned


class StopWhenLearned(TrainerCallback):
    """Measures the validation loss every few steps; when it has stopped falling, cools down and ends."""

    def __init__(self, measure: Callable[[], float], every: int, floor: float | None, report: Callable[[str], None]):
        self.measure, self.every, self.floor, self.report = measure, every, floor, report

    def on_step_end(self, args, state, control, lr_scheduler, **kwargs):
        schedule, step = lr_scheduler.lr_lambdas[0], state.global_step
        if schedule.learned_at:
            if step >= schedule.end:  # no checkpoint of the very end: a resumed one would take a step too many
                control.should_save, control.should_training_stop = False, True
            return
        if step % self.every or step >= state.max_steps:
            return
        losses = [e["validation_loss"] for e in state.log_history if "validation_loss" in e] + [self.measure()]
        learned = why_learned(losses, self.floor, step / state.max_steps)
        state.log_history.append({"step": step, "validation_loss": losses[-1], "learned": learned})
        self.report(f"step {step} of {state.max_steps}  validation loss {losses[-1]:.4f}")
        if learned:
            schedule.learned_at = step
            self.report(f"{learned}; the learning rate falls to zero until step {schedule.end}, then it ends")


class StopOnGarbage(TrainerCallback):
    """Ends a run whose numbers are no numbers any more, before it spends hours on them."""

    scale, falls = math.inf, 0

    def on_step_end(self, args, state, control, optimizer=None, **kwargs):
        if scaler := getattr(optimizer, "scaler", None):  # with float16 only
            before, self.scale = self.scale, scaler.get_scale()
            self.falls = self.falls + 1 if self.scale < before < math.inf else 0
            if self.falls == FALLS or self.scale < 1:
                raise TrainingError(f"the gradient scaler fell to {self.scale} at step {state.global_step}. {ADVICE}")

    def on_log(self, args, state, control, logs=None, **kwargs):
        # With a scaler one overflow of float16 gradients is routine: that step is skipped.
        for name in ("loss", "grad_norm") if self.scale == math.inf else ("loss",):
            if not math.isfinite(logs.get(name, 0.0)):
                raise TrainingError(f"the {name} is {logs[name]} at step {state.global_step}. {ADVICE}")


class KeepTime(TrainerCallback):
    """Saves every few minutes; saves and stops, all processes in one step, at a signal or when `time.time()` is up."""

    def __init__(self, save_minutes: float, deadline: float | None):
        self.every, self.deadline, self.asked, self.stopped = save_minutes * 60, deadline, "", ""

    def on_train_begin(self, args, state, control, **kwargs):
        self.step_began, self.saved, self.longest = time.time(), time.time(), 0.0
        self.signals = catch_signals(self._ask)

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = f"stopped by {signal.Signals(number).name}"

    def on_step_end(self, args, state, control, **kwargs):
        if control.should_training_stop:  # it is the last step anyhow
            return
        now = time.time()
        self.longest, self.step_began = max(self.longest, now - self.step_began), now
        if self.deadline and now + 2 * self.longest + 30 > self.deadline:
            self.asked = self.asked or "the time budget ended"
        decisions = gather((self.asked, now - self.saved > self.every))
        self.stopped = next((asked for asked, _ in decisions if asked), "")
        control.should_training_stop = bool(self.stopped)
        control.should_save |= bool(self.stopped) or any(due for _, due in decisions)

    def on_save(self, args, state, control, **kwargs):
        self.saved = time.time()

    def on_train_end(self, args, state, control, **kwargs):
        self.signals.close()
