"""How a sample becomes the text a model is trained on, and how text becomes a design again.

Tokens are GPU hours, so the text is compact JSON without anything that code can derive: the echo of the
brief, totals, repeated materials, paths. Nothing is lost: `decode` and `read_prompt` give back the very
JSON text of the original, types and key order included, for any sample. A part that has an unusual shape is
written out as it is: a whole brief under the key "brief", a whole design under the key "design". Every
other completion is an `Answer` (schema.py).
"""

import json
from typing import Any, NamedTuple

from pydantic import ValidationError

from housebrain_core.errors import DataError, HouseBrainError
from housebrain_core.house.brief_text import expand_brief, shorten_brief
from housebrain_core.house.design_text import derive_design, expand_design, shorten_design
from housebrain_core.house.json_text import dumps, strict_json_parse
from housebrain_core.house.schema import Answer

__all__ = ["dumps", "strict_json_parse"]  # they belong to the codec, and are imported from here

VERSION = 1
"""Version of the text format; manifests record it and readers refuse another."""


class DesignError(HouseBrainError):
    """A model's answer that is not a house design.

    Attributes:
        kind: why, in the words of `codec.strict_json_parse`, or "schema" for JSON of another shape.
        text: the raw answer.
    """

    def __init__(self, message: str, kind: str, text: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.text = text


class Example(NamedTuple):
    """The two texts of a sample. A model learns the completion and the tokenizer's EOS after it."""

    prompt: str
    completion: str


def encode(sample: dict[str, Any]) -> Example:
    """Writes a sample as prompt and completion.

    Args:
        sample: has `input` (the brief) and `output` (the design), both JSON objects.

    Returns:
        Two lines of JSON; `read_prompt` and `decode` are the exact inverses.

    Raises:
        DataError: a value that JSON does not have (NaN, Infinity, a Python object).
    """
    return Example(write_prompt(sample["input"]), write_completion(sample["input"], sample["output"]))


def write_prompt(brief: dict[str, Any]) -> str:
    """The prompt for a brief: the same bytes in training, evaluation, generation and export."""
    short = shorten_brief(brief)
    return dumps({"brief": brief} if short is None else short) + "\n"


def write_completion(brief: Any, design: Any) -> str:
    """The completion for a design: an answer where that gives it back exactly, else the whole design."""
    answer = shorten_design(brief, design)
    return dumps({"design": design} if answer is None else answer)


def read_prompt(prompt: str) -> dict[str, Any]:
    """The brief of a prompt.

    Args:
        prompt: as `write_prompt` or `encode` wrote it.

    Returns:
        The brief, equal to the one that was written.

    Raises:
        DataError: neither of them wrote it.
    """
    try:
        short = json.loads(prompt)
        return short["brief"] if list(short) == ["brief"] else expand_brief(short)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise DataError(f"a prompt is none of HouseBrain's: {prompt[:60]!r}. Split the dataset again.") from None


def decode(brief: dict[str, Any], completion: str) -> dict[str, Any]:
    """The design of a completion, with everything that code derives from the brief restored.

    Args:
        brief: the brief that the completion answers.
        completion: text written by `encode`, or by a model.

    Returns:
        The design, as the dataset has it.

    Raises:
        StrictJSONError: the text is not one JSON object.
        DesignError: it is one, but not an `Answer`; its kind is "schema".
    """
    short = strict_json_parse(completion)
    if list(short) == ["design"]:
        return short["design"]
    try:
        Answer.model_validate(short)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()[:5])
        raise DesignError(f"the answer is JSON but not a design: {problems}", "schema", completion) from None
    if "construction_cost" not in derive_design(brief, short) | short:
        message = "the answer lacks construction_cost, and the brief has no budget to derive it from"
        raise DesignError(message, "schema", completion)
    return expand_design(brief, short)


def restore(prompt: str, completion: str) -> tuple[Any, Any]:
    """Brief and design of a sample that `encode` wrote, without the checks that a model's answer needs."""
    short = json.loads(completion)
    brief = read_prompt(prompt)
    return brief, short["design"] if list(short) == ["design"] else expand_design(brief, short)


def check_version(version: Any, where: str) -> None:
    """Refuses a text format that this version does not know."""
    if version != VERSION:
        raise DataError(
            f"{where} holds text of format version {version!r}; this HouseBrain reads version {VERSION}. "
            "Split the dataset again, or use the version that wrote it."
        )
