"""The settings of every stage: typed, each field with its meaning and unit, all problems reported at once."""

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
            raise ConfigError(describe_problems(cls, error)) from None


def describe_problems(config: type[BaseModel], error: ValidationError) -> str:
    """All problems of one settings object as text, one line each, with the names that do exist."""
    problems: dict[str, list[str]] = {}
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else config.__name__
        if problem["type"] == "extra_forbidden":
            problems[name] = [f"{name}: there is no such setting; there are {', '.join(config.model_fields)}"]
        elif problem["type"] == "missing":
            problems[name] = [f"{name}: this setting is needed"]
        else:
            text = problem["msg"].removeprefix("Value error, ")
            problems.setdefault(name, [f"{name} = {problem['input']!r}"]).append(text[0].lower() + text[1:])
    lines = [": ".join([lines[0], ", or ".join(lines[1:])]) if lines[1:] else lines[0] for lines in problems.values()]
    return f"{config.__name__}: " + "\n  ".join(["these settings cannot be used:", *lines])


class SplitConfig(Settings):
    """How a dataset is cut into one split per person."""

    source: Path
    """Dataset: a folder of JSON files, or JSONL (plain, .gz, .zst) or Parquet files."""
    output: Path = Path("housebrain_splits")
    """Folder to write; it must not exist yet."""
    splits: Annotated[int, Field(ge=1, le=99)] = 6
    """Number of splits, one per person."""
    seed: int = 42
    """Seed of the one shuffle made before cutting."""
    validation_samples: Count = 200
    """Validation samples that go into every bundle, the same ones."""
    max_bad: Share = 0.01
    """Share of unreadable samples above which nothing is written, in [0, 1]."""
    where: list[str] = []
    """Take only samples that have this value, such as metadata.region=Asia_India; of several, all must hold."""
    sample: Count | None = None
    """Training samples to take, chosen by the seed; all when not given."""
    drop_duplicates: bool = False
    """Leave out samples with the content of an earlier one, and training samples that are in validation too."""
    bundle: Literal["parquet", "json"] = "parquet"
    """What is uploaded: prompts and completions ready to train on, or a zip of the split's JSON files."""
    overwrite: bool = False
    """Replace an output folder that an earlier split wrote."""


class AuditConfig(Settings):
    """What to look at before anyone spends a GPU hour on a dataset."""

    source: Path
    """Dataset: a folder of JSON files, or JSONL (plain, .gz, .zst) or Parquet files."""
    output: Path = Path("audit")
    """Folder for audit.html and audit.json; those two files are replaced."""
    tokenizer: str | None = None
    """Tokenizer to measure lengths with: a Hugging Face id, or a folder with tokenizer.json; none when not given."""
    max_length: Count = 512
    """Tokens above which a sample, prompt and answer, counts as too long."""


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


class InspectConfig(Settings):
    """What came back from training, looked at before it is merged."""

    models: Annotated[list[Path], Field(min_length=1)]
    """Adapter folders, or zips of them."""
    output: Path | None = None
    """Folder for the table and the figures; by default nothing is written."""


