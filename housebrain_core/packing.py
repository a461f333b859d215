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

GUIDE_LENGTH = 512
"""Tokens per sample in the guide; `max_length="auto"` starts from it."""
IGNORED = -100
MANY = 5_000
"""Samples from which tokenising takes long enough for a progress bar."""


class Tokenised(NamedTuple):
    """Samples as token ids, and how many were refused because they do not fit."""

    samples: Dataset
    """Columns input_ids, prompt_length (tokens that are not learned), length."""
    refused: int
    max_length: int
    note: str
    """What `max_length` was chosen, and why."""


def tokenise(table: pa.Table, tokenizer, max_length: int | str) -> Tokenised:
    """Turns prompts and completions into token ids with the EOS at the end; never cuts one.

    Args:
        table: has columns prompt and completion.
        tokenizer: of the base model.
        max_length: longest sample in tokens, or "auto": 512, or as many as the longest sample has.

    Raises:
        DataError: no sample fits.
    """
    show = datasets.enable_progress_bars if table.num_rows >= MANY else datasets.disable_progress_bars
    show()
    dataset = Dataset(table.select(["prompt", "completion"]))
    samples = dataset.map(
        _tokenise_batch,
        fn_kwargs={"tokenizer": tokenizer},
        batched=True,
        remove_columns=["prompt", "completion"],
        keep_in_memory=True,
        new_fingerprint="tokenised",  # nothing is cached, so hashing the tokenizer would be wasted
        desc="tokenise",
    )
    lengths = samples["length"][:] if len(samples) else []
    longest = max(lengths, default=0)
    if max_length == "auto":
        max_length = max(GUIDE_LENGTH, longest)
        note = f"max_length {max_length}: the longest sample has {longest} tokens"
    else:
        note = f"max_length {max_length} as given; the longest sample has {longest} tokens"
    fitting = [index for index, length in enumerate(lengths) if length <= max_length]
    if not fitting:
        raise DataError(f"none of {len(lengths)} samples fits into {max_length} tokens; the longest has {longest}.")
    refused = len(lengths) - len(fitting)
    return Tokenised(samples.select(fitting, keep_in_memory=True) if refused else samples, refused, max_length, note)


def _tokenise_batch(batch: dict, tokenizer) -> dict:
    """Prompt and completion apart, so that no token crosses the border between them."""
    prompts = tokenizer(batch["prompt"]).input_ids
    completions = tokenizer(batch["completion"], add_special_tokens=False).input_ids
    ids = [p + c + [tokenizer.eos_token_id] for p, c in zip(prompts, completions, strict=True)]
    return {"input_ids": ids, "prompt_length": [len(p) for p in prompts], "length": [len(i) for i in ids]}


def pack(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Puts samples into as few rows as best-fit decreasing finds.

    Args:
        lengths: tokens of each sample.
        row_length: tokens in a row; a longer sample gets a row to itself.

    Returns:
        Rows of sample indices; each sample is in exactly one.
    """
    rows: list[list[int]] = []
    open_rows: dict[int, list[int]] = {}  # free tokens -> rows with just that many
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[index]
        free = min((space for space in open_rows if space >= length), default=None)
        if free is None:
            row, free = len(rows), max(row_length, length)
            rows.append([])
        else:
            row = open_rows[free].pop()
            if not open_rows[free]:
                del open_rows[free]
        rows[row].append(index)
        open_rows.setdefault(free - length, []).append(row)
    return [sorted(row) for row in rows]


class PackedRows(torch.utils.data.Dataset):
    """Packed rows as tensors: input_ids, position_ids, labels, each (row_tokens,)."""

    def __init__(self, samples: Dataset, row_length: int):
        self.samples = samples.with_format("numpy")
        self.rows = pack(samples["length"][:], row_length)

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
    """Cross-entropy of every learned token of a packed row.

    Logits are computed at the learned positions only: the prompt's share of the output layer, which is large
    for a vocabulary of 150,000, costs neither time nor memory.

    Args:
        model: a causal language model.
        batch: from `collate_row`, on the model's device.

    Returns:
        losses in nats (learned_tokens,), and the index of each within the row (learned_tokens,).
    """
    targets = batch["labels"][0, 1:]
    learned = (targets != IGNORED).nonzero()[:, 0]
    logits = model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        logits_to_keep=learned,
        use_cache=False,
    ).logits[0]
    return torch.nn.functional.cross_entropy(logits.float(), targets[learned], reduction="none"), learned
