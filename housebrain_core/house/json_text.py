"""JSON as text: written compactly, read strictly, with a reason where that fails, and repaired."""

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn, TypeGuard

import orjson

from housebrain_core.errors import DataError, HouseBrainError

REPAIR_LIMIT = 20_000
"""Characters that are repaired at most: no answer of the schema has more than 16,580, and json-repair is quadratic on
unquoted keys (0.7 s of CPU for 8,192 characters, 11 s for 32,768)."""
NEVER_TRUSTED = ("truncated", "duplicate_key", "nan_or_infinity")
"""Verdicts whose repair may be a well-formed but wrong design; they never count as good after repair."""


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
        text = orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATETIME)
        if b"null" not in text:
            return text
    except orjson.JSONEncodeError:
        pass
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        why = str(error).replace("Out of range float values are not JSON compliant", "it has NaN or Infinity")
        raise DataError(
            f"a sample cannot be written as JSON: {why}. Leave such values out, or save them as text or numbers"
        ) from None


def same(one: Any, other: Any) -> bool:
    """Whether two values that are no containers are equal in JSON too: 1 is neither 1.0 nor true, 0.0 is not -0.0."""
    return one is other or (type(one) is type(other) and one == other and (one != 0 or str(one) == str(other)))


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value is a number in JSON; true is none."""
    return type(value) in (int, float)


class StrictJSONError(HouseBrainError, ValueError):
    """Text that is not exactly one JSON object. `kind` says why; see `strict_json_parse`."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind


def strict_json_parse(text: str) -> dict:
    """Reads one JSON object (RFC 8259) and nothing else: no fence, no prose, no repair.

    Args:
        text: what a model wrote, say.

    Returns:
        The object.

    Raises:
        StrictJSONError: with `kind` one of empty, no_json, fenced, prose_before, truncated, trailing_comma,
            single_quotes, python_literal, control_char, comment, unbalanced, syntax_other, duplicate_key,
            nan_or_infinity, huge_number, too_deep, several_objects, trailing_text, not_an_object.
    """
    stripped = text.strip(" \t\r\n")
    if not stripped:
        raise StrictJSONError("empty")
    try:
        value, end = _STRICT.raw_decode(stripped)
    except RecursionError:
        raise StrictJSONError("too_deep", "nested beyond what Python reads") from None
    except json.JSONDecodeError as error:
        raise StrictJSONError(_classify(stripped, error), str(error)) from None
    rest = stripped[end:].lstrip(" \t\r\n")
    if rest:
        raise StrictJSONError("several_objects" if rest[0] in "{[" else "trailing_text", rest[:40])
    if not isinstance(value, dict):
        raise StrictJSONError("not_an_object", stripped[:40])
    return value


def repaired_parse(text: str) -> tuple[dict | None, str]:
    """Reads what json-repair makes of the text.

    Returns:
        The object, or None where nothing came of it or the text has more than `REPAIR_LIMIT` characters; and the
        verdict: "ok", or the kind of `strict_json_parse`. Where a text that is broken otherwise (fenced, say, or in
        single quotes) is also cut, repeats a key or has NaN, the verdict names that. An object with a verdict of
        `NEVER_TRUSTED` may be wrong silently: never count it as good.
    """
    try:
        return strict_json_parse(text), "ok"
    except StrictJSONError as error:
        verdict = error.kind
    if verdict in ("empty", "no_json", "too_deep") or len(text) > REPAIR_LIMIT:
        return None, verdict
    try:
        from json_repair import repair_json  # which the cloud images lack; training repairs nothing

        repaired = repair_json(text, return_objects=True)
    except (ValueError, RecursionError):  # nested beyond what json-repair reads
        return None, verdict
    if not isinstance(repaired, dict):
        return None, verdict
    return repaired, (None if verdict in NEVER_TRUSTED else _hidden_danger(text, repaired)) or verdict


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise StrictJSONError("duplicate_key", key[:40])
        result[key] = value
    return result


def _refuse_constant(text: str) -> NoReturn:
    raise StrictJSONError("nan_or_infinity", text)


