"""Reading samples one by one from whatever a person has: a folder of JSON files, JSONL or Parquet.

A dataset has a train and a validation part: sub-folders or files of those names. Where there is no
validation part, 2 % of the samples are held out by a hash of their id, so that every reader holds out the same.
"""

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from housebrain_core.data.files import find_parts, read_lines
from housebrain_core.errors import DataError
from housebrain_core.house.json_text import parse_json

Part = Literal["train", "validation"]
Sample = dict
"""A JSON object with `id` (text), `input` (the brief), `output` (the design) and `metadata` (an object).

Brief and design are JSON objects in house data; other people's may be any JSON value, such as a sentence."""

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

    Returns:
        Samples: dictionaries with `id`, `input`, `output` and `metadata`.

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
    line: bytes | dict[str, Any] | None
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
        line = self.line
        if line is None:
            try:
                with open(self.path, "rb") as file:  # noqa: PTH123 - Path.read_bytes takes twice the time
                    line = file.read()
            except OSError as error:
                raise DataError(f"cannot be read ({error.strerror})") from None
        sample = parse_sample(line, partial(_default_id, self.path, self.number))
        held_out = self.held_out and is_held_out(sample["id"])
        return "validation" if held_out else self.part, sample


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
                for number, line in read_lines(Path(path)):
                    yield Item(path, number, line, part, held_out)
            except (OSError, EOFError, ValueError, zlib.error) as error:  # pyarrow's are ValueErrors
                raise DataError(f"{path} is damaged or not what its name says: {error}") from None


def parse_sample(line: bytes | dict[str, Any], default_id: Callable[[], str]) -> Sample:
    """Checks one sample and gives it its id, or the default where it has none.

    Raises:
        DataError: with the reason alone; the caller knows the place.
    """
    sample = line if isinstance(line, dict) else parse_json(line)
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


def _default_id(path: str, number: int | None) -> str:
    stem = os.path.basename(path).split(".")[0]
    return stem if number is None else f"{stem}-{number}"
