"""The settings of each notebook, typed; notebook_cells.py writes them into its parameters cell and checks them."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from housebrain_core.config import EvaluateConfig, MergeConfig, SplitConfig
from housebrain_core.notebook_fields import NotebookSettings, same_as
from housebrain_core.platforms import TIME_BUDGET_HOURS, Platform, is_watched
from housebrain_core.settings import FineTuningConfig


class SplitSettings(NotebookSettings):
    """Notebook 1."""

    source: str = same_as(SplitConfig, "source", default="housebrain_dataset_v5_350k")
    output: str = same_as(SplitConfig, "output")
    splits: int = same_as(SplitConfig, "splits")
    seed: int = same_as(SplitConfig, "seed")
    validation_samples: int = same_as(SplitConfig, "validation_samples")
    max_bad: float = same_as(SplitConfig, "max_bad")
    rounds: int = same_as(SplitConfig, "rounds", "; 0 for one merge at the end", default=0)
    common_start: float = same_as(SplitConfig, "common_start", "; 0 for none", default=0.0)
    relay: bool = same_as(SplitConfig, "relay")
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

    def config(self, dataset_path: Path, output_dir: Path) -> FineTuningConfig:
        """Makes what `HouseBrainFineTuner` takes.

        Args:
            dataset_path: bundle, split folder or dataset.
            output_dir: folder for checkpoints and adapter.

        Returns:
            Its settings.
        """
        values: dict[str, Any] = self.shared_with(FineTuningConfig) | {"max_steps": self.max_steps or None}
        return FineTuningConfig(dataset_path=dataset_path, output_dir=output_dir, **values)

    def check_ranges(self) -> None:
        """See `NotebookSettings`."""
        self.config(Path(), Path())


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

    @property
    def adapter_name(self) -> str:
        """What the adapter's folder and zip are called."""
        return f"hb-{self.platform}-{self.split_id:02d}" + "-rehearsal" * self.rehearses

    def config(self, dataset_path: Path, output_dir: Path) -> FineTuningConfig:
        """Makes what `HouseBrainFineTuner` takes; a rehearsal takes 20 steps with a checkpoint in the middle.

        Args:
            dataset_path: the bundle.
            output_dir: folder for checkpoints and adapter.

        Returns:
            Its settings.
        """
        hours = self.time_budget_hours or TIME_BUDGET_HOURS[self.platform]
        values = self.shared_with(FineTuningConfig)
        values |= {"max_steps": self.max_steps or None, "time_budget_hours": hours}
        if self.rehearses:
            values |= {"max_steps": 20, "save_steps": 10}
        return FineTuningConfig(dataset_path=dataset_path, output_dir=output_dir, **values)


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
    overwrite: bool = same_as(MergeConfig, "overwrite")

    def config(self, models: list[Path]) -> MergeConfig:
        """Makes what `merge_adapters` takes; data and base model are named only where something is measured.

        Args:
            models: adapter folders and zips.

        Returns:
            Its settings.
        """
        values = self.shared_with(MergeConfig) | {"models": models, "compare": self.run_validation}
        values["base_model"] = self.base_model or None
        if self.run_validation or self.strategy in ("greedy", "search"):
            values["data"] = self.splits_folder
        else:
            del values["base_model"]
        return MergeConfig(**values)

    def check_ranges(self) -> None:
        """See `NotebookSettings`."""
        self.config([Path()])


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
