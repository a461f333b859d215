"""Which fields of a record are input and output, what is said of all others, and conditions on samples."""

import json

import pytest

from housebrain_core.data.fields import (
    MISSING,
    SHAPES,
    USUAL,
    Fields,
    choose_fields,
    find,
    parse_condition,
    read_record,
)
from housebrain_core.errors import ConfigError, DataError

SAMPLE = {
    "id": "a=b",
    "input": {"plot": {"corner": True}},
    "metadata": {"region": "Asia_India", "floors": 2, "x": None},
}


@pytest.mark.parametrize(
    "text",
    ["metadata.region=Asia_India", " metadata.region = Asia_India ", "metadata.floors=2", "metadata.x=null",
     "input.plot.corner=true", "id=a=b", 'input.plot={"corner":true}'],
)  # fmt: skip
def test_texts_are_compared_as_they_are_and_everything_else_as_json(text):
    assert parse_condition(text).holds(SAMPLE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("metadata.region=Europe", 'metadata.region is "Asia_India"'),
        ("metadata.floors=2.0", "metadata.floors is 2"),
        ("metadata.colour=red", "metadata has region, floors, x"),
        ("metadata.region.city=Pune", "metadata.region has no fields"),
        ("output.cost=1", "the top has id, input, metadata"),
    ],
)
def test_a_sample_that_does_not_hold_it_is_described(text, said):
    condition = parse_condition(text)
    assert not condition.holds(SAMPLE)
    assert condition.describe(SAMPLE) == said


def test_long_values_are_cut_in_what_is_said():
    said = parse_condition("metadata.text=x").describe({"metadata": {"text": "y" * 500}})
    assert said.endswith(" ...") and len(said) < 130


@pytest.mark.parametrize("text", ["metadata.region", "=x", "plot.shape=square", "inputs.x=1"])
def test_what_is_no_condition_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match="Write PATH=VALUE"):
        parse_condition(text)


RECORD = {"a": {"b": [1, {"c": 2}, 3]}, "x.y": 4, "n": None}


@pytest.mark.parametrize(
    ("path", "value"),
    [("a.b.1.c", 2), ("a.b.-1", 3), ("a.b.:-1", [1, {"c": 2}]), ("x.y", 4), ("a.b.9", MISSING), ("a.z", MISSING),
     ("a.b.c", MISSING), ("n", None)],
)  # fmt: skip
def test_a_path_leads_to_its_value(path, value):
    assert find(RECORD, path) == value


OTHERS = {
    "Alpaca": {"instruction": "Translate", "input": "cat", "output": "chat"},
    "Dolly": {"instruction": "Say", "context": "all", "response": "ok", "category": "qa"},
    "prompt and completion": {"prompt": "q", "completion": "a"},
    "question and answer": {"question": "q", "answer": "a"},
    "chat messages": {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
    "input and output": {"Input": "q", "Output": "a"},
    "ShareGPT conversations": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_refused_with_the_very_flags_that_read_them(name):
    record = OTHERS[name]
    with pytest.raises(DataError) as refused:
        read_record(record, USUAL)
    said = str(refused.value)
    assert f"It looks like {name}: --input-field" in said
    flags = said.partition(f"{name}: ")[2].split(". To")[0].split()
    inputs = [value for flag, value in zip(flags[::2], flags[1::2], strict=True) if flag == "--input-field"]
    sample, _ = read_record(record, choose_fields(inputs, [flags[-1]]))
    words = [value for value in record.values() if isinstance(value, str) and value not in (sample["output"], "qa")]
    assert all(word in json.dumps(sample["input"]) for word in words) and sample["output"] in ("chat", "ok", "a")


def test_every_shape_reads_what_it_fits():
    for shape in SHAPES:
        assert shape.name in OTHERS or shape.output in ("response", "chosen")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"text": "q a"}, "looks like one text"),
        ({"version": "1", "data": [{"input": 1, "output": 2}]}, "seem to be the list data"),
        ({"A-1": {"input": 1, "output": 2}, "A-2": {"input": 3, "output": 4}}, "seem to be the values of this object"),
        ({"plot": {"area": 1}, "rooms": [{"type": "bath"}]}, "but plot, rooms. Say which fields count"),
        ({"Instruction": "q", "Output": "a"}, "looks like Alpaca: --input-field Instruction --output-field Output"),
        ({"input": {"0": 1, "1": 2}, "output": {"0": 3, "1": 4}}, "a table by columns, as pandas writes it"),
        ({"frage": "q", "antwort": "a"}, "but frage, antwort. Say which fields count with --input-field NAME"),
        ({"id": "x", "input": {"a": 1}}, "has no output"),
        ({"input": "q", "output": ""}, "its output is empty"),
    ],
)
def test_what_cannot_be_read_says_what_is_there(record, said):
    with pytest.raises(DataError, match=said):
        read_record(record, USUAL)


def test_several_fields_make_an_object_and_all_others_are_named():
    fields = choose_fields(["q.text", "q.more", "history.0.text"], ["a"])
    record = {"q": {"text": 1, "more": 2, "z": 3}, "history": [{"text": 4, "at": 5}], "a": "yes", "notes": "n"}
    sample, notes = read_record(record, fields)
    assert sample["input"] == {"q.text": 1, "more": 2, "history.0.text": 4} and sample["output"] == "yes"
    assert set(notes) == {"q.z is not read", "history.0.at is not read", "notes is not read"}


def test_an_extra_field_is_named_and_a_part_of_the_prompt_never_left_aside_unasked():
    record = {"input": "q", "output": "a", "source": "web", "system": "Be kind."}
    with pytest.raises(DataError, match="has system beside input and output, which would be lost"):
        read_record(record, USUAL)
    assert read_record(record, choose_fields(["input"], []))[1] == ("source is not read", "system is not read")
    assert read_record(record | {"system": ""}, USUAL)[1] == ("source is not read", "system is not read")
    assert choose_fields([], []) == Fields() == USUAL


def test_json_in_a_text_is_read_and_said():
    sample, notes = read_record({"input": '{"a": 1}', "output": '{"a": 1, "a": 2}', "metadata": "x"}, USUAL)
    assert sample["input"] == {"a": 1} and sample["output"] == '{"a": 1, "a": 2}' and sample["metadata"] == {}
    assert notes == ("input is JSON in a text, and read as that JSON", "metadata is not read, as it is no object")
