"""run.json, the record of a run: written beside every adapter, read by all later stages. Needs no torch."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from housebrain_core.contents import Source, read_record
from housebrain_core.errors import DataError
from housebrain_core.texts import render, to_yaml

FILE = "run.json"
STOPPED_BY_YOU = "stopped by you"
"""Why a run ended that was interrupted: the stop button of a notebook, or Ctrl-C."""
HASH_PREFIX = "sha256:"
"""What the recorded revision of a base model begins with where that is a folder's content hash, and no commit."""
FORMAT = 2
"""Version of run.json. 0.1.0 wrote files without a version, which count as format 1 and are read as they are."""

Count = Annotated[int, Field(ge=0)]
Measure = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
Ordinal = Annotated[int, Field(ge=1, le=99)]
"""Of a split or leg, or how many there are: as many as can be."""
Text = Annotated[str, Field(max_length=500)]


class Record(BaseModel):
    """A part of run.json: immutable, and strict, because it also comes from other people's accounts."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True)


class BaseRecord(Record):
    """The base model that was adapted."""

    name: Text | None = None
    """Id on the Hugging Face Hub, or the name of a folder."""
    revision: Text | None = None
    """Commit on the Hub, or "sha256:" and a hash over the folder's files."""
    content: Text | None = None
    """Hash over configuration and weights, the same wherever the model lies; None where it is not known."""


class DataRecord(Record):
    """The training data; None where it is not known, as with data that no split was cut from."""

    dataset: Text | None = None
    """Hash of the whole dataset."""
    split_id: Ordinal | None = None
    splits: Ordinal | None = None
    codec_version: int | None = None
    seed: int | None = None
    """Of the shuffle before cutting."""
    selection: Text | None = None
    """What a selected dataset was chosen from and how; None for any other."""


class SettingsRecord(Record):
    """The settings that later stages read; all others of `FineTuningConfig` are kept beside them."""

    model_config = ConfigDict(extra="allow")

    load_in_4bit: bool = True
    lora_seed: int | None = None
    max_steps: int | None = None
    epochs: int | None = None


class HardwareRecord(Record):
    """What it was trained on."""

    device: Text = ""
    gpus: Count = 0
    """Processes that trained together, one for each GPU; 1 on a CPU."""
    machine: Text = ""
    """Kind of processor, such as x86_64."""


class Run(Record):
    """What a run did. Losses are in nats per learned token; a merged adapter has no losses, steps or curve."""

    format: int = FORMAT
    """Of the file; a record that was read is one of the current format."""
    finished: bool
    why_it_ended: Text = ""
    plan: Text | None = None
    """Id of the plan that this run belongs to; None where there is no plan."""
    leg: Ordinal | None = None
    """Which leg of a plan this run is, from 1."""
    legs: Ordinal | None = None
    """Legs of the plan."""
    parent_sha256: Text | None = None
    """sha256 of the adapter weights that training started from; None for a fresh LoRA initialisation."""
    warning: Text = ""
    """Why a merged adapter is not to be used as it is; empty where nothing speaks against it."""
    steps: Count = 0
    """Optimizer steps that were done."""
    planned_steps: Count = 0
    epochs: Measure | None = None
    tokens: Count | None = None
    """Trained on, prompts included, over all sessions."""
    train_loss: Measure | None = None
    """Mean over the last logged steps."""
    validation_loss: Measure | None = None
    """On the validation sample, which all splits share."""
    seconds: Measure = 0.0
    """Of the last session, loading included."""
    tokens_per_second: Measure = 0.0
    """In the last session, saving and validation included, loading not."""
    split: Text = ""
    """Name of the bundle."""
    samples: Count | None = None
    refused: Count = 0
    """Samples that were left out because they do not fit into max_length."""
    settings: SettingsRecord = SettingsRecord()
    base: BaseRecord | None = None
    data: DataRecord = DataRecord()
    hardware: HardwareRecord = HardwareRecord()
    versions: dict[str, str] = {}
    """Library -> version."""
    curve: list[tuple[int, Measure]] = []
    """(step, training loss) as logged."""
    validation_curve: list[tuple[int, Measure]] = []
    """(step, validation loss) as measured during training."""
    floor: Measure | None = None
    """Entropy of the data, where the audit knew it: no model's loss can be lower."""
    hours_saved: Measure = 0.0
    """Hours of planned training that ending early saved, at the speed of the last session."""

    def to_dict(self) -> dict[str, Any]:
        """The contents of run.json."""
        return self.model_dump(mode="json")


def read_run(source: Source) -> Run:
    """Reads the contents of a run.json, also of one that 0.1.0 wrote.

    Args:
        source: the file, or its bytes; from anywhere.

    Returns:
        The record. Fields that the file does not have keep their defaults, and fields unknown here are left out.

    Raises:
        DataError: it is no such record, or one of a newer version.
    """
    where = FILE if isinstance(source, bytes) else str(source)
    try:
        run = read_record(Run, source)
    except DataError as error:
        raise DataError(f"{where} {error}. Copy the adapter folder again.") from None
    if run.format > FORMAT:
        raise DataError(
            f"{where} is of format {run.format}; this code reads formats up to {FORMAT}. Use a newer version of it."
        )
    return run


def describe_run(run: Run) -> str:
    """Says what a training run did, for notebooks and cards.

    Args:
        run: as `HouseBrainFineTuner.train` returns it.

    Returns:
        A heading and a table in Markdown.
    """
    return render("adapters", "run.md.jinja", run=run)


def adapter_card(run: Run) -> str:
    """README.md of the adapter folder: the run, below the front matter that the Hugging Face Hub reads."""
    base = run.base.name if run.base else None
    named = f"base_model: {to_yaml(base)}\n" if base else ""
    front_matter = f"---\n{named}library_name: peft\npipeline_tag: text-generation\n---\n"
    return f"{front_matter}\n{describe_run(run)}"
