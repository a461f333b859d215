"""A plan of training: its legs, who trains in each of them, and the learning rate over the whole of it.

All legs together take the optimizer steps that training every split once, apart, would take. A leg of several people
ends in a merge, a leg of one does not. The guide's single merge, rounds, a common start and a relay are such plans.
"""

import hashlib
import json
from itertools import accumulate
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FORMAT = 1
"""Version of a plan, as manifests and the state of the rounds hold it."""
FINISHING_SHARE = 0.1
"""Share of the steps done so far that the last leg takes in a plan that ends early."""
SplitId = Annotated[int, Field(ge=1, le=99)]


class Leg(BaseModel):
    """A stretch of the plan that some people train at the same time, all from the same state."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    people: tuple[SplitId, ...] = Field(min_length=1)
    """The splits that are trained in it, one person each; several end in a merge."""
    share: float = Field(gt=0, le=1)
    """Of the optimizer steps of the whole plan, all people together."""


class TrainingPlan(BaseModel):
    """The legs of a plan, and what all of them have in common."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    format: int = FORMAT
    id: str = ""
    """Twelve hexadecimal digits that name the plan; they stay when it ends early. Made from the rest when not given."""
    dataset: str = ""
    """Hash of the dataset that was split."""
    splits: int = Field(ge=1, le=99)
    legs: tuple[Leg, ...] = Field(min_length=1)
    lora_r: int = Field(default=8, ge=1, le=256)
    """Rank of the adapters that are trained in every leg."""
    lora_alpha: int = Field(default=16, ge=1)
    outer_rate: float = Field(default=1.5, gt=0, le=3)
    """How far a merge moves from the state that its leg started from: 1 is to the mean of the adapters. Not in the last
    leg, which ends in the mean itself. 1.5 was better than 1 in rounds of small and of large splits
    (benchmarks/README.md)."""

    @model_validator(mode="after")
    def _name(self) -> Self:
        if not self.id:
            text = json.dumps(self.model_dump(mode="json", exclude={"id"}), sort_keys=True)
            object.__setattr__(self, "id", hashlib.sha256(text.encode()).hexdigest()[:12])
        return self

    @property
    def merges(self) -> int:
        """Legs of several people."""
        return sum(len(leg.people) > 1 for leg in self.legs)

    @property
    def ends(self) -> list[int]:
        """The legs that end a round: those that end in a merge, or all of them where nothing is merged."""
        return [number for number, leg in enumerate(self.legs, 1) if len(leg.people) > 1 or not self.merges]

    @property
    def falls_from(self) -> int:
        """The leg in which the learning rate begins to fall: the last, or the first where nothing is merged.

        A merge does what a falling rate does: it averages the noise of single steps away. A relay has nothing but the
        rate for that.
        """
        return len(self.legs) if self.merges else 1

    def leg(self, number: int) -> Leg:
        """The leg of a number, from 1."""
        return self.legs[number - 1]

    def steps(self, split_id: int, number: int, steps_of_split: int) -> tuple[int, int]:
        """Which of a split's optimizer steps a leg takes.

        Args:
            split_id: from 1; one of the leg's people.
            number: of the leg, from 1.
            steps_of_split: what training the split once, alone and without legs, takes.

        Returns:
            The steps that the split has done before this leg, and after it, counted over all its legs. Positions in the
            split's data order follow from them; a person who trains more than the others begins another pass.
        """
        before = sum(self.loads(split_id, number - 1)) * steps_of_split
        after = sum(self.loads(split_id, number)) * steps_of_split
        return round(before), max(round(before) + 1, round(after))

    def load(self, leg: Leg) -> float:
        """What each of a leg's people trains in it, as a multiple of training a split once."""
        return leg.share * self.splits / len(leg.people)

    def loads(self, split_id: int, legs: int | None = None) -> list[float]:
        """What a split trains in each of its legs, of all or of the first few, as multiples of training it once."""
        return [self.load(leg) for leg in self.legs[:legs] if split_id in leg.people]

    def ended_early(self, done: int) -> Self:
        """The plan with one short last leg after the legs that are done, in which everybody's rate decays.

        Args:
            done: legs that are done.
        """
        share = FINISHING_SHARE * sum(leg.share for leg in self.legs[:done])
        last = Leg(people=tuple(range(1, self.splits + 1)), share=share)
        return self.model_copy(update={"legs": (*self.legs[:done], last)})


