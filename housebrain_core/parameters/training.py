"""The settings of the train notebook's three forms, typed: on one's own computer, on Kaggle and on Colab."""

import math
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from housebrain_core.config import SplitConfig
from housebrain_core.legs import Place
from housebrain_core.parameters.fields import NotebookSettings, same_as
from housebrain_core.platforms import TIME_BUDGET_HOURS, Platform, is_watched
from housebrain_core.settings import FineTuningConfig
from housebrain_core.splits.parts import Inputs, adapter_in_leg

REHEARSAL_STEPS = 20
"""Optimizer steps of a rehearsal, which is saved, stopped and resumed in the middle."""


class TrainingSettings(NotebookSettings):
    """What all forms of notebook 2 share: how one split is trained."""

    base_model: str = same_as(FineTuningConfig, "base_model")
    epochs: int = same_as(FineTuningConfig, "epochs")
    learning_rate: float = same_as(FineTuningConfig, "learning_rate")
    gradient_accumulation_steps: int = same_as(FineTuningConfig, "gradient_accumulation_steps")
    row_length: int = same_as(FineTuningConfig, "row_length")
    lora_r: int = same_as(FineTuningConfig, "lora_r")
    max_steps: int = same_as(FineTuningConfig, "max_steps", "; 0 for all epochs", default=0)
    save_steps: int = same_as(FineTuningConfig, "save_steps")
    seed: int = same_as(FineTuningConfig, "seed")
    load_in_4bit: bool = same_as(FineTuningConfig, "load_in_4bit")
    gpus: int | Literal["all"] = same_as(FineTuningConfig, "gpus", "; all of the machine's, or a number such as 1")

    def config(self, inputs: Inputs, output_dir: Path) -> FineTuningConfig:
        """Makes what `HouseBrainFineTuner` takes.

        Args:
            inputs: what to train on, and what to start from.
            output_dir: folder for checkpoints and adapter.

        Returns:
            Its settings.
        """
        values = self.shared_with(FineTuningConfig)
        return FineTuningConfig(dataset_path=inputs.data, init_adapter=inputs.leg_file, output_dir=output_dir, **values)

    def check_ranges(self) -> None:
        """See `NotebookSettings`."""
        self.config(Inputs(Path()), Path())


class _OneSplit(NotebookSettings):
    """Settings that stand first in every form of notebook 2."""

    split_id: int = Field(1, ge=1, le=99, description="Your split, as its file split_NN.zip says.")


class _LocalFolders(_OneSplit):
    """Settings that stand first in notebook 2 for one's own computer."""

    splits_folder: str = Field(str(SplitConfig.model_fields["output"].default), description="What notebook 1 wrote.")
    models_folder: str = Field("models", description="Folder for adapters.")


class LocalTrainSettings(TrainingSettings, _LocalFolders):
    """Notebook 2 on one's own computer."""


class _CloudSession(_OneSplit):
    """Settings that stand first in notebook 2 for Kaggle and Colab."""

    rehearsal: bool | Literal["auto"] = Field(
        "auto", description="Try everything with 20 steps first: five minutes; auto: in sessions that a person watches."
    )
    bundle: str = Field("", description="Path of your bundle; empty to search for it.")
    leg: int = Field(1, ge=1, le=99, description="Leg of a plan that this notebook is for; it trains no earlier one.")


class CloudTrainSettings(TrainingSettings, _CloudSession):
    """Notebook 2 on Kaggle or Colab."""

    platform: ClassVar[Platform]
    time_budget_hours: float = Field(
        0.0, ge=0, description="Hours after which training saves and ends; 0 for a bit less than the platform's limit."
    )
    require_gpu: bool = Field(True, description="Refuse to train without a GPU.")

    @property
    def rehearses(self) -> bool:
        """Whether this run is the rehearsal; by itself, only where a person watches."""
        return is_watched() if self.rehearsal == "auto" else self.rehearsal

    @property
    def drive(self) -> str:
        """Folder in My Drive for checkpoints; empty for none."""
        return ""

    def adapter_name(self, place: Place | None) -> str:
        """What the adapter's folder and zip are called.

        Args:
            place: the leg; None without a plan.

        Returns:
            Such as hb-kaggle-04, or in a plan of several legs hb-kaggle-04-leg-2.
        """
        return adapter_in_leg(f"hb-{self.platform}-{self.split_id:02d}", place) + "-rehearsal" * self.rehearses

    def config(self, inputs: Inputs, output_dir: Path) -> FineTuningConfig:
        """Makes what `HouseBrainFineTuner` takes; a rehearsal takes 20 steps with a checkpoint in the middle.

        Args:
            inputs: the bundle, and the leg.
            output_dir: folder for checkpoints and adapter.

        Returns:
            Its settings.
        """
        values: dict[str, Any] = {"time_budget_hours": self.time_budget_hours or TIME_BUDGET_HOURS[self.platform]}
        if self.rehearses:
            leg = inputs.place.load_of(self.split_id) if inputs.place else 1
            values |= {"max_steps": math.ceil(REHEARSAL_STEPS / (leg or 1)), "save_steps": REHEARSAL_STEPS // 2}
        return super(CloudTrainSettings, self.model_copy(update=values)).config(inputs, output_dir)


class KaggleTrainSettings(CloudTrainSettings):
    """Notebook 2 on Kaggle."""

    platform = "kaggle"


class ColabTrainSettings(CloudTrainSettings):
    """Notebook 2 on Colab."""

    platform = "colab"
    drive_folder: str = Field(
        "housebrain", description="Folder in My Drive where bundles are looked for and checkpoints go; empty for none."
    )

    @property
    def drive(self) -> str:
        """Folder in My Drive for checkpoints; empty for none."""
        return self.drive_folder
