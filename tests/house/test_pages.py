"""Texts taken apart and put together many at once: every operation against the plain way, value by value."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from housebrain_core.house.pages import Column, Page, Template, Vocabulary, choose, compose, joined, stack


def column(values: list[str | bytes], width: int = 24) -> Column:
    """A column of these values, read from a page as a template would."""
    texts = [value.encode() if isinstance(value, str) else value for value in values]
    page = Page(texts)
    lengths = np.array([[min(len(text), width) for text in texts]])
    return Column(*(part[0] for part in page.read(page.starts[None], lengths, width)))


NUMBERS = [
    "0",
    "7",
    "10",
    "99999999",
    "12345678",
    "007",
    "00",
    "-1",
    "1.0",
    "1e3",
    "",
    "1 ",
    " 1",
    "12a4",
    "١",
    ":",
    "/",
]
NUMBERS += [
    "7.0",
    "49.7",
    "49.75",
    "0.05",
    "0.50",
    "49.",
    ".5",
    "4.755",
    "4.7x",
    "4.x7",
    "1234.5",
    "012.5",
    "0.0",
    "0.00",
]
NUMBERS += ["\xff1", "1\xff", "9.\xff", "9.5\xff", "1,5", "4..5", "4.5.", "-4.5", "null", "true"]


def test_integers_are_those_that_json_writes():
    valid, integers = column(NUMBERS, 8).counts(8)
    for text, is_valid, integer in zip(NUMBERS, valid, integers, strict=True):
        assert is_valid == (text.isascii() and text.isdigit() and str(int(text)) == text), text
        assert not is_valid or integer == int(text)


def test_decimals_are_those_that_json_writes_with_one_or_two():
    valid, hundredths = column(NUMBERS, 8).decimals(6)
    for text, is_valid, number in zip(NUMBERS, valid, hundredths, strict=True):
        whole, _, decimals = text.partition(".")
        plain = text.isascii() and whole.isdigit() and decimals.isdigit() and len(decimals) <= 2
        assert is_valid == (plain and json.dumps(float(text)) == text), text
        assert not is_valid or number / 100 == float(text)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.binary(min_size=1, max_size=8).filter(lambda text: b"\n" not in text), min_size=1, max_size=9))
def test_no_other_bytes_pass_for_numbers(texts):
    valid, integers = column(texts, 8).counts(8)
    for text, is_valid, integer in zip(texts, valid, integers, strict=True):
        expected = text.isdigit() and (text == b"0" or text[:1] != b"0")
        assert is_valid == expected and (not expected or integer == int(text))


@given(st.integers(0, 10**8 - 1), st.integers(1, 8))
def test_a_count_of_more_digits_than_wanted_is_none(number, digits):
    valid, integers = column([str(number)], 8).counts(digits)
    assert integers[0] == number and valid[0] == (len(str(number)) <= digits)


def test_words_are_found_whole_and_nothing_else_is():
    words = Vocabulary(["Tile", "Wood", "Wood_Shingles", "Flat_Roof"], 16)
    values = ["Wood", "Tile", "Wood_Shingles", "Wood_Shingle", "Tiles", "til", "Wood_Shingles_", ""]
    found = words.find(stack([column(values, 16), column(values[::-1], 16)]))
    expected = [words.places.get(value, -1) for value in values]
    assert found.tolist() == [expected, expected[::-1]]
    assert sorted(expected)[:5] == [-1] * 5 and len({*expected}) == 4
    assert words.find(column(["Wood", "Tile"], 16)).tolist() == expected[:2], "all known"


FORM = Template('{\n  "name": "<name>",\n  "size": <size>,\n  "again": "a <name> b"\n}\n', {"size": 8})


def text_of(name: str, size: str, again: str | None = None) -> bytes:
    return f'{{\n  "name": "{name}",\n  "size": {size},\n  "again": "a {again or name} b"\n}}'.encode()


def test_a_template_finds_its_values_and_what_differs_anywhere():
    good = [text_of("house", "12"), text_of("x", "1"), text_of("a name of 24 bytes, nearly", "12345678"[:8])]
    good[2] = text_of("exactly 24 bytes of name", "12345678")
    page = Page(good)
    matches, values = FORM.match(page, page.starts, page.first_lines)
    assert matches.all() and page.is_plain(sum(text.count(b'"') for text in good))
    assert values["name"].values.tolist() == [b"house", b"x", b"exactly 24 bytes of name"]
    assert values["size"].values.tolist() == [b"12", b"1", b"12345678"]
    spoilt = [text_of("house", ""), text_of("", "1"), text_of("house", "1", "horse"), text_of("house", "123456789")]
    spoilt += [text_of("more than 24 bytes of name", "1"), good[0].replace(b"size", b"sise"), good[0][:-1] + b"]"]
    for place in range(len(spoilt)):
        page = Page([good[0], spoilt[place], good[1]])
        assert FORM.match(page, page.starts, page.first_lines)[0].tolist() == [True, False, True], spoilt[place]


def test_every_byte_of_a_template_counts():
    text = text_of("house", "12")
    for place in range(len(text)):
        if text[place : place + 1] not in b"\n" and not text[place : place + 1].isalnum():
            page = Page([text, text[:place] + b"\x7f" + text[place + 1 :]])
            assert FORM.match(page, page.starts, page.first_lines)[0].tolist() == [True, False], text[:place]


@pytest.mark.parametrize("text", [b"a\\u0041", b"\xff", b"\xc3", b"a\tb", b"a\0b", b'one "more"', b"\x1f"])
def test_texts_that_json_writes_otherwise_are_not_plain(text):
    assert Page([b'"x"', "ß ☃".encode()]).is_plain(2)
    assert not Page([b'"x"', text, b"y"]).is_plain(2)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.text(max_size=7), st.integers(0, 2), st.booleans()), min_size=1, max_size=12),
    st.text(min_size=1, max_size=40),
)
def test_texts_are_written_as_python_would(rows, between):
    rows = [
        (name.replace("\0", "").replace("\n", "").encode(errors="ignore").decode()[:6], *rest) for name, *rest in rows
    ]
    between = between.replace("\0", "").encode(errors="ignore").decode() or "-"
    names = column([name for name, _, _ in rows])
    words, wanted = ["", "one", "a longer one ß"], np.array([wanted for _, _, wanted in rows])
    chosen = choose(words, np.array([place for _, place, _ in rows]))
    composed = compose(len(rows), [names, between, chosen], [chosen.where(wanted), between], [names])
    expected = [(name + between + words[place], words[place] * wanted + between, name) for name, place, wanted in rows]
    assert [*zip(*(composed.strings(number).to_pylist() for number in range(3)), strict=True)] == expected


def test_strings_are_joined_in_runs():
    strings = compose(5, [column(["a", "bc", "", "def", "g"])]).strings(0)
    found = joined(strings, np.array([0, 2, 2]), np.array([2, 3, 1]))
    assert found.values.tolist() == [b"abc", b"defg", b""] and found.lengths.tolist() == [3, 4, 0]
