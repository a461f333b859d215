"""What training costs: GPUs, base models, quotas, and the arithmetic from them to tokens per second and weeks.

Every figure says where it comes from: measured by us, measured by others, arithmetic, or assumed.
"""

import math
from pathlib import Path
from typing import NamedTuple

from housebrain_core.contents import read_json
from housebrain_core.errors import DataError


class Range(NamedTuple):
    """The least and the most that a quantity may be."""

    least: float
    most: float

    def times(self, factor: float) -> "Range":
        """Both ends multiplied."""
        return Range(self.least * factor, self.most * factor)


class Gpu(NamedTuple):
    """What a kind of GPU does."""

    rate: float
    """TFLOP/s of half-precision matrix products."""
    rate_source: str
    memory: float
    """GB of one GPU."""
    share: Range
    """Share of that rate which training reaches, in [0, 1]."""
    share_source: str


T4 = Gpu(
    24, "measured by others: 4096^3 fp16 product under the 70 W cap, forums.developer.nvidia.com/t/264462",
    15, Range(0.25, 0.50), "estimate from published T4 runs",
)  # fmt: skip
"""The share gives 150 to 300 tokens/s at 6.7 billion parameters, an estimate from published runs of 95 to 220 without
packing (unslothai/unsloth README, February 2024, and unslothai/notebooks)."""
MATRIX_RATE = "measured by others: github.com/mag-/gpu_benchmark"
BIG_SHARE = Range(0.15, 0.40)
"""From Qwen's published 7.0 s for 8 x 2,048 tokens of Qwen-7B on an A100 (QwenLM/Qwen README): 36 %. The low
end is an assumption for small models, which spend more of the time between products."""
BIG_SOURCE = "estimate from Qwen README, 7B on an A100: 36 %; low end assumed"
GPUS = {
    "t4": T4,
    "t4x2": T4,
    "l4": Gpu(91.4, MATRIX_RATE, 22, BIG_SHARE, BIG_SOURCE),
    "a100": Gpu(256.4, MATRIX_RATE + ", PCIe", 40, BIG_SHARE, BIG_SOURCE),
    "h100": Gpu(499.5, MATRIX_RATE + ", PCIe", 80, BIG_SHARE, BIG_SOURCE),
}
TWO_GPUS = Range(1.0, 1.9)
"""Two GPUs against one: at worst one is used; at best the usual loss of data parallelism. Assumed."""
LARGE = 0.2
"""Share of a GPU's memory that the weights fill, above which gradient checkpointing is assumed to be needed."""
FITTING = 0.7
"""Share of a GPU's memory that the weights fill, above which training does not fit."""
SMALLEST = 5e7
"""Weights in the layers; with fewer, a GPU spends its time between the products, and its rate says nothing."""


class Shape(NamedTuple):
    """The sizes of a base model of the Llama and Qwen2 kind."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    key_value_heads: int
    vocabulary: int
    tied: bool

    @property
    def in_layers(self) -> int:
        """Weights in the linear layers, which NF4 holds and every token passes."""
        attention = 2 * self.hidden**2 + 2 * self.hidden**2 * self.key_value_heads // self.heads
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def embeddings(self) -> int:
        """Weights of embedding and output layer, which stay in half precision."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.in_layers + self.embeddings

    @property
    def bytes(self) -> float:
        """Memory of the weights: half a byte each in the layers, two in embedding and output layer."""
        return self.in_layers / 2 + 2 * self.embeddings


class BaseModelFacts(NamedTuple):
    """A base model: sizes from its config.json, licence from its card."""

    shape: Shape
    licence: str


DEEPSEEK = "DeepSeek Licence 1.0: commercial use allowed, its use restrictions pass on to what is made from it"
APACHE = "Apache-2.0"
UNKNOWN_LICENCE = "not known here; read its card"
BASES = {
    name: BaseModelFacts(Shape(*sizes), licence)
    for name, sizes, licence in (
        ("Qwen/Qwen2.5-Coder-0.5B", (896, 24, 4864, 14, 2, 151936, True), APACHE),
        ("deepseek-ai/deepseek-coder-1.3b-base", (2048, 24, 5504, 16, 16, 32256, False), DEEPSEEK),
        ("Qwen/Qwen2.5-Coder-1.5B", (1536, 28, 8960, 12, 2, 151936, True), APACHE),
        ("Qwen/Qwen2.5-Coder-3B", (2048, 36, 11008, 16, 2, 151936, True), "qwen-research: no commercial use"),
        ("deepseek-ai/deepseek-coder-6.7b-base", (4096, 32, 11008, 32, 32, 32256, False), DEEPSEEK),
        ("Qwen/Qwen2.5-Coder-7B", (3584, 28, 18944, 28, 4, 152064, False), APACHE),
    )
}
CHARACTERS_PER_TOKEN = Range(2.2, 2.9)
"""Of encoded samples; measured on 2,000 of HBV5: 2.84 with Qwen2's tokenizer, 2.41 with DeepSeek-Coder's;
on generated samples with geometry 2.63 and 2.18."""
EXTRA_TIME = 1.03
"""Checkpoints (under 1 % of the time) and validation (under 2 %)."""
START_HOURS = 0.25
"""Of each session: install, fetch and load the base model, and at most ten minutes done again. Assumed."""
KAGGLE_SESSION = 8.5
"""Hours of a session that are counted on: 12 are allowed, and some see a cap of 9."""
KAGGLE_QUOTA = 30.0
"""Hours of GPU a week, sometimes more (kaggle.com/docs/efficient-gpu-usage). An hour of T4 x2 counts as one."""
COLAB_SESSION = 12.0
"""Hours at most, on free Colab; often fewer, and no quota is published (research.google.com/colaboratory/faq.html)."""


