"""The way from a text without parsing it: what it takes, it takes as parsing does; the rest it leaves to that."""

import json

import pytest
from conftest import real_samples
from hypothesis import given, settings
from hypothesis import strategies as st
from test_codec import leaves

from housebrain_core.data.samples import parse_sample
from housebrain_core.house import codec, synthetic
from housebrain_core.house.codec_form import metadata_keys, remove_echo
from housebrain_core.house.codec_text import encode_texts


def usual_sample() -> dict:
    """A sample without geometry, as the real ones are."""
    sample = next(synthetic.make_samples(1, seed=3))
    sample["input"]["plot"] |= {"length": 40.5, "width": 30.0}
    sample["input"]["basicDetails"] |= {"totalArea": 1215, "style": "Modern"}
    views = {view: f"renders/Modern_{view}.png" for view in ("front", "top")}
    sample["output"] |= {"input": sample["input"], "levels": [], "total_area": 1215, "render_paths": views}
    return sample | {"metadata": {"region": "Asia_India", "note": "in English: schön"}}


def written(sample: dict) -> bytes:
    """A sample as the dataset's files hold it."""
    return json.dumps(sample, indent=2, ensure_ascii=False).encode(errors="surrogatepass")


def encode_text(data: bytes) -> tuple[str, ...] | None:
    """The row of a text that is taken, else None."""
    taken, rows = encode_texts([data])
    assert taken.tolist() == [0][: rows.num_rows]
    return tuple(rows.to_pylist()[0].values()) if rows.num_rows else None


def assert_as_parsed(data: bytes) -> bool:
    """Whether the text was taken; it is then what parsing gives, which fails for no text that is taken."""
    row = encode_text(data)
    if row is not None:
        sample = parse_sample(data, lambda: "default")
        assert row == (sample["id"], *codec.encode(sample), codec.dumps(sample["metadata"]))
    return row is not None


def test_many_texts_at_once_come_as_each_alone():
    texts = []
    for number in range(40):
        sample = usual_sample() | {"id": f"house-{number}"}
        if number % 3 == 1:
            sample["input"]["roomBreakdown"] = sample["input"]["roomBreakdown"] * (1 + number % 4)
        if number % 5 == 2:
            sample["output"]["materials"]["doors"] = "Glass"
        if number % 7 == 3:
            sample["metadata"] = {"region": "x"}
        if number % 11 == 4:
            sample["metadata"] = {"region": 'with "quotes"', "note": "\n"}
        texts.append(written(sample)[: -1 if number % 13 == 5 else None])
    texts += [b"", b"{}", b"\xff", written(usual_sample()).replace(b"Modern", b"Mod\xffrn")]
    for first in (0, 3, 5, 40):  # the first metadata that can be read say what is usual
        order = texts[first:] + texts[:first]
        taken, rows = encode_texts(order)
        alone = [encode_text(text) for text in order]
        keys = [metadata_keys(text) if remove_echo(text) else None for text in order]
        leader = next(filter(None, keys))
        expected = [place for place, row in enumerate(alone) if row and keys[place] == leader]
        assert taken.tolist() == expected and len(expected) >= 3
        assert [tuple(row.values()) for row in rows.to_pylist()] == [alone[place] for place in expected]


def test_a_key_longer_than_what_lies_behind_a_page_is_left_to_parsing():
    """A form with it would be looked for beyond the end of the last text."""
    long, short = (written(usual_sample() | {"metadata": {key: "a", "b": "c"}}) for key in ("k" * 6000, "k"))
    taken, rows = encode_texts([long, short])
    assert taken.tolist() == [1] and rows.num_rows == 1
    assert not assert_as_parsed(long) and assert_as_parsed(short)


def test_a_usual_text_is_taken():
    assert assert_as_parsed(written(usual_sample()))


@pytest.mark.parametrize("part", ["train", "validation"])
def test_1000_real_texts_are_taken(shared, part):
    assert all(assert_as_parsed(written(sample)) for sample in real_samples(shared, part, 1000))


def test_generated_texts_with_geometry_are_left_to_parsing(samples):
    assert not any(assert_as_parsed(written(sample)) for sample in samples)


def test_every_single_change_of_a_byte_is_taken_as_parsed_or_not_at_all():
    data = written(usual_sample())
    taken = 0
    for place in range(len(data)):
        here = data[place : place + 1]
        for other in {b"7", b"0", b'"', b"\\", b" ", b"}", b"", b"0" + here, here + here} - {here}:
            taken += assert_as_parsed(data[:place] + other + data[place + 1 :])
    assert 20 < taken < 500, "digits of numbers that nothing follows from, and letters of names"


def test_every_line_left_out_doubled_or_swapped_is_taken_as_parsed_or_not_at_all():
    lines = written(usual_sample()).split(b"\n")
    for place in range(len(lines) - 1):
        before, (one, other), after = lines[:place], lines[place : place + 2], lines[place + 2 :]
        for changed in ([one], [one, one, other], [other, one]):
            assert_as_parsed(b"\n".join([*before, *changed, *after]))


