"""Bytes that are something else than their name says are recognised, with what to do; JSON is read without loss."""

import json
import os
import resource
import zipfile

import pytest

from housebrain_core.adapters.run import Run
from housebrain_core.contents import (
    LIMIT,
    SIGNATURES,
    explain_bytes,
    explain_file,
    parse_json,
    read_json,
    read_record,
)
from housebrain_core.errors import DataError


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (bytes(100), "holds zeros only"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "a web page"),
        (b"GGUF\x03\0\0\0", "a GGUF file"),
        (b"Access to model meta-llama/Llama-3 is restricted.", "accept the model's terms"),
        (b"Rar!\x1a\x07", "unpack it"),
        (b"\x80\x02}q\0", "a pickle"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        (bytes(257).replace(b"\0", b"n", 1) + b"ustar\x0000", "a tar archive"),
    ],
)
def test_what_a_file_is_and_what_to_do(data, said):
    assert said in explain_bytes(data)


def test_what_is_not_recognised_is_left_to_its_reader(tmp_path):
    assert explain_bytes(b'{"peft_type": "LORA"}') is None
    assert explain_file(tmp_path / "gone") is None
    assert all(start == start.lower() for signature in SIGNATURES for start in signature.starts)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"output": 1, "output": 2}', "has the key 'output' 2 times in one object"),
        (b'{"a": {"b" : 1, "b" : 2}}', "has the key 'b' 2 times"),
        (b'{"a": NaN}', "has NaN or Infinity"),
        (b"[-Infinity]", "has NaN or Infinity"),
        ('{"a": 1}'.encode("utf-16"), "is UTF-16 text"),
        (b'{"a": 1}\n{"a": 2}\n', "holds one JSON value a line; give it the ending .jsonl"),
        (b'{"a":\n 1}\n{"a":\n 2}\n', "holds several JSON values; write each on a line of its own"),
        (b"[{'a': 1}]", "is the text of a Python object, not JSON; write it with json.dumps"),
        (b'{"a": 1},', "ends with a comma; remove it"),
        (b"{", "begins a value that goes on in the next line"),
        (b"// houses", "is a comment, which JSON does not have"),
        (b'{"a": "\\ud83c"}', "has half of a character"),
        (b" \n", "is empty"),
        (b'{"a": \xff}', "is not UTF-8"),
        (b'{"a": 1', "is not JSON"),
    ],
)
def test_what_is_no_json_says_why(data, said):
    with pytest.raises(DataError, match=said):
        parse_json(data)


@pytest.mark.parametrize(
    "data", [b'{"a" : {"a": "\\":\\u0022:"}}', b"\xef\xbb\xbf[1]", b'{"a": 123456789012345678901234}']
)
def test_json_of_any_form_is_read_exactly(data):
    assert parse_json(data) == json.loads(data.decode("utf-8-sig"))


def test_a_thousand_byte_order_marks_are_no_endless_recursion():
    assert parse_json(b"\xef\xbb\xbf" * 2000 + b"[1]") == [1]


@pytest.mark.parametrize("data", [b'{"a": [1, {"b": null}]}', b'\xef\xbb\xbf{"a": 1e300}', b'{"\\ud800": "\\udcff"}'])
def test_an_object_of_json_is_read_with_a_byte_order_mark_and_halves_of_characters(data, tmp_path):
    (tmp_path / "file").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("a/file", data)
    expected = json.loads(data.decode("utf-8-sig"))
    assert read_json(data) == read_json(tmp_path / "file") == expected
    assert read_json(zipfile.Path(tmp_path / "zip", "a/file")) == expected


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"a": 1, "a": 2}', "the key 'a' 2 times"),
        (b'{"a": NaN}', "NaN or Infinity"),
        (b"[1]", r"is no JSON object, but \[1\]"),
        (b'{"a"', "is not JSON"),
        (b"{", "is not JSON"),
        (b'{"a": 1}\n{"b": 2}\n', "is not JSON"),
        (b"\xff", "is not UTF-8"),
        (b'{"a":' + b"[" * 99_999, "nested too deeply"),
        ("{}".encode("utf-16"), "UTF-16 text: save it as UTF-8"),
        (b"<html>", "a web page"),
        (b'{"a": ' + b"9" * 9999 + b"}", "is not JSON"),
    ],
)
def test_an_object_that_two_readers_could_understand_differently_is_refused(data, said):
    with pytest.raises(DataError, match=said):
        read_json(data)
    with pytest.raises(DataError, match=said):
        read_record(Run, data)


def test_a_gigabyte_of_blanks_a_device_and_a_pipe_are_refused_in_bounded_memory(tmp_path):
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**30)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, said in (
        ("huge", f"more than {LIMIT:,} bytes"), ("pipe", "is no file"), ("zero", "is no file"), (".", "is no file"),
        ("loop", "cannot be read"), ("gone", "cannot be read .No such file"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=said):
            read_json(tmp_path / name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


def test_a_record_of_the_wrong_kind_names_the_field():
    assert read_record(Run, b'{"finished": true}') == Run(finished=True)
    with pytest.raises(DataError, match="cannot be used: finished: .*valid boolean"):
        read_record(Run, b'{"finished": 1}')
