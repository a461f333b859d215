"""All splits on machines of one's own: a run of the train notebook each, then the merge, and the next leg by itself.

Every step of it is a command that a person could give; the same command goes on where the last one stopped.
"""

import signal
import subprocess
import sys
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from housebrain_core.cloud.local_slots import LocalSlots
from housebrain_core.cloud.notebook_run import NOW, Job, Outcome, is_finished
from housebrain_core.cloud.ray_slots import RaySlots
from housebrain_core.cloud.run_table import RunTable
from housebrain_core.cloud.settings import RunConfig, choose_splits
from housebrain_core.errors import ConfigError, HouseBrainError
from housebrain_core.legs import Place, TrainingPlan
from housebrain_core.manifests import MANIFEST, read_manifest, sha256_of
from housebrain_core.outputs import check_folder, lock_output
from housebrain_core.platforms import catch_signals
from housebrain_core.project import check_inputs, enter_project, find_adapters
from housebrain_core.rounds.state import read_state
from housebrain_core.splits.notebooks import RENDERED, TRAIN
from housebrain_core.splits.parts import SplitPart, adapter_in_leg, read_plan, read_splits
from housebrain_core.texts import say
from housebrain_core.train.checkpoints import refuse_other_run

RUNS, ROUNDS, MERGED = Path("runs"), Path("rounds"), "housebrain-merged"
STOP, POLL_SECONDS = RUNS / "stop", 0.5
WEIGHTS = "adapter_model.safetensors"


class Slots(Protocol):
    """Places for runs."""

    count: int
    dies: tuple[type[BaseException], ...]

    def submit(self, job: Job) -> Future[Outcome]:
        """Runs a job as soon as there is a place."""
        ...

    def close(self) -> None:
        """Ends what was started."""


def run_splits(config: RunConfig) -> None:
    """Trains splits on this computer or a cluster, leg after leg, and merges, judges and evaluates what comes of it.

    Args:
        config: which splits, where, and the settings of training.

    Raises:
        ConfigError: there is no such split or notebook, or another command is running these splits.
        HouseBrainError: all runs of a leg failed, or a command between two legs did.
        KeyboardInterrupt: it was stopped by Ctrl-C or SIGTERM; all runs have saved.
    """
    project = enter_project()
    check_inputs("splits_folder", config.splits_folder, "Run housebrain split first.")
    parts = read_splits(config.splits_folder)
    plan = read_plan(config.splits_folder)
    chosen = choose_splits(config.splits, [part.split_id for part in parts])
    if config.rounds and config.rounds > (rounds := len(plan.ends) if plan else 1):
        raise ConfigError(
            f"rounds = {config.rounds}, but {config.splits_folder} was cut for {rounds}. Another number is planned by "
            "housebrain split --rounds."
        )
    check_folder(config.models_folder)
    with ExitStack() as held:
        _hold_runs(held, project)
        held.enter_context(catch_signals(signal.default_int_handler))
        STOP.unlink(missing_ok=True)
        slots: Slots = RaySlots(config.attempts) if config.on == "ray" else LocalSlots(config.at_once)
        try:
            Runner(config, project, [part for part in parts if part.split_id in chosen], plan, slots).run()
        finally:
            slots.close()


def _hold_runs(held: ExitStack, project: Path) -> None:
    """Keeps all other commands from running this project's splits; ConfigError where one does already."""
    try:
        held.enter_context(lock_output(STOP))
    except ConfigError:
        raise ConfigError(
            f"another housebrain run is training the splits of {project}. Wait for it, or stop it."
        ) from None


