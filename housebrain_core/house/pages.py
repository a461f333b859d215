"""Many texts of one form, taken apart and put together at once with numpy.

A `Page` holds the texts, a `Template` says what they have in common and where their values are, a `Column` is one
value of each of them, and `compose` writes new texts from columns. What is the same in all texts is compared and copied
in one operation for all of them, where Python's own loop has one for each. Nothing here knows what the texts are about.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from housebrain_core.splits.tables import as_numbers

_REACH = 4096
"""Bytes behind the texts of a page, so that looking for a template in too short a text stays in the page."""
_ZEROS, _HIGH = np.uint64(0x3030303030303030), np.uint64(0x8080808080808080)
"""Eight digits 0; the highest bit of eight bytes."""
_BYTE, _SPREAD = np.uint64(255), np.uint64(0x9E3779B97F4A7C15)
"""The lowest byte; an odd number that spreads bits."""


class Column(NamedTuple):
    """One value of each of n texts; or (k, n) of them, for k values at once."""

    values: np.ndarray
    """(n,) byte strings of fixed width, a multiple of eight; zeros behind each value."""
    lengths: np.ndarray
    """(n,) bytes of each value."""

    def counts(self, digits: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) which values of at most eight bytes are integers from 0 on as JSON writes them, of so many digits at
        most; and the integers."""
        words = self.values.view("<u8")
        bits = (64 - 8 * self.lengths).astype(np.uint64)
        plain = (words & _BYTE != ord("0")) | (self.lengths == 1)
        words = words << bits | _ZEROS & (np.uint64(1) << bits) - np.uint64(1)  # zeros before them
        no_digit = (words + np.uint64(0x4646464646464646) | words - _ZEROS) & _HIGH
        return (no_digit == 0) & (self.lengths > 0) & (self.lengths <= digits) & plain, _to_integers(words - _ZEROS)

    def decimals(self, digits: int) -> tuple[np.ndarray, np.ndarray]:
        """(n,) which values of at most eight bytes have one or two decimals, such as 7.0 or 49.75, and no zero too
        many, behind so many digits at most; and their hundredths."""
        words = self.values.view("<u8") << (64 - 8 * self.lengths).astype(np.uint64)
        third, second, last = ((words >> np.uint64(bits) & _BYTE).astype(np.int64) - ord("0") for bits in (40, 48, 56))
        point = ord(".") - ord("0")
        one = second == point
        whole = self.shortened(np.where(one, 2, 3))
        valid, integers = whole.counts(digits)
        valid &= one | (third == point) & (last != 0) & (second >= 0) & (second <= 9)
        return valid & (last >= 0) & (last <= 9), 100 * integers + np.where(one, 10 * last, 10 * second + last)

    def take(self, rows: np.ndarray) -> "Column":
        """The values of some texts."""
        return Column(self.values[rows], self.lengths[rows])

    def where(self, wanted: np.ndarray) -> "Column":
        """The same values, but empty ones where they are not wanted."""
        return Column(np.where(wanted, self.values, b""), self.lengths * wanted)

    def shortened(self, by: np.ndarray) -> "Column":
        """The values without so many of their last bytes, as far as they have them."""
        return _cut(self.values, np.maximum(self.lengths - by, 0))


def stack(columns: Iterable[Column]) -> Column:
    """k columns of one width as one with (k, n) values."""
    return Column(*map(np.stack, zip(*columns, strict=True)))


class Vocabulary:
    """Words that values may be, found by a number that is made of their bytes."""

    def __init__(self, words: Iterable[str], width: int) -> None:
        self._words = np.array([word.encode() for word in sorted({*words})], f"S{width}")
        order = np.argsort(hash_values(self._words))
        self._words = self._words[order]
        self._hashes = hash_values(self._words)
        self.places = {word.decode(): place for place, word in enumerate(self._words)}
        """Word -> its place, which `find` gives."""

    def find(self, column: Column) -> np.ndarray:
        """The place of each value, as in `places`; -1 where it is none of the words."""
        places = np.searchsorted(self._hashes[:-1], hash_values(column.values))
        return np.where(_equal(column.values, self._words[places]), places, -1)


