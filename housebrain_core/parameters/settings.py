"""The settings of each notebook, typed; notebook_cells.py writes them into its parameters cell and checks them."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from housebrain_core.config import EvaluateConfig, MergeConfig, RoundConfig, SplitConfig
from housebrain_core.errors import ConfigError
from housebrain_core.export.settings import ExportConfig
from housebrain_core.parameters.fields import NotebookSettings, same_as
from housebrain_core.parameters.training import ColabTrainSettings, KaggleTrainSettings, LocalTrainSettings
from housebrain_core.select.settings import SelectConfig


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
    drop_duplicates: bool = same_as(SplitConfig, "drop_duplicates")
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


class DeploySettings(NotebookSettings):
    """Notebook 6."""

    model: str = same_as(ExportConfig, "model", default=str(MergeConfig.model_fields["output"].default))
    format: Literal["adapter", "full", "gguf", "ollama", "vllm"] = same_as(ExportConfig, "format", default="full")
    output: str = same_as(ExportConfig, "output", default="")
    base_model: str = same_as(ExportConfig, "base_model", default="")
    dtype: Literal["keep", "float16", "bfloat16", "float32"] = same_as(ExportConfig, "dtype")
    quantise: str = same_as(ExportConfig, "quantise", "; empty for none", default="")
    data: str = same_as(ExportConfig, "data")
    dataset: str = same_as(ExportConfig, "dataset", default="")
    dataset_licence: str = same_as(ExportConfig, "dataset_licence", default="")
    base_licence: str = same_as(ExportConfig, "base_licence", default="")
    overwrite: bool = same_as(ExportConfig, "overwrite")

    def config(self) -> ExportConfig:
        """Makes what `export_model` takes; what is as it was by default is not asked for.

        Returns:
            Its settings.
        """
        values = self.shared_with(ExportConfig)
        fields = ExportConfig.model_fields
        return ExportConfig(
            **{name: value for name, value in values.items() if str(value) != str(fields[name].default)}
        )

    def check_ranges(self) -> None:
        """See `NotebookSettings`."""
        self.config()


class NextRoundSettings(NotebookSettings):
    """Notebook 5."""

    source: str = same_as(SelectConfig, "source", default="housebrain_dataset_v5_350k")
    evaluation: str = same_as(SelectConfig, "evaluation", default="evaluation.json")
    where: list[str] = same_as(SelectConfig, "where")
    clean_rules: list[str] = same_as(SelectConfig, "clean_rules", default=["parking"])
    difficulty: Literal["", "hardest", "middle", "easiest"] = same_as(
        SelectConfig, "difficulty", "; empty for all briefs", default=""
    )
    failed: list[str] = same_as(SelectConfig, "failed", default=[])
    ordinary: float = same_as(SelectConfig, "ordinary")
    at_least: int = same_as(SelectConfig, "at_least")
    output: str = same_as(SelectConfig, "output")
    init_adapter: str = same_as(SplitConfig, "init_adapter", default=str(MergeConfig.model_fields["output"].default))
    splits: int = same_as(SplitConfig, "splits")
    validation_samples: int = same_as(SplitConfig, "validation_samples")
    splits_output: str = Field("housebrain_second", description="Folder for the splits of the second round.")
    seed: int = same_as(SelectConfig, "seed")
    overwrite: bool = same_as(SelectConfig, "overwrite", ", and its splits")

    def select_config(self) -> SelectConfig:
        """Makes what `select_samples` takes; the evaluation is named only where failures are asked for.

        Returns:
            Its settings.
        """
        values = self.shared_with(SelectConfig)
        if not self.failed:
            del values["evaluation"]
        return SelectConfig(**values)

    def split_config(self) -> SplitConfig:
        """Makes what `split_dataset` takes for the selection.

        Returns:
            Its settings.
        """
        names = ("init_adapter", "splits", "validation_samples", "seed", "overwrite")
        values = {name: getattr(self, name) for name in names}
        return SplitConfig(source=Path(self.output), output=Path(self.splits_output), **values)

    def check_ranges(self) -> None:
        """See `NotebookSettings`."""
        self.select_config()
        self.split_config()


NOTEBOOKS: dict[tuple[str, str], type[NotebookSettings]] = {
    ("01_split", "local"): SplitSettings,
    ("02_train", "local"): LocalTrainSettings,
    ("02_train", "kaggle"): KaggleTrainSettings,
    ("02_train", "colab"): ColabTrainSettings,
    ("03_merge", "local"): MergeSettings,
    ("04_evaluate", "local"): EvaluateSettings,
    ("05_next_round", "local"): NextRoundSettings,
    ("06_deploy", "local"): DeploySettings,
}
"""Notebook and platform -> its settings."""
