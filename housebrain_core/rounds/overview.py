"""What a call of `housebrain round` shows: the legs so far as table and picture, who is missing, and what is next."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from housebrain_core.display.plots import COLORS, Picture, set_loss_scale
from housebrain_core.display.results import Shown, Table
from housebrain_core.rounds.state import LegState, RoundsState, leg_file, leg_folder


@dataclass(frozen=True)
class RoundResult(Shown):
    """The state of a plan after a call."""

    state: RoundsState
    rounds: Path
    """Folder of the state."""
    merged: Path
    """Where the model is, or will be, after the last leg."""
    left_out: tuple[str, ...]
    """Why some of the adapters are left out, a line each."""
    ended: int | None
    """Number of the leg that ended in this call; None where none did."""

    def outputs(self) -> Iterable[Any]:
        """What has to be said first, the legs as table and picture, who sent what, and what to do next."""
        warning = self._newest_warning()
        if warning:
            yield warning
        yield from self.left_out
        yield self._legs()
        figure = draw_legs(self.state)
        if figure:
            yield figure
        if not self.state.is_finished:
            yield self._people()
        yield self.next_step()

    @property
    def model(self) -> Path | None:
        """The folder of the newest merge; None before the first leg has ended."""
        if self.state.is_finished:
            return self.merged
        number = self.state.current.number - 1
        return leg_folder(self.rounds, number) if number else None

    def next_step(self) -> str:
        """What has to be done next.

        Returns:
            A paragraph that begins with DONE, NEXT or WAITING.
        """
        place = self.state.place
        if self.state.is_finished:
            return (
                f"DONE: {place.describe()} has ended, and the plan with it. The model is {self.merged}.\n"
                f"Judge it: housebrain evaluate --model {self.merged}"
            )
        if self.state.current.sent:
            missing = ", ".join(map(str, self.state.current.missing))
            return (
                f"WAITING in {place.describe()} for split {missing}. Run this again when their adapters are here, or "
                "go on without them with --accept-missing: they may come back in the next leg."
            )
        return f"{self._hand_out()}{self._unfinished()}"

    def _hand_out(self) -> str:
        place = self.state.place
        people = ", ".join(map(str, self.state.people))
        if place.leg == 1:
            give = "a bundle and a notebook, which housebrain split wrote"
        else:
            give = (
                f"{leg_file(self.rounds, place.leg)} to attach beside their bundle, with the leg's notebook (in "
                f"leg_{place.leg}/ of the splits folder; whose first leg it is has it already), runs all of it"
            )
        return (
            f"NEXT: {place.describe()}, trained by split {people}. Each of them gets {give}, and sends one adapter "
            "back.\nThen run this again."
        )

    def _unfinished(self) -> str:
        number = self.state.current.number - 1
        if not number:
            return ""
        return f"\n{leg_folder(self.rounds, number)} is not a finished model: the learning rate has not fallen yet."

    def _newest_warning(self) -> str:
        ended = [leg for leg in self.state.legs if leg.merged_sha256]
        return ended[-1].warning if ended else ""

    def _legs(self) -> Table:
        rows = [(_describe(leg, self.state), *_counts(leg), *_losses(leg)) for leg in self.state.legs]
        notes = [
            "losses in nats per token, and shares of answers that are known exactly, on the validation sample that all "
            "splits share"
        ]
        if self.state.floor is not None:
            notes.append(f"no model's loss can be below {self.state.floor:.4f}, the entropy of the data")
        columns = (
            "leg",
            "came",
            "missing",
            "steps",
            "mean split",
            "best split",
            "merged",
            "exact: best split",
            "merged",
        )
        return Table(columns, rows, notes if any(leg.losses for leg in self.state.legs) else ())

    def _people(self) -> Table:
        sent = {adapter.split_id: adapter for adapter in self.state.current.sent}
        rows = []
        for split_id in self.state.people:
            adapter = sent.get(split_id)
            loss = adapter.validation_loss if adapter else None
            cells = (adapter.name, f"{adapter.steps:,}") if adapter else ("missing", "-")
            rows.append((str(split_id), *cells, "-" if loss is None else f"{loss:.4f}"))
        return Table((f"split in leg {self.state.current.number}", "adapter", "steps", "own validation loss"), rows)


def draw_legs(state: RoundsState) -> Picture | None:
    """Draws the losses of all legs so far over the optimizer steps that all people together have done.

    Args:
        state: of the plan.

    Returns:
        A figure; None where no losses were measured.
    """
    done = 0
    steps, losses = [], []
    for leg in state.legs:
        done += sum(adapter.steps for adapter in leg.sent)
        if leg.losses:
            steps.append(done)
            losses.append(leg.losses)
    if not losses:
        return None
    curves = {
        "mean split": [each.mean_split for each in losses],
        "best split": [each.splits[each.best_split] for each in losses],
        "merged": [each.merged for each in losses],
    }
    values = ", ".join(f"{loss:.4f}" for loss in curves["merged"])
    figure = Picture(7, 4, f"Validation loss after each leg, in nats per token; merged: {values}.")
    axes = figure.subplots()
    axes.set_prop_cycle(color=COLORS)
    axes.plot([0, *steps], [losses[0].base, *curves.pop("merged")], marker="o", label="merged")
    for (name, curve), marker in zip(curves.items(), ("x", "+"), strict=True):
        axes.plot(steps, curve, marker=marker, linestyle="--", linewidth=1, label=name)
    if state.floor is not None:
        axes.axhline(state.floor, color="grey", linestyle=":", label="entropy of the data")
    axes.set(xlabel="optimizer steps, all people together", ylabel="validation loss, nats per token")
    set_loss_scale(axes)
    axes.legend(frameon=False)
    axes.grid(alpha=0.3, which="both")
    return figure


def _describe(leg: LegState, state: RoundsState) -> str:
    return f"{leg.number} of {len(state.plan.legs)}"


def _counts(leg: LegState) -> tuple[str, str, str]:
    """How many adapters came, who is missing, and the optimizer steps of all of them together."""
    missing = ", ".join(map(str, leg.missing)) or "-"
    steps = sum(adapter.steps for adapter in leg.sent)
    return str(len(leg.sent)), missing, f"{steps:,}"


def _losses(leg: LegState) -> tuple[str, ...]:
    """Losses of the mean split, the best split and what the leg ended in, and exact shares of the last two."""
    if not leg.losses:
        return ("-",) * 5
    best = leg.losses.splits[leg.losses.best_split]
    shares = [leg.losses.exact.get(name) for name in (leg.losses.best_split, "merged")]
    exact = ["-" if share is None else f"{share:.1%}" for share in shares]
    return f"{leg.losses.mean_split:.4f}", f"{best:.4f}", f"{leg.losses.merged:.4f}", *exact
