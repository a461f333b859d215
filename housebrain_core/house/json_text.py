"""JSON as text: the compact form that prompts, completions and metadata are written in, and reading other people's."""

import codecs
import json
from pathlib import Path
from textwrap import shorten
from typing import Any

import orjson

from housebrain_core.errors import DataError


def dumps(value: Any) -> str:
    """Compact JSON text of any value that `json.loads` can give.

    Args:
        value: objects, lists, texts, numbers, true, false and null, nested in any way.

    Returns:
        JSON without spaces; characters beyond ASCII as they are.

    Raises:
        DataError: it holds something that JSON does not have, such as NaN.
    """
    return to_bytes(value).decode()


def to_bytes(value: Any) -> bytes:
    """What `dumps` gives, as UTF-8.

    orjson is ten times faster than the standard library, but it writes NaN as null and refuses integers beyond
    64 bits and lone surrogates; those few values are written by the standard library.
    """
    try:
        text = orjson.dumps(value)
        if b"null" not in text:
            return text
    except orjson.JSONEncodeError:
        pass
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"a sample cannot be written as JSON: {error}") from None


def same(one: Any, other: Any) -> bool:
    """Whether two values that are no containers are equal in JSON too: 1 is neither 1.0 nor true."""
    return type(one) is type(other) and one == other


def is_number(value: Any) -> bool:
    """Whether a value is a number in JSON; true is none."""
    return type(value) in (int, float)


def parse_json(data: bytes) -> Any:
    """The value of JSON bytes, with or without a byte order mark; integers of any length stay exact.

    Raises:
        DataError: with the reason alone; the caller knows the place.
    """
    try:  # orjson is ten times faster than the standard library, but makes floats of integers beyond 64 bits
        value = orjson.loads(data)
        return json.loads(data) if _has_long_number(data) else value
    except (ValueError, RecursionError) as error:
        if data.startswith(codecs.BOM_UTF8):
            return parse_json(data.removeprefix(codecs.BOM_UTF8))
        raise DataError(_explain(data, error)) from None


_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")


def _has_long_number(data: bytes) -> bool:
    """Whether 19 digits follow each other; such a row has three at every sixth byte, which is seen sooner."""
    return b"000" in data[::6].translate(_DIGITS_TO_ZERO) and b"0" * 19 in data.translate(_DIGITS_TO_ZERO)


def _explain(data: bytes, error: Exception) -> str:
    """Why bytes are not JSON."""
    if not data.strip():
        return "is empty"
    if b"\0" in data:
        return "has NUL bytes"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return f"is not UTF-8 (byte {wrong.start})"
    return f"is not JSON ({shorten(str(error), 80)})"
