"""What all settings share, conditions on samples, and the settings of training, which travel with the notebooks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from housebrain_core.errors import SWITCHES, ConfigError
from housebrain_core.texts import as_given, clip

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Length = Annotated[int, Field(ge=16, le=10**9)]  # in tokens
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What numpy and torch take both."""
Processes = Annotated[int, Field(ge=1, le=8)]
Switch = Literal["auto", "on", "off"]


def is_url(value: Any) -> bool:
    """Whether a value is the address of a server, and not a path."""
    return isinstance(value, str) and value.lower().startswith(("http://", "https://"))


Model = Annotated[
    str | Path, Field(union_mode="left_to_right"), AfterValidator(lambda value: value if is_url(value) else Path(value))
]
"""A folder, or the address of a server as it was given: a Path would make one slash of two."""


class Settings(BaseModel):
    """Base of all settings: immutable, no unknown fields, `ConfigError` instead of pydantic's own error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Tells messages which of the settings are switches, so that a notebook reads `overwrite = True`."""
        SWITCHES.update(name for name, field in cls.model_fields.items() if field.annotation is bool)

    @field_validator("*", mode="wrap")
    @classmethod
    def _read_text(cls, value: Any, handler: Callable[[Any], Any], info: ValidationInfo) -> Any:
        """Takes text as a person means it, in every setting that is or has text."""
        if value == cls.model_fields[str(info.field_name)].default:
            return handler(value)
        setting = handler([_as_meant(word) for word in value] if isinstance(value, list) else _as_meant(value))
        if isinstance(setting, Path) and is_url(value):
            raise ValueError("that is an address; name a file or folder of this computer")
        return setting

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, values: Any, handler: Callable[[Any], Self]) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            problems = error.errors()
        lines: dict[str, str] = {}
        for problem in problems:
            name = str(next(iter(problem["loc"]), cls.__name__))
            text = problem["msg"].removeprefix("Value error, ").partition(" for <class")[0]
            if problem["type"] == "extra_forbidden":
                text = f"there is no such setting; there are {', '.join(cls.model_fields)}"
            elif problem["type"] == "missing":
                text = "this setting is needed"
            else:
                name, text = f"{name} = {as_given(problem['input'])}", text[0].lower() + text[1:]
            lines[name] = f"{lines[name]}, or {text}" if name in lines else f"{name}: {text}"
        raise ConfigError("\n  ".join([f"{cls.__name__}: these settings cannot be used:", *lines.values()]))


def _as_meant(value: Any) -> Any:
    """A text or path whose ~ is the person's home, as shells leave it in --flag=~/x; other values as they are.

    Raises:
        ValueError: it is empty, as where a shell's variable is not set, or no file can have it in its name.
    """
    text = str(value) if isinstance(value, str | Path) else "x"
    if not text.strip():
        raise ValueError("it is empty; give a value, or leave it out")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("it has bytes that are no UTF-8, which files of models cannot have in their names; rename it")
    if text != "~" and not text.startswith(("~/", "~\\")):
        return value
    return type(value)(Path(text).expanduser())


def refuse_idle(settings: Settings, needs: dict[str, tuple[bool, str]], problems: tuple[str, ...] = ()) -> None:
    """Raises ConfigError for settings that a person gave and that would do nothing, with other problems.

    Args:
        settings: a False or None among them asks for nothing, and neither does a default that nobody gave.
        needs: name -> whether it is used, and what it is for.
        problems: lines of what else is wrong.
    """
    lines = []
    for name, (used, purpose) in needs.items():
        value = getattr(settings, name)
        if name in settings.model_fields_set and not used and value not in (None, False):
            lines.append(f"{name if value is True else f'{name} = {clip(str(value))}'}: it would do nothing; {purpose}")
    if lines := [*problems, *lines]:  # the base class explains only what is wrong with single settings
        raise ConfigError("\n  ".join([f"{type(settings).__name__}: these settings cannot be used:", *lines]))


def write_literal(value: Any) -> str:
    """A value as Python source, with double quotes."""
    return json.dumps(value) if isinstance(value, str | list) else repr(value)


class DatasetSettings(Settings):
    """Which dataset, and what of its samples is the question and the answer."""

    source: Path
    """Dataset: a folder of JSON files, or JSON, JSONL or CSV (plain, .gz, .zst) or Parquet files."""
    input_field: list[str] = []
    """Field that is a sample's input, such as instruction or data.question; several make an object [default: input]"""
    output_field: list[str] = []
    """Field that is a sample's output, such as response or messages.-1.content [default: output]"""


