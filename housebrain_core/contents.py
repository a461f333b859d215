"""What bytes really are: the value of JSON, or something else than their name says, with what to do then."""

import codecs
import json
import re
import zipfile
from collections import Counter
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from housebrain_core.errors import DataError
from housebrain_core.texts import first_problem

Source = Path | zipfile.Path | bytes
"""A file, on disk or in a zip, or what it holds."""
Record = TypeVar("Record", bound=BaseModel)

READ = 600
"""Bytes that are looked at."""
LIMIT = 2**24
"""Bytes of a file of JSON from a person or another account; the largest, of many unreadable samples, has a million."""
LINES_LIMIT = 2**28
"""Bytes of such a file with a line for each of many answers or briefs."""
AGAIN = "the download or copy failed; get it again"
ON_LINES = "write each on a line of its own, in a file with the ending .jsonl (jq -c . FILE does it)"
UNPACK = "unpack it and give what is inside"


class Signature(NamedTuple):
    """How a kind of file begins."""

    starts: tuple[bytes, ...]
    """In lower case where they are letters."""
    what: str
    advice: str


SIGNATURES = (
    Signature(
        (b"version https://git-lfs",),
        "a Git LFS pointer: a note of 130 bytes in the place of the file",
        "run `git lfs pull` in the repository that it came from, or download the file by itself",
    ),
    Signature(
        (b"<!doctype html", b"<html", b"<?xml", b"<head"),
        "a web page, such as a login or an error page",
        "log in where it came from, and download it again",
    ),
    Signature(
        (b"gguf",),
        "a GGUF file, for llama.cpp",
        "ask for what training saved, in safetensors; GGUF is made from it at the end",
    ),
    Signature(
        (b"access to model", b"entry not found", b"invalid username", b"repository not found", b"unauthorized"),
        "an error message of the Hugging Face Hub",
        "accept the model's terms or log in there, and download it again",
    ),
    Signature((b"rar!",), "a RAR archive", UNPACK),
    Signature((b"7z\xbc\xaf",), "a 7z archive", UNPACK),
    Signature((b"\x1f\x8b",), "packed with gzip", UNPACK),
    Signature((b"\x28\xb5\x2f\xfd",), "packed with zstd", UNPACK),
    Signature((b"pk\x03\x04", b"pk\x05\x06"), "a zip, or a file that PyTorch pickled", "give it its own ending"),
    Signature(
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        "a pickle, which could run code",
        "ask for weights as safetensors, for data as JSON",
    ),
    Signature((b"%pdf",), "a PDF", AGAIN),
    Signature((b"par1",), "a Parquet file", "give it the ending .parquet"),
    Signature(
        (b"arrow1", b"fea1"), "a Feather or Arrow file", "pandas.read_feather(FILE).to_parquet(NEW) makes data of it"
    ),
    Signature((b"sqlite format 3",), "an SQLite database", "export its table as CSV"),
    Signature(
        (b"\xff\xfe", b"\xfe\xff"),
        "UTF-16 text",
        "save it as UTF-8 (in PowerShell: Set-Content -Encoding utf8)",
    ),
)


def explain_bytes(data: bytes) -> str | None:
    """Says what bytes are that are not what was expected.

    Args:
        data: the beginning of a file, `READ` bytes of it.

    Returns:
        A phrase such as "is a GGUF file, for llama.cpp: ask for ...", or None where nothing is recognised.
    """
    if not data:
        return f"is empty: {AGAIN}"
    if not data.strip(b"\0"):
        return f"holds zeros only: {AGAIN}"
    return _recognise(data)


def _recognise(data: bytes) -> str | None:
    """The phrase for the signature that bytes begin with."""
    start = data.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    for signature in SIGNATURES:
        if start.startswith(signature.starts) or data[:READ].lower().startswith(signature.starts):
            return f"is {signature.what}: {signature.advice}"
    if data[257:262] == b"ustar":
        return f"is a tar archive: {UNPACK}"
    return None


def explain_file(path: Path) -> str | None:
    """`explain_bytes` of the beginning of a file.

    Args:
        path: a file; one that cannot be read is not recognised.

    Returns:
        The phrase, or None.
    """
    try:
        with path.open("rb") as file:
            return explain_bytes(file.read(READ))
    except OSError:
        return None