def hash_values(values: np.ndarray) -> np.ndarray:
    """Numbers that are the same for the same byte strings, and hardly ever for others."""
    words = values.view("<u8").reshape(*values.shape, -1)
    numbers = words[..., 0] * _SPREAD
    for place in range(1, words.shape[-1]):
        numbers = (numbers ^ words[..., place]) * _SPREAD
    return numbers


def _to_integers(words: np.ndarray) -> np.ndarray:
    """Eight digits each, the first in the lowest byte, as an integer: pairs are joined, then fours, then all.

    D. Lemire, "Quickly parsing eight digits", 2018.
    """
    words = words * np.uint64(10) + (words >> np.uint64(8))
    low = (words & np.uint64(0x000000FF000000FF)) * np.uint64(0x000F424000000064)
    high = (words >> np.uint64(16) & np.uint64(0x000000FF000000FF)) * np.uint64(0x0000271000000001)
    return (low + high >> np.uint64(32)).astype(np.int64)


def choose(values: Sequence[str], places: np.ndarray) -> Column:
    """A column of values that are named by their places in a list."""
    texts = [value.encode() for value in values]
    width = -(-max(map(len, texts)) // 8) * 8
    places = places.astype(np.int64)  # no mask
    return Column(np.array(texts, f"S{width}")[places], np.array([*map(len, texts)])[places])


class Page:
    """Texts in one buffer, each between two newlines."""

    def __init__(self, texts: Sequence[bytes]) -> None:
        self._data = np.frombuffer(b"\n".join([b"", *texts, bytes(_REACH)]), np.uint8)
        starts = np.cumsum([1, *(len(text) + 1 for text in texts)])
        self.starts, self._stop = starts[:-1], starts[-1]
        """(n,) where each text starts; and what is behind the last."""
        self.line_ends = np.flatnonzero(self._data == ord("\n"))
        """Place of every newline."""
        first = np.searchsorted(self.line_ends, starts)
        self.first_lines, self.lines = first[:-1], np.diff(first)
        """(n,) each text's first line, as a place in `line_ends`, and how many it has."""

    def is_plain(self, quotes: int) -> bool:
        """Whether all texts are UTF-8 without escapes and control characters, and have so many quotes together."""
        data = self._data[: self._stop]
        if np.count_nonzero(data < ord(" ")) > len(self.line_ends) or np.count_nonzero(data == ord('"')) != quotes:
            return False
        try:
            return "\\" not in str(data, "utf-8")
        except UnicodeDecodeError:
            return False

    def has(self, places: np.ndarray, text: bytes) -> np.ndarray:
        """(n,) whether a text, which does not end in a zero byte, stands at each place."""
        return _equal(_strings(self._data, len(text))[places], np.array(text))

    def read(self, places: np.ndarray, lengths: np.ndarray, width: int) -> Column:
        """The values at (k, n) places, of (k, n) bytes each, as strings of `width` bytes, a multiple of eight."""
        strings = _strings(self._data, width)
        return _cut(np.stack([strings[row] for row in places]), lengths)


class Template:
    """What texts have in common: lines with at most one <value> each, such as `  "area": <area>,`."""

    def __init__(self, text: str, widths: dict[str, int]) -> None:
        """Takes bytes to read of each value, by name; 24 of the others."""
        literals = re.split(r"<(\w+)>", text)
        self.names = literals[1::2]
        self.literals = [literal.encode() for literal in literals[::2]]
        self.newlines, self.quotes = text.count("\n"), text.count('"')
        self._sizes = np.array([[len(literal)] for literal in self.literals])
        self._lines = np.cumsum([[literal.count(b"\n")] for literal in self.literals[:-1]], axis=0)
        self._suffixes = np.array([[literal.index(b"\n")] for literal in self.literals[1:]])
        self._widths = np.array([[widths.get(name, 24)] for name in self.names])

    def match(self, page: Page, places: np.ndarray, lines: np.ndarray) -> tuple[np.ndarray, dict[str, Column]]:
        """Looks for the template at places of a page.

        Args:
            page: the texts.
            places: (n,) where the template should start.
            lines: (n,) the lines that these places are in; `newlines` more must be in the page.

        Returns:
            Whether the text at each place has the template's form, and the same value wherever a name comes again;
            and the values by name.
        """
        ends = page.line_ends[lines + self._lines] - self._suffixes
        literals = np.concatenate([places[None], ends])
        starts = literals[:-1] + self._sizes[:-1]
        lengths = ends - starts
        matches = ((lengths > 0) & (lengths <= self._widths)).all(axis=0)
        for place, literal in zip(literals, self.literals, strict=True):
            matches &= page.has(place, literal)
        lengths = np.minimum(np.maximum(lengths, 0), self._widths)
        found: dict[str, Column] = {}
        for width in {*self._widths.flat}:
            rows = np.flatnonzero(self._widths == width)
            for row, *column in zip(rows, *page.read(starts[rows], lengths[rows], int(width)), strict=True):
                if self.names[row] in found:
                    matches &= found[self.names[row]].values == column[0]
                found[self.names[row]] = Column(*column)
        return matches, found


class Composed(NamedTuple):
    """Texts that `compose` wrote."""

    data: np.ndarray
    ends: list[np.ndarray]
    """For each text of a row, (2 * rows,) where it starts and ends in the first row, in the second, and so on."""

    def strings(self, number: int) -> pa.Array:
        """(rows,) one text of every row."""
        ends = self.ends[number].astype(np.int32)
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(self.data)]
        texts_and_gaps = pa.Array.from_buffers(pa.string(), len(ends) - 1, buffers)
        return texts_and_gaps.take(as_numbers(np.arange(0, len(ends) - 1, 2)))


