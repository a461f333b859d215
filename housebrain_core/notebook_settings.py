"""The settings of each notebook, typed; notebook_cells.py writes them into its parameters cell and checks them."""

import math
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from housebrain_core.config import EvaluateConfig, MergeConfig, RoundConfig, SplitConfig
from housebrain_core.errors import ConfigError
from housebrain_core.legs import Place
from housebrain_core.notebook_fields import NotebookSettings, same_as
from housebrain_core.platforms import TIME_BUDGET_HOURS, Platform, is_watched
from housebrain_core.settings import FineTuningConfig
from housebrain_core.splits.parts import Inputs, adapter_in_leg

REHEARSAL_STEPS = 20
"""Optimizer steps of a rehearsal, which is saved, stopped and resumed in the middle."""


class SplitSettings(NotebookSettings):
    """Notebook 1."""

    source: str = same_as(SplitConfig, "source", default="housebrain_dataset_v5_350k")
    input_field: list[str] = same_as(SplitConfig, "input_field")
    output_field: list[str] = same_as(SplitConfig, "output_field")
    output: str = same_as(SplitConfig, "output")
    splits: int = same_as(SplitConfig, "splits")
    seed: int = same_as(SplitConfig, "seed")
    validation_samples: int = same_as(SplitConfig, "validation_samples")
    max_bad: float = same_as(SplitConfig, "max_bad")
    rounds: int = same_as(SplitConfig, "rounds", "; 0 for one merge at the end", default=0)
    common_start: float | Literal["auto"] = same_as(SplitConfig, "common_start")
    relay: bool = same_as(SplitConfig, "relay")
    relay_legs: int = same_as(SplitConfig, "relay_legs", "; 0 for as many as splits", default=0)
    init_adapter: str = same_as(SplitConfig, "init_adapter", "; empty to start from the base model", default="")
    overwrite: bool = same_as(SplitConfig, "overwrite")

    def config(self) -> SplitConfig:
        """Makes what `split_dataset` takes.

        Returns:
            Its settings.
        """
        return SplitConfig(**self.shared_with(SplitConfig))

    def check_ranges(self) -> None:
        """See `NotebookSettings`."""
        self.config()


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


class MergeSettings(NotebookSettings):
    """Notebook 3."""

    models_folder: str = Field("models", description="Where the adapters are: folders hb-*, or zips of them.")
    output: str = same_as(MergeConfig, "output")
    strategy: str = same_as(MergeConfig, "strategy")
    rank: int | Literal["auto", "full"] = same_as(MergeConfig, "rank")
    splits_folder: str = Field(str(SplitConfig.model_fields["output"].default), description="What notebook 1 wrote.")
    base_model: str = same_as(MergeConfig, "base_model", default="")
    run_validation: bool = same_as(MergeConfig, "run_validation", default=True)
    accept_missing: bool = same_as(RoundConfig, "accept_missing", " (with a plan of legs)")
    finish: bool = same_as(RoundConfig, "finish", " (with a plan of legs)")
    overwrite: bool = same_as(MergeConfig, "overwrite")

    def config(self, models: list[Path]) -> MergeConfig:
        """Makes what `merge_adapters` takes; data and base model are named only where something is measured.

        Args:
            models: adapter folders and zips.

        Returns:
            Its settings.

        Raises:
            ConfigError: there is a setting that only a plan of legs has a use for.
        """
        given = [name for name in ("accept_missing", "finish") if getattr(self, name)]
        _refuse_all(given, "it would do nothing, since these splits have no plan of legs; set it to False")
        values = self.shared_with(MergeConfig) | {"models": models, "compare": self.run_validation}
        values["base_model"] = self.base_model or None
        if self.run_validation or self.strategy in ("greedy", "search"):
            values["data"] = self.splits_folder
        else:
            del values["base_model"]
        return MergeConfig(**values)

    def round_config(self, models: list[Path]) -> RoundConfig:
        """Makes what `run_round` takes, where the splits have a plan of legs.

        Args:
            models: adapter folders and zips.

        Returns:
            Its settings.

        Raises:
            ConfigError: a leg is not merged like that; or a setting cannot be used.
        """
        given = [name for name in ("strategy", "rank") if getattr(self, name) != MergeConfig.model_fields[name].default]
        _refuse_all(given, "each leg of a plan is merged in one way; leave it as it was")
        values = self.shared_with(RoundConfig) | {"models": models, "splits": self.splits_folder}
        values |= {"merged": self.output, "output": RoundConfig.model_fields["output"].default}
        values["base_model"] = self.base_model if self.run_validation and self.base_model else None
        return RoundConfig(**values)

    def check_ranges(self) -> None:
        """See `NotebookSettings`."""
        if self.accept_missing or self.finish:
            self.round_config([Path()])
        else:
            self.config([Path()])


def _refuse_all(names: list[str], why: str) -> None:
    """Raises ConfigError for settings that all are wrong for one reason; a line each, as configs say it."""
    if names:
        raise ConfigError(
            "\n  ".join(["MergeSettings: these settings cannot be used:", *(f"{n}: {why}" for n in names)])
        )


class EvaluateSettings(NotebookSettings):
    """Notebook 4."""

    models: list[str] = same_as(EvaluateConfig, "models", default=[str(MergeConfig.model_fields["output"].default)])
    data: str = same_as(EvaluateConfig, "data")
    base_model: str = same_as(EvaluateConfig, "base_model", default="")
    load_in_4bit: bool = same_as(EvaluateConfig, "load_in_4bit")
    samples: int = same_as(EvaluateConfig, "samples")
    sampled: int = same_as(EvaluateConfig, "sampled")
    constrained: bool = same_as(EvaluateConfig, "constrained")
    batch_size: int = same_as(EvaluateConfig, "batch_size")
    limits: str = same_as(EvaluateConfig, "limits")
    output: str = same_as(EvaluateConfig, "output")

    def config(self) -> EvaluateConfig:
        """Makes what `evaluate_models` takes.

        Returns:
            Its settings.
        """
        return EvaluateConfig(**self.shared_with(EvaluateConfig))

    def check_ranges(self) -> None:
        """See `NotebookSettings`."""
        self.config()


NOTEBOOKS: dict[tuple[str, str], type[NotebookSettings]] = {
    ("01_split", "local"): SplitSettings,
    ("02_train", "local"): LocalTrainSettings,
    ("02_train", "kaggle"): KaggleTrainSettings,
    ("02_train", "colab"): ColabTrainSettings,
    ("03_merge", "local"): MergeSettings,
    ("04_evaluate", "local"): EvaluateSettings,
}
"""Notebook and platform -> its settings."""
