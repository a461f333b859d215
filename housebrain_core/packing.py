"""From prompts and completions to packed rows of tokens: whole samples, answers only, no padding.

A row holds several samples one after another. Positions restart with each sample; under SDPA, without an
attention mask and without a cache, transformers reads the restarts as borders, so that no sample sees
another. Labels are -100 on the prompt; the completion and the EOS after it are learned.
"""

from collections.abc import Sequence
from typing import NamedTuple

import datasets
import pyarrow as pa
import torch
from datasets import Dataset

from housebrain_core.errors import DataError

GUIDE_LENGTH = 512  # tokens per sample in the guide; `max_length="auto"` starts from it
IGNORED = -100  # label of a token that is not learned
MANY = 5_000  # samples from which tokenising takes long enough for a progress bar


class Tokenised(NamedTuple):
    """Samples as token ids, and how many were refused because they do not fit."""

    samples: Dataset  # columns input_ids, prompt_length (tokens that are not learned), length
    refused: int
    max_length: int
    note: str  # which max_length, why, and what it refused


def tokenise(table: pa.Table, tokenizer, max_length: int | str) -> Tokenised:
    """Turns the columns prompt and completion into token ids with the EOS at the end; never cuts one.

    Args:
        table: prompts and completions.
        tokenizer: of the base model.
        max_length: longest sample in tokens, or "auto": 512, or as many as the longest sample has; DataError when
            no sample fits.
    """
    (datasets.enable_progress_bars if table.num_rows >= MANY else datasets.disable_progress_bars)()
    samples = Dataset(table.select(["prompt", "completion"])).map(
        _tokenise_batch,
        fn_kwargs={"tokenizer": tokenizer},
        batched=True,
        remove_columns=["prompt", "completion"],
        keep_in_memory=True,
        new_fingerprint="tokenised",  # nothing is cached, so hashing the tokenizer would be wasted
        desc="tokenise",
    )
    lengths = samples["length"][:] if len(samples) else []
    longest, chosen = max(lengths, default=0), "as given"
    if max_length == "auto":
        max_length, chosen = max(GUIDE_LENGTH, longest), "chosen"
    fitting = [index for index, length in enumerate(lengths) if length <= max_length]
    if not fitting:
        raise DataError(f"none of {len(lengths)} samples fits into {max_length} tokens; the longest has {longest}.")
    refused = len(lengths) - len(fitting)
    note = f"max_length {max_length} {chosen}; the longest sample has {longest} tokens"
    note += f"; {refused} samples are longer and left out" if refused else ""
    return Tokenised(samples.select(fitting, keep_in_memory=True) if refused else samples, refused, max_length, note)


def _tokenise_batch(batch: dict, tokenizer) -> dict:
    """Prompt and completion apart, so that no token crosses the border between them."""
    prompts = tokenizer(batch["prompt"]).input_ids
    completions = tokenizer(batch["completion"], add_special_tokens=False).input_ids
    ids = [p + c + [tokenizer.eos_token_id] for p, c in zip(prompts, completions, strict=True)]
    return {"input_ids": ids, "prompt_length": [len(p) for p in prompts], "length": [len(i) for i in ids]}


def pack(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Puts samples of so many tokens into as few rows as best-fit decreasing finds; a too long one is a row of its own.

    Returns:
        Rows of sample indices; each sample is in exactly one.
    """
    rows: list[list[int]] = []
    open_rows: dict[int, list[int]] = {}  # free tokens -> rows with just that many
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[index]
        free = min((space for space, fitting in open_rows.items() if space >= length and fitting), default=None)
        if free is None:
            free = max(row_length, length)
            rows.append([])
            open_rows.setdefault(free, []).append(len(rows) - 1)
        row = open_rows[free].pop()
        rows[row].append(index)
        open_rows.setdefault(free - length, []).append(row)
    return [sorted(row) for row in rows]


class PackedRows(torch.utils.data.Dataset):
    """Packed rows as tensors: input_ids, position_ids, labels, each (row_tokens,)."""

    def __init__(self, samples: Dataset, row_length: int):
        self.samples = samples.with_format("numpy")
        self.lengths = samples["length"][:]
        self.learned = [whole - prompt for whole, prompt in zip(self.lengths, samples["prompt_length"][:], strict=True)]
        self.rows = pack(self.lengths, row_length)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        samples = [self.samples[i] for i in self.rows[index]]
        ids = [torch.as_tensor(sample["input_ids"], dtype=torch.long) for sample in samples]
        labels = [one.clone() for one in ids]
        for one, sample in zip(labels, samples, strict=True):
            one[: sample["prompt_length"]] = IGNORED
        positions = [torch.arange(len(one)) for one in ids]
        return {"input_ids": torch.cat(ids), "position_ids": torch.cat(positions), "labels": torch.cat(labels)}


def collate_row(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """A micro-batch is one row: (1, row_tokens). Rows differ in length, and nothing is padded."""
    (row,) = rows
    return {name: values[None] for name, values in row.items()}


def completion_losses(model, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of every learned token of a packed row (from `collate_row`, on the model's device).

    Logits are computed at the learned positions only: the prompt's share of the output layer, which is large
    for a vocabulary of 150,000, costs neither time nor memory.

    Returns:
        losses in nats (learned_tokens,), and the index of each within the row (learned_tokens,).
    """
    targets = batch["labels"][0, 1:]
    learned = (targets != IGNORED).nonzero()[:, 0]
    ids, positions = batch["input_ids"], batch["position_ids"]
    logits = model(input_ids=ids, position_ids=positions, logits_to_keep=learned, use_cache=False).logits[0]
    return torch.nn.functional.cross_entropy(logits.float(), targets[learned], reduction="none"), learned
