"""What all settings share, and those of training, which travel with the cloud notebooks."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from housebrain_core.errors import ConfigError

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """Base of all settings: immutable, no unknown fields, `ConfigError` instead of pydantic's own error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, values, handler):
        try:
            return handler(values)
        except ValidationError as error:
            problems = error.errors()
        lines: dict[str, str] = {}
        for problem in problems:
            name = str(next(iter(problem["loc"]), cls.__name__))
            text = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                text = f"there is no such setting; there are {', '.join(cls.model_fields)}"
            elif problem["type"] == "missing":
                text = "this setting is needed"
            else:
                name, text = f"{name} = {problem['input']!r}", text[0].lower() + text[1:]
            lines[name] = f"{lines[name]}, or {text}" if name in lines else f"{name}: {text}"
        raise ConfigError("\n  ".join([f"{cls.__name__}: these settings cannot be used:", *lines.values()]))


class FineTuningConfig(Settings):
    """How one split becomes one LoRA adapter. The defaults are the baseline of the guide."""

    dataset_path: Path
    """What to train on: a bundle (zip or unpacked), a split folder, or any dataset."""
    output_dir: Path
    """Folder for checkpoints and the finished adapter, such as models/hb-kaggle-04."""
    base_model: str = "Qwen/Qwen2.5-Coder-1.5B"
    """Model to adapt: a Hugging Face id, or a folder."""
    revision: str | None = None
    """Commit of the base model on the Hub; resolved and recorded when not given."""
    epochs: Count = 2
    """Passes over the split."""
    max_steps: Count | None = None
    """Optimizer steps at most; by default what the epochs need."""
    batch_size: Count = 1
    """Samples per micro-batch, in units of 512 tokens: packed rows hold several whole samples."""
    gradient_accumulation_steps: Count = 16
    """Micro-batches per optimizer step; tokens per step = batch_size x this x 512."""
    max_length: Annotated[int, Field(ge=16)] | Literal["auto"] = "auto"
    """Longest sample, prompt and answer, in tokens; auto is 512, or more when the data needs it."""
    row_length: Annotated[int, Field(ge=16)] = 2048
    """Tokens in a packed row."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-4
    """Peak learning rate; cosine decay after a warm-up."""
    warmup_share: Share = 0.03
    """Share of the optimizer steps that warm up."""
    lora_r: Annotated[int, Field(ge=1, le=256)] = 8
    """LoRA rank."""
    lora_alpha: Count = 16
    """LoRA alpha; the update is (alpha / rank) x B @ A."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on the input of A."""
    seed: int = 42
    """Seed of the data order."""
    lora_seed: int = 42
    """Seed of the LoRA initialisation; the same for all splits of one merge."""
    load_in_4bit: bool = True
    """Quantise the base model to NF4 with double quantisation."""
    gpus: Annotated[int, Field(ge=1, le=8)] = 1
    """GPUs of this machine that train together, one process each; without any GPU, processes on the CPU."""
    gradient_checkpointing: Literal["auto", "on", "off"] = "auto"
    """Less memory for a third more time; auto turns it on only when the fullest row needs it."""
    save_steps: Count = 200
    """Optimizer steps between checkpoints."""
    save_minutes: Annotated[float, Field(gt=0)] = 10.0
    """Minutes between checkpoints; whichever comes first."""
    logging_steps: Count = 5
    """Optimizer steps between progress lines."""
    full_epochs: bool = False
    """Train all epochs even when the validation loss has stopped falling; max_steps does that too."""
    time_budget_hours: Annotated[float, Field(gt=0)] | None = None
    """Hours from the start of the session after which training saves and ends; no limit when not given."""

    @property
    def rows_per_step(self) -> int:
        """Packed rows per optimizer step: the guide's tokens per step, in rows of `row_length`."""
        return max(1, round(self.batch_size * self.gradient_accumulation_steps * 512 / self.row_length))
