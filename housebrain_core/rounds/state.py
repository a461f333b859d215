"""rounds.json, the state of a plan: who has sent what in each leg, who is missing, and what came of it."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.contents import read_json
from housebrain_core.errors import DataError
from housebrain_core.legs import Place, TrainingPlan
from housebrain_core.manifests import to_json, write_atomically
from housebrain_core.texts import first_problem

FILE = "rounds.json"
FORMAT = 1
"""Version of rounds.json."""


class Part(BaseModel):
    """A part of rounds.json."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SentAdapter(Part):
    """An adapter that came back in a leg."""

    split_id: int
    name: str
    sha256: str
    """Of its weights."""
    steps: int
    """Optimizer steps of this leg."""
    validation_loss: float | None
    """As its own run measured it, in nats per token."""


class LegLosses(Part):
    """Validation losses of a leg, measured together, in nats per token."""

    base: float
    splits: dict[str, float]
    """Of each adapter."""
    merged: float
    """Of what the leg ended in; in a leg of one person that is their adapter."""
    exact: dict[str, float] = {}
    """Share of answers that are known exactly: of each adapter, and under "merged" of what the leg ended in."""
    best_split: str
    verdict: str
    """What the comparison says, in words."""

    @property
    def mean_split(self) -> float:
        """Mean over the adapters."""
        return sum(self.splits.values()) / len(self.splits)


class LegState(Part):
    """One leg: what came, and what it ended in."""

    number: int = Field(ge=1)
    """From 1."""
    parent_sha256: str | None
    """sha256 of the weights that it starts from; None for a fresh LoRA initialisation."""
    sent: tuple[SentAdapter, ...] = ()
    missing: tuple[int, ...]
    """Splits of the leg that nothing came of: so far, or at all where it was merged without them."""
    merged_sha256: str | None = None
    """Of the weights that the leg ended in; None while it is trained."""
    losses: LegLosses | None = None
    """None where they were not measured."""
    warning: str = ""
    """What has to be said first: that the merge is worse than its best split, and what to do instead."""


class RoundsState(Part):
    """The contents of rounds.json."""

    format: int = FORMAT
    plan: TrainingPlan
    floor: float | None = None
    """Entropy of the data in nats per token, where it is known: no loss can be lower."""
    legs: tuple[LegState, ...] = Field(min_length=1)
    """From the first to the one that is trained now, or to the last of the plan."""

    @model_validator(mode="after")
    def _check_legs(self) -> Self:
        if [leg.number for leg in self.legs] != list(range(1, min(len(self.legs), len(self.plan.legs)) + 1)):
            raise ValueError("its legs are not those of its plan, in order")
        return self

    @property
    def current(self) -> LegState:
        """The newest leg."""
        return self.legs[-1]

    @property
    def is_finished(self) -> bool:
        """Whether the last leg of the plan has ended."""
        return self.current.merged_sha256 is not None

    @property
    def place(self) -> Place:
        """Where the newest leg stands in the plan."""
        return Place(plan=self.plan, leg=self.current.number, parent_sha256=self.current.parent_sha256)

    @property
    def people(self) -> tuple[int, ...]:
        """The splits that are trained in the newest leg."""
        return self.plan.leg(self.current.number).people

    def with_current(self, **changes: object) -> Self:
        """The state with a newest leg that has changed."""
        current = self.current.model_copy(update=changes)
        return self.model_copy(update={"legs": (*self.legs[:-1], current)})

    def with_sent(self, adapters: list[Adapter]) -> Self:
        """The state in which these adapters of the newest leg are there, and no others."""
        sent = tuple(map(describe_sent, adapters))
        there = {adapter.split_id for adapter in sent}
        return self.with_current(sent=sent, missing=tuple(sorted(set(self.people) - there)))

    def with_next_leg(self, parent_sha256: str | None) -> Self:
        """The state in which the leg after the newest one begins."""
        number = self.current.number + 1
        leg = LegState(number=number, parent_sha256=parent_sha256, missing=self.plan.leg(number).people)
        return self.model_copy(update={"legs": (*self.legs, leg)})


def leg_folder(rounds: Path, number: int) -> Path:
    """Where the adapter lies that a leg ended in."""
    return rounds / f"leg_{number}"


def leg_file(rounds: Path, number: int) -> Path:
    """The file that everybody needs to train a leg."""
    return rounds / f"leg_{number}.zip"


def first_state(plan: TrainingPlan, parent_sha256: str | None) -> RoundsState:
    """The state of a plan before anything came back.

    Args:
        plan: of the splits.
        parent_sha256: of the weights that the first leg starts from; None for a fresh LoRA initialisation.
    """
    return RoundsState(plan=plan, legs=(LegState(number=1, parent_sha256=parent_sha256, missing=plan.leg(1).people),))


def describe_sent(adapter: Adapter) -> SentAdapter:
    """What the state says of an adapter whose split is known."""
    run, split = adapter.run, adapter.split
    assert run is not None
    assert split is not None
    return SentAdapter(
        split_id=split.number,
        name=adapter.name,
        sha256=adapter.sha256,
        steps=run.steps,
        validation_loss=run.validation_loss,
    )


def read_state(folder: Path) -> RoundsState | None:
    """Reads the state of a plan.

    Args:
        folder: of the rounds.

    Returns:
        None where no state was written yet.

    Raises:
        DataError: the file is damaged, or of a newer version.
    """
    path = folder / FILE
    if not path.exists():
        return None
    advice = f"Take it from a backup; or move {folder} away, and give the adapters again, one leg after another."
    try:
        contents = read_json(path)
        version = contents.get("format")
        if isinstance(version, int) and version > FORMAT:
            advice = f"It is of format {version}; this code reads format {FORMAT}. Use a newer version of it."
        return RoundsState.model_validate(contents)
    except ValidationError as error:
        raise DataError(f"{path} cannot be used: {first_problem(error)}. {advice}") from None
    except DataError as error:
        raise DataError(f"{path} {error}. {advice}") from None


def write_state(folder: Path, state: RoundsState) -> None:
    """Writes the state of a plan, whole or not at all; a state that is there already is left as it is."""
    text = to_json(state.model_dump(mode="json"))
    path = folder / FILE
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomically(path, text)
