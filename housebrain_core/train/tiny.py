"""The tiny base model of the demo and the tests: a small Llama with a tokenizer of its own.

It is pre-trained on generated houses of another layout style and other seeds than the demo's, so that it
writes JSON but has to be adapted. It is made on first use and kept under a key of its recipe.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from housebrain_core.house import codec, synthetic

EOS = "<|endoftext|>"


class TinyRecipe(BaseModel):
    """How the tiny base model is made; another recipe is another model."""

    model_config = ConfigDict(frozen=True)

    hidden_size: int = 64
    layers: int = 2
    heads: int = 4
    key_value_heads: int = 2
    intermediate_size: int = 192
    vocabulary: int = 800
    samples: int = 1500
    learning_rate: float = 3e-3
    seed: int = 1_000_001
    codec_version: int = codec.VERSION

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that name the recipe."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()[:12]


def tiny_base(recipe: TinyRecipe | None = None, report: Callable[[str], None] = print) -> Path:
    """The folder of the tiny base model, made now if it does not exist yet (about a minute on two cores).

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
        make_tiny_base(staging, recipe, report)
        if folder.exists():  # another process was faster
            return folder
        staging.rename(folder)
    return folder


def cache_folder() -> Path:
    """Where made models are kept: HOUSEBRAIN_CACHE, or .cache/housebrain in the home folder."""
    return Path(os.environ.get("HOUSEBRAIN_CACHE") or Path.home() / ".cache" / "housebrain")


def make_tiny_base(folder: Path, recipe: TinyRecipe, report: Callable[[str], None] = print) -> None:
    """Trains tokenizer and model and writes them; recipe.json comes last."""
    samples = synthetic.make_other_layouts(recipe.samples, recipe.seed)
    examples = [codec.encode(sample) for sample in samples]
    words = [codec.encode(sample) for sample in synthetic.make_samples(400, recipe.seed + 1)]
    tokenizer = _train_tokenizer([text for example in examples[:400] + words for text in example], recipe.vocabulary)
    model = _pretrain(tokenizer, examples, recipe, report)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "recipe.json").write_text(recipe.model_dump_json(indent=1))


def _train_tokenizer(texts: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE whose words are JSON punctuation with its keys, values, and numbers."""
    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(r'\w+(?="[^:])|\d{1,3}'), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS, pad_token=EOS)


def _pretrain(
    tokenizer: PreTrainedTokenizerFast, examples: list, recipe: TinyRecipe, report: Callable[[str], None]
) -> LlamaForCausalLM:
    """One sample a step: for so small a model many steps teach more than large batches. All tokens are learned."""
    torch.manual_seed(recipe.seed)
    end: Any = tokenizer.eos_token_id
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=recipe.vocabulary,
            hidden_size=recipe.hidden_size,
            intermediate_size=recipe.intermediate_size,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.key_value_heads,
            max_position_embeddings=4096,
            bos_token_id=None,
            eos_token_id=end,
            pad_token_id=end,
            tie_word_embeddings=True,
        )
    )
    rows = [tokenizer(example.prompt + example.completion + EOS).input_ids for example in examples]
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=len(rows))
    for step, row in enumerate(rows, 1):
        ids = torch.tensor([row])
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 150 == 0 or step == len(rows):
            report(f"tiny base model: step {step} of {len(rows)}, loss {loss.item():.3f} nats per token")
    return model.eval()
