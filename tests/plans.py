"""A project with a plan of legs, whose adapters are invented: nothing is trained."""

import json
from pathlib import Path

import pyarrow as pa
import torch
from adapter_files import WEIGHTS, make_trained, moved_from, tensors
from safetensors.torch import load, load_file

from housebrain_core.config import RoundConfig
from housebrain_core.legs import Leg, Place, TrainingPlan, plan_rounds
from housebrain_core.manifests import seal, sha256_of
from housebrain_core.rounds.overview import RoundResult
from housebrain_core.rounds.round import run_round
from housebrain_core.rounds.state import RoundsState, leg_file, read_state
from housebrain_core.splits.bundle import SCHEMA, write_bundle
from housebrain_core.splits.leg_file import read_start
from housebrain_core.splits.parts import SUMMARY, SplitPart

DATASET = "d" * 64
PART = SplitPart(
    split_id=1, platform="kaggle", owner=None, train=1, validation=1, bundle="split_01.zip", bundle_bytes=1,
    bundle_sha256="", characters=(1, 1), notebook=None,
)  # fmt: skip


class Project:
    """A project's folder: splits with a plan of three people, and what comes back from them."""

    def __init__(
        self,
        folder: Path,
        legs: tuple[Leg, ...] = plan_rounds(3, 3),
        outer_rate: float = 1.0,
        init: Path | None = None,
    ) -> None:
        self.folder = folder
        self.rounds = folder / "rounds"
        self.merged = folder / "models" / "housebrain-merged"
        self.plan = TrainingPlan(dataset=DATASET, splits=3, legs=legs, lora_r=2, lora_alpha=4, outer_rate=outer_rate)
        self.splits = folder / "housebrain_splits"
        self.splits.mkdir(parents=True)
        sample = pa.Table.from_pylist([dict.fromkeys(SCHEMA.names, "x")], SCHEMA)
        self.first_parent = sha256_of(init / WEIGHTS) if init else None
        place = Place(plan=self.plan, leg=1, parent_sha256=self.first_parent)
        write_bundle(self.splits, "split_01", sample, sample, init=init, **place.about())
        (self.splits / SUMMARY).write_text("{}")
        seal(self.splits, "splits", [], plan=self.plan.model_dump(mode="json"), parts=[PART.model_dump(mode="json")])

    @property
    def state(self) -> RoundsState:
        """As it was written."""
        state = read_state(self.rounds)
        assert state is not None
        return state

    def start(self, leg: int) -> tuple[dict[str, torch.Tensor], str | None]:
        """The weights that a leg starts from and their sha256."""
        if leg == 1 and not self.first_parent:
            return tensors(), None
        start = read_start(leg_file(self.rounds, leg) if leg > 1 else self.splits / "split_01.zip")
        return load(start.weights), start.parent_sha256

    def train(self, split_id: int, leg: int, /, name: str = "", **run) -> Path:
        """The adapter of a person who trained a leg; in the second and later ones from its file."""
        values, parent = self.start(leg)
        state = read_state(self.rounds)
        legs = len((state.plan if state else self.plan).legs)
        place = {"plan": self.plan.id, "leg": leg, "legs": legs, "parent_sha256": parent}
        folder = self.folder / "models" / (name or f"hb-kaggle-{split_id:02d}-leg-{leg}")
        return make_trained(folder, split_id, moved_from(values, 10 * leg + split_id), **place | run)

    def train_all(self, leg: int) -> list[Path]:
        """The adapters of all three people."""
        return [self.train(split_id, leg) for split_id in (1, 2, 3)]

    def round(self, models: list[Path], lines: list[str] | None = None, **settings) -> RoundResult:
        """Calls the command with these adapters."""
        places = {"splits": self.splits, "output": self.rounds, "merged": self.merged, "run_validation": False}
        report = (lambda line: None) if lines is None else lines.append
        return run_round(RoundConfig(models=models, **places | settings), report)

    def files(self) -> dict[str, str]:
        """sha256 of everything that rounds write."""
        found = [*self.rounds.rglob("*"), *self.merged.rglob("*")]
        return {str(path.relative_to(self.folder)): sha256_of(path) for path in found if path.is_file()}


def updates_of(folder: Path) -> dict[str, torch.Tensor]:
    """Module -> (alpha / r) B A in float64, read without the code under test."""
    config = json.loads((folder / "adapter_config.json").read_text())
    return updates_in(load_file(folder / WEIGHTS), config["lora_alpha"] / config["r"])


def updates_in(values: dict[str, torch.Tensor], scaling: float = 2.0) -> dict[str, torch.Tensor]:
    """The same, of weights; the project's adapters have rank 2 and alpha 4."""
    sides = {name: value.double() for name, value in values.items()}
    return {
        name.replace(".lora_A.weight", ""): scaling * sides[name.replace("lora_A", "lora_B")] @ sides[name]
        for name in sides
        if "lora_A" in name
    }


def mean_of(folders: list[Path]) -> dict[str, torch.Tensor]:
    """The mean of the updates."""
    all_updates = [updates_of(folder) for folder in folders]
    return {name: sum(updates[name] for updates in all_updates) / len(folders) for name in all_updates[0]}


def assert_same(found: dict[str, torch.Tensor], exact: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(exact)
    for name, update in exact.items():
        assert torch.linalg.norm(found[name] - update) <= 1e-5 * torch.linalg.norm(update), name