class Runner:
    """The legs of a plan, one after another; without a plan, there is one.

    Args:
        config: of the command.
        project: its folder, which is the current one.
        parts: the splits that are trained here.
        plan: None where every split is trained once.
        slots: places for runs.
    """

    def __init__(
        self, config: RunConfig, project: Path, parts: list[SplitPart], plan: TrainingPlan | None, slots: Slots
    ) -> None:
        self.config = config
        self.project = project
        self.parts = parts
        self.plan = plan
        self.slots = slots
        self.failed: list[Outcome] = []

    def run(self) -> None:
        """Trains and merges until the plan ends, somebody else's turn comes, or as many legs have ended as wanted."""
        while True:
            place = self._place()
            if self.plan and place is None:
                rounds = f" up to round {self.config.rounds}" if self.config.rounds else ""
                say(f"The legs of the plan{rounds} are done.")
                return
            if place and not place.is_last and (merged := self.config.models_folder / MERGED).exists():
                raise ConfigError(
                    f"{merged} exists already, and the last leg's merge comes to lie there. Move it away."
                )
            self._train_leg(place)
            if not self.plan:
                self._merge()
                return
            if not self._end_leg():
                return

    def _train_leg(self, place: Place | None) -> None:
        """Runs what a leg needs; HouseBrainError if nothing came of any of it."""
        jobs = self._jobs(place)
        self.failed = self._train(jobs, place)
        if jobs and len(self.failed) == len(jobs):
            errors = "\n".join(f"  {outcome.name}: {outcome.error}" for outcome in self.failed)
            raise HouseBrainError(f"no run came to its end:\n{errors}\nThe whole logs are in {RUNS.absolute()}.")

    def _place(self) -> Place | None:
        """The leg that is trained now; None without a plan, after its end, or after the last leg that is wanted."""
        if self.plan is None:
            return None
        state = read_state(ROUNDS)
        if state is None:
            return Place(plan=self.plan, leg=1)
        if state.plan.id != self.plan.id:
            raise ConfigError(
                f"{ROUNDS} is of the plan {state.plan.id}, {self.config.splits_folder} of the plan {self.plan.id}. "
                f"Move {ROUNDS.absolute()} away, or work in another folder."
            )
        ends = state.plan.ends[: self.config.rounds]
        return None if state.is_finished or state.current.number > ends[-1] else state.place

    def _jobs(self, place: Place | None) -> list[Job]:
        """The runs of a leg."""
        parts = [part for part in self.parts if place is None or place.load_of(part.split_id)]
        return [self._job(part, adapter_in_leg(part.adapter, place)) for part in parts]

    def _job(self, part: SplitPart, name: str) -> Job:
        folders = {"splits_folder": str(self.config.splits_folder), "models_folder": str(self.config.models_folder)}
        notebook = RENDERED / "local" / TRAIN
        check_inputs("notebook", notebook, "It is in a checkout: python build_notebooks.py")
        return Job(
            name=name,
            split_id=part.split_id,
            project=self.project,
            notebook=notebook,
            folder=self.project / RUNS / name,
            output=self.project / self.config.models_folder / name,
            stop=self.project / STOP,
            parameters={"split_id": part.split_id} | folders | self.config.training,
            attempts=self.config.attempts,
        )

    def _train(self, jobs: list[Job], place: Place | None) -> list[Outcome]:
        """Runs all jobs that are not finished; those that failed."""
        left = [job for job in jobs if not self._is_done(job)]
        leg = f"{place.leg} of {len(place.plan.legs)}" if place else ""
        table = RunTable(left, leg, RUNS / "run.log")
        if left:
            what = f"leg {leg}: " if leg else ""
            table.say(f"{what}{', '.join(job.name for job in left)}, {min(self.slots.count, len(left))} at once")
        with table.shown():
            futures = {self.slots.submit(job): job for job in left}
            self._wait(futures, table)
        if STOP.exists():
            raise KeyboardInterrupt
        return [table.ended[job.name] for job in left if table.ended[job.name].ended == "failed"]

    def _is_done(self, job: Job) -> bool:
        """Whether an adapter is finished; CheckpointError where it was trained with other settings than are given."""
        if not is_finished(job.output):
            return False
        recorded = read_manifest(job.output, "adapter").get("fingerprint", {})
        given = {name: value for name, value in self.config.training.items() if name in recorded}
        given.pop("base_model", None)  # has several names, of which the notebook knows more
        refuse_other_run({name: recorded[name] for name in given}, given, job.output)
        return True

    def _wait(self, futures: dict[Future[Outcome], Job], table: RunTable) -> None:
        """Returns when all runs have ended; Ctrl-C asks them to save and stop, a second one to stop at once."""
        waiting = set(futures)
        while waiting:
            try:
                done, waiting = wait(waiting, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                table.update()
                for future in done:
                    table.end(self._outcome(future, futures[future]))
            except KeyboardInterrupt:
                again = STOP.exists()
                STOP.write_text(NOW if again else "")
                table.say("ending all runs now" if again else "stopping: every run saves; Ctrl-C again ends them now")

    def _outcome(self, future: Future[Outcome], job: Job) -> Outcome:
        """How a run ended; where its worker died as often as it may, that is its error."""
        error = future.exception()
        if error is None:
            return future.result()
        if not isinstance(error, self.slots.dies):
            raise error
        return Outcome(job.name, "failed", str(error).strip().partition("\n")[0])

    def _adapters(self) -> list[Path]:
        """All finished adapters that are there; those of earlier legs among them."""
        return [path for path in find_adapters(self.config.models_folder) if path.suffix or is_finished(path)]

    def _end_leg(self) -> bool:
        """Merges a leg, and evaluates after the last; whether another leg can begin."""
        before = read_state(ROUNDS)
        number = before.current.number if before else 1
        adapters = [str(path) for path in self._adapters()]
        command = ["--models", *adapters, "--splits", str(self.config.splits_folder), "--output", str(ROUNDS)]
        command += ["--merged", str(self.config.models_folder / MERGED), *self._base_model()]
        call("inspect", *[name for name in adapters if name.endswith(f"-leg-{number}")])
        call("round", *command, *["--accept-missing"] * bool(self.failed), *["--no-validate"] * (not self.config.judge))
        state = read_state(ROUNDS)
        if state and state.is_finished:
            self._evaluate()
            return True
        return state is not None and state.current.number > number

    def _merge(self) -> None:
        """Merges all splits once, unless some of them are still trained elsewhere."""
        adapters = self._adapters()
        wanted = {part.adapter for part in read_splits(self.config.splits_folder)}
        missing = wanted - {path.stem for path in adapters} - {outcome.name for outcome in self.failed}
        target = self.config.models_folder / MERGED
        hashes = [sha256_of(path / WEIGHTS) for path in adapters if path.is_dir()]
        if missing:
            say(f"Not merged yet: {', '.join(sorted(missing))} are missing. When they are in "
                f"{self.config.models_folder}, the same command merges all.")  # fmt: skip
        elif (target / MANIFEST).is_file() and read_manifest(target, "adapter").get("merged_from") == hashes:
            say(f"{target} is the merge of these very adapters already.")
        else:
            names = [str(path) for path in adapters]
            validate = ["--validate", "--data", str(self.config.splits_folder), *self._base_model()]
            call("inspect", *names)
            call("merge", "--models", *names, "--output", str(target), *(validate if self.config.judge else ()))
            self._evaluate()

    def _evaluate(self) -> None:
        if self.config.judge:
            model, data = str(self.config.models_folder / MERGED), str(self.config.splits_folder)
            call("evaluate", "--model", model, "--data", data, *self._base_model())

    def _base_model(self) -> list[str]:
        """Where the base model is, for commands that measure something, if it was given."""
        given = self.config.training.get("base_model")
        return ["--base-model", given] if given and self.config.judge else []


def call(*arguments: str) -> None:
    """Gives a command of HouseBrain, in a process of its own, so that GPU memory is free again after it.

    Raises:
        HouseBrainError: it failed; what it said stands above.
    """
    say(f"\n$ housebrain {' '.join(arguments)}")
    done = subprocess.run([sys.executable, "-m", "housebrain_core.cli", *arguments])
    if done.returncode:
        raise HouseBrainError(
            f"housebrain {arguments[0]} failed; what it said stands above. Put that right, and give this command "
            "again: what is trained stays."
        )
