"""The tiny base model of the demo, the tests and the benchmarks: a small Llama with a tokenizer of its own.

It has learned generated houses of other regions than the demo's, so that it writes designs but has to be adapted. The
default one is part of the installation; any other is made on first use. Both are kept under a key of their recipe.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from housebrain_core.house import codec, synthetic
from housebrain_core.house.codec import Example
from housebrain_core.texts import say
from housebrain_core.train.packing import IGNORED

EOS = "<|endoftext|>"
SHIPPED = Path(__file__).parent / "tiny_base"
"""The files that `make_tiny_base` wrote for the default recipe."""
TOKENIZER_SAMPLES = 600
FREQUENCY = round(TOKENIZER_SAMPLES / 7)
"""Text that fewer samples have becomes no token: the values of a field do, those of two independent fields do not."""
TOKEN_LENGTH = 200
"""Characters of a token at most: constrained decoding cannot use tokens of more than 255."""
VOCABULARY = 2000
"""More tokens than there come to be."""
WARMUP_STEPS = 50
REPORT_STEPS = 50


class TinyRecipe(BaseModel):
    """How the tiny base model is made; another recipe is another model."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    hidden_size: int = 128
    layers: int = 2
    heads: int = 4
    intermediate_size: int = 352
    samples: int = 30_000
    """Of the mixture (`synthetic.make_mixture`), from which batches are drawn."""
    many: bool = False
    """Whether the samples' conventions depend on more fields of the brief (`synthetic.Region`)."""
    steps: int = 1000
    batch: int = 64
    """Samples."""
    learning_rate: float = 2e-3
    seed: int = 1_000_001
    dtype: Literal["float16", "float32"] = "float16"
    """Of the weights as they are kept."""
    codec_version: int = codec.VERSION

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that name the recipe."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()[:12]


QUICK = TinyRecipe(
    hidden_size=64, intermediate_size=64, samples=480, steps=240, batch=2, learning_rate=5e-3, dtype="float32"
)
"""A base model that is made in seconds and knows little more than the form, for tests and timings."""


def tiny_base(recipe: TinyRecipe | None = None, report: Callable[[str], None] = say) -> Path:
    """The folder of the tiny base model; one that is not the default's is made now if it does not exist yet.

    Args:
        recipe: another recipe than the demo's.
        report: gets a line of progress every few seconds.

    Returns:
        The folder, in the cache (HOUSEBRAIN_CACHE, or .cache/housebrain in the home folder).
    """
    recipe = recipe or TinyRecipe()
    cache = cache_folder()
    folder = cache / f"tiny-{recipe.key}"
    if not (folder / "recipe.json").exists():
        staging = cache / f".tiny-{recipe.key}-{os.getpid()}"
        if recipe == TinyRecipe() and SHIPPED.is_dir():  # a bundle has the code without it
            shutil.copytree(SHIPPED, staging)
        else:
            make_tiny_base(staging, recipe, report)
        if folder.exists():  # another process was faster
            return folder
        staging.rename(folder)
    return folder


def cache_folder() -> Path:
    """Where made models are kept: HOUSEBRAIN_CACHE, or .cache/housebrain in the home folder."""
    return Path(os.environ.get("HOUSEBRAIN_CACHE") or Path.home() / ".cache" / "housebrain")


def make_tiny_base(folder: Path, recipe: TinyRecipe, report: Callable[[str], None] = say) -> None:
    """Trains tokenizer and model and writes them; recipe.json comes last."""
    samples = synthetic.make_mixture(TOKENIZER_SAMPLES, 0)
    tokenizer = train_tokenizer((text for sample in samples for text in codec.encode(sample)), VOCABULARY, FREQUENCY)
    examples = [codec.encode(sample) for sample in synthetic.make_mixture(recipe.samples, recipe.seed, recipe.many)]
    model = _pretrain(tokenizer, examples, recipe, report)
    model.to(getattr(torch, recipe.dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "recipe.json").write_text(recipe.model_dump_json(indent=1), encoding="utf-8")


def train_tokenizer(texts: Iterable[str], vocabulary: int, frequency: int = 1) -> PreTrainedTokenizerFast:
    """Byte-level BPE over whole texts: what never varies becomes one token.

    Args:
        texts: to learn from.
        vocabulary: tokens at most, with 256 for the bytes.
        frequency: how often two neighbouring tokens have to occur to become one.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=frequency,
        max_token_length=TOKEN_LENGTH,
        special_tokens=[EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS, pad_token=EOS)


def _pretrain(
    tokenizer: PreTrainedTokenizerFast, examples: list[Example], recipe: TinyRecipe, report: Callable[[str], None]
) -> LlamaForCausalLM:
    """Trains all weights on completions; the learning rate warms up and falls to zero as a cosine."""
    torch.manual_seed(recipe.seed)
    model = _new_model(tokenizer, recipe)
    rows = tokenise_whole(tokenizer, examples)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    warmup = min(WARMUP_STEPS / recipe.steps, 0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=warmup
    )
    for step in range(1, recipe.steps + 1):
        batch = [rows[index] for index in torch.randint(len(rows), (recipe.batch,)).tolist()]
        loss = batch_loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % REPORT_STEPS == 0 or step == recipe.steps:
            report(f"tiny base model: step {step} of {recipe.steps}, loss {loss.item():.3f} nats per token")
    return model.eval()


def _new_model(tokenizer: PreTrainedTokenizerFast, recipe: TinyRecipe) -> LlamaForCausalLM:
    end: Any = tokenizer.eos_token_id
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=end,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def tokenise_whole(tokenizer: PreTrainedTokenizerFast, examples: list[Example]) -> list[tuple[list[int], int]]:
    """Token ids of each sample, and how many of them are its prompt."""
    prompts = tokenizer([example.prompt for example in examples]).input_ids
    completions = tokenizer([example.completion + EOS for example in examples]).input_ids
    return [(prompt + completion, len(prompt)) for prompt, completion in zip(prompts, completions, strict=True)]


def batch_loss(model: LlamaForCausalLM, batch: list[tuple[list[int], int]]) -> torch.Tensor:
    """Nats per token of the completions; rows are padded on the right, where no token sees the padding."""
    longest = max(len(ids) for ids, _ in batch)
    inputs = torch.zeros(len(batch), longest, dtype=torch.long)
    labels = torch.full_like(inputs, IGNORED)
    for row, (ids, prompt) in enumerate(batch):
        inputs[row, : len(ids)] = torch.tensor(ids)
        labels[row, prompt : len(ids)] = torch.tensor(ids[prompt:])
    return model(input_ids=inputs, labels=labels, use_cache=False).loss
