"""Constrained decoding: only tokens that keep the text an `Answer` are allowed, and it always ends in time.

The grammar is Answer's JSON schema, compact, the very format that training taught (llguidance). Every terminal of
it is bounded, but a whole answer may have 4 levels of 16 rooms. So the text is steered near the token limit: once
no more than `closing_tokens` are left, lists end as soon as they may, byte by byte. What comes before the levels
is bounded by `safe_limit`; within that many tokens every answer is complete, even from random weights.
"""

import functools
import json
from typing import Any

import torch
from transformers import LogitsProcessor

from housebrain_core.errors import ConfigError
from housebrain_core.house.schema import Answer

try:
    import llguidance.hf
    from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask  # its torch form loads torch.compile
except ImportError:  # the extra is not installed
    llguidance: Any = None

COMPACT = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}


@functools.cache
def answer_schema(needs_cost: bool = False) -> str:
    """JSON schema of an answer, as text.

    Args:
        needs_cost: the brief has no budget to derive the construction cost from, so the answer has to say it.
    """
    schema = Answer.model_json_schema()
    if needs_cost:
        schema["required"] = ["construction_cost", *schema["required"]]
    return json.dumps(schema)


def longest_text(schema: dict, definitions: dict, list_items: int | None = None) -> int:
    """Bytes of the longest compact JSON text that a schema allows.

    Args:
        schema: of objects, lists, bounded numbers and enumerations.
        definitions: its "$defs".
        list_items: items that a list of any length has at most; its own bound when None.

    Raises:
        ValueError: some part has no upper bound.
    """
    again = functools.partial(longest_text, definitions=definitions, list_items=list_items)
    if "$ref" in schema:
        return again(definitions[schema["$ref"].rpartition("/")[2]])
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return max(len(json.dumps(value, separators=(",", ":"))) for value in values)
    if "properties" in schema and schema.get("additionalProperties") is False:
        return 1 + sum(len(json.dumps(name)) + 2 + again(part) for name, part in schema["properties"].items())
    if "prefixItems" in schema and schema["maxItems"] == len(schema["prefixItems"]):
        return 1 + sum(1 + again(part) for part in schema["prefixItems"])
    if "maxItems" in schema:
        items = schema["maxItems"] if list_items is None else min(schema["maxItems"], list_items)
        return 2 + items * (1 + again(schema["items"]))
    if {"minimum", "maximum"} <= set(schema):
        step = schema.get("multipleOf", 1 if schema["type"] == "integer" else None)
        if step:
            decimals = len(str(step).partition(".")[2])
            return max(len(f"{schema[bound]:.{decimals}f}") for bound in ("minimum", "maximum"))
    raise ValueError(f"a part of the schema has no upper bound: {schema}")


@functools.cache
def closing_tokens() -> int:
    """Tokens kept for the end: a room with one door and one window, its level's stairs, and all that closes them."""
    schema = Answer.model_json_schema()
    return longest_text(schema["properties"]["levels"], schema["$defs"], list_items=1) + 16


@functools.cache
def safe_limit() -> int:
    """Tokens within which every answer is complete: a token is a byte at least, and one is the EOS."""
    schema = Answer.model_json_schema()
    without_levels = schema | {"properties": {k: v for k, v in schema["properties"].items() if k != "levels"}}
    return longest_text(without_levels, schema["$defs"]) + closing_tokens() + 1


class AnswerProcessor(LogitsProcessor):
    """Allows only tokens that keep each row an answer; one for each call of `generate`, never with beams.

    Args:
        tokenizer: of the model.
        vocabulary: width of the model's logits, which may be more than the tokenizer has.
        max_new_tokens: tokens at most per answer.
        needs_cost: for each row, see `answer_schema`.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, max_new_tokens: int, needs_cost: list[bool]) -> None:
        self.grammar = _load_grammar(tokenizer, vocabulary)
        self.rows = [llguidance.LLMatcher(self.grammar.tokenizer, self.grammar.texts[needed]) for needed in needs_cost]
        self.mask = allocate_token_bitmask(len(self.rows), vocabulary)
        self.left = max_new_tokens
        self.started = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Sets the scores (rows, vocabulary) of forbidden tokens to minus infinity."""
        if self.started:
            for row, token in zip(self.rows, input_ids[:, -1].tolist(), strict=True):
                if not row.is_stopped():
                    row.consume_token(token)
        self.started = True
        for index, row in enumerate(self.rows):
            fill_next_token_bitmask(row, self.mask, index)
        allowed = unpack_bits(torch.from_numpy(self.mask).to(scores.device), scores.shape[1])
        if self.left <= closing_tokens():
            allowed = self.grammar.close(allowed)
        self.left -= 1
        return scores.masked_fill(~allowed, float("-inf"))


def unpack_bits(mask: torch.Tensor, width: int) -> torch.Tensor:
    """Bits of int32 words (rows, words) as booleans (rows, width)."""
    places = torch.arange(32, dtype=torch.int32, device=mask.device)
    return ((mask[:, :, None] >> places) & 1).bool().reshape(len(mask), -1)[:, :width]


class Grammar:
    """What all rows of a tokenizer share: llguidance's tokenizer, grammars, and the tokens that close a text."""

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        self.tokenizer = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocabulary)
        make = llguidance.LLMatcher.grammar_from_json_schema
        self.texts = {needed: make(answer_schema(needed), overrides=COMPACT) for needed in (False, True)}
        for text in self.texts.values():
            if problem := llguidance.LLMatcher.validate_grammar(text, self.tokenizer):
                raise ValueError(f"llguidance does not take the schema of Answer: {problem}")
        single = {}
        for token in range(vocabulary):
            text = self.tokenizer.decode_bytes([token]) if token < self.tokenizer.vocab_size else b""
            if len(text) == 1 and not self.tokenizer.is_special_token(token):
                single.setdefault(text, []).append(token)
        steps = [single.get(b"]", []) + single.get(b"}", []), single.get(b",", []), sum(single.values(), [])]
        self.masks = torch.zeros((1 + len(steps), vocabulary), dtype=torch.bool)
        for mask, tokens in zip(self.masks, [[tokenizer.eos_token_id], *steps], strict=True):
            mask[tokens] = True

    def close(self, allowed: torch.Tensor) -> torch.Tensor:
        """Of the allowed tokens (rows, vocabulary) those that end soonest: EOS, a bracket, a comma, a single byte."""
        result = allowed
        for mask in self.masks.to(allowed.device).flip(0):  # the last one that leaves something wins
            chosen = allowed & mask
            result = torch.where(chosen.any(dim=1, keepdim=True), chosen, result)
        return result


@functools.cache
def _load_grammar(tokenizer: Any, vocabulary: int) -> Grammar:
    """The grammar of a tokenizer, made once: it takes seconds."""
    if llguidance is None:
        raise ConfigError("constrained decoding needs llguidance. Install it: pip install 'housebrain[constrained]'")
    return Grammar(tokenizer, vocabulary)
