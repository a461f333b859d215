"""Bytes that are something else than their name says are recognised, with what to do; JSON is read without loss."""

import json

import pytest

from housebrain_core.data.contents import SIGNATURES, explain_bytes, explain_file, parse_json
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