class Place(BaseModel):
    """Where a run stands in a plan: which leg it is, and what it starts from."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    plan: TrainingPlan
    leg: int = Field(ge=1)
    """From 1."""
    parent_sha256: str | None = None
    """sha256 of the adapter weights that the leg starts from; None in the first leg."""

    @property
    def is_last(self) -> bool:
        """Whether the plan ends with this leg."""
        return self.leg == len(self.plan.legs)

    def describe(self) -> str:
        """Such as "leg 2 of 3"."""
        return f"leg {self.leg} of {len(self.plan.legs)}"

    def load_of(self, split_id: int) -> float:
        """What a split is trained in this leg, as a multiple of training it once; 0 where it takes no part."""
        leg = self.plan.leg(self.leg)
        return self.plan.load(leg) if split_id in leg.people else 0.0

    def next_leg(self, split_id: int | None) -> int | None:
        """The number of the next leg in which a split is trained; None where there is none."""
        later = range(self.leg + 1, len(self.plan.legs) + 1)
        return next((number for number in later if split_id in self.plan.leg(number).people), None)

    def next_step(self, split_id: int | None, learned: bool = False) -> str:
        """Says what a person does after training this leg.

        Args:
            split_id: of the person's split.
            learned: whether the leg ended early because nothing more was learned.
        """
        if self.is_last:
            return "This was the last leg: send the adapter in."
        turn = self.next_leg(split_id)
        again = f"Then wait for leg_{turn}.zip: leg {turn} starts from it." if turn else "This split is done."
        early = " If others learned nothing more either, `housebrain round --finish` gives the plan one short last leg."
        return f"Send the adapter in; a model is finished only after the last leg. {again}{early * learned}"

    def about(self) -> dict[str, Any]:
        """What manifests say of it."""
        return {
            "plan": self.plan.model_dump(mode="json"),
            "leg": self.leg,
            "legs": len(self.plan.legs),
            "parent_sha256": self.parent_sha256,
        }


def rate_share(step: int, first: int, last: int, steps_of_split: int, warmup_share: float, place: Place) -> float:
    """The learning rate as a share of its peak: a warm-up, then constant, and a linear fall to zero at the plan's end.

    Args:
        step: of the split, counted over all its legs, from `first`.
        first: steps that the split has done before this leg.
        last: steps that it has done after it.
        steps_of_split: what training the split once takes.
        warmup_share: of `steps_of_split`; it is only in the first leg.
        place: which leg of the plan it is.

    Returns:
        A share in [0, 1].
    """
    warmup = warmup_share * steps_of_split
    warmed_up = min(1.0, step / warmup) if place.leg == 1 and warmup else 1.0
    falling = place.plan.legs[place.plan.falls_from - 1 :]
    number = place.leg - place.plan.falls_from
    if number < 0:
        return warmed_up
    lengths = [leg.share / len(leg.people) for leg in falling]
    done = sum(lengths[:number]) + lengths[number] * (step - first) / (last - first)
    return warmed_up * (1 - done / sum(lengths))


def plan_rounds(splits: int, rounds: int, common_start: float = 0.0) -> tuple[Leg, ...]:
    """Legs of equal length in which everybody trains, after a common start where it is wanted.

    Args:
        splits: people.
        rounds: legs of everybody, at least 1.
        common_start: share of all steps that the first person trains alone before them, in [0, 1).
    """
    everybody = tuple(range(1, splits + 1))
    start = (Leg(people=(1,), share=common_start),) if common_start else ()
    return (*start, *(Leg(people=everybody, share=(1 - common_start) / rounds) for _ in range(rounds)))


def plan_relay(splits: int, legs: int | None = None) -> tuple[Leg, ...]:
    """Legs one after another in which everybody trains once, each from the state that the one before left.

    Args:
        splits: people.
        legs: 1 to `splits`. As many as people when not given, and nothing is merged. With fewer, legs take as equally
            many people as can be, the first ones fewer; a leg of several ends in a merge.
    """
    legs = legs or splits
    least, left = divmod(splits, legs)
    sizes = [least] * (legs - left) + [least + 1] * left
    ends = accumulate(sizes)
    groups = [tuple(range(end - size + 1, end + 1)) for size, end in zip(sizes, ends, strict=True)]
    return tuple(Leg(people=group, share=len(group) / splits) for group in groups)
