"""Manifests: written last and whole, and a reader is told what is missing, changed or something else."""

import errno
import hashlib
import json
import os

import pytest

from housebrain_core import __version__
from housebrain_core.errors import DataError
from housebrain_core.manifests import MANIFEST, check_files, read_manifest, seal, sha256_of, to_json, write_atomically


def test_the_sha256_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "file") == sha256_of(b"abc") == expected


def test_a_sealed_folder_lists_its_files_with_size_and_sha256_and_not_hidden_ones(tmp_path):
    (tmp_path / "b.txt").write_text("two")
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / ".hidden").write_text("x")
    seal(tmp_path, "thing", answer=42)
    manifest = read_manifest(tmp_path, "thing")
    assert manifest["answer"] == 42 and manifest["housebrain"] == __version__ and manifest["format"] == 2
    assert list(manifest["files"]) == ["a.txt", "b.txt"]
    assert manifest["files"]["a.txt"] == {"sha256": hashlib.sha256(b"one").hexdigest(), "size": 3}
    check_files(tmp_path, manifest)


def test_all_files_that_differ_are_named_at_once(tmp_path):
    for name in ("gone", "longer", "changed"):
        (tmp_path / name).write_text("12345")
    manifest = seal(tmp_path, "thing")
    (tmp_path / "gone").unlink()
    (tmp_path / "longer").write_text("123456")
    (tmp_path / "changed").write_text("12346")
    with pytest.raises(DataError) as error:
        check_files(tmp_path, manifest)
    assert "gone is missing" in str(error.value)
    assert "longer has changed (6 bytes for 5" in str(error.value)
    assert "changed has changed" in str(error.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "has no manifest.json"),
        ('{"a"', "is not JSON"),
        ("[]", "is no JSON object"),
        (json.dumps({"kind": "other", "files": {}}), "'other'; expected was 'thing'"),
        (json.dumps({"kind": "thing"}), "expected was 'thing'"),
    ],
)
def test_a_folder_without_a_manifest_of_its_kind_is_refused(text, reason, tmp_path):
    if text is not None:
        (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(DataError, match=reason):
        read_manifest(tmp_path, "thing")


def test_json_is_the_same_whatever_the_order_of_keys_and_paths_are_texts(tmp_path):
    assert to_json({"b": 1, "a": tmp_path}) == to_json({"a": str(tmp_path), "b": 1})
    assert to_json({"b": 1, "a": 2}) == '{\n "a": 2,\n "b": 1\n}\n'


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "before")

    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=f"no space left: '{path}'"):
        write_atomically(path, "after")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["split_id", "splits", "leg", "legs"])
@pytest.mark.parametrize("value", [-1, 0, 100, True, "1"])
def test_a_number_that_counts_from_1_to_99_is_one(name, value, tmp_path):
    (tmp_path / MANIFEST).write_text(to_json({"kind": "bundle", "files": {}, name: value}))
    with pytest.raises(DataError, match=f"has values of the wrong kind: {name} = "):
        read_manifest(tmp_path, "bundle")
    (tmp_path / MANIFEST).write_text(to_json({"kind": "bundle", "files": {}, name: 99}))
    assert read_manifest(tmp_path, "bundle")[name] == 99


def test_a_text_with_half_a_character_is_none(tmp_path):
    (tmp_path / MANIFEST).write_text(r'{"kind": "bundle", "files": {}, "dataset": "\ud800"}')
    with pytest.raises(DataError, match="has values of the wrong kind: dataset = "):
        read_manifest(tmp_path, "bundle")


def test_a_kind_of_any_length_is_told_in_a_line(tmp_path):
    (tmp_path / MANIFEST).write_text(to_json({"kind": ["x" * 9000], "files": {}}))
    with pytest.raises(DataError, match="is of the kind ") as refused:
        read_manifest(tmp_path, "bundle")
    assert len(str(refused.value)) < 300 + len(str(tmp_path))