FIXED_FIGURES = [
    ("checkpoints, validation", f"{EXTRA_TIME - 1:.0%}", "the trainer's own limits"),
    ("start of a session", f"{START_HOURS} h", "assumed"),
    ("Kaggle", f"{KAGGLE_SESSION} h a session, {KAGGLE_QUOTA:.0f} h a week", "its documentation; 12 h allowed"),
    ("free Colab", f"{COLAB_SESSION:.0f} h a session at most", "its FAQ; often fewer, no quota is published"),
]
"""(figure, value, where it comes from), of what goes into every estimate."""


def count_operations(shape: Shape, row_length: int, learned_share: float) -> Range:
    """Operations that QLoRA training takes for one token of a packed row, (without, with) gradient checkpointing.

    Each weight costs 2 operations forward and 2 for the gradient of its input; frozen weights need no gradient
    of their own. Gradient checkpointing does the forward pass of the layers twice. Attention works on whole rows;
    the output layer on answers only.

    Args:
        shape: of the base model.
        row_length: tokens in a packed row.
        learned_share: share of the tokens that are answers, in [0, 1].
    """
    attention = 4 * row_length * shape.hidden * shape.layers
    forward = 2 * shape.in_layers + attention
    head = 4 * shape.vocabulary * shape.hidden * learned_share
    plain = 2 * forward + attention + head
    return Range(plain, plain + forward)


def estimate_rate(shape: Shape, gpu: str, row_length: int, learned_share: float) -> Range:
    """Tokens per second of QLoRA training on packed rows.

    The low end has gradient checkpointing, and the high end where the weights fill `LARGE` of the GPU.

    Args:
        shape: of the base model.
        gpu: a key of `GPUS`.
        row_length: tokens in a packed row.
        learned_share: share of the tokens that are answers, in [0, 1].
    """
    kind = GPUS[gpu]
    plain, checkpointed = count_operations(shape, row_length, learned_share)
    fastest = checkpointed if shape.bytes > LARGE * kind.memory * 1e9 else plain
    scale = TWO_GPUS if gpu == "t4x2" else Range(1.0, 1.0)
    return Range(
        kind.rate * 1e12 * kind.share.least * scale.least / checkpointed,
        kind.rate * 1e12 * kind.share.most * scale.most / fastest,
    )


def estimate_tokens(characters: int) -> Range:
    """Tokens of so many characters of encoded samples, where no tokenizer is at hand."""
    return Range(round(characters / CHARACTERS_PER_TOKEN.most), round(characters / CHARACTERS_PER_TOKEN.least))


def training_hours(tokens: Range, rate: Range, epochs: float) -> Range:
    """Hours of training, from the tokens of one epoch and the tokens per second."""
    return Range(tokens[0] / rate[1], tokens[1] / rate[0]).times(EXTRA_TIME * epochs / 3600)


def sessions(hours: Range, session_hours: float) -> tuple[int, int]:
    """Sessions that training needs, each of which starts with `START_HOURS` of no training."""
    least, most = (max(1, math.ceil(value / (session_hours - START_HOURS))) for value in hours)
    return least, most


def weeks(hours: Range) -> Range:
    """Weeks of Kaggle's quota, the start of every session counted."""
    least, most = sessions(hours, KAGGLE_SESSION)
    return Range((hours[0] + least * START_HOURS) / KAGGLE_QUOTA, (hours[1] + most * START_HOURS) / KAGGLE_QUOTA)


def describe(values: Range) -> str:
    """A range as text; one number where both ends read alike."""
    low, high = (f"{value:,.{0 if value >= 10 else 1 if value >= 1 else 2}f}" for value in values)
    return low if low == high else f"{low} to {high}"


def describe_parameters(count: float) -> str:
    """A number of weights as text."""
    return f"{count / 1e9:.2f} billion" if count >= 1e7 else f"{count / 1e6:.2f} million"


def describe_sessions(values: tuple[int, int]) -> str:
    """A range of sessions as text."""
    low, high = values
    return f"{low} session{'s' if low > 1 else ''}" if low == high else f"{low} to {high} sessions"


def find_facts(name: str) -> BaseModelFacts | None:
    """Sizes and licence of a base model: from `BASES`, or from its config.json in a folder or the Hub's cache."""
    path = find_file(name, "config.json")
    if name in BASES or path is None:
        return BASES.get(name)
    try:
        config = read_json(path)
        shape = Shape(
            hidden=config["hidden_size"],
            layers=config["num_hidden_layers"],
            intermediate=config["intermediate_size"],
            heads=config["num_attention_heads"],
            key_value_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
            vocabulary=config["vocab_size"],
            tied=bool(config.get("tie_word_embeddings")),
        )
    except (KeyError, DataError):  # who loads it says what is wrong with it
        return None
    return BaseModelFacts(shape, UNKNOWN_LICENCE) if all(type(size) is int for size in shape[:-1]) else None


def find_file(name: str, file: str) -> Path | None:
    """A file of a base model, in its folder or in the Hub's cache; nothing is fetched."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder / file if (folder / file).is_file() else None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(name, file)
    except HFValidationError:
        return None
    return Path(cached) if isinstance(cached, str) else None