def compose(rows: int, *texts: Sequence[str | Column]) -> Composed:
    """Writes texts for every row from what they are made of: columns, and what is the same in all rows.

    A value is written with the zeros behind it, which what follows overwrites. Rows lie so far apart that none
    reaches into the next.
    """
    layout: list[tuple[np.ndarray, np.ndarray]] = []
    place, ends, width = np.zeros(rows, np.int64), [], 0
    for text in texts:
        start = place
        for part in text:
            values, lengths = part if isinstance(part, Column) else (np.array(part.encode()), len(part.encode()))
            layout.append((place, values))
            place, width = place + lengths, max(width, values.dtype.itemsize)
        ends.append((start, place))
    bases = np.cumsum(place + width) - (place + width)
    data = np.zeros((place + width).sum(), np.uint8)
    for place, values in layout:
        _strings(data, values.dtype.itemsize)[bases + place] = values
    return Composed(data, [np.stack([bases + start, bases + end], axis=1).ravel() for start, end in ends])


def joined(texts: pa.Array, starts: np.ndarray, counts: np.ndarray) -> Column:
    """Strings that lie one behind the other, joined: `counts[i]` of them from number `starts[i]` on."""
    _, ends, data = texts.buffers()
    ends = np.frombuffer(ends, np.int32)[: len(texts) + 1].astype(np.int64)
    places, lengths = ends[starts], ends[starts + counts] - ends[starts]
    width = int(-(-lengths.max() // 8)) * 8
    return _cut(_strings(np.frombuffer(data.to_pybytes() + bytes(width), np.uint8), width)[places], lengths)


@lru_cache
def _masks(width: int) -> np.ndarray:
    """(width + 1, width // 8) words that keep the first bytes of a string: none, one, and so on."""
    kept = np.arange(width) < np.arange(width + 1)[:, None]
    return np.where(kept, 255, 0).astype(np.uint8).view("<u8")


def _equal(strings: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Where strings of one width are equal; soon found out where all are, as numpy compares byte by byte."""
    expected = others.tobytes() * (strings.size // others.size)
    return np.ones(strings.shape, bool) if strings.tobytes() == expected else strings == others


def _strings(data: np.ndarray, width: int) -> np.ndarray:
    """The string of so many bytes at every place of a buffer, as a view."""
    return np.ndarray((len(data) - width + 1,), f"S{width}", data, strides=(1,))


def _cut(values: np.ndarray, lengths: np.ndarray) -> Column:
    """Strings with zeros behind so many bytes."""
    width = values.dtype.itemsize
    words = values.view("<u8").reshape(*values.shape, width // 8)
    return Column((words & _masks(width)[lengths]).view(f"S{width}")[..., 0], lengths)
