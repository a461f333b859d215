"""Samples whose very text is usual: hundreds at once, encoded without parsing, in 21 microseconds each instead of 53.

A text that has the form of codec_form.py, and whose derivations are right, is the sample that parsing would have
found, so that the result is the same; any other text is left to parsing and `codec.encode`. The tests hold the two
against each other on real samples, and on texts with every value, line and byte spoilt.
"""

from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from housebrain_core.house.brief_text import BEDROOMS
from housebrain_core.house.codec_form import (
    COMFORT,
    DIGITS,
    FLAGS,
    SETBACKS,
    Form,
    form_of,
    metadata_keys,
    remove_echo,
)  # fmt: skip
from housebrain_core.house.codec_usual import COMFORTS, COMPLETION, FEATURES_OF, WORDS
from housebrain_core.house.json_text import dumps
from housebrain_core.house.pages import Column, Page, Vocabulary, choose, compose, hash_values, joined, stack
from housebrain_core.splits.bundle import SCHEMA
from housebrain_core.splits.tables import as_rows

Values = dict[str, Column]
"""The values of samples by their names in the form."""
_MANY_ROOMS = 60
"""A house with more is left to parsing."""


def encode_texts(texts: Sequence[bytes]) -> tuple[np.ndarray, pa.RecordBatch]:
    """What parsing and `codec.encode` would make of those samples whose text is usual.

    Args:
        texts: a sample each, as it is in a file.

    Returns:
        The places of those samples among the texts, ascending, and a row with the columns of bundles.SCHEMA for each.
    """
    shorter = [remove_echo(text) for text in texts]
    places = [place for place, text in enumerate(shorter) if text is not None]
    taken, rows = _encode([shorter[place] for place in places])
    return np.array(places, np.int64)[taken], rows


def _encode(texts: list[bytes]) -> tuple[np.ndarray, pa.RecordBatch]:
    """What `encode_texts` gives, of texts without echo."""
    keys = next((keys for keys in map(metadata_keys, texts) if keys is not None), None)
    if keys is None:
        return np.zeros(0, np.int64), _NONE
    page, form = Page(texts), form_of(keys)
    lines = page.lines - form.head.newlines - form.tail.newlines + 1  # the last room's end is in the tail too
    numbers = lines // 5  # a room has five lines
    usual = (lines == 5 * numbers) & (numbers > 0) & (numbers <= _MANY_ROOMS)
    quotes = form.head.quotes + form.room.quotes * numbers + form.tail.quotes
    if usual.all() and not page.is_plain(quotes.sum()):
        usual = np.array([Page([text]).is_plain(number) for text, number in zip(texts, quotes, strict=True)])
    if not usual.all():
        places = np.flatnonzero(usual)
        taken, rows = _encode([texts[place] for place in places])  # once more, without the others
        return places[taken], rows
    usual, values, rooms = _read(page, form, numbers)
    taken = np.flatnonzero(usual)
    if not len(taken):
        return taken, _NONE
    if len(taken) < len(texts):
        values, rooms = {name: column.take(usual) for name, column in values.items()}, rooms.take(usual)
    return taken, _write(values, rooms, keys)


_NONE = as_rows([()] * len(SCHEMA))


class _Rooms(NamedTuple):
    """The rooms of all samples, one after the other."""

    kinds: Column
    counts: Column
    areas: Column
    starts: np.ndarray
    """(samples,) the first room of each."""
    numbers: np.ndarray
    """(samples,) how many rooms it has."""

    @property
    def first(self) -> np.ndarray:
        """(rooms,) whether a room is the first of its sample."""
        first = np.zeros(self.numbers.sum(), bool)
        first[self.starts] = True
        return first

    @property
    def new(self) -> np.ndarray:
        """(rooms,) whether a room is of another kind than the one before it, or the first."""
        return self.first | np.append(True, self.kinds.values[1:] != self.kinds.values[:-1])

    def take(self, samples: np.ndarray) -> "_Rooms":
        """Those of some samples."""
        rooms, numbers = np.repeat(samples, self.numbers), self.numbers[samples]
        return _Rooms(*(column.take(rooms) for column in self[:3]), np.cumsum(numbers) - numbers, numbers)


