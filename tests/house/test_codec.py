"""The codec: nothing is lost either way, and what a person reads is JSON in real words."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outside import real_samples

from housebrain_core.data.samples import Item
from housebrain_core.errors import DataError
from housebrain_core.house import codec, synthetic
from housebrain_core.house.schema import Answer


def assert_lossless(sample: dict) -> codec.Example:
    """Both directions as JSON text: types and key order included."""
    example = codec.encode(sample)
    assert json.dumps(codec.read_prompt(example.prompt)) == json.dumps(sample["input"])
    assert json.dumps(codec.decode(sample["input"], example.completion)) == json.dumps(sample["output"])
    return example


def test_generated_samples_come_back_as_they_were(samples):
    for sample in [*samples, *synthetic.make_mixture(20, seed=5)]:
        assert_lossless(sample)


@pytest.mark.parametrize("part", ["train", "validation"])
def test_1000_real_samples_come_back_as_they_were_in_the_short_form(shared, part):
    for sample in real_samples(shared, part, 1000):
        example = assert_lossless(sample)
        assert is_short(example)
        Answer.model_validate_json(example.completion)


@pytest.mark.parametrize(
    ("brief", "design"),
    [
        ({}, {}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": True}, {"a": 1}),
        ([], "text"),
        (None, [1, [2, [3, {"deep": None}]]]),
        ({"big": 10**40}, {"small": 1e-300}),
        ({"unicode": "ß ☃ \U0001f3e0 \u2028"}, {"lone": "\ud800"}),
        ({"brief": {"a": 1}}, {"design": {"b": 2}}),
        ({"b": 1, "a": 2}, {"z": {}, "y": []}),
    ],
)
def test_odd_samples_come_back_as_they_were(brief, design):
    assert_lossless({"id": "x", "input": brief, "output": design, "metadata": {}})


def test_every_single_change_of_a_sample_comes_back(samples):
    """Drops, adds or changes one field at a time, at every depth, so that each derivation is once wrong."""
    sample = samples[0]
    for side in ("input", "output"):
        for changed in variants(sample[side]):
            assert_lossless(sample | {side: changed})


@pytest.mark.slow
def test_every_single_change_of_a_real_sample_comes_back(shared):
    (sample,) = real_samples(shared, "validation", 1)
    short = 0
    for side in ("input", "output"):
        for changed in variants(sample[side]):
            other = sample | {side: changed}
            short += is_short(assert_lossless(other))
            if side == "input":  # with the echo changed too, so that the design is looked at
                short += is_short(assert_lossless(other | {"output": sample["output"] | {"input": changed}}))
    assert short > 20, "a changed number of the right kind leaves the short form short"


def is_short(example: codec.Example) -> bool:
    """Whether neither brief nor design is written out as it is."""
    return not (example.prompt.startswith('{"brief"') or example.completion.startswith('{"design"'))


def variants(value):
    """The value with one member dropped, one changed or its keys reversed, at every depth."""
    if isinstance(value, dict):
        yield dict(reversed(value.items()))
        yield value | {"extra": 1}
        for key, inner in value.items():
            yield {k: v for k, v in value.items() if k != key}
            for changed in variants(inner):
                yield value | {key: changed}
    elif isinstance(value, list):
        yield [*value, 1]
        for index, inner in enumerate(value[:2]):
            yield value[:index] + value[index + 1 :]
            for changed in variants(inner):
                yield [*value[:index], changed, *value[index + 1 :]]
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1
        yield float(value) if isinstance(value, int) else int(value)
    else:
        yield 0


def test_prompt_and_completion_are_compact_json_and_do_not_echo_the_brief(samples):
    for sample in samples:
        example = codec.encode(sample)
        assert codec.dumps(json.loads(example.prompt)) + "\n" == example.prompt
        assert codec.dumps(json.loads(example.completion)) == example.completion
        assert sample["input"]["basicDetails"]["style"] not in example.completion


def test_the_prompt_is_the_same_function_everywhere(samples):
    assert codec.write_prompt(samples[0]["input"]) == codec.encode(samples[0]).prompt


def test_an_unknown_version_is_refused():
    with pytest.raises(DataError, match="version"):
        codec.check_version(codec.VERSION + 1, "split_01.zip")
    codec.check_version(codec.VERSION, "split_01.zip")


_TEXT = st.text(max_size=5) | st.sampled_from(["brief", "design", "rooms", "input", "style", "\ud800"])
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
_JSON = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3))


@pytest.mark.slow
@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(_TEXT, _JSON, max_size=4), st.dictionaries(_TEXT, _JSON, max_size=4))
def test_any_two_objects_come_back_as_they_were(brief, design):
    assert_lossless({"id": "x", "input": brief, "output": design, "metadata": {}})


@pytest.mark.slow
@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(["input", "output"]), st.lists(st.integers(0, 30), min_size=1, max_size=6), _JSON)
def test_a_real_shape_with_any_value_anywhere_comes_back(side, way, value):
    sample = next(synthetic.make_samples(1, seed=3))
    spot = sample[side]
    for turn in way:
        keys = list(spot) if isinstance(spot, dict) else range(len(spot))
        key = keys[turn % len(keys)]
        if not isinstance(spot[key], dict | list) or not spot[key] or turn == way[-1]:
            break
        spot = spot[key]
    spot[key] = value
    assert_lossless(sample)


FLAT = {"levels": [], "render_paths": {"front": "renders/Modern_front.png", "top": "renders/Modern_top.png"}}
_NEAR = st.sampled_from(
    [0, 1, -1, 1.0, 0.5, True, False, None, "", "x", "Modern", "Tile", 10**6, 10**20, 1e300, [], {}]
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(["input", "echo", "output"]), st.integers(0, 60), _NEAR), max_size=3))
def test_a_flat_sample_with_a_few_values_changed_comes_back(changes):
    sample = json.loads(json.dumps(flat_sample()))  # so that brief and echo are apart
    assert is_short(codec.encode(sample))
    for side, number, value in changes:
        root = sample["output"]["input"] if side == "echo" else sample[side]
        spots = list(leaves(root))
        holder, key = spots[number % len(spots)]
        holder[key] = value
    assert_lossless(sample)


def leaves(value):
    """(holder, key) of everything in a value that is no container."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, dict | list):
            yield from leaves(inner)
        else:
            yield value, key


