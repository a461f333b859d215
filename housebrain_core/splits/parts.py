"""What a splits folder says of itself: one record for each split, and a summary of the whole."""

from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, computed_field

from housebrain_core.display.results import Shown, Table
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.legs import Place, TrainingPlan
from housebrain_core.manifests import MANIFEST, read_manifest
from housebrain_core.texts import first_problem

SUMMARY = "split_summary.json"


class SplitPart(BaseModel):
    """One split, as it stands in manifest.json and split_summary.json."""

    model_config = ConfigDict(frozen=True)

    split_id: int
    """From 1."""
    platform: str
    """kaggle or colab."""
    owner: str | None
    """Kaggle user name, where the folders for the kaggle client are wanted."""
    train: int
    """Training samples."""
    validation: int
    """Validation samples; the same ones are in every split."""
    bundle: str
    """File to upload, in the splits folder."""
    bundle_bytes: int
    bundle_sha256: str
    characters: tuple[int, int]
    """Of all training prompts, and of all training completions."""
    notebook: str | None
    """File that trains on it, in the splits folder; None where the train notebooks are not built."""

    @computed_field
    @property
    def name(self) -> str:
        """What the split's files begin with, such as split_04."""
        return f"split_{self.split_id:02d}"

    @computed_field
    @property
    def adapter(self) -> str:
        """What the adapter is called that comes back, such as hb-kaggle-04."""
        return f"hb-{self.platform}-{self.split_id:02d}"


class Inputs(NamedTuple):
    """What a split is trained on now."""

    data: Path
    """Its bundle, or any other dataset."""
    leg_file: Path | None = None
    """What the leg starts from; None where it starts from what the bundle says."""
    place: Place | None = None
    """The leg; None without a plan."""


class SplitSummary(Shown, BaseModel):
    """The contents of split_summary.json."""

    model_config = ConfigDict(frozen=True)

    codec_version: int
    """Version of the text format of prompts and completions."""
    dataset: str
    """Hash of all samples that were cut."""
    splits: int
    seed: int
    selection: str | None = None
    """What the source was chosen from and how, where `housebrain select` wrote it."""
    plan: TrainingPlan | None = None
    """The legs in which the splits are trained; None where each is trained once, and all are merged once."""
    parent_sha256: str | None = None
    """Of the weights of the adapter that training starts from; None where it is the base model."""
    entropy_nats_per_sample: float | None = None
    """The least loss on a sample that a model can have; None where samples are too few to tell."""
    brief_nats_per_sample: float | None = None
    """What fields of the brief tell about a design, at least; None where samples are too few, or it is not known."""
    source: str
    """Name of the dataset's folder or file."""
    train: int
    """Training samples in all splits together."""
    validation: int
    """Validation samples of the dataset."""
    validation_in_each: int
    """Of them those that every bundle carries."""
    repeats: int
    """Samples with the content of an earlier one of their part."""
    leaks: int
    """Validation samples with the content of a training sample."""
    where: list[str]
    """Conditions that samples had to meet."""
    sample: int | None
    """Training samples that were wanted; None for all."""
    drop_duplicates: bool
    bad: list[dict[str, Any]]
    """Samples that were left out: where each is, and why."""
    parts: list[SplitPart]

    def outputs(self) -> list[Table]:
        """A table of the splits."""
        rows = [
            (part.name, f"{part.train:,}", f"{part.bundle_bytes / 1e6:.2f}", part.platform, part.adapter)
            for part in self.parts
        ]
        return [Table(("split", "samples", "MB to upload", "platform", "adapter"), rows)]


def adapter_in_leg(adapter: str, place: Place | None) -> str:
    """What an adapter is called that comes back from a leg.

    Args:
        adapter: name without a leg, such as hb-kaggle-04.
        place: the leg; None without a plan.

    Returns:
        Such as hb-kaggle-04-leg-2; the name as it is where the plan has one leg only.
    """
    return adapter if place is None or len(place.plan.legs) == 1 else f"{adapter}-leg-{place.leg}"


