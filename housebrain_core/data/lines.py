"""The lines of a dataset's files, packed or not, in bounded memory."""

import csv
import gzip
import io
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from housebrain_core.contents import NO_UTF8, ON_LINES, READ, explain_bytes, is_array
from housebrain_core.errors import DataError

UNPACKED, RATIO = 2**28, 100
"""Bytes that a packed file may unpack to: the larger of so many, and so many for each of its own."""
BATCH = 2**27
"""Bytes that a batch of a Parquet file may have."""
LONGEST = 2**28
"""Characters or bytes of a line, at most."""
LARGEST = 2**32
"""Bytes of a JSON file, which is read whole."""
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
    try:
        yield from _read_lines(path)
    except UnicodeDecodeError:
        raise DataError(NO_UTF8) from None
    except (OSError, EOFError, ValueError, zlib.error) as error:  # pyarrow's are ValueErrors
        raise DataError(f"is damaged or not what its name says: {error}") from None


def read_file(path: str) -> bytes | str:
    """What is in a JSON file, or a text that says why it cannot be used."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - Path.read_bytes takes twice the time
            size = os.fstat(file.fileno()).st_size
            return file.read() if size <= LARGEST else f"has {size:,} bytes: too much for one value; {ON_LINES}"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _read_lines(path: Path) -> Iterator[tuple[int, Line]]:
    kind = _kind_of(path)
    if kind == ".parquet":
        yield from _read_parquet(path)
        return
    with _open_lines(path) as lines:
        beginning = lines.peek(READ)[:READ]  # pyright: ignore[reportAttributeAccessIssue] - all of them can
        if why := explain_bytes(beginning) if beginning else "is empty":
            raise DataError(why)
        if kind in (".csv", ".tsv"):
            yield from _read_table(lines)
        elif kind == ".json" or is_array(beginning):
            yield 0, lines.read()
        else:
            yield from ((number, line) for number, line in enumerate(_limited(lines), 1) if line.strip())


def _limited(lines: Any) -> Iterator[Any]:
    """The lines of a file or text, as long as each fits into memory."""
    number = 0
    while line := lines.readline(LONGEST):
        number += 1
        if len(line) == LONGEST:
            raise DataError(f"line {number:,} is longer than {LONGEST:,}: too much for a sample, so nothing is read")
        yield line


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
    csv.field_size_limit(LONGEST)
    with io.TextIOWrapper(lines, encoding="utf-8-sig", newline="") as text:
        header, before = "", -1
        while not header.strip() or header.startswith("sep="):  # Excel's first line, which names the delimiter
            header, before = text.readline(LONGEST), before + 1
            if not header:
                return
        counts = Counter(re.sub('"[^"]*"', "", header))
        delimiter = max(",;\t" if set(",;\t") & counts.keys() else "|", key=counts.__getitem__)
        rows = csv.reader(chain([header], _limited(text)), delimiter=delimiter, strict=True)
        first = _next_row(rows, before + 1)
        if isinstance(first, str):
            raise DataError(f"its first line {first}")
        names = [name or f"column {place}" for place, name in enumerate(first or [], 1)]
        if len(set(names)) < len(names):
            raise DataError(f"has the column {Counter(names).most_common(1)[0][0]!r} twice; give each its own name")
        while (cells := _next_row(rows, rows.line_num + before + 1)) is not None:
            number = rows.line_num + before
            if isinstance(cells, str):
                yield number, cells
            elif cells == first:
                yield number, "repeats the first line"
            elif cells and len(cells) != len(names):
                yield number, f"has {len(cells)} cells, the first line has {len(names)}"
            elif cells:
                yield number, dict(zip(names, cells, strict=True))


def _next_row(rows: Any, first: int) -> list[str] | str | None:
    """The cells of a CSV file's next row, which begins in this line; why there are none; None at the end."""
    try:
        return next(rows, None)
    except csv.Error as error:
        if "expected after" in str(error):
            return 'has text behind a closing quote; a quote inside of a quoted cell is written twice ("")'
        raise DataError(f"is no CSV from line {first:,} on: {error}; look for a quote there") from None


def _read_parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as file:
        beginning = file.read(READ)
    if not beginning.startswith(b"PAR1") and (why := explain_bytes(beginning)):
        raise DataError(why)
    number = 0
    for batch in read_batches(path, path.stat().st_size):
        if len(set(batch.schema.names)) < len(batch.schema.names):
            raise DataError(f"has two columns of one name: {', '.join(batch.schema.names)}")
        for row in batch.to_pylist():
            number += 1
            yield number, _without_nulls(row)


def _without_nulls(value: Any) -> Any:
    """A value of Parquet without keys that are null: each row has the keys of all rows, those that it lacks as null."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if not isinstance(value, list):
        return value
    if value and isinstance(value[0], tuple) and len({key for key, _ in value if isinstance(key, str)}) == len(value):
        return _without_nulls(dict(value))  # a map, which comes as pairs
    return [_without_nulls(item) for item in value]


class Unpacked(io.RawIOBase):
    """What a packed file holds, as long as that is not far more than its size."""

    def __init__(self, stream: Any, packed: int) -> None:
        self.stream = stream
        self.packed = packed
        self.size = 0

    def readable(self) -> bool:
        """As io asks."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As io asks; DataError where it is too much."""
        data = self.stream.read(len(buffer))
        self.size += len(data)
        check_unpacked(self.size, self.packed)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Closes the file, too."""
        self.stream.close()
        super().close()


def check_unpacked(size: int, packed: int) -> None:
    """Refuses what unpacks to far more than it looks.

    Args:
        size: bytes so far.
        packed: bytes of the file that they come from.

    Raises:
        DataError: with the reason alone.
    """
    limit = max(UNPACKED, RATIO * packed)
    if size > limit:
        raise DataError(
            f"has {packed:,} bytes and unpacks to more than {limit:,}: too much to be data, so it is not read"
        )


def read_batches(source: Path | io.BytesIO, packed: int) -> Iterator[Any]:
    """The rows of a Parquet file, some at a time, in bounded memory whatever a small file unpacks to.

    Args:
        source: the file, or its bytes.
        packed: bytes that it has.

    Yields:
        Record batches of pyarrow.

    Raises:
        DataError: with the reason alone; it is damaged, or unpacks to far more than it looks.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = 0
    try:
        with pq.ParquetFile(source) as file:
            groups = [file.metadata.row_group(number).total_byte_size for number in range(file.metadata.num_row_groups)]
            check_unpacked(sum(groups), packed)
            # a row may be as large as its group: values that were stored once, in a dictionary
            rows = max(1, min(1000, BATCH // max([1, *groups])))
            for batch in file.iter_batches(batch_size=rows):
                size += sum(column.nbytes for column in map(_decode, batch.columns))
                check_unpacked(size, packed)
                yield batch
    except (pa.ArrowException, ValueError, OSError, MemoryError, RecursionError) as error:
        raise DataError(f"is no Parquet file that can be read ({error})") from None


def _decode(column: Any) -> Any:
    """A column with every value in its place, where a dictionary holds each once."""
    return column.dictionary_decode() if hasattr(column, "dictionary_decode") else column
