"""From prompts and completions to packed rows of tokens: whole samples, no padding; completion and EOS are learned.

Positions restart with each sample of a row: under SDPA, without attention mask and cache, transformers reads that as
a border, so that no sample sees another.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import datasets
import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset

from housebrain_core.errors import DataError

GUIDE_LENGTH = 512
"""Tokens per sample in the guide; `max_length="auto"` starts from it."""
IGNORED = -100
"""Label of a token that is not learned."""


class Tokenised(NamedTuple):
    """Samples as token ids."""

    samples: Dataset
    """Columns input_ids, prompt_length (tokens that are not learned) and length."""
    refused: int
    """Samples that were left out because they are longer than max_length."""
    max_length: int
    """In tokens."""
    note: str
    """Which max_length, why, and how many it refused; for a person."""


def tokenise(table: pa.Table, tokenizer: Any, max_length: int | str) -> Tokenised:
    """Turns prompts and completions into token ids with the end-of-text token; none is cut.

    Args:
        table: columns prompt and completion.
        tokenizer: of the base model.
        max_length: tokens of the longest sample that is kept; "auto" keeps all, and names 512 or more.

    Raises:
        DataError: no sample fits.
    """
    datasets.disable_progress_bars()
    samples = Dataset(table.select(["prompt", "completion"])).map(
        partial(_tokenise_batch, tokenizer),
        batched=True,
        remove_columns=["prompt", "completion"],
        keep_in_memory=True,
        new_fingerprint="tokenised",  # nothing is cached, so hashing the tokenizer would be wasted
    )
    lengths = samples["length"][:] if len(samples) else []
    longest = max(lengths, default=0)
    limit = max(GUIDE_LENGTH, longest) if max_length == "auto" else int(max_length)
    fitting = [index for index, length in enumerate(lengths) if length <= limit]
    if not fitting:
        raise DataError(f"none of {len(lengths)} samples fits into {limit} tokens; the longest has {longest}.")
    chosen = "chosen" if max_length == "auto" else "as given"
    note = f"max_length {limit} {chosen}; the longest sample has {longest} tokens"
    refused = len(lengths) - len(fitting)
    if refused:
        note += f"; {refused} samples are longer and left out"
    return Tokenised(samples.select(fitting), refused, limit, note)


def _tokenise_batch(tokenizer: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """Prompt and completion apart, so that no token crosses the border between them."""
    prompts = tokenizer(batch["prompt"]).input_ids
    completions = tokenizer(batch["completion"], add_special_tokens=False).input_ids
    ids = [p + c + [tokenizer.eos_token_id] for p, c in zip(prompts, completions, strict=True)]
    return {"input_ids": ids, "prompt_length": [len(p) for p in prompts], "length": [len(i) for i in ids]}


def pack_rows(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Puts samples together into few rows, by best-fit decreasing (Johnson 1973).

    Args:
        lengths: tokens of each sample.
        row_length: tokens of a row; a longer sample is alone in one.

    Returns:
        The indices of the samples in each row, ascending.
    """
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []  # (free tokens, row), ascending
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        place = bisect_left(free, (lengths[index], 0))
        if place == len(free):
            free.append((max(row_length, lengths[index]), len(rows)))
            rows.append([])
        space, row = free.pop(place)
        rows[row].append(index)
        insort(free, (space - lengths[index], row))
    return [sorted(row) for row in rows]


class PackedRows(torch.utils.data.Dataset):
    """Packed rows as tensors: input_ids, position_ids, labels, each (row_tokens,).

    Args:
        samples: as `tokenise` makes them.
        row_length: tokens of a row.
    """

    def __init__(self, samples: Dataset, row_length: int) -> None:
        self.samples = samples.with_format("numpy")
        self.lengths = samples["length"][:]
        self.learned = [whole - prompt for whole, prompt in zip(self.lengths, samples["prompt_length"][:], strict=True)]
        self.rows = pack_rows(self.lengths, row_length)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        samples = [self.samples[i] for i in self.rows[index]]
        ids = [torch.as_tensor(sample["input_ids"], dtype=torch.long) for sample in samples]
        prompts = torch.cat([torch.arange(len(sample["input_ids"])) < sample["prompt_length"] for sample in samples])
        positions = [torch.arange(len(one)) for one in ids]
        whole = torch.cat(ids)
        labels = whole.masked_fill(prompts, IGNORED)
        return {"input_ids": whole, "position_ids": torch.cat(positions), "labels": labels}


class RowsOfLeg(torch.utils.data.Dataset):
    """The packed rows that a leg of a plan trains on, in their order: from where the split's leg before it ended.

    Args:
        rows: of the split.
        seed: of the data order.
        first: rows that the split's legs before have taken.
        last: rows that it has taken after this leg.
    """

    def __init__(self, rows: PackedRows, seed: int, first: int, last: int) -> None:
        self.rows = rows
        self.order = data_order(len(rows), seed, first, last)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.rows[self.order[index]]


def data_order(rows: int, seed: int, first: int, last: int) -> list[int]:
    """A stretch of the order in which a split's rows are trained on: one pass after another, each shuffled anew.

    Args:
        rows: of the split.
        seed: with the number of the pass it is the seed of the pass's shuffle.
        first: position of the stretch's first row, counted from the first row of the first pass.
        last: position behind its last row.

    Returns:
        Indices of rows, (last - first,).
    """
    passes = range(first // rows, -(-last // rows))
    order = np.concatenate([np.random.default_rng([seed, number]).permutation(rows) for number in passes])
    start = passes.start * rows
    return order[first - start : last - start].tolist()


def collate_row(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """A micro-batch is one row: (1, row_tokens). Rows differ in length, and nothing is padded."""
    (row,) = rows
    return {name: values[None] for name, values in row.items()}


def completion_losses(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy in nats of each learned token of a packed row, and its index in the row, both (learned_tokens,)."""
    logits, targets, learned = completion_logits(model, batch)
    return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none"), learned


def completion_logits(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What a model predicts for each learned token of a packed row.

    Logits are computed at the learned positions only: the prompt's share of the output layer, which is large
    for a vocabulary of 150,000, costs neither time nor memory.

    Returns:
        Logits (learned_tokens, vocabulary); the tokens themselves, and the index in the row of the token before each
        of them, both (learned_tokens,).
    """
    targets = batch["labels"][0, 1:]
    learned = (targets != IGNORED).nonzero()[:, 0]
    logits = model(
        input_ids=batch["input_ids"], position_ids=batch["position_ids"], logits_to_keep=learned, use_cache=False
    ).logits[0]
    return logits, targets[learned], learned