def name_people(people: tuple[int, ...], splits: int) -> str:
    """Who trains in a leg, such as "splits 1 and 2"."""
    if len(people) == splits:
        return "everybody"
    if len(people) == 1:
        return f"split {people[0]} alone"
    return f"splits {', '.join(map(str, people[:-1]))} and {people[-1]}"


class LegOfPerson(NamedTuple):
    """What one person does in a leg."""

    number: int
    people: str
    """Who trains in it."""
    adapter: str | None
    """What the person sends after it; None where they do not train in it."""
    leg_file: str | None
    """What the leg starts from; None in the first leg."""
    later: bool
    """Whether the person trains in a later leg."""


def legs_of_person(part: SplitPart, plan: TrainingPlan | None) -> list[LegOfPerson]:
    """What the person of a split does in each leg of a plan; nothing without one."""
    if plan is None:
        return []
    legs = []
    for number, leg in enumerate(plan.legs, 1):
        trains = part.split_id in leg.people
        place = Place(plan=plan, leg=number)
        legs.append(
            LegOfPerson(
                number=number,
                people=name_people(leg.people, plan.splits),
                adapter=adapter_in_leg(part.adapter, place) if trains else None,
                leg_file=f"leg_{number}.zip" if number > 1 else None,
                later=any(part.split_id in later.people for later in plan.legs[number:]),
            )
        )
    return legs


def first_adapter(part: SplitPart, legs: list[LegOfPerson]) -> str:
    """What the adapter is called that the person of a split sends first."""
    return next((leg.adapter for leg in legs if leg.adapter), part.adapter)


def find_plan(folder: Path | str) -> TrainingPlan | None:
    """Finds the plan of legs that a project has.

    Args:
        folder: what `split_dataset` wrote, if it did.

    Returns:
        The plan; None where this is no splits folder, or every split is trained once and all are merged once.
    """
    return read_plan(Path(folder)) if (Path(folder) / SUMMARY).is_file() else None


def read_plan(folder: Path) -> TrainingPlan | None:
    """Reads the plan of a splits folder.

    Args:
        folder: what `split_dataset` wrote.

    Returns:
        Its legs; None where every split is trained once and all are merged once.

    Raises:
        DataError: the folder is unfinished, or no splits folder.
    """
    plan = read_manifest(folder, "splits").get("plan")  # 0.2.0 has none
    return _read_records(folder, TrainingPlan, [plan])[0] if plan else None


def read_splits(folder: Path) -> list[SplitPart]:
    """Reads what a splits folder says of its splits.

    Args:
        folder: what `split_dataset` wrote.

    Returns:
        The splits, in order.

    Raises:
        DataError: it is unfinished, or no splits folder.
    """
    return _read_records(folder, SplitPart, read_manifest(folder, "splits").get("parts"))


def _read_records(folder: Path, kind: type[BaseModel], values: Any) -> list[Any]:
    """Parts of a splits folder's manifest; DataError where they are none."""
    try:
        return TypeAdapter(list[kind]).validate_python(values)  # pyright: ignore[reportInvalidTypeForm]
    except ValidationError as error:
        raise DataError(
            f"{folder / MANIFEST} cannot be read: {first_problem(error)}. Split again, or take it from a backup."
        ) from None


def read_split(folder: Path, split_id: int) -> SplitPart:
    """Reads what a splits folder says of one split.

    Args:
        folder: what `split_dataset` wrote.
        split_id: from 1.

    Returns:
        The split.

    Raises:
        ConfigError: there is no such split.
        DataError: the folder is unfinished, or no splits folder.
    """
    parts = {part.split_id: part for part in read_splits(folder)}
    if split_id not in parts:
        raise ConfigError(f"split_id = {split_id}: {folder} has the splits {', '.join(map(str, parts))}.")
    return parts[split_id]
