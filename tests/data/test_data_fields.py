"""Which fields of a record are input and output, and what is said of all others."""

import json

import pytest

from housebrain_core.data.fields import (
    MISSING,
    SHAPES,
    USUAL,
    Fields,
    choose_fields,
    find,
    read_record,
)
from housebrain_core.errors import DataError

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
        (
            {"by": {"x": 1}, "train": [{"input": 1, "output": 2}], "test": [{"input": 1, "output": 2}]},
            "seem to be the list train and test: save it as a file of its own",
        ),
        ({"columns": ["input"], "index": [0], "data": [["q"]]}, "It is a table by columns, as pandas writes it"),
        ({"input ": 1, "out\nput": 2}, r"has no input, but 'input ', out\\nput\."),
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
    assert notes == (
        "input is JSON in a text, and read as that JSON",
        "output begins like JSON but is none, and stays a text",
        "metadata is not read, as it is no object",
    )


def test_lists_that_may_be_columns_of_a_table_are_a_sample_with_a_note():
    for record in (
        {"input": ["a", "b"], "output": ["c", "d"]},
        {"input": {"x": 1, "y": 2}, "output": {"x": 3, "y": 4}},
    ):
        sample, notes = read_record(record, USUAL)
        assert sample["output"] == record["output"] and "if each is a whole column, the file is a table" in notes[0]
    for record in (
        {"input": ["a"], "output": ["b"]},
        {"input": ["a", "b"], "output": [1]},
        {"input": "ab", "output": "cd"},
    ):
        assert read_record(record, USUAL)[1] == ()


def test_whose_message_is_trained_on_is_said():
    fields = choose_fields(["messages.:-1"], ["messages.-1.content"])
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert read_record({"messages": messages}, fields)[1] == ("messages.-1.role (assistant) is not read",)
    assert read_record({"messages": messages[::-1]}, fields)[1] == ("messages.-1.role (user) is not read",)
