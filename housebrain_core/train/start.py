"""What a run starts from, and which stretch of its plan it is: read before anything is loaded or written."""

import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from housebrain_core.adapters.adapter import Adapter, read_adapter
from housebrain_core.adapters.folders import CONFIG, WEIGHTS
from housebrain_core.adapters.updates import rewrite_update
from housebrain_core.errors import ConfigError
from housebrain_core.legs import Place, TrainingPlan, rate_share
from housebrain_core.settings import FineTuningConfig
from housebrain_core.splits.bundle import INIT, NO_PLACE, Bundle
from housebrain_core.splits.leg_file import Start, read_place, read_start
from housebrain_core.train.base_models import Base, is_same_base
from housebrain_core.train.packing import PackedRows, RowsOfLeg
from housebrain_core.train.stopping import Schedule

Factors = dict[str, tuple[np.ndarray, np.ndarray]]
"""Module -> B (out_features, rank) and A (rank, in_features)."""


@dataclass(frozen=True)
class LegOfSplit:
    """The stretch of a split's training that one leg of the plan takes, in steps counted over all of its legs."""

    place: Place
    first: int
    """Optimizer steps that the split has done before."""
    last: int
    """Optimizer steps that it has done afterwards."""
    steps_of_split: int
    """What training the split once, without legs, takes."""

    @property
    def steps(self) -> int:
        """Of this leg."""
        return self.last - self.first

    def schedule(self, warmup_share: float) -> Schedule:
        """The learning rate in the leg; `warmup_share` is of `steps_of_split`."""
        steps = range(self.first, self.last + 1)
        whole = self.steps_of_split
        shares = [rate_share(step, self.first, self.last, whole, warmup_share, self.place) for step in steps]
        return Schedule(shares, cools_down=self.place.is_last)

    def rows(self, rows: PackedRows, seed: int, per_step: int) -> RowsOfLeg:
        """The packed rows of the leg, in order; `per_step` is how many an optimizer step takes."""
        return RowsOfLeg(rows, seed, self.first * per_step, self.last * per_step)


@dataclass(frozen=True)
class RunStart:
    """What a run starts from, and where it stands in a plan."""

    split_id: int | None
    place: Place | None
    """None for a run without a plan."""
    parent_sha256: str | None = None
    """sha256 of the adapter weights that it starts from; None for a fresh LoRA initialisation."""
    source: str = ""
    """What those weights were read from, and what was done to them; for a person."""
    factors: Factors | None = None
    """At the run's rank and alpha; None for a fresh initialisation."""

    def describe(self) -> str:
        """The first line of a run, such as "leg 2 of 3, starts from leg_2.zip (1f2e3d4c5b6a)"."""
        leg = f"{self.place.describe()}, " if self.place else ""
        return f"{leg}starts from {self.source or 'a fresh LoRA initialisation'}"

    def about(self) -> dict[str, Any]:
        """What the adapter's manifest says of it."""
        if self.place:
            return self.place.about()
        return NO_PLACE | {"parent_sha256": self.parent_sha256}

    def fingerprint(self) -> dict[str, Any]:
        """What of it has to be equal in all sessions of a run."""
        place = self.place
        share = place.plan.leg(place.leg).share if place else 0
        return {
            "plan": place.plan.id if place else None,
            "leg": f"{place.describe()}, share {share:.4g}" if place else None,
            "parent_sha256": self.parent_sha256,
        }

    def in_run(self) -> dict[str, Any]:
        """What run.json says of it."""
        about = self.about()
        return about | {"plan": about["plan"] and about["plan"]["id"]}

    def leg(self, steps_of_split: int) -> LegOfSplit | None:
        """The steps of the leg; None without a plan.

        Args:
            steps_of_split: what training the split once, without legs, takes.
        """
        if not self.place or self.split_id is None:
            return None
        first, last = self.place.plan.steps(self.split_id, self.place.leg, steps_of_split)
        return LegOfSplit(self.place, first, last, steps_of_split)


def find_start(config: FineTuningConfig, bundle: Bundle, base: Base) -> tuple[FineTuningConfig, RunStart]:
    """Reads what a run starts from: a leg file or adapter that was given, or what lies in the bundle.

    Args:
        config: of the run.
        bundle: what it trains on, which names its plan.
        base: the base model.

    Returns:
        The settings, with rank and alpha of the plan; and the start.

    Raises:
        ConfigError: a setting conflicts with the plan, the leg file is of another plan, the split takes no part in the
            leg, the folder is named for a later one, or the adapter was trained on another base model.
        DataError: the leg file is damaged.
        AdapterError: the adapter to start from is damaged or unsafe.
    """
    split_id = bundle.manifest.get("split_id")
    place = read_place(bundle.manifest, config.dataset_path)
    has_init = f"{INIT}/{WEIGHTS}" in bundle.manifest["files"]
    path = config.init_adapter or (config.dataset_path if has_init else None)
    parent = read_start(path) if path else None
    if config.init_adapter and parent:
        place = check_leg(config.init_adapter, parent.place, bundle.name, place)
    if place:
        config = with_plans_rank(config, place.plan)
        check_takes_part(place, split_id, bundle.name)
        check_folder_name(config.output_dir, place)
    start = RunStart(split_id, place)
    return config, read_parent(path, parent, config, base, start) if path and parent else start