class ConvertConfig(Settings):
    """A pickled adapter made into a safe one."""

    models: Annotated[list[Path], Field(min_length=1)]
    """Folders with an adapter_model.bin of somebody you trust."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 300
    """Seconds after which the separate process is ended."""
    memory_gb: Annotated[float, Field(gt=0)] = 8
    """Address space, in GB, that the separate process may use."""


class MergeConfig(Settings):
    """How adapters become one adapter."""

    models: Annotated[list[Path], Field(min_length=1)]
    """Adapter folders, or zips of them."""
    exclude: list[Path] = []
    """Those of the models to leave out."""
    output: Path = Path("models/housebrain-merged")
    """Folder for the merged adapter, or with into_base for the full model."""
    strategy: Literal["average", "weighted", "best", "greedy", "search", "ties", "ab-average"] = "average"
    """average: equal weights; weighted: see weigh_by; best: lowest validation loss; greedy: those whose joining lowers
    the validation loss; search: weights and scale of the lowest validation loss; ties: for splits that are not alike;
    ab-average: the average of A and B apart, which is not the average of the adapters, for comparison only."""
    weigh_by: Literal["tokens", "samples", "validation_loss"] = "tokens"
    """What the strategy weighted counts; validation_loss weighs by its inverse."""
    weights: list[Annotated[float, Field(ge=0)]] = []
    """Weights for the strategy weighted, in the order of the models; they are divided by their sum."""
    scale: Annotated[float, Field(gt=0, le=10)] | Literal["auto"] = 1.0
    """Factor of the merged update (lambda); auto chooses it on the validation sample."""
    density: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the entries that the strategy ties keeps of each adapter."""
    rank: Annotated[int, Field(ge=1, le=4096)] | Literal["auto", "full"] = "auto"
    """Rank of the merged adapter: full is lossless, auto keeps 99.9 % of the energy."""
    run_validation: bool = False
    """Measure base, adapters and merge on the validation sample, and parse a generated design."""
    compare: bool = False
    """With the validation, measure the other strategies too."""
    data: Path = Path("housebrain_splits")
    """Where the validation sample is: a splits folder, a bundle, or any dataset."""
    base_model: str | None = None
    """Where the base model is on this machine, for the validation; by default its recorded name."""
    into_base: str | None = None
    """Base model (folder or Hugging Face id) to add the update to: writes a full model in float16, no adapter."""
    base_view: Literal["auto", "fp16", "nf4-dequant"] = "auto"
    """Weights that into_base adds to: the base as it is, or as 4-bit training saw it; auto takes the better one on
    the validation sample, or what the adapters were trained on."""
    accept_plain: bool = False
    """Accept ordinary PEFT folders, whose origin cannot be checked."""
    accept_unfinished: bool = False
    """Accept adapters whose training ended before its plan did."""
    overwrite: bool = False
    """Replace an output folder that an earlier merge wrote."""

    @model_validator(mode="after")
    def _check_weights(self):
        if self.weights and self.strategy != "weighted":
            raise ValueError(f"weights are for the strategy weighted, not for {self.strategy}")
        if self.weights and (len(self.weights) != len(self.models) or not sum(self.weights) > 0):
            raise ValueError(f"{len(self.weights)} weights for {len(self.models)} models, with sum {sum(self.weights)}")
        return self


class EvaluateConfig(Settings):
    """How models are judged."""

    models: Annotated[list[Path], Field(min_length=1)]
    """Adapter folders, or model folders."""
    data: Path = Path("housebrain_splits")
    """Validation samples: a splits folder, a bundle, or any dataset."""
    base_model: str | None = None
    """Where the base model is on this machine; by default its recorded name."""
    load_in_4bit: bool = False
    """Quantise model folders as training does; adapters always get the base they were trained on."""
    samples: Count = 100
    """Validation samples whose designs are generated and judged; the loss is measured on all."""
    output: Path = Path("evaluation.json")
    """File for the results; report.html and the answers, in a .jsonl of the same name, lie beside it."""
    batch_size: Count = 8
    """Designs generated at once."""
    max_new_tokens: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Tokens at most per answer; auto is the longest reference answer and a quarter more."""
    constrained: bool = False
    """Allow only tokens that keep an answer a design; the parse rates then say nothing about the model."""
    sampled: Annotated[int, Field(ge=0)] = 32
    """Briefs that are also answered at temperature 1, to see whether the free fields are as varied as in training."""
    limits: str = "NBC"
    """Numbers of the rule checks: NBC, IRC, or a JSON file with one's own."""
    seed: int = 0
    """Seed of the answers at temperature 1."""


class GenerateConfig(Settings):
    """How briefs become designs."""

    model: Path
    """Adapter folder, or model folder."""
    brief: str
    """File with one brief as JSON, or with one per line (.jsonl); - reads standard input."""
    output: Path | None = None
    """File for the design or designs; by default one design goes to standard output."""
    plot: Path | None = None
    """Draws the design as PNG; for many briefs a folder of drawings."""
    base_model: str | None = None
    """Where the base model is on this machine; by default its recorded name."""
    load_in_4bit: bool = False
    """Quantise a model folder as training does; an adapter always gets the base it was trained on."""
    constrained: bool = False
    """Allow only tokens that keep the answer a design (needs the extra `constrained`)."""
    batch_size: Count = 8
    """Designs generated at once."""
    max_new_tokens: Count = 1024
    """Tokens at most per design."""


class DemoConfig(Settings):
    """The whole chain on one computer, on generated data."""

    output: Path = Path("housebrain_demo")
    """Folder for everything that the demo makes."""
    samples: Annotated[int, Field(ge=30)] = 300
    """Training samples to generate."""
    splits: Annotated[int, Field(ge=2, le=9)] = 3
    """Splits, each trained by itself."""
    designs: Count = 16
    """Designs generated and judged for each model."""
    overwrite: bool = False
    """Replace what an earlier demo made."""