def _read(page: Page, form: Form, numbers: np.ndarray) -> tuple[np.ndarray, Values, _Rooms]:
    """Which samples with as many lines as usual are usual indeed, their values and their rooms."""
    has_head, brief = form.head.match(page, page.starts, page.first_lines)
    lines = page.first_lines + form.head.newlines
    has_rooms, rooms = _read_rooms(page, form, lines, numbers)
    lines = lines + 5 * numbers - 1  # that of the last room's area
    has_tail, design = form.tail.match(page, page.line_ends[lines], lines)
    usual = has_head & has_rooms & has_tail & (brief["style"].values == design["style"].values)
    values = brief | design
    valid, integers = stack(values[name] for name in DIGITS).counts(np.array([*DIGITS.values()])[:, None])
    numbers = dict(zip(DIGITS, integers, strict=True))
    usual &= valid.all(axis=0) & _is_usual_brief(values, numbers, rooms) & _is_usual_design(values, numbers)
    return usual, values, rooms


def _read_rooms(page: Page, form: Form, lines: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, _Rooms]:
    """Reads so many rooms from the ends of these lines on: which samples' rooms have their form, and the rooms."""
    starts = np.cumsum(numbers) - numbers
    lines = np.repeat(lines - 5 * starts, numbers) + 5 * np.arange(numbers.sum())
    places = page.line_ends[lines]
    matches, values = form.room.match(page, places, lines)
    rooms = _Rooms(values["kind"], values["count"], values["min_area"], starts, numbers)
    closing = form.room.literals[-1] + b","
    matches &= rooms.first | page.has(places - len(closing), closing)
    return np.logical_and.reduceat(matches, starts), rooms