# --- texts of samples: refused, or every value of theirs survives


def flat_sample() -> dict:
    """A sample without geometry, as the real ones are."""
    sample = next(synthetic.make_samples(1, seed=3))
    sample["input"]["plot"] |= {"length": 40.5, "width": 30.0}
    sample["input"]["basicDetails"] |= {"totalArea": 1215, "style": "Modern"}
    sample["output"] |= FLAT | {"input": sample["input"], "total_area": 1215}
    return sample | {"metadata": {"region": "Asia_India", "note": "in English: schön"}}


def written(sample: dict) -> bytes:
    """A sample as the dataset's files hold it."""
    return json.dumps(sample, indent=2, ensure_ascii=False).encode(errors="surrogatepass")


def read(data: bytes) -> dict:
    """The sample that a line holds."""
    return Item("file.jsonl", 1, data, "train", held_out=False).read().sample


def is_kept(data: bytes) -> bool:
    """Whether a text is read as a sample; all that it says then comes back from the codec."""
    try:
        sample = read(data)
    except DataError:
        return False
    said = json.loads(data.decode("utf-8-sig"))
    assert json.dumps([sample["input"], sample["output"]]) == json.dumps([said["input"], said["output"]])
    try:
        assert_lossless(sample)
        assert json.loads(codec.dumps(sample["metadata"])) == sample["metadata"]
    except DataError:  # a number that JSON does not have
        return False
    return True


@pytest.mark.slow
def test_every_single_change_of_a_byte_is_refused_or_kept():
    data = written(flat_sample())
    kept = tried = 0
    for place in range(0, len(data), 7):
        here = data[place : place + 1]
        for other in {b"7", b'"', b"\\", b"}", b"", b"\xff", here + here} - {here}:
            kept += is_kept(data[:place] + other + data[place + 1 :])
            tried += 1
    assert tried / 3 < kept < tried, "digits, letters and spaces can change, brackets and quotes cannot"


def test_every_line_left_out_doubled_or_swapped_is_refused_or_kept():
    lines = written(flat_sample()).split(b"\n")
    kept = 0
    for place in range(len(lines) - 1):
        before, (one, other), after = lines[:place], lines[place : place + 2], lines[place + 2 :]
        for changed in ([one], [one, one, other], [other, one]):
            kept += is_kept(b"\n".join([*before, *changed, *after]))
    assert kept > 50