NUMBERS = ["0", "1", "7", "-1", "-0", "007", "1.0", "0.5", "40.50", "1.005", "1e3", "1E-2", "0.00001", "999999"]
NUMBERS += ["1000000", "999999999", "1" + "0" * 20, "12.999999999999999999", "NaN", "null", "true", '"4"', "[]"]


def test_every_number_written_in_every_way_is_taken_as_parsed_or_not_at_all():
    lines = written(usual_sample()).decode().split("\n")
    taken = 0
    for place, line in enumerate(lines):
        key, colon, value = line.strip().rpartition(": ")
        if not value.rstrip(",").replace(".", "").isdigit():
            continue
        for number in NUMBERS:
            changed = key + colon + number + "," * value.endswith(",")
            alone = [*lines[:place], changed, *lines[place + 1 :]]
            with_echo = [other.replace(line.strip(), changed) for other in lines]  # so that the rest is looked at
            taken += assert_as_parsed("\n".join(alone).encode()) + assert_as_parsed("\n".join(with_echo).encode())
    assert taken > 100


@pytest.mark.parametrize(
    "metadata",
    [{}, {"a": "b", "": ""}, {"a": 1}, {"a": 10**30}, {"a": 1.50}, {"a": None}, {"a": ["x"]}, {"a": {}}, {"a": 'x"'},
     {"a": ': "'}, {"a": "}\n"}, {"a": "ß ☃ \u2028"}, {"a": "null"}, {"a": True, "b": ["x", "y"]}, [], "text", None],
)  # fmt: skip
def test_any_metadata_come_as_parsed(metadata):
    assert_as_parsed(written(usual_sample() | {"metadata": metadata}))


def test_texts_around_a_usual_one_come_as_parsed():
    data = written(usual_sample())
    around = (data + b"\n", b"\n" + data, b"\xef\xbb\xbf" + data, data + b"{}", data[:-1], b"", b"\xff" + data)
    inside = (data.replace(b"\n", b"\r\n"), data.replace(b'"id"', b'"id": "x", "id"'))
    for text in (*around, *inside, json.dumps(usual_sample()).encode()):
        assert_as_parsed(text)
    twice = data.replace(b'"note": ', b'"region": "again",\n    "note": ')
    assert encode_text(twice) is None, "a key that comes twice counts once"


_SCALARS = [0, 1, -1, 1.0, 0.5, 3.25, True, False, None, "", "x", "Modern", "Tile", 10**6, 10**20]


def test_every_value_changed_comes_as_parsed():
    """The echo too, so that the rest is looked at."""
    taken = 0
    for side in ("input", "output"):
        for number in range(sum(1 for _ in leaves(usual_sample()[side]))):
            for value in _SCALARS:
                sample = json.loads(json.dumps(usual_sample()))
                holder, key = list(leaves(sample[side]))[number]
                holder[key] = value
                taken += assert_as_parsed(written(sample | {"output": sample["output"] | {"input": sample["input"]}}))
    assert taken > 50


def test_a_plot_without_an_area_comes_as_parsed():
    sample = usual_sample()
    sample["input"]["plot"]["length"] = 0.0
    sample["input"]["basicDetails"]["totalArea"] = sample["output"]["total_area"] = 0
    assert_as_parsed(written(sample))


@pytest.mark.parametrize(
    "rooms",
    [[], [("kitchen", 1, 0)], [("kitchen", 0, 90)], [("kitchen", 1, 90), ("bedroom", 3, 90), ("kitchen", 1, 80)],
     [("bedroom", 1, 90), ("bedroom", 2, 90)], [("bedroom", 1, 90), ("kitchen", 1, 90), ("bedroom", 2, 90)],
     [("bedroom", 3, 90), ("100%s", 1, 90)], [("bedroom", 3, 90), ("", 1, 90)], [("bedroom", 3, 90), ("a,b]", 1, 90)]],
)  # fmt: skip
def test_any_rooms_come_as_parsed(rooms):
    sample = usual_sample()
    rows = [dict(zip(("type", "count", "minArea"), room, strict=True)) for room in rooms]
    for beds in (0, 3):
        sample["input"]["basicDetails"] |= {"bedrooms": beds, "bathrooms": 1}
        assert_as_parsed(written(sample | {"input": sample["input"] | {"roomBreakdown": rows}}))
        sample["input"]["roomBreakdown"] = rows
        assert_as_parsed(written(sample | {"output": sample["output"] | {"input": sample["input"]}}))


_NUMBER = st.integers(0, 80)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from(["input", "output"]), st.integers(0, 80), st.sampled_from(_SCALARS)), max_size=3)
)
def test_values_changed_anywhere_come_as_parsed(changes):
    sample = json.loads(json.dumps(usual_sample()))
    for side, number, value in changes:
        spots = list(leaves(sample[side]))
        holder, key = spots[number % len(spots)]
        holder[key] = value
        sample["output"]["input"] = sample["input"]
    assert_as_parsed(written(sample))