def read_bytes(path: Path | zipfile.Path, limit: int = LIMIT) -> bytes:
    """The bytes of a file that somebody hands over, in bounded memory.

    Args:
        path: of the file.
        limit: bytes that it may have.

    Raises:
        DataError: with the reason alone; it is no file that can be read, or has more bytes.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe or a device would never end
            raise DataError("is no file")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})") from None
    if len(data) > limit:
        raise DataError(f"has more than {limit:,} bytes: too much to be what its name says")
    return data


def read_json(source: Source, limit: int = LIMIT) -> dict[str, Any]:
    """A file with one object of JSON as plain data: no key twice, no NaN, no endless nesting.

    The standard library reads it, since names of files may hold halves of characters, which orjson refuses.

    Args:
        source: a file, or its bytes, with or without a byte order mark.
        limit: bytes that a file may have.

    Raises:
        DataError: with the reason alone; the caller knows the place.
    """
    data = source if isinstance(source, bytes) else read_bytes(source, limit)
    try:
        text = data.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_refuse_repeated, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DataError(_explain(data, error, lines_are_read=False)) from None
    if not isinstance(value, dict):
        raise DataError(f"is no JSON object, but {shorten(repr(value), 40)}")
    return value


def read_record(kind: type[Record], source: Source, limit: int = LIMIT) -> Record:
    """`read_json` as a record.

    Args:
        kind: of the record.
        source: a file, or its bytes.
        limit: bytes that a file may have.

    Raises:
        DataError: with the reason alone; it is no such record, or as for `read_json`.
    """
    try:
        return kind.model_validate_json(json.dumps(read_json(source, limit)))
    except ValidationError as error:
        raise DataError(f"cannot be used: {first_problem(error)}") from None


def parse_json(data: bytes) -> Any:
    """The value of JSON bytes, with or without a byte order mark; integers of any length stay exact.

    Args:
        data: of one value; no object in it may have a key twice.

    Raises:
        DataError: with the reason alone; the caller knows the place.
    """
    try:  # orjson is ten times faster than the standard library, but makes floats of integers beyond 64 bits
        value = orjson.loads(data)
        if not _has_all_colons(data, value):  # a key twice, or a colon that is escaped
            json.loads(data, object_pairs_hook=_refuse_repeated)
        return json.loads(data) if _has_long_number(data) else value
    except (ValueError, RecursionError) as error:
        if data.startswith(codecs.BOM_UTF8):
            return parse_json(data.lstrip(codecs.BOM_UTF8))
        raise DataError(_explain(data, error)) from None


def is_array(data: bytes) -> bool:
    """Whether JSON, of which these bytes are the beginning, is an array."""
    return data.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"["


def parse_text(value: str) -> Any:
    """A text, or the object that it holds as JSON: Parquet and CSV files often have nested data so."""
    if value[:1] == "{":
        try:
            parsed = parse_json(value.encode())
        except (DataError, UnicodeEncodeError):
            return value
        return parsed if isinstance(parsed, dict) else value
    return value


def _has_all_colons(data: bytes, value: Any) -> bool:
    try:
        return data.count(b":") == orjson.dumps(value).count(b":")
    except orjson.JSONEncodeError:  # nested deeper than it writes, though not deeper than it reads
        return False


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; DataError where it has a key twice, since all but one of its values would be lost."""
    value = dict(pairs)
    if len(value) != len(pairs):
        twice, count = Counter(key for key, _ in pairs).most_common(1)[0]
        raise DataError(f"has the key {twice[:60]!r} {count} times in one object")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")


def _has_long_number(data: bytes) -> bool:
    """Whether 19 digits follow each other; such a row has three at every sixth byte, which is seen sooner."""
    return b"000" in data[::6].translate(_DIGITS_TO_ZERO) and b"0" * 19 in data.translate(_DIGITS_TO_ZERO)


NO_UTF8 = "is not UTF-8; save it as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8, or Save As in an editor)"
NO_NUMBER = "has NaN or Infinity, which JSON does not have; write null, or leave the field out"


def _explain(data: bytes, error: Exception, lines_are_read: bool = True) -> str:
    """Why bytes are not JSON, which of data can also be a value a line."""
    text = data.strip()
    if not text:
        return "is empty"
    if why := _recognise(data) or ("has NUL bytes" if b"\0" in data else None):
        return why
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return NO_UTF8
    lines = data.split(b"\n", 2)
    if lines_are_read and len(lines) > 1 and _is_json(lines[0]) and lines[1].strip():
        return "holds one JSON value a line; give it the ending .jsonl"
    reasons = {
        "is nested too deeply": isinstance(error, RecursionError),
        "has half of a character, such as \\ud83c: a text was cut inside of a symbol": "surrogate" in str(error),
        NO_NUMBER: re.search(rb"[\s:,\[](NaN|-?Infinity)\b", data),
        "ends with a comma; remove it": text.endswith(b",") and _is_json(text[:-1]),
        f"holds several JSON values; {ON_LINES}": lines_are_read and "after document" in str(error),
        f"begins a value that goes on in the next line; {ON_LINES}": lines_are_read and text in (b"{", b"["),
        "is a comment, which JSON does not have; remove it": text.startswith((b"//", b"/*", b"#")),
        "is the text of a Python object, not JSON; write it with json.dumps instead of str": re.match(
            rb"\[?\s*\{'", text
        ),
    }
    return next((why for why, holds in reasons.items() if holds), f"is not JSON ({shorten(str(error), 80)})")


def _is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except ValueError:
        return False
    return True


def not_an_object(value: Any) -> str:
    """Why a JSON value is no sample."""
    kind = {list: "list", str: "text"}.get(type(value), "single value")
    return f'is a JSON {kind}; a sample is an object such as {{"input": ..., "output": ...}}'