def _finite(text: str) -> float:
    value = float(text)
    return value if abs(value) != float("inf") else _refuse_constant(text)


def _integer(text: str) -> int:
    if len(text) > 4000:  # Python itself reads at most 4,300 digits
        raise StrictJSONError("huge_number", text[:20])
    return int(text)


_STRICT = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_integer
)
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+("|\\?\Z)', re.DOTALL)
"""A string, or one that the text's end cuts; possessive, so that it takes linear time and no stack."""

_CUT = re.compile(r"\s*|[-,:]\s*|t(ru?)?|f(a(ls?)?)?|n(ul?)?|\\(u[0-9a-fA-F]{0,3})?")
"""What stands from the decoder's error to the end where a text was cut and not spoilt."""


def _remove_strings(text: str) -> str:
    """Text without its strings; one that the end cuts leaves its quote."""
    return _STRING.sub(lambda string: "" if string[1] == '"' else '"', text)


def _depth(bare: str) -> int:
    """Brackets that are open at the end."""
    return bare.count("{") + bare.count("[") - bare.count("}") - bare.count("]")


def _classify(text: str, error: json.JSONDecodeError) -> str:  # noqa: C901, PLR0911 - one line a kind of failure
    """Why text is not JSON, from its shape and the place where the decoder stopped."""
    if "{" not in text:
        return "no_json"
    if "```" in text:
        return "fenced"
    if text[0] not in "{[":
        return "prose_before"
    bare = _remove_strings(text)
    depth = _depth(bare)
    at, before = text[error.pos : error.pos + 12], text[: error.pos].rstrip()
    if "Invalid control character" in error.msg:
        return "control_char"
    if (depth > 0 or '"' in bare) and (error.msg.startswith("Unterminated string") or _CUT.fullmatch(at)):
        return "truncated"
    if at[:1] in "}]" and before.endswith(","):
        return "trailing_comma"
    if at.startswith("'"):
        return "single_quotes"
    if re.match(r"True|False|None", at):
        return "python_literal"
    if at.startswith(("//", "/*", "#")):
        return "comment"
    if depth != 0:
        return "unbalanced"
    return "syntax_other"


_KEYS = (
    re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"\s*+:', re.DOTALL),
    re.compile(r"'([^'\\]*+(?:\\.[^'\\]*+)*+)'\s*+:", re.DOTALL),
    re.compile(r"[{,]\s*+([A-Za-z_]\w*+)\s*+:"),
)
"""A key in double quotes, in single quotes, and without any."""
_NO_NUMBER = re.compile(r"\b(?:nan|inf|infinity)\b", re.IGNORECASE)


def _hidden_danger(text: str, repaired: dict) -> str | None:
    """The kind of `NEVER_TRUSTED` that a repair may have hidden; where in doubt, one of them."""
    try:
        if _STRICT.raw_decode(text, max(0, text.find("{")))[0] == repaired:
            return None  # whole and strict inside of what was around it
    except StrictJSONError as error:
        if error.kind in NEVER_TRUSTED:
            return error.kind
    except (json.JSONDecodeError, RecursionError):
        pass
    bare = _remove_strings(text)
    if _depth(bare) > 0 or '"' in bare:
        return "truncated"
    objects, keys, finite = _count_parts(repaired)
    if _NO_NUMBER.search(bare) or not finite:
        return "nan_or_infinity"
    written = Counter(_KEYS[0].findall(text) + _KEYS[1].findall(text) + _KEYS[2].findall(bare))
    lost = any(count > 1 and keys[name] != count for name, count in written.items())
    # json-repair drops a repeated key, or begins a new object with it
    return "duplicate_key" if lost or objects != bare.count("{") else None


def _count_parts(value: dict) -> tuple[int, Counter, bool]:
    """How many objects there are at all depths, their keys, and whether all numbers are finite."""
    objects, keys, finite, stack = 0, Counter(), True, [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            objects += 1
            keys.update(item.keys())
            stack += item.values()
        elif isinstance(item, list):
            stack += item
        elif isinstance(item, float):
            finite = finite and math.isfinite(item)
    return objects, keys, finite
