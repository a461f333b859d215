"""The settings of the commands for other machines."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from housebrain_core.errors import ConfigError
from housebrain_core.settings import Count, FineTuningConfig, Length, Seed, Settings, refuse_idle


class KaggleConfig(Settings):
    """What is done on a person's own Kaggle account."""

    action: Literal["push", "status", "fetch"]
    """push uploads and starts a run, or goes on with one; status says how far it is; fetch takes the adapter home."""
    split: Annotated[int, Field(ge=1, le=99)]
    """Your split; `housebrain split --owner 4=alice` wrote its folders."""
    splits: Path = Path("housebrain_splits")
    """The splits folder, or the folder kaggle/split_NN of it that you were sent."""
    rounds: Path = Path("rounds")
    """Where leg files are, in a plan of several legs; the folder leg/ beside the notebook is looked in too."""
    models: Path = Path("models")
    """Folder that fetch puts the adapter into."""
    run: bool = True
    """Start the run, which uses up quota; --no-run only saves the notebook, for a rehearsal with Run All."""

    @model_validator(mode="after")
    def _check_use(self) -> Self:
        there = (self.rounds.is_dir(), "there is no such folder")
        refuse_idle(self, {"rounds": there, "models": (self.action == "fetch", "it is for fetch")})
        return self


def _trained_with(name: str) -> Any:
    """A setting of training with its own default and text; only what is given goes into the notebook."""
    return FineTuningConfig.model_fields[name]


def _check_splits(text: str) -> str:
    if not re.fullmatch(r"all|\d{1,2}(-\d{1,2})?(,\d{1,2}(-\d{1,2})?)*", text):
        raise ValueError("expected all, or numbers such as 1-6 or 1,4-6")
    return text


class RunConfig(Settings):
    """How splits are trained on machines of one's own, leg after leg."""

    splits: Annotated[str, AfterValidator(_check_splits)] = "all"
    """Splits to train, such as 1-6 or 1,4-6; in a plan of several legs those of them whose turn it is."""
    rounds: Count | None = None
    """Stop after so many rounds of the plan, a common start not counted; after all of them when not given."""
    on: Literal["local", "ray"] = "local"
    """local is this computer; ray is the cluster that RAY_ADDRESS names, or Ray on this computer (needs ray)."""
    at_once: Count | None = None
    """Runs at the same time on this computer; one for each GPU, or one without GPUs, when not given."""
    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    """How often a run is tried whose process or machine died; it goes on from its last checkpoint."""
    judge: bool = True
    """Measure every merge on the validation sample, and evaluate the model at the end."""
    splits_folder: Path = Path("housebrain_splits")
    """What housebrain split wrote; it has the plan."""
    models_folder: Path = Path("models")
    """Folder for adapters, and for the merged model."""
    base_model: str = _trained_with("base_model")
    epochs: Count = _trained_with("epochs")
    learning_rate: float = _trained_with("learning_rate")
    gradient_accumulation_steps: Count = _trained_with("gradient_accumulation_steps")
    row_length: Length = _trained_with("row_length")
    lora_r: int = _trained_with("lora_r")
    max_steps: Count | None = _trained_with("max_steps")
    save_steps: Count = _trained_with("save_steps")
    seed: Seed = _trained_with("seed")
    load_in_4bit: bool = _trained_with("load_in_4bit")

    @model_validator(mode="after")
    def _check_use(self) -> Self:
        refuse_idle(self, {"at_once": (self.on == "local", "Ray runs as many at once as its cluster has GPUs")})
        return self

    @property
    def training(self) -> dict[str, Any]:
        """The settings of training that were given, as the notebook takes them."""
        names = self.model_fields_set & set(FineTuningConfig.model_fields)
        return {name: getattr(self, name) for name in sorted(names)}


def choose_splits(text: str, there: list[int]) -> set[int]:
    """The splits that are named, such as {1, 4, 5, 6} for 1,4-6.

    Raises:
        ConfigError: there is no such split.
    """
    if text == "all":
        return set(there)
    chosen: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        chosen |= set(range(int(first), int(last or first) + 1))
    missing = sorted(chosen - set(there))
    if missing or not chosen:
        raise ConfigError(
            f"splits = {text}: there is no split {', '.join(map(str, missing)) or 'in it'}; there are "
            f"{', '.join(map(str, there))}."
        )
    return chosen
