"""How far something is: a bar on a terminal, one picture that updates in a notebook, lines where nobody sees one.

Training writes its state into .progress.json in its folder, so that every process can write it, and a notebook that was
closed meanwhile draws it again.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict

from housebrain_core.contents import read_record
from housebrain_core.errors import DataError
from housebrain_core.manifests import write_atomically
from housebrain_core.platforms import detect_platform, format_duration, is_watched
from housebrain_core.texts import in_notebook, say, shorten_names

if TYPE_CHECKING:
    from housebrain_core.display.plots import Picture

T = TypeVar("T")
FILE = ".progress.json"
PICTURE_SECONDS = 5.0
"""Between two pictures."""
LINE_SECONDS = 60.0
"""Between two lines that say how far training is, where lines are printed beside the picture."""
POINTS = 400
"""Of a curve that are drawn; of a longer one, every second, third, ... point."""
LINES = "HOUSEBRAIN_PROGRESS"
"""Variable that asks for lines with the value `lines`."""


def with_bar(
    steps: Iterable[T], total: Callable[[], int | None], text: str, size: Callable = lambda step: 1
) -> Iterator[T]:
    """Yields the steps, with a bar on standard error while they last when that is a terminal.

    Args:
        steps: anything to iterate over.
        total: sum of the sizes of all steps, or None where it is not known; asked for only when there is a bar.
        text: what is going on.
        size: units that a step counts for.
    """
    if not sys.stderr.isatty():
        yield from steps
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=total())
        for step in steps:
            yield step
            bar.advance(task, size(step))


class TrainingState(BaseModel):
    """How far a run is; times in seconds, losses in nats per learned token, memory in GB."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    name: str
    """Of the run, such as hb-kaggle-04, and the leg where there is a plan."""
    phase: str = "loading"
    """What is going on: loading, training, measuring, saving, or how it ended."""
    step: int = 0
    planned: int = 0
    seconds_left: float | None = None
    tokens_per_second: float = 0.0
    curve: list[tuple[int, float]] = []
    """(step, training loss)"""
    validation: list[tuple[int, float]] = []
    """(step, validation loss)"""
    floor: float | None = None
    """Entropy of the data: no model's loss can be lower."""
    saved: int | None = None
    """Step of the last checkpoint."""
    memory: tuple[float, float] | None = None
    """Of the GPU: the most that was used, and all."""

    def describe(self) -> str:
        """How far it is, in one line."""
        parts = [f"{self.name}: {self.phase}, step {self.step:,} of {self.planned:,}"]
        if self.curve:
            parts.append(f"loss {self.curve[-1][1]:.4f}")
        if self.validation:
            parts.append(f"validation loss {self.validation[-1][1]:.4f}")
        if self.seconds_left:
            parts.append(f"{format_duration(self.seconds_left)} left")
        return ", ".join(parts)

    def details(self) -> str:
        """Speed, memory and the last checkpoint, in one line."""
        parts = ["nothing saved yet" if self.saved is None else f"saved at step {self.saved:,}"]
        if self.tokens_per_second:
            parts.append(f"{self.tokens_per_second:,.0f} tokens/s")
        if self.memory:
            parts.append(f"GPU memory {self.memory[0]:.1f} of {self.memory[1]:.1f} GB")
        return "  ·  ".join(parts)


def write_state(folder: Path, state: TrainingState) -> None:
    """Writes the state into a run's folder, by rename."""
    write_atomically(folder / FILE, state.model_dump_json())


def read_state(folder: Path) -> TrainingState | None:
    """Reads the state from a run's folder; None where there is none yet, or none that can be read."""
    try:
        return read_record(TrainingState, folder / FILE)
    except DataError:
        return None


def draw_training(folder: Path) -> "Picture":
    """Draws how far a run came, from the file that it wrote: for a notebook whose picture is gone, or never was.

    Args:
        folder: of the run.

    Returns:
        A picture; without any losses where the folder has no such file.
    """
    return draw_progress(read_state(folder) or TrainingState(name=folder.name, phase="its progress is not recorded"))


