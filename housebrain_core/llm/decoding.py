"""How answers are generated, and how an answer is read: as a design, or as an error that says why not."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from transformers import LogitsProcessor

from housebrain_core.house import codec
from housebrain_core.house.briefs import is_brief
from housebrain_core.house.codec import DesignError
from housebrain_core.house.json_text import StrictJSONError
from housebrain_core.house.schema import HouseDesign

NEW_TOKENS = 1024
"""Tokens at most per answer, unless told otherwise."""


class Answered(NamedTuple):
    """What a model wrote for one prompt, without its EOS."""

    text: str
    tokens: int
    """Generated tokens, the EOS included."""
    complete: bool
    """Whether it ended by itself, not at the limit."""


class Decoding(NamedTuple):
    """How answers are generated. Greedy at temperature 0."""

    batch_size: int = 8
    max_new_tokens: int = NEW_TOKENS
    constrained: bool = False
    temperature: float = 0.0
    seed: int = 0
    seconds: float | None = None
    """After which answers are cut as they are."""


class Batch(NamedTuple):
    """Answers generated at once: numbers of their briefs, the answers, and the seconds they took."""

    indices: list[int]
    answers: list[Answered]
    seconds: float


class SamplingProcessor(LogitsProcessor):
    """Draws each row with dice of its own, so that a sample does not depend on its batch.

    The largest of score / temperature + Gumbel noise is a draw from the softmax (the Gumbel-max trick), so that
    greedy generation with this processor samples.
    """

    def __init__(self, temperature: float, seed: int, numbers: list[int], device: torch.device) -> None:
        self.temperature = temperature
        self.dice = [torch.Generator(device).manual_seed(seed * 1_000_003 + number) for number in numbers]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Noisy scores (rows, vocabulary)."""
        scores = scores.float() / self.temperature
        noise = [torch.empty_like(scores[0]).exponential_(generator=dice) for dice in self.dice]
        return scores - torch.stack(noise).clamp_min(1e-30).log()


def in_order(batches: Iterable[Batch], count: int) -> list[Answered]:
    """The answers of batches in the order of their briefs."""
    answers = {}
    for batch in batches:
        answers |= dict(zip(batch.indices, batch.answers, strict=True))
    return [answers[index] for index in range(count)]


def read_answer(brief: Any, answer: Answered) -> Any:
    """Reads an answer: the design of a house, which `HouseDesign` reads too; of other data any value, such as a text.

    Args:
        brief: that was answered.
        answer: what a model wrote.

    Returns:
        The design, with all that code derives; or the value.

    Raises:
        DesignError: it is none, with how far it got; an answer cut at the token limit is always "truncated".
    """
    reached = f"{answer.tokens} tokens, {len(answer.text)} characters, last key {last_key(answer.text)}"
    if not answer.complete:
        message = f"the answer was cut after {reached}; allow more with max_new_tokens"
        raise DesignError(message, "truncated", answer.text)
    try:
        design = codec.decode(brief, answer.text)
        if is_brief(brief):
            HouseDesign.model_validate(design)  # a design that is written out in full can hold anything
    except StrictJSONError as error:
        message = f"the answer is not JSON ({error}); it got to {reached}, and ends with {answer.text[-60:]!r}"
        raise DesignError(message, error.kind, answer.text) from None
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc'])) or 'design'}: {p['msg']}" for p in error.errors()[:5])
        raise DesignError(f"the answer is JSON but not a design: {problems}", "schema", answer.text) from None
    return design


def last_key(text: str) -> str:
    """The last key that a text of JSON, whole or not, has come to."""
    keys = re.findall(r'"(\w{1,40})":', text)
    return keys[-1] if keys else "none"


def design_or_error(brief: dict, answer: Answered) -> HouseDesign | DesignError:
    """The design of an answer, or the error that says why it is none."""
    try:
        return HouseDesign.model_validate(read_answer(brief, answer))
    except DesignError as error:
        return error


def lacks_budget(brief: dict) -> bool:
    """Whether the construction cost cannot be derived from the brief, so that the answer has to say it."""
    return (brief.get("basicDetails") or {}).get("budget") is None