def check_leg(path: Path, leg: Place | None, name: str, place: Place | None) -> Place | None:
    """A leg file's place, once it is known to belong to the bundle's plan; None for an adapter that was given."""
    if leg and (not place or leg.plan.id != place.plan.id):
        plan = f"plan {place.plan.id}" if place else "no plan"
        raise ConfigError(
            f"{path} belongs to plan {leg.plan.id}; {name} belongs to {plan}. Take the leg file of its own plan."
        )
    return leg


def check_takes_part(place: Place, split_id: int | None, name: str) -> None:
    """Refuses a leg that other people train."""
    people = place.plan.leg(place.leg).people
    if split_id in people:
        return
    turn = place.next_leg(split_id)
    wait = f"Wait for leg_{turn}.zip." if turn else "Nothing is left to do for it."
    who = f"split {people[0]} trains" if len(people) == 1 else f"the splits {', '.join(map(str, people))} train"
    raise ConfigError(f"{name} takes no part in {place.describe()}, which {who}. {wait}")


def check_folder_name(output: Path, place: Place) -> None:
    """Refuses a folder that is named for a later leg: its leg file was forgotten, or is not the newest."""
    named = re.search(r"-leg-(\d+)$", output.name)
    if named and int(named[1]) > place.leg:
        raise ConfigError(
            f"{output.name} is named for leg {named[1]}, and this is {place.describe()}. To train leg {named[1]}, give "
            f"its file: --init-adapter leg_{named[1]}.zip. Or choose another folder."
        )


def with_plans_rank(config: FineTuningConfig, plan: TrainingPlan) -> FineTuningConfig:
    """The settings with rank and alpha of the plan; ConfigError where other ones were given."""
    wanted = {"lora_r": plan.lora_r, "lora_alpha": plan.lora_alpha}
    wrong = [name for name in wanted if name in config.model_fields_set and getattr(config, name) != wanted[name]]
    if wrong:
        given = " and ".join(f"{name} = {getattr(config, name)}" for name in wrong)
        right = " and ".join(f"{name} = {wanted[name]}" for name in wrong)
        raise ConfigError(f"{given}: everybody in plan {plan.id} trains with {right}. Leave it out, or give that.")
    return config.model_copy(update=wanted)


def read_parent(path: Path, parent: Start, config: FineTuningConfig, base: Base, start: RunStart) -> RunStart:
    """The start with the weights of an adapter.

    Args:
        path: leg file, bundle or adapter folder.
        parent: what was read from it.
        config: of the run.
        base: the base model.
        start: where the run stands in its plan.
    """
    with tempfile.TemporaryDirectory(prefix="housebrain-") as scratch:
        folder = path if (path / CONFIG).is_file() else Path(scratch)
        if folder != path:
            parent.write_to(folder)
        adapter = read_adapter(folder, accept_plain=True, given=path)
        if not is_same_base(base, adapter.revision, adapter.base_content):
            raise ConfigError(
                f"{path} was trained on {adapter.base_model} at {adapter.revision}; this run has {base.name} at "
                f"{base.revision}. Take the base model that it was trained on."
            )
        factors, note = read_factors_at(adapter, config.lora_r, config.lora_alpha, as_they_are=start.place is not None)
    place = start.place and start.place.model_copy(update={"parent_sha256": adapter.sha256})
    source = f"{path.name} ({adapter.sha256[:12]}){note}"
    return replace(start, place=place, parent_sha256=adapter.sha256, source=source, factors=factors)


def read_factors_at(adapter: Adapter, rank: int, alpha: int, as_they_are: bool) -> tuple[Factors, str]:
    """An adapter's factors at a rank and alpha, and what was done to them.

    Args:
        adapter: checked.
        rank: of the run.
        alpha: of the run.
        as_they_are: whether factors of this very rank and alpha stay as they are, so that everybody in a plan starts
            from the same bytes; else all are written anew, balanced.
    """
    scaling = alpha / rank
    fits = all(shape.rank == rank and adapter.scaling[module] == scaling for module, shape in adapter.shapes.items())
    if not (as_they_are and fits):
        rewritten = rewrite_update(adapter, rank, alpha)
        return rewritten.factors, f", rewritten at rank {rank}, which keeps {rewritten.kept:.3%} of its energy"
    factors = {}
    for module in adapter.shapes:
        b, a = adapter.factors(module)
        factors[module] = (b / np.float32(scaling), a)
    return factors, ""