NUMBERS = ["0", "1", "7", "-1", "-0", "-0.0", "007", "1.0", "0.5", "40.50", "1.005", "1e3", "1E-2", "0.00001", "999999"]
NUMBERS += [
    "1000000",
    "999999999",
    "1" + "0" * 20,
    "12.999999999999999999",
    "1e400",
    "NaN",
    "null",
    "true",
    '"4"',
    "[]",
]


@pytest.mark.slow
def test_every_number_written_in_every_way_is_refused_or_kept():
    lines = written(flat_sample()).decode().split("\n")
    kept = 0
    for place, line in enumerate(lines):
        key, colon, value = line.strip().rpartition(": ")
        if not value.rstrip(",").replace(".", "").isdigit():
            continue
        for number in NUMBERS:
            changed = key + colon + number + "," * value.endswith(",")
            alone = [*lines[:place], changed, *lines[place + 1 :]]
            with_echo = [other.replace(line.strip(), changed) for other in lines]  # so that the rest is looked at
            texts = ("\n".join(alone).encode(), "\n".join(with_echo).encode())
            kept += sum(map(is_kept, texts))
            assert number not in ("007", "NaN", "1e400") or not any(map(is_kept, texts))
    assert kept > 500


@pytest.mark.parametrize(
    "metadata",
    [{}, {"a": "b", "": ""}, {"a": 1}, {"a": 10**30}, {"a": 1.50}, {"a": None}, {"a": ["x"]}, {"a": {}}, {"a": 'x"'},
     {"a": ': "'}, {"a": "}\n"}, {"a": "ß ☃ \u2028"}, {"a": "null"}, {"a": True, "b": ["x", "y"]}, {"k" * 6000: "a"},
     [], "text", None],
)  # fmt: skip
def test_any_metadata_are_kept_and_those_that_are_no_object_are_empty(metadata):
    sample = read(written(flat_sample() | {"metadata": metadata}))
    kept = json.loads(codec.dumps(sample["metadata"]))
    assert json.dumps(kept) == json.dumps(metadata if isinstance(metadata, dict) else {})


def test_texts_around_a_sample_are_refused_or_kept():
    data = written(flat_sample())
    for text in (data + b"\n", b"\n" + data, b"\xef\xbb\xbf" + data, data.replace(b"\n", b"\r\n")):
        assert is_kept(text)
    for text in (data + b"{}", data[:-1], b"", b"\xff" + data, b"{}", b"[]"):
        assert not is_kept(text)


@pytest.mark.parametrize(
    "rooms",
    [[], [("kitchen", 1, 0)], [("kitchen", 0, 90)], [("kitchen", 1, 90), ("bedroom", 3, 90), ("kitchen", 1, 80)],
     [("bedroom", 1, 90), ("bedroom", 2, 90)], [("bedroom", 1, 90), ("kitchen", 1, 90), ("bedroom", 2, 90)],
     [("bedroom", 3, 90), ("100%s", 1, 90)], [("bedroom", 3, 90), ("", 1, 90)], [("bedroom", 3, 90), ("a,b]", 1, 90)],
     [("bedroom", 2, -0.0)], [("bedroom", 2, 90.5)], [("3x4", 2, 90)]],
)  # fmt: skip
def test_any_rooms_are_kept(rooms):
    sample = flat_sample()
    rows = [dict(zip(("type", "count", "minArea"), room, strict=True)) for room in rooms]
    for beds in (0, 3):
        sample["input"]["basicDetails"] |= {"bedrooms": beds, "bathrooms": 1}
        assert is_kept(written(sample | {"input": sample["input"] | {"roomBreakdown": rows}}))
        sample["input"]["roomBreakdown"] = rows
        assert is_kept(written(sample | {"output": sample["output"] | {"input": sample["input"]}}))


def test_a_zero_with_a_sign_is_not_taken_for_the_derived_one():
    sample = flat_sample()
    sample["input"]["basicDetails"]["totalArea"] = 0.0
    sample["output"] |= {"input": sample["input"], "total_area": -0.0}
    assert "-0.0" in assert_lossless(sample).completion


@pytest.mark.parametrize("prompt", ["", "x", "1.5", "[]", '"a"', '{"plot":1}', "[" * 100_000])
def test_a_prompt_that_nobody_wrote_is_refused(prompt):
    try:
        codec.read_prompt(prompt)
    except DataError as error:
        assert "none of HouseBrain's" in str(error)
    else:
        assert prompt.startswith("{"), "an object may be a brief of other data"
