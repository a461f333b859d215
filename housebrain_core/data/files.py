"""The files of a dataset: which there are, and what is in their lines."""

import gzip
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

from housebrain_core.errors import DataError

PART_NAMES = {"train": ("train", "training"), "validation": ("validation", "valid", "val")}
SUFFIXES = (".json", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")


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


def is_validation_part(source: Path) -> bool:
    """Whether a folder or file is the validation part of a dataset, as dataset/validation is: by name, and whole."""
    name = source.resolve().name.lower().split(".")[0].split("-")[0]
    return name in PART_NAMES["validation"] and "validation" not in find_parts(source)


def _files_in(folder: Path | str) -> list[str]:
    inside = os.path.join(folder, "")
    return [inside + name for name in sorted(os.listdir(folder)) if name.endswith(SUFFIXES)]


def read_lines(path: Path) -> Iterator[tuple[int, bytes | dict]]:
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
