"""Compact JSON text of values: what prompts, completions and metadata are written as."""

import json
from typing import Any

import orjson

from housebrain_core.errors import DataError


def dumps(value: Any) -> str:
    """Compact JSON text of any value that `json.loads` can give.

    orjson does it ten times faster, but it writes NaN as null and refuses integers beyond 64 bits and lone
    surrogates; those few values take the slow way.
    """
    try:
        text = orjson.dumps(value)
        if b"null" not in text:
            return text.decode()
    except orjson.JSONEncodeError:
        pass
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"a sample cannot be written as JSON: {error}") from None
    return text


def same(one: Any, other: Any) -> bool:
    """Whether two values that are no containers are one in JSON too: 1 is neither 1.0 nor true."""
    return type(one) is type(other) and one == other


def is_number(value: Any) -> bool:
    """Whether a value is a number in JSON; true is none."""
    return type(value) in (int, float)