def _is_usual_brief(values: Values, numbers: dict[str, np.ndarray], rooms: _Rooms) -> np.ndarray:
    """(samples,) whether decimals and rooms are usual, rooms of a kind follow each other, and derivations are right."""
    amounts = stack(values[name] for name in ("slope", *SETBACKS))
    usual = (amounts.counts(6)[0] | amounts.decimals(6)[0]).all(axis=0)
    valid, (length, width) = stack(values[name] for name in ("length", "width")).decimals(6)
    usual &= valid.all(axis=0) & (numbers["area"] == (length / 100 * (width / 100)).astype(np.int64))
    valid, (counts, _) = stack([rooms.counts, rooms.areas]).counts(6)
    usual &= np.logical_and.reduceat(valid.all(axis=0) & (counts > 0), rooms.starts)
    beds = np.add.reduceat(counts * np.isin(rooms.kinds.values, _BEDROOMS), rooms.starts)
    usual &= (numbers["bedrooms"] == beds) & (numbers["bathrooms"] == np.maximum(1, beds // 2))
    _, kinds = np.unique(hash_values(rooms.kinds.values), return_inverse=True)
    bits = np.where(rooms.new, np.int64(1) << kinds % 56, 0)  # their sum is another where a kind comes again
    return usual & (np.add.reduceat(bits, rooms.starts) == np.bitwise_or.reduceat(bits, rooms.starts))


def _is_usual_design(values: Values, numbers: dict[str, np.ndarray]) -> np.ndarray:
    """(samples,) whether words are known, and what follows from the brief and the climate is what follows."""
    usual = (numbers["area"] > 0) & (numbers["area"] == numbers["total_area"])
    usual &= numbers["construction_cost"] == (numbers["budget"] * 0.6).astype(np.int64)
    words = _WORDS.find(stack(values[name] for name in _KNOWN))
    usual &= _ALLOWED[np.arange(len(words))[:, None], words].all(axis=0)
    levels = _LEVELS.find(stack(values[name] for name in COMFORT))
    usual &= (levels == _LEVELS_IN[:, words[_CLIMATE]]).all(axis=0)
    usual &= (_FLAGS.find(stack(values[name] for name in FLAGS)) >= 0).all(axis=0)
    return usual & values["floor_area_ratio"].decimals(1)[0]


_BEDROOMS = np.array([kind.encode() for kind in BEDROOMS])
_KNOWN = WORDS | {"gas": {"Available", "Not_Available"}}
_CLIMATE = [*_KNOWN].index("climate")
_WORDS = Vocabulary(chain(*_KNOWN.values()), 16)
_LEVELS, _FLAGS = Vocabulary(chain(*COMFORTS.values()), 8), Vocabulary(["false", "true"], 8)
_ALLOWED = np.zeros((len(_KNOWN), len(_WORDS.places) + 1), bool)
"""(names, words + 1) whether a value of that name may be a word; the last column is for what is none."""
_LEVELS_IN = np.full((len(COMFORT), len(_WORDS.places) + 1), -2)
"""(3, words + 1) cooling, heating and insulation in the climate that a word is; -2, which no level is, elsewhere."""
for _row, _known in enumerate(_KNOWN.values()):
    _ALLOWED[_row, [_WORDS.places[word] for word in _known]] = True
for _climate, _levels in COMFORTS.items():
    _LEVELS_IN[:, _WORDS.places[_climate]] = [_LEVELS.places[level] for level in _levels]


def _has_own_ratio(values: Values) -> np.ndarray:
    """(samples,) whether the ratio of floor to area is not the one that follows."""
    area, most = stack([values["area"], values["max_area"]]).counts(6)[1]
    ratio = (most + 0.5) / area
    hundredths = np.rint(100 * ratio)
    for row in np.flatnonzero(np.abs(100 * ratio % 1 - 0.5) < 1e-6):  # numpy rounds these otherwise than Python
        hundredths[row] = round(100 * round(float(ratio[row]), 2))
    return hundredths != values["floor_area_ratio"].decimals(1)[1]


def _write(values: Values, rooms: _Rooms, keys: tuple[str, ...]) -> pa.RecordBatch:
    """The rows of samples that are all usual."""
    names = ("style", "floors", "budget", "length", "width", "shape", "orientation", "slope", "corner", *SETBACKS)
    prompt = _fill(PROMPT, [*map(values.get, names), _write_rooms(rooms)])
    own = _has_own_ratio(values)
    ratio = [choose(["", '"floor_area_ratio":'], own), values["floor_area_ratio"].where(own), choose(["", ","], own)]
    features = (values["gas"].values == b"Available").astype(np.int64)
    for name in FLAGS:
        features = 2 * features + (values[name].values == b"true")
    words = [values[name] for name in WORDS]
    answer = [*words[:8], values["garage_spaces"], *words[8:], values["max_area"], ratio]
    answer += [values[name] for name in ("max_height", "parking", "fire_exits")]
    completion = _fill(COMPLETION, [*answer, choose([*FEATURES_OF.values()], features)])
    metadata = _fill(dumps(dict.fromkeys(keys, "%s")), [values[f"metadata_{number}"] for number in range(len(keys))])
    texts = compose(len(rooms.numbers), [values["id"]], prompt, completion, metadata)
    return pa.RecordBatch.from_arrays([texts.strings(number) for number in range(4)], schema=SCHEMA)


PROMPT = (
    '{"style":"%s","floors":%s,"budget":%s,"plot":[%s,%s],"shape":"%s","orientation":"%s","slope":%s,"corner":%s,'
    '"setbacks":[%s,%s,%s,%s],"rooms":{%s}}\n'
)


def _fill(text: str, values: list) -> list[str | Column]:
    """The parts of a text with a column for each %s, or several."""
    columns = [value if isinstance(value, list) else [value] for value in values]
    parts = [[literal, *column] for literal, column in zip_longest(text.split("%s"), columns, fillvalue=[])]
    return [part for part in chain(*parts) if isinstance(part, Column) or part]


def _write_rooms(rooms: _Rooms) -> Column:
    """The rooms of each sample in the short form: "kitchen":90,"bedroom":["2x80",75]."""
    new = rooms.new
    last = np.append(new[1:], True)  # of its kind
    many = rooms.counts.values != b"1"
    parts = [
        choose(["", '"', ",", ',"'], new + 2 * ~rooms.first),
        rooms.kinds.where(new),
        choose(["", '"', '":', '":"', '":[', '":["'], many + 2 * new * (2 - last)),
        rooms.counts.where(many),
        choose(["", "x"], many),
        rooms.areas,
        choose(["", '"', "]", '"]'], many + 2 * (last & ~new)),
    ]
    return joined(compose(len(many), parts).strings(0), rooms.starts, rooms.numbers)
