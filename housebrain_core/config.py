"""The settings of every stage: typed, each field with its meaning and unit, all problems reported at once."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from housebrain_core.settings import Count, DatasetSettings, FineTuningConfig, Model, Seed, Settings, Share, refuse_idle

__all__ = ["FineTuningConfig"]  # the settings of training live in settings.py, and are imported from here


class AuditConfig(DatasetSettings):
    """What is looked at before a GPU hour is spent."""

    tokenizer: str | None = None
    """Tokenizer that lengths are counted with: a folder with tokenizer.json, or a Hub id; characters when not given."""
    output: Path = Path("audit.html")
    """The report; its figures lie beside it in a .json of the same name."""


class SplitConfig(DatasetSettings):
    """How a dataset is cut into one split per person."""

    output: Path = Path("housebrain_splits")
    """Folder to write; it must not exist yet."""
    splits: Annotated[int, Field(ge=1, le=99)] = 6
    """Number of splits, one per person."""
    seed: Seed = 42
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
    platform: list[str] = []
    """Where splits are trained: kaggle or colab for all, 2=kaggle for one; by default the first half is for Colab."""
    owner: list[str] = []
    """Kaggle user who trains a split, such as 4=alice: writes the folders that the kaggle client uploads."""
    training: list[str] = []
    """Settings of training that are not the defaults, such as epochs=1; they are filled into the notebooks."""
    rounds: Annotated[int, Field(ge=1, le=50)] | None = None
    """Merge so many times, each after a part of the training, instead of once at the end; 1 is a merge after a common
    start."""
    common_start: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = "auto"
    """With rounds: share of all training that the person of split 1 does alone before them, 0 for none; auto is as much
    as training one split once."""
    relay: bool = False
    """Train the splits one after another, each from the adapter that the one before left; nothing is merged."""
    relay_legs: Annotated[int, Field(ge=2, le=98)] | None = None
    """With relay: in so many legs, fewer than the splits; some are then trained at the same time and merged."""
    init_adapter: Path | None = None
    """Folder of an adapter that training starts from, such as models/housebrain-merged; it goes into every bundle."""
    overwrite: bool = False
    """Replace an output folder that an earlier split wrote."""

    @model_validator(mode="after")
    def _check_legs(self) -> Self:
        several = "with one split there is one person, who trains it in one go"
        alone = self.rounds == 1 and not self.common_start
        single = "without a common start it is the one merge that there is without --rounds"
        no_rounds = "a relay has no rounds" if self.relay else several
        needs = {
            "rounds": (not self.relay and self.splits > 1 and not alone, single if alone else no_rounds),
            "common_start": (bool(self.rounds) or self.common_start == "auto", "it comes before rounds"),
            "relay": (self.splits > 1, several),
            "relay_legs": (self.relay and (self.relay_legs or 0) < self.splits, "it is for a relay of more splits"),
        }
        refuse_idle(self, needs)
        return self


class PlanConfig(Settings):
    """How long training will take, and what each way of training costs."""

    splits: Path = Path("housebrain_splits")
    """A splits folder, or one bundle of it."""
    gpu: Literal["t4", "t4x2", "l4", "a100", "h100"] = "t4"
    """What each person trains on."""
    base_model: str = "Qwen/Qwen2.5-Coder-1.5B"
    """Model to adapt: a Hugging Face id, or a folder."""
    epochs: Count = 2
    """Passes over a split."""
    row_length: Annotated[int, Field(ge=16, le=10**9)] = 2048
    """Tokens in a packed row."""
    tokens_per_second: Annotated[float, Field(gt=0)] | None = None
    """A rate that a run has printed; replaces the range estimated from the GPU."""
    rented: Literal["l4", "a100", "h100"] = "a100"
    """A GPU that could be rented, to train on everything at once instead."""
    price_per_hour: Annotated[float, Field(gt=0)] | None = None
    """What an hour of the rented GPU costs, in any currency."""

    @model_validator(mode="after")
    def _check_use(self) -> Self:
        refuse_idle(self, {"row_length": (not self.tokens_per_second, "a given --tokens-per-second has it in it")})
        return self


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
    timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 300
    """Seconds after which the separate process is ended."""
    memory_gb: Annotated[float, Field(gt=0, le=4096)] = 8
    """Address space, in GB, that the separate process may use."""


class MergeConfig(Settings):
    """How adapters become one adapter."""

    models: Annotated[list[Path], Field(min_length=1)]
    """Adapter folders, or zips of them."""
    exclude: list[Path] = []
    """Those of the models to leave out."""
    output: Path = Path("models/housebrain-merged")
    """Folder for the merged adapter, or the full model."""
    strategy: Literal["average", "weighted", "best", "greedy", "search", "ties", "ab-average"] = "average"
    """average: equal weights; weighted: by tokens; best: lowest validation loss; greedy: those whose joining lowers
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
    """Weights that into_base adds to: the base as it is, or as 4-bit training saw it; auto takes what the adapters were
    trained on, or with --validate the one of lower validation loss (both full models are written and loaded)."""
    accept_plain: bool = False
    """Accept ordinary PEFT folders, whose origin cannot be checked."""
    accept_unfinished: bool = False
    """Accept adapters whose training ended before its plan did."""
    accept_mixed_data: bool = False
    """Accept adapters that were trained on different datasets."""
    accept_mixed_seeds: bool = False
    """Accept adapters of different starts (lora_seed, or the adapter to go on from); their mean is often poor."""
    accept_other_base_name: bool = False
    """Accept base models of other names, such as the Hub's and a folder's, that you know to be the same model."""
    accept_outliers: bool = False
    """Believe tokens, samples and losses that are far from those of the other adapters, and make weights of them."""
    overwrite: bool = False
    """Replace an output folder that an earlier merge wrote."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        searched = self.strategy in ("greedy", "search") or self.scale == "auto"
        validated, compared = self.run_validation or searched, self.compare and not self.into_base
        problem = ""
        if self.weights and self.strategy != "weighted":
            problem = f"they are for the strategy weighted, not for {self.strategy}"
        elif self.weights and (len(self.weights) != len(self.models) or not sum(self.weights) > 0):
            problem = f"{len(self.weights)} numbers with sum {sum(self.weights):g} for {len(self.models)} models"
        where = "it is for the validation, which --validate asks for"
        weighs = self.strategy == "weighted" and not self.weights
        needs = {
            "weigh_by": (weighs, "it is for --strategy weighted without --weights"),
            "density": (self.strategy == "ties" or compared, "it is for --strategy ties"),
            "compare": (validated and not self.into_base, "it is for --validate without --into-base"),
            "data": (validated, where),
            "base_model": (validated and not self.into_base, f"{where}; --into-base names its own base"),
            "base_view": (bool(self.into_base), "it is for --into-base"),
        }
        refuse_idle(self, needs, (f"weights: {problem}",) * bool(problem))
        return self


class RoundConfig(Settings):
    """What happens when the adapters of a leg of a plan have come back."""

    models: Annotated[list[Path], Field(min_length=1)]
    """Adapter folders, or zips of them; those of earlier legs may be among them."""
    exclude: list[Path] = []
    """Those of the models to leave out."""
    splits: Path = Path("housebrain_splits")
    """The splits folder; it holds the plan, and the validation sample."""
    output: Path = Path("rounds")
    """Folder for the state of the plan, and for what everybody trains on next."""
    merged: Path = Path("models/housebrain-merged")
    """Folder for the model, after the last leg."""
    accept_missing: bool = False
    """End the leg without those whose adapters are missing; they may come back in the next."""
    finish: bool = False
    """End the plan early: after the leg that is trained now, everybody trains one short last leg."""
    run_validation: bool = True
    """Measure base, adapters and merge on the validation sample."""
    base_model: str | None = None
    """Where the base model is on this machine, for the validation; by default its recorded name."""
    overwrite: bool = False
    """Replace a merged model that an earlier merge wrote."""

    @model_validator(mode="after")
    def _check_use(self) -> Self:
        where = "it is for the validation, which --no-validate leaves out"
        refuse_idle(self, {"base_model": (self.run_validation, where)})
        return self


class EvaluateConfig(Settings):
    """How models are judged."""

    models: Annotated[list[Model], Field(min_length=1)]
    """Adapter folders, model folders, or addresses of servers, such as http://localhost:8000/v1#name."""
    data: Path = Path("housebrain_splits")
    """Validation samples: a splits folder, a bundle, or any dataset."""
    base_model: str | None = None
    """Where the base model is on this machine; by default its recorded name."""
    load_in_4bit: bool = False
    """Quantise model folders as training does; adapters always get the base they were trained on."""
    samples: Count = 100
    """Validation samples whose designs are generated and judged; the loss is measured on all."""
    output: Path = Path("evaluation.json")
    """File for the results; the answers lie beside it as .jsonl, the page as report.html or under the file's name."""
    batch_size: Count = 8
    """Designs generated at once."""
    max_new_tokens: Count | Literal["auto"] = "auto"
    """Tokens at most per answer; auto is the longest reference answer and a quarter more."""
    constrained: bool = False
    """Allow only tokens that keep an answer a design; the parse rates then say nothing about the model."""
    sampled: Annotated[int, Field(ge=0)] = 32
    """Briefs that are also answered at temperature 1, to see whether the free fields are as varied as in training."""
    limits: str = "NBC"
    """Numbers of the rule checks: NBC, IRC, or a JSON file with one's own."""
    seed: Seed = 0
    """Seed of the answers at temperature 1."""

    @model_validator(mode="after")
    def _check_use(self) -> Self:
        refuse_idle(self, {"seed": (self.sampled > 0, "it is for answers at temperature 1, and --sampled is 0")})
        return self


class GenerateConfig(Settings):
    """How briefs become designs."""

    model: Model
    """Adapter folder, model folder, or the address of a server, such as http://localhost:8000/v1#name."""
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
    overwrite: bool = False
    """Replace designs, or any other file, at the output's name."""


class DemoConfig(Settings):
    """The whole chain on one computer, on generated data."""

    output: Path = Path("housebrain_demo")
    """Folder for everything that the demo makes."""
    samples: Annotated[int, Field(ge=30)] = 360
    """Training samples to generate."""
    splits: Annotated[int, Field(ge=2, le=9)] = 3
    """Splits, each trained by itself."""
    designs: Count = 64
    """Designs generated and judged for each model."""
    overwrite: bool = False
    """Replace what an earlier demo made."""
