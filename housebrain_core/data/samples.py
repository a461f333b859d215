"""Reading samples one by one from whatever a person has: a folder of JSON files, JSONL, CSV or Parquet.

A dataset has a train and a validation part: sub-folders or files of those names. Where there is no
validation part, 2 % of the samples are held out by a hash of their id, so that every reader holds out the same;
of 20 to 500 samples a tenth, at least 2 and at most 10.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from housebrain_core.contents import is_array, not_an_object, parse_json
from housebrain_core.data.fields import USUAL, Fields, Sample, read_record
from housebrain_core.data.files import DatasetFiles, find_dataset, name_below
from housebrain_core.data.lines import Line, read_file, read_lines
from housebrain_core.errors import DataError
from housebrain_core.house import codec

Part = Literal["train", "validation"]
HELD_OUT_PERCENT = 2
SMALL = 500
"""Samples below which that may be none at all, so that a minimum counts."""
TINY = 20
"""Samples below which even that minimum would be too much of them."""


class BadSample(NamedTuple):
    """A sample that cannot be used: where it is (file, or file:line) and why."""

    origin: str
    reason: str

    def to_record(self, source: Path) -> dict[str, str]:
        """The sample as a report has it, with its place in the dataset alone."""
        folder = source if source.is_dir() else source.parent
        return {"origin": self.origin.removeprefix(str(folder)).lstrip(os.sep), "reason": self.reason}


@dataclass
class ReadLog:
    """What reading met: good samples, bad ones, and the ids seen so far; one log for all parts of a dataset."""

    strict: bool = False
    """Raise at the first bad sample instead of taking note of it."""
    good: int = 0
    bad: list[BadSample] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    notes: Counter[str] = field(default_factory=Counter)
    """What was left aside or changed in samples -> in how many."""
    aside: str = ""
    """Files that were left aside, in a line."""

    def add(self, sample_id: str) -> None:
        """Counts a good sample; raises DataError when its id was there before."""
        if sample_id in self.ids:
            raise DataError("its id, or without one the name of its file, is that of an earlier sample")
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
            aside = f"\n{self.aside}" * bool(self.aside)
            found = (
                f"none of the {total} samples can be read. {self.describe()}" if total else "the files hold no samples."
            )
            raise DataError(f"{found}{aside}")
        if len(self.bad) > max_bad * total:
            raise DataError(
                f"{len(self.bad)} of {total} samples are bad, more than the {max_bad:.1%} that max_bad allows; "
                f"nothing was written. {self.describe()}\nMend or remove them, or allow more with --max-bad."
            )

    def describe(self, shown: int = 10) -> str:
        """The reasons of bad samples, the first place of each, and how many more there are."""
        if not self.bad:
            return "No sample is bad."
        places: dict[str, list[str]] = {}
        for bad in self.bad:
            places.setdefault(bad.reason, []).append(bad.origin)
        lines = []
        for reason, origins in list(places.items())[:shown]:
            lines.append(f"  {origins[0]}{f' and {len(origins) - 1:,} more' * (len(origins) > 1)}: {reason}")
        more = len(places) - shown
        return "\n".join(["Bad samples:", *lines, *([f"  and {more} other reasons"] if more > 0 else [])])

    def describe_notes(self, shown: int = 30) -> list[str]:
        """What was left aside or changed though no sample is bad: a line for the files, and one for each field."""
        lines = [self.aside] if self.aside else []
        lines += [f"in {count:,} samples {note}" for note, count in self.notes.most_common(shown)]
        more = len(self.notes) - shown
        return lines + [f"and {more:,} more such lines: fields whose names differ from sample to sample"] * (more > 0)


def read_samples(
    source: Path | str, part: Part, log: ReadLog | None = None, fields: Fields = USUAL
) -> Iterator[Sample]:
    """Reads the good samples of one part, in the order of file names and lines.

    Args:
        source: a folder with train/ and validation/ (or files of those names) of .json, .jsonl, .ndjson, .csv, .tsv
            (each also as .gz or .zst) or .parquet; a folder of such files; or one such file.
        part: which part.
        log: takes note of bad samples; without it the first bad one raises.
        fields: which fields are input and output.

    Returns:
        Samples: dictionaries with `id`, `input`, `output` and `metadata`.

    Raises:
        DataError: there is no dataset at `source`, or a sample is bad and no log was given.
    """
    if log is None:
        log = ReadLog(strict=True)
    for _, sample, _ in read_parts(source, (part,), log, fields):
        yield sample


def read_parts(
    source: Path | str, parts: tuple[Part, ...], log: ReadLog, fields: Fields = USUAL
) -> Iterator[tuple[Part, Sample, str | None]]:
    """Reads the good samples of the wanted parts in one pass over the files.

    Returns:
        (part, sample, its own .json file or None where a file holds many samples).
    """
    for item in list_items(Path(source), parts, fields):
        for one in open_item(item):
            try:
                read = one.read(fields)
                log.add(read.sample["id"])
            except DataError as error:
                log.refuse(one.origin, str(error))
                continue
            log.notes.update(read.notes)
            if read.part in parts:
                yield read.part, read.sample, one.own_file(fields)


class Read(NamedTuple):
    """A good sample."""

    part: Part
    sample: Sample
    notes: tuple[str, ...]
    """What was left aside or changed in it."""


class Item(NamedTuple):
    """A sample that was found but not read yet, or a file with an array of them; cheap to send to another process."""

    path: str
    number: int | None
    """Line of a file that holds many samples, or place in an array, from 1."""
    line: Line | None
    """What is there; None where the file is the sample."""
    part: Part
    held_out: bool
    """Whether the dataset has no validation part, so that the id decides."""
    below: int = 0
    """Of a small dataset: samples whose hash is below this are held out besides."""
    source: str = ""
    """Folder of the dataset."""

    @property
    def origin(self) -> str:
        """Where the sample is: file, or file:line."""
        return self.path if self.number is None else f"{self.path}:{self.number}"

    def own_file(self, fields: Fields) -> str | None:
        """The file that holds this sample alone, as it is; None where there is none."""
        return self.path if self.number is None and fields.are_defaults and self.path.endswith(".json") else None

    def read(self, fields: Fields = USUAL) -> Read:
        """Reads and checks the sample, the first one of an array.

        Raises:
            DataError: with the reason alone.
        """
        if self.line is None:
            return next(open_item(self)).read(fields)
        if isinstance(self.line, str):
            raise DataError(self.line)
        record = parse_json(self.line) if isinstance(self.line, bytes) else self.line
        if not isinstance(record, dict):
            raise DataError(not_an_object(record))
        sample, notes = read_record(record, fields)
        if self.path.lower().endswith(".parquet"):
            codec.dumps(sample)  # its dates, bytes and NaN are no JSON
        if not sample["id"]:
            stem = name_below(self.source, self.path)
            sample["id"] = stem if self.number is None else f"{stem}-{self.number}"
        held_out = self.held_out and is_held_out(sample["id"], self.below)
        return Read("validation" if held_out else self.part, sample, notes)


def open_item(item: Item) -> Iterator[Item]:
    """An item with what is in its file, or one for each sample where the file is an array; bad ones say why."""
    line = read_file(item.path) if item.line is None else item.line
    if item.number is None and isinstance(line, bytes) and is_array(line):
        yield from _open_array(item, line)
    else:
        yield Item(item.path, item.number, line, item.part, item.held_out, item.below, item.source)


def _open_array(item: Item, line: bytes) -> Iterator[Item]:
    try:
        values = parse_json(line)
    except DataError as error:
        values = []
        yield item._replace(line=str(error))
    else:
        if not values:
            yield item._replace(line="is an empty list")
    for number, value in enumerate(values, 1):
        yield item._replace(number=number, line=value if isinstance(value, dict) else not_an_object(value))


def list_items(
    source: Path, parts: tuple[Part, ...], fields: Fields = USUAL, files: DatasetFiles | None = None
) -> Iterator[Item]:
    """Everything in a dataset that should be a sample, in the order of file names and lines.

    Args:
        source: see `read_samples`.
        parts: which of them are wanted; where there is no validation part, all comes as train.
        fields: which fields are input and output, for what a small dataset holds out.
        files: what `find_dataset` found at `source`, where that is known.

    Raises:
        DataError: there is no dataset at `source`, or one of its files cannot be read as what it is.
    """
    files = files or find_dataset(source)
    held_out = "validation" not in files.parts
    items = _list_items(source, files, ("train",) if held_out else parts, held_out)
    if held_out:
        first = list(islice(items, SMALL))
        below = _choose_held_out(first, fields) if len(first) < SMALL else 0
        yield from (item._replace(below=below) for item in first)
    yield from items


def _list_items(source: Path, files: DatasetFiles, parts: tuple[Part, ...], held_out: bool) -> Iterator[Item]:
    root = str(source)
    for part in parts:
        for path in files.parts[part]:
            if path.lower().endswith(".json"):
                yield Item(path, None, None, part, held_out, 0, root)
                continue
            try:
                for number, line in read_lines(Path(path)):
                    yield Item(path, number or None, line, part, held_out, 0, root)
            except DataError as error:
                raise DataError(f"{path} {error}.") from None


def _choose_held_out(items: list[Item], fields: Fields) -> int:
    """The hash below which samples are held out besides the 2 %, so that a small dataset has some to validate with."""
    hashes: list[int] = []
    for item in items:
        for one in open_item(item):
            try:
                hashes.append(_hash_of(one.read(fields).sample["id"]))
            except DataError:  # it is named by who reads the dataset
                continue
        if len(hashes) >= SMALL:
            return 0
    wanted = min(max(2, len(hashes) // 10), 10) if len(hashes) >= TINY else 0
    others = sorted(number for number in hashes if number % 100 >= HELD_OUT_PERCENT)
    missing = wanted - (len(hashes) - len(others))
    return others[missing - 1] + 1 if missing > 0 else 0


def is_held_out(sample_id: str, below: int = 0) -> bool:
    """Whether a sample belongs to the held-out validation part of a dataset that has none of its own.

    Args:
        sample_id: of the sample.
        below: of a small dataset, see `Item.below`.
    """
    number = _hash_of(sample_id)
    return number % 100 < HELD_OUT_PERCENT or number < below


def _hash_of(sample_id: str) -> int:
    return int(hashlib.sha1(sample_id.encode(errors="surrogatepass")).hexdigest()[:8], 16)
