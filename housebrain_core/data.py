"""Reading samples one by one from whatever a person has: a folder of JSON files, JSONL or Parquet.

A dataset has a train and a validation part: sub-folders or files of those names. Where there is no
validation part, 2 % of the samples are held out by a hash of their id, so that every reader holds out the same.
"""

import codecs
import gzip
import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import orjson

from housebrain_core.errors import DataError

Part = Literal["train", "validation"]
Sample = dict
"""A JSON object with `id` (text), `input` (the brief), `output` (the design) and `metadata` (an object).

Brief and design are JSON objects in house data; other people's may be any JSON value, such as a sentence."""

PART_NAMES = {"train": ("train", "training"), "validation": ("validation", "valid", "val")}
SUFFIXES = (".json", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
HELD_OUT_PERCENT = 2


class BadSample(NamedTuple):
    """A sample that cannot be used: where it is (file, or file:line) and why."""

    origin: str
    reason: str


@dataclass
class ReadLog:
    """What reading met: good samples, bad ones, and the ids seen so far; one log for all parts of a dataset."""

    strict: bool = False
    """Raise at the first bad sample instead of taking note of it."""
    good: int = 0
    bad: list[BadSample] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)

    def add(self, sample_id: str) -> None:
        """Counts a good sample; raises DataError when its id was there before."""
        if sample_id in self.ids:
            raise DataError(f"the id {sample_id} occurs twice")
        self.ids.add(sample_id)
        self.good += 1

    def add_new(self, sample_ids: list[str]) -> bool:
        """Counts good samples, if none of their ids was there before; else counts none and returns False."""
        if not self.ids.isdisjoint(sample_ids) or len(set(sample_ids)) < len(sample_ids):
            return False
        self.ids.update(sample_ids)
        self.good += len(sample_ids)
        return True

    def refuse(self, origin: str, reason: str) -> None:
        """Takes note of a bad sample."""
        if self.strict:
            raise DataError(f"{origin}: {reason}")
        self.bad.append(BadSample(origin, reason))

    def check(self, max_bad: float) -> None:
        """Raises DataError when more than this share of the samples is bad."""
        total = self.good + len(self.bad)
        if not self.good:
            raise DataError(f"none of the {total} samples can be read. {self.describe()}")
        if len(self.bad) > max_bad * total:
            raise DataError(
                f"{len(self.bad)} of {total} samples are bad, more than the {max_bad:.1%} that max_bad allows; "
                f"nothing was written. {self.describe()}\nMend or remove them, or allow more with --max-bad."
            )

    def describe(self, shown: int = 10) -> str:
        """The first bad samples, one line each, and how many more there are."""
        if not self.bad:
            return "No sample is bad."
        lines = [f"  {bad.origin}: {bad.reason}" for bad in self.bad[:shown]]
        more = len(self.bad) - shown
        return "\n".join(["Bad samples:", *lines, *([f"  and {more} more"] if more > 0 else [])])


def read_samples(source: Path | str, part: Part, log: ReadLog | None = None) -> Iterator[Sample]:
    """Reads the good samples of one part, in the order of file names and lines.

    Args:
        source: a folder with train/ and validation/ (or files of those names) of .json, .jsonl, .jsonl.gz,
            .jsonl.zst or .parquet; a folder of such files; or one such file.
        part: which part.
        log: takes note of bad samples; without it the first bad one raises.

    Raises:
        DataError: there is no dataset at `source`, or a sample is bad and no log was given.
    """
    if log is None:
        log = ReadLog(strict=True)
    for _, sample, _ in read_parts(source, (part,), log):
        yield sample


def read_parts(source: Path | str, parts: tuple[Part, ...], log: ReadLog) -> Iterator[tuple[Part, Sample, str | None]]:
    """Reads the good samples of the wanted parts in one pass over the files.

    Returns:
        (part, sample, its own .json file or None where a file holds many samples).
    """
    for item in list_items(Path(source), parts):
        try:
            part, sample = item.read()
            log.add(sample["id"])
        except DataError as error:
            log.refuse(item.origin, str(error))
            continue
        if part in parts:
            yield part, sample, item.path if item.number is None else None


class Item(NamedTuple):
    """A sample that was found but not read yet; cheap to send to another process."""

    path: str
    number: int | None
    """Line of a file that holds many samples, from 1."""
    line: bytes | dict | None
    """What is in that line; None where the file is the sample."""
    part: Part
    held_out: bool
    """Whether the dataset has no validation part, so that the id decides."""

    @property
    def origin(self) -> str:
        """Where the sample is: file, or file:line."""
        return self.path if self.number is None else f"{self.path}:{self.number}"

    def read(self) -> tuple[Part, Sample]:
        """Reads and checks the sample.

        Raises:
            DataError: with the reason alone.
        """
        try:
            line = self.line
            if line is None:
                line = _read_file(self.path)
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror})") from None
        sample = parse_sample(line, partial(_default_id, self.path, self.number))
        return ("validation" if self.held_out and is_held_out(sample["id"]) else self.part), sample


def list_items(source: Path, parts: tuple[Part, ...]) -> Iterator[Item]:
    """Everything in a dataset that should be a sample, in the order of file names and lines.

    Raises:
        DataError: there is no dataset at `source`, or one of its files cannot be read as what it is.
    """
    files = find_parts(source)
    held_out = "validation" not in files
    for part in ("train",) if held_out else parts:
        for path in files[part]:
            if path.endswith(".json"):
                yield Item(path, None, None, part, held_out)
                continue
            try:
                for number, line in _read_lines(Path(path)):
                    yield Item(path, number, line, part, held_out)
            except (OSError, EOFError, ValueError, zlib.error) as error:  # pyarrow's are ValueErrors
                raise DataError(f"{path} is damaged or not what its name says: {error}") from None