def draw_progress(state: TrainingState) -> "Picture":
    """Draws how far a run is: a bar with the time left, and the losses so far.

    Args:
        state: as the run's file has it.

    Returns:
        A picture; its alternative text says the same in words.
    """
    from housebrain_core.display.plots import BLUE, Picture  # slow to import, and a terminal needs none

    figure = Picture(7, 3.8, f"{state.describe()}. {state.details()}.")
    top, below = figure.subplots(2, 1, height_ratios=(1, 8))
    done = state.step / state.planned if state.planned else 0.0
    top.barh([0], [1], color="#e6e6e6")
    top.barh([0], [done], color=BLUE)
    left = f"{format_duration(state.seconds_left)} left" if state.seconds_left else state.phase
    name = shorten_names([state.name])[state.name]
    far = f"step {state.step:,} of {state.planned:,} ({done:.0%}), {left}"
    top.set_title(f"{name}: {state.phase}\n{far}", loc="left", fontsize=10)
    top.set(xlim=(0, 1))
    top.axis("off")
    _draw_losses(below, state)
    below.set_xlabel(f"optimizer step\n{state.details()}", fontsize=9)
    return figure


def _draw_losses(axes: Any, state: TrainingState) -> None:
    """Training loss as a line, validation loss as points, and the floor; a logarithmic axis."""
    from housebrain_core.display.plots import BLUE, WRONG, set_loss_scale

    curve = state.curve[:: 1 + len(state.curve) // POINTS]
    if curve:
        axes.plot(*zip(*curve, strict=True), color=BLUE, linewidth=1.3, label="training loss")
    if state.validation:
        axes.plot(
            *zip(*state.validation, strict=True),
            "o",
            color=WRONG,
            markersize=4,
            clip_on=False,
            label="validation loss",
        )
    if state.floor:
        axes.axhline(state.floor, color="grey", linestyle=":", label="entropy of the data")
    axes.set(xlim=(0, max(1, state.planned)), ylabel="nats per token")
    if curve or state.validation:
        set_loss_scale(axes)
        axes.legend(frameon=False, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.tick_params(which="minor", labelsize=7)
    axes.grid(alpha=0.25)


class Watch:
    """Shows a run while it trains: give it to `HouseBrainFineTuner` as its report.

    In a notebook one picture updates, and no lines are printed but those of notes that matter after the run; where
    nobody sees pictures update (a terminal, Kaggle's batch runs, papermill's log), lines are printed, one a minute at
    most for the progress of steps.

    Args:
        folder: of the run.
        write: gets each line that is printed.
    """

    def __init__(self, folder: Path, write: Callable[[str], None] = say) -> None:
        self.folder = folder
        self.write = write
        self.live = in_notebook()
        batch = detect_platform() == "kaggle" and not is_watched()  # Save & Run All
        self.lines = not self.live or batch or os.environ.get(LINES) == "lines"
        self.handle: Any = None
        self.drawn = 0.0
        self.printed = 0.0
        self.state: TrainingState | None = None

    def __call__(self, line: str) -> None:
        """Takes a line of training: prints it where lines are wanted, and looks whether there is news to draw."""
        if self.lines or not is_progress(line):
            self._print(line)
        self.update()

    def _print(self, line: str) -> None:
        now = time.monotonic()
        if is_progress(line):
            if self.live and now - self.printed < LINE_SECONDS:
                return
            self.printed = now
        self.write(line)

    def update(self) -> None:
        """Draws the state again when something else goes on now, or some seconds after the last time."""
        state = read_state(self.folder) if self.live else None
        if state is None or state == self.state:
            return
        now = time.monotonic()
        if self.state and self.state.phase == state.phase and now - self.drawn < PICTURE_SECONDS:
            return
        self.drawn = now
        self.state = state
        self._show(draw_progress(state))

    def _show(self, picture: "Picture") -> None:
        from IPython.display import display

        if self.handle is None:
            self.handle = display(picture, display_id=True)
        else:
            self.handle.update(picture)


def is_progress(line: str) -> bool:
    """Whether a line of training says how far it is, as many others do before and after it."""
    return line.startswith(("step ", "saved checkpoint-", "measuring "))


def gpu_memory() -> tuple[float, float] | None:
    """The most memory that this process's GPU had in use, and all of it, in GB; None without a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    whole = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory  # pragma: needs GPU or platform
    return torch.cuda.max_memory_allocated() / 1e9, whole / 1e9  # pragma: needs GPU or platform
