"""Files that are something else than their name says are recognised by their first bytes, with what to do."""

import pytest

from housebrain_core.data.signatures import SIGNATURES, explain_bytes, explain_file


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