def find_parts(source: Path) -> dict[str, list[str]]:
    """The files of each part of a dataset, sorted by name; as text, which takes a quarter of a Path's memory.

    Returns:
        {"train": [...]} or {"train": [...], "validation": [...]}.

    Raises:
        DataError: nothing readable is there.
    """
    if not source.exists():
        raise DataError(f"{source} does not exist. Give the dataset's folder, or a JSONL or Parquet file.")
    if source.is_file():
        if not source.name.endswith(SUFFIXES):
            raise DataError(f"{source} is none of {', '.join(SUFFIXES)}.")
        return {"train": [str(source)]}
    entries = sorted(os.scandir(source), key=lambda entry: entry.name)
    parts: dict[str, list[str]] = {}
    for part, names in PART_NAMES.items():
        for entry in entries:
            if entry.is_dir() and entry.name.lower() in names:
                parts.setdefault(part, []).extend(_files_in(entry.path))
            elif entry.name.lower().split(".")[0].split("-")[0] in names and entry.name.endswith(SUFFIXES):
                parts.setdefault(part, []).append(entry.path)
    if "train" not in parts:
        parts["train"] = [path for path in _files_in(source) if path not in parts.get("validation", ())]
    if not parts["train"]:
        raise DataError(
            f"{source} holds no training samples. Expected {source}/train/*.json, or {', '.join(SUFFIXES[1:])} files."
        )
    return {part: files for part, files in parts.items() if files}


def parse_sample(line: bytes | dict, default_id: Callable[[], str]) -> Sample:
    """Checks one sample and gives it its id, or the default where it has none.

    Raises:
        DataError: with the reason alone; the caller knows the place.
    """
    sample = line if isinstance(line, dict) else _parse_json(line)
    if not isinstance(sample, dict):
        raise DataError(f"is a JSON {type(sample).__name__}, not an object")
    for name in ("input", "output"):
        if sample.get(name) is None:
            raise DataError(f"has no {name}")
        if sample[name] in ({}, [], ""):
            raise DataError(f"its {name} is empty")
    return {
        "id": str(sample.get("id") or default_id()),
        "input": sample["input"],
        "output": sample["output"],
        "metadata": sample.get("metadata") if isinstance(sample.get("metadata"), dict) else {},
    }


def is_held_out(sample_id: str) -> bool:
    """Whether a sample belongs to the held-out validation part of a dataset that has none of its own."""
    return int(hashlib.sha1(sample_id.encode(errors="surrogatepass")).hexdigest()[:8], 16) % 100 < HELD_OUT_PERCENT


_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
_BLOCK = 2**16
_BINARY = os.O_RDONLY | getattr(os, "O_BINARY", 0)


def _read_file(path: str) -> bytes:
    """What is in a file, in half the time that `open` takes for one of a few kilobytes."""
    handle = os.open(path, _BINARY)
    try:
        data = os.read(handle, _BLOCK)
        while block := os.read(handle, _BLOCK):
            data += block
        return data
    finally:
        os.close(handle)


def _parse_json(line: bytes) -> object:
    """JSON from bytes; the reason of a DataError says what is wrong with them."""
    try:  # orjson is ten times faster, but makes floats of integers beyond 64 bits
        value = orjson.loads(line)
        return json.loads(line) if _has_long_number(line) else value
    except (ValueError, RecursionError) as error:
        if line.startswith(codecs.BOM_UTF8):
            return _parse_json(line.removeprefix(codecs.BOM_UTF8))
        raise DataError(_explain(line, error)) from None


def _has_long_number(line: bytes) -> bool:
    """Whether 19 digits follow each other; such a row has three at every sixth byte, which is seen sooner."""
    return b"000" in line[::6].translate(_DIGITS_TO_ZERO) and b"0" * 19 in line.translate(_DIGITS_TO_ZERO)


def _explain(line: bytes, error: Exception) -> str:
    """Why bytes are not JSON."""
    if not line.strip():
        return "is empty"
    if b"\0" in line:
        return "has NUL bytes"
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return f"is not UTF-8 (byte {wrong.start})"
    return f"is not JSON ({str(error)[:80]})"


def _files_in(folder: Path | str) -> list[str]:
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(SUFFIXES)]


def _read_lines(path: Path) -> Iterator[tuple[int, bytes | dict]]:
    """The samples of a file with their line."""
    if path.suffix == ".parquet":
        yield from _read_parquet(path)
    else:
        with _open_lines(path) as lines:
            yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())


def _open_lines(path: Path) -> io.BufferedIOBase:
    if path.suffix == ".gz":
        return gzip.open(path)
    if path.suffix == ".zst":
        import pyarrow as pa  # costs 0.3 s, and only .zst and Parquet need it

        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def _read_parquet(path: Path) -> Iterator[tuple[int, dict]]:
    import pyarrow.parquet as pq

    number = 0
    for batch in pq.ParquetFile(path).iter_batches(batch_size=1000):
        for row in batch.to_pylist():
            number += 1
            yield number, {key: _from_text(value) for key, value in row.items()}


def _from_text(value: object) -> object:
    """Columns of a Parquet file may hold JSON as text."""
    if isinstance(value, str) and value[:1] == "{":
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _default_id(path: str, number: int | None) -> str:
    stem = os.path.basename(path).split(".")[0]
    return stem if number is None else f"{stem}-{number}"
