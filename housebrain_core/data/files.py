"""The files of a dataset: which there are, which are left aside and why, and what is in their lines."""

import csv
import gzip
import io
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from housebrain_core.data.contents import READ, Unpacked, explain_bytes, read_batches
from housebrain_core.errors import DataError

PART_NAMES = {"train": ("train", "training"), "validation": ("validation", "valid", "val")}
PACKED = ("", ".gz", ".zst")
SUFFIXES = (
    *(kind + packed for kind in (".json", ".jsonl", ".ndjson", ".csv", ".tsv") for packed in PACKED), ".parquet",
)  # fmt: skip
NO_DATA = (
    ((".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar"), "an archive; unpack it"),
    ((".arrow",), "a dataset saved to disk; load_from_disk(FOLDER).to_parquet(FILE) makes data of it"),
    ((".xlsx", ".xls", ".ods"), "a spreadsheet; save it as CSV"),
    (("",), "no data by their names"),
)
"""How names end that are no data, and why such a file is not read."""
ABOUT_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""Files that the datasets library writes beside data."""
SHOWN = 5
"""Names that a message says of files that are left aside."""


@dataclass(frozen=True)
class DatasetFiles:
    """What was found in a dataset's folder."""

    parts: dict[str, list[str]]
    """{"train": [...]} or {"train": [...], "validation": [...]}, sorted; as text, which takes a quarter of a Path."""
    aside: list[tuple[str, str]] = field(default_factory=list)
    """Files and folders that are not read, and why."""

    def describe(self) -> str:
        """What is left aside, in a line; empty where nothing is."""
        if not self.aside:
            return ""
        reasons: dict[str, list[str]] = {}
        for name, why in self.aside:
            reasons.setdefault(why, []).append(name)
        lines = []
        for why, names in reasons.items():
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            lines.append(f"{', '.join(names[:SHOWN])}{more} ({why})")
        read = sum(map(len, self.parts.values()))
        return f"read {read:,} files; left aside: {'; '.join(lines)}"


def find_dataset(source: Path) -> DatasetFiles:
    """Looks for the files of a dataset, in sub-folders too.

    Args:
        source: a folder with train/ and validation/ (or files of those names), a folder of files, or one file.

    Raises:
        DataError: nothing readable is there.
    """
    if not source.exists():
        raise DataError(f"{source} does not exist. Give the dataset's folder, or a JSON, JSONL, CSV or Parquet file.")
    if source.is_file():
        if not source.name.lower().endswith(SUFFIXES):
            raise DataError(f"{source} is none of {', '.join(SUFFIXES)}.")
        return DatasetFiles({"train": [str(source)]})
    dataset = DatasetFiles({})
    entries = sorted(os.scandir(source), key=lambda entry: entry.name)
    others = []
    for entry in entries:
        part = _part_of(entry)
        if part is None:
            others.append(entry)
        elif entry.is_dir():
            dataset.parts.setdefault(part, []).extend(_files_below(entry.path, entry.name, dataset.aside))
        else:
            dataset.parts.setdefault(part, []).append(entry.path)
    if "train" in dataset.parts:
        dataset.aside.extend(_describe_other(entry) for entry in others)
    else:
        dataset.parts["train"] = _sort_files(others, "", dataset.aside)
    if not dataset.parts["train"]:
        raise DataError(
            f"{source} holds no training samples. Expected {source}/train/*.json, or {', '.join(SUFFIXES[3:])} files."
            + f"\n{dataset.describe()}" * bool(dataset.aside)
        )
    return DatasetFiles({part: files for part, files in sorted(dataset.parts.items()) if files}, dataset.aside)


def is_validation_part(source: Path) -> bool:
    """Whether a folder or file is the validation part of a dataset, as dataset/validation is: by name, and whole."""
    name = source.resolve().name.lower().split(".")[0].split("-")[0]
    return name in PART_NAMES["validation"] and "validation" not in find_dataset(source).parts


def name_below(source: str, path: str) -> str:
    """What a file is called inside its part, without endings: a, or batch2/a where it lies in a sub-folder."""
    inside = path[len(source) :].strip(os.sep) or os.path.basename(path)
    folder, _, name = inside.rpartition(os.sep)
    first, _, rest = folder.partition(os.sep)
    below = rest if first.lower() in PART_NAMES["train"] + PART_NAMES["validation"] else folder
    stem = name.split(".")[0]
    return f"{below.replace(os.sep, '/')}/{stem}" if below else stem


def _part_of(entry: os.DirEntry) -> str | None:
    """The part that a folder or file of a dataset is, by its name; None for any other."""
    name = entry.name.lower()
    for part, names in PART_NAMES.items():
        if entry.is_dir() and name in names:
            return part
        if name.endswith(SUFFIXES) and name.split(".")[0].split("-")[0] in names and entry.is_file():
            return part
    return None


