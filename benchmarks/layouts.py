"""Samples as token ids, in the original's format and in ours, cut and padded: for benchmarks/train_throughput.py."""

import json
from typing import NamedTuple

from housebrain_core.house import codec
from housebrain_core.train.packing import IGNORED


class Tokens(NamedTuple):
    """A sample as token ids."""

    prompt: list[int]
    answer: list[int]


def original(sample: dict, tokenizer) -> Tokens:
    """The original's text: indented JSON, the answer with an echo of the brief, ChatML markers, no EOS."""
    prompt = f"<|im_start|>user\n{json.dumps(sample['input'], indent=2)}<|im_end|>\n<|im_start|>assistant\n"
    answer = f"{json.dumps(sample['output'], indent=2)}<|im_end|>"
    return Tokens(tokenizer(prompt).input_ids, tokenizer(answer, add_special_tokens=False).input_ids)


def ours(sample: dict, tokenizer) -> Tokens:
    """The codec's prompt and completion, and the EOS, as packing.py makes them."""
    example = codec.encode(sample)
    answer = tokenizer(example.completion, add_special_tokens=False).input_ids
    return Tokens(tokenizer(example.prompt).input_ids, [*answer, tokenizer.eos_token_id])


def lay_out(tokens: list[Tokens], limit: int, pad_to: int = 0) -> tuple[list[dict], float]:
    """Samples cut from the right at `limit` and padded, and the share of the answer tokens that is left to learn."""
    rows, kept, of = [], 0, 0
    for prompt, answer in tokens:
        ids = (prompt + answer)[:limit]
        labels = ([IGNORED] * len(prompt) + answer)[:limit]
        kept, of = kept + sum(label != IGNORED for label in labels), of + len(answer)
        missing = max(0, pad_to - len(ids))
        mask = [1] * len(ids) + [0] * missing
        rows.append({"input_ids": ids + [0] * missing, "labels": labels + [IGNORED] * missing, "attention_mask": mask})
    return rows, kept / of


def fold(tokens: list[Tokens], vocabulary: int) -> list[Tokens]:
    """Ids modulo the model's vocabulary: the weights are random, so only the number of tokens matters."""
    return [Tokens(*([one % vocabulary for one in ids] for ids in sample)) for sample in tokens]