class FineTuningConfig(Settings):
    """How one split becomes one LoRA adapter. The defaults are the baseline of the guide."""

    dataset_path: Path = Field(description="What to train on: a bundle (zip or unpacked), a split folder, any dataset.")
    output_dir: Path = Field(description="Folder for checkpoints and the adapter, such as models/hb-kaggle-04.")
    init_adapter: Path | None = Field(default=None, description="What to start from: a leg file, or an adapter folder.")
    base_model: str = Field(
        default="Qwen/Qwen2.5-Coder-1.5B", description="Model to adapt: a Hub id, a folder, or tiny."
    )
    revision: str | None = Field(
        default=None, description="Commit of the base model on the Hub; the newest when not given."
    )
    epochs: Count = Field(default=2, description="Passes over the split.")
    max_steps: Count | None = Field(default=None, description="Optimizer steps, instead of what the epochs need.")
    batch_size: Count = Field(default=1, description="Samples per micro-batch, counted as 512 tokens each.")
    gradient_accumulation_steps: Count = Field(
        default=16, description="Micro-batches per step, of batch_size x 512 tokens."
    )
    max_length: Length | Literal["auto"] = Field(
        default="auto", description="Longest sample in tokens; auto: 512 or more."
    )
    row_length: Length = Field(default=2048, description="Tokens in a packed row.")
    learning_rate: float = Field(
        default=2e-4, gt=0, le=1, description="Peak learning rate; cosine decay after a warm-up."
    )
    warmup_share: Share = Field(default=0.03, description="Share of the optimizer steps that warm up.")
    lora_r: int = Field(default=8, ge=1, le=256, description="LoRA rank.")
    lora_alpha: Count = Field(default=16, description="LoRA alpha; the update is (alpha / rank) x B @ A.")
    lora_dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout on the input of A.")
    seed: Seed = Field(default=42, description="Seed of the data order.")
    lora_seed: Seed = Field(
        default=42, description="Seed of the LoRA initialisation; the same for all splits of one merge."
    )
    load_in_4bit: bool = Field(default=True, description="Quantise the base model to NF4 with double quantisation.")
    gpus: Processes | Literal["all"] = Field(default="all", description="GPUs that train together, a process each.")
    gradient_checkpointing: Switch = Field(
        default="auto", description="Less memory, a third more time; auto: when needed."
    )
    save_steps: Count = Field(default=200, description="Optimizer steps between checkpoints.")
    save_minutes: float = Field(default=10.0, gt=0, description="Minutes between checkpoints; whichever comes first.")
    logging_steps: Count = Field(default=5, description="Optimizer steps between progress lines.")
    full_epochs: bool = Field(default=False, description="Train all epochs even when nothing more is learned.")
    time_budget_hours: float | None = Field(
        default=None, gt=0, description="Hours of a session; then training saves and ends."
    )

    def to_record(self) -> dict[str, Any]:
        """The settings as run.json has them, which is sent to others.

        Returns:
            Name -> value, as JSON has it; of a path, and of a base model that is one, the last name only.
        """
        values = self.model_dump(mode="json")
        for name, value in self:
            if isinstance(value, Path) or (name == "base_model" and Path(value).is_absolute()):
                values[name] = Path(value).name
        return values

    @property
    def rows_per_step(self) -> int:
        """Packed rows per optimizer step: the guide's tokens per step, in rows of `row_length`."""
        return max(1, round(self.batch_size * self.gradient_accumulation_steps * 512 / self.row_length))


class Condition(NamedTuple):
    """A field of a sample by its path, and the value that it must have, as text."""

    path: tuple[str, ...]
    value: str

    def holds(self, sample: dict[str, Any]) -> bool:
        """Whether a sample has that value: a text as it is, everything else as JSON (2, true, null)."""
        there: Any = sample
        for key in self.path:
            if not isinstance(there, dict) or key not in there:
                return False
            there = there[key]
        return (there if isinstance(there, str) else _dumps(there)) == self.value

    def describe(self, sample: dict[str, Any]) -> str:
        """What a sample has in its place: its value, or the names that are there."""
        there: Any = sample
        for depth, key in enumerate(self.path):
            if not isinstance(there, dict) or key not in there:
                names = ", ".join(list(there)[:20]) if isinstance(there, dict) else "no fields"
                return f"{'.'.join(self.path[:depth]) or 'the top'} has {names}"
            there = there[key]
        value = _dumps(there)
        return f"{'.'.join(self.path)} is {value if len(value) <= 100 else value[:96] + ' ...'}"


def parse_condition(text: str) -> Condition:
    """Reads PATH=VALUE, with a path from the top of a sample such as metadata.region or input.plot.shape.

    Raises:
        ConfigError: it is no condition.
    """
    path, equals, value = text.partition("=")
    keys = tuple(path.strip().split("."))
    if not equals or keys[0] not in ("id", "input", "output", "metadata"):
        raise ConfigError(
            f"where = {text!r} is no condition. Write PATH=VALUE with a path that starts with id, input, output or "
            "metadata, such as metadata.region=Asia_India."
        )
    return Condition(keys, value.strip())


def _dumps(value: Any) -> str:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