def _describe_other(entry: os.DirEntry) -> tuple[str, str]:
    """A file or folder beside the parts: its name, and why it is not read."""
    if entry.is_dir() and not entry.name.startswith("."):
        count = len(_files_below(entry.path, entry.name, []))
        return f"{entry.name}/ with {count:,} files", "beside the part train"
    return entry.name, _why_not(entry) or "beside the part train"


def _files_below(folder: str, shown: str, aside: list[tuple[str, str]]) -> list[str]:
    """The readable files of a folder and of those in it, sorted; all others go to `aside`."""
    with os.scandir(folder) as entries:
        return _sort_files(sorted(entries, key=lambda entry: entry.name), f"{shown}/", aside)


def _sort_files(entries: list[os.DirEntry], shown: str, aside: list[tuple[str, str]]) -> list[str]:
    files = []
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            files += _files_below(entry.path, f"{shown}{entry.name}", aside)
        elif why := _why_not(entry):
            aside.append((f"{shown}{entry.name}", why))
        else:
            files.append(entry.path)
    return files


def _why_not(entry: os.DirEntry) -> str | None:
    """Why a file is not read, or None."""
    name = entry.name.lower()
    if name.startswith("."):
        return "macOS made them" if name.startswith("._") else "hidden"
    if entry.is_dir():
        return "a link to a folder"
    if name in ABOUT_DATA:
        return "about the data, for the datasets library"
    if not name.endswith(SUFFIXES):
        return next(why for endings, why in NO_DATA if name.endswith(endings))
    if not entry.is_file():
        return "no regular file"
    return "empty" if not name.endswith(".json") and not entry.stat().st_size else None


Line = bytes | dict[str, Any] | str
"""What stands in a line: JSON, an object that was read already, or a text that says why it cannot be used."""


def read_lines(path: Path) -> Iterator[tuple[int, Line]]:
    """The samples of a file with their line.

    Args:
        path: one of `SUFFIXES`.

    Returns:
        Number of the line from 1, and what is in it; 0 and the whole of a .json file that is packed.

    Raises:
        DataError: with the reason alone; the file is something else than its name says.
    """
    kind = _kind_of(path)
    if kind == ".parquet":
        yield from _read_parquet(path)
        return
    with _open_lines(path) as lines:
        beginning = lines.peek(READ)[:READ]  # pyright: ignore[reportAttributeAccessIssue] - all of them can
        why = explain_bytes(beginning) if beginning else "is empty"
        if why and not why.startswith("holds"):
            raise DataError(why)
        if kind in (".csv", ".tsv"):
            yield from _read_table(lines)
        elif kind == ".json":
            yield 0, lines.read()
        else:
            yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())


def _kind_of(path: Path) -> str:
    """The ending of a file in lower case, without .gz and .zst."""
    name = path.name.lower().removesuffix(".gz").removesuffix(".zst")
    return f".{name.rpartition('.')[2]}"


def _open_lines(path: Path) -> io.BufferedReader:
    if path.suffix.lower() == ".gz":
        return io.BufferedReader(Unpacked(gzip.open(path), path.stat().st_size))
    if path.suffix.lower() == ".zst":
        import pyarrow as pa  # costs 0.3 s, and only .zst and Parquet need it

        return io.BufferedReader(Unpacked(pa.input_stream(str(path), compression="zstd"), path.stat().st_size))
    return path.open("rb")


def _read_table(lines: io.BufferedReader) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The rows of a CSV file as objects of texts, by the names in its first line; a row of another length says so."""
    csv.field_size_limit(2**30)
    with io.TextIOWrapper(lines, encoding="utf-8-sig", newline="") as text:
        header = text.readline()
        delimiter = max(",;\t", key=Counter(header).__getitem__)
        names = next(csv.reader([header], delimiter=delimiter), [])
        rows = csv.reader(text, delimiter=delimiter)
        try:
            for cells in rows:
                if len(cells) == len(names):
                    yield rows.line_num + 1, dict(zip(names, cells, strict=True))
                elif cells:
                    yield rows.line_num + 1, f"has {len(cells)} cells, the first line has {len(names)}"
        except csv.Error as error:
            raise DataError(f"line {rows.line_num + 1} is no CSV: {error}") from None


def _read_parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    for batch in read_batches(path, path.stat().st_size):
        for row in batch.to_pylist():
            number += 1
            yield number, _without_nulls(row)


def _without_nulls(value: Any) -> Any:
    """A value of Parquet without keys that are null: each row has the keys of all rows, those that it lacks as null."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
