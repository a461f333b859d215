"""What a person sees while runs are going on: a table that updates on a terminal, lines everywhere else, and a log."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from housebrain_core.cloud.notebook_run import Job, Outcome, Record, read_record
from housebrain_core.display.progress import TrainingState, read_state
from housebrain_core.platforms import format_duration
from housebrain_core.texts import say

COLUMNS = ("split", "leg", "machine", "step", "loss", "time left", "")
LINE_SECONDS = 60.0
"""Between two lines about a run, where there is no table."""


class RunTable:
    """Shows how far the runs of a leg are.

    Args:
        jobs: of the leg.
        leg: such as "2 of 3"; empty without a plan.
        log: file that gets every line too.
    """

    def __init__(self, jobs: Sequence[Job], leg: str, log: Path) -> None:
        self.jobs = jobs
        self.leg = leg
        self.log = log
        self.console = Console()
        self.live: Live | None = None
        self.ended: dict[str, Outcome] = {}
        self.records: dict[str, Record | None] = {job.name: read_record(job.folder) for job in jobs}
        self.started: dict[str, float] = {}
        self.printed: dict[str, float] = {}

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the table while the block lasts, on a terminal."""
        if not sys.stdout.isatty():
            yield
            return
        with Live(self.draw(), console=self.console, refresh_per_second=2, transient=True) as self.live:
            yield
        self.live = None

    def say(self, line: str) -> None:
        """Prints a line that stays, and logs it."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        if self.live:
            self.live.console.print(line, markup=False, highlight=False)
        else:
            say(line)

    def end(self, outcome: Outcome) -> None:
        """Takes in how a run ended."""
        self.ended[outcome.name] = outcome
        self.say(f"{outcome.name}: {outcome.ended}{f': {outcome.error}' if outcome.error else ''}")

    def update(self) -> None:
        """Looks at all runs: says which of them started, and how far they are."""
        for job in self.jobs:
            record = read_record(job.folder)
            if record != self.records[job.name]:
                self.records[job.name] = record
                self.started[job.name] = self.printed[job.name] = time.time()
                if record:
                    self.say(f"{job.name}: attempt {record.attempt} on {record.machine}")
            self._print_progress(job)
        if self.live:
            self.live.update(self.draw())

    def _print_progress(self, job: Job) -> None:
        """Now and then a line about a run that is going on, where no table shows it."""
        state = self.state_of(job)
        if self.live or state is None or job.name in self.ended:
            return
        if time.time() - self.printed[job.name] > LINE_SECONDS:
            self.printed[job.name] = time.time()
            self.say(state.describe())

    def state_of(self, job: Job) -> TrainingState | None:
        """How far a run is that was started by this command; None where it has not said anything yet."""
        path = job.output / ".progress.json"
        started = self.started.get(job.name)
        if started is None or not path.exists() or path.stat().st_mtime < started - 2:
            return None
        return read_state(job.output)

    def draw(self) -> Table:
        """The table as it is now."""
        table = Table(box=None, header_style="bold", title_justify="left")
        for name in COLUMNS:
            table.add_column(name, justify="right" if name in ("step", "loss", "time left") else "left")
        for job in self.jobs:
            table.add_row(*self.cells(job))
        return table

    def cells(self, job: Job) -> tuple[str, ...]:
        """A row of the table."""
        state = self.state_of(job)
        record = self.records[job.name] if job.name in self.started else None
        ended = self.ended.get(job.name)
        step = f"{state.step:,} of {state.planned:,}" if state else ""
        loss = f"{state.curve[-1][1]:.4f}" if state and state.curve else ""
        left = format_duration(state.seconds_left) if state and state.seconds_left and not ended else ""
        what = ended.ended if ended else (state.phase if state else "starting" if record else "waiting")
        if record and record.attempt > 1:
            what += f", attempt {record.attempt}"
        return (str(job.split_id), self.leg, record.machine if record else "", step, loss, left, what)
