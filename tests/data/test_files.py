"""Which files a dataset has, by the names that people give its parts, and the lines in them."""

import gzip
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from housebrain_core.data.files import find_dataset, is_validation_part, name_below, read_lines
from housebrain_core.errors import DataError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


def parts(folder) -> dict[str, list[str]]:
    return {
        part: [str(file)[len(str(folder)) + 1 :] for file in files]
        for part, files in find_dataset(folder).parts.items()
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train/b.json", "train/a.json", "val/c.json"], {"train": ["train/a.json", "train/b.json"],
                                                          "validation": ["val/c.json"]}),
        (["Training/a.json", "valid/b.json"], {"train": ["Training/a.json"], "validation": ["valid/b.json"]}),
        (["train.jsonl", "validation.jsonl.gz"], {"train": ["train.jsonl"], "validation": ["validation.jsonl.gz"]}),
        (["train-0.parquet", "train-1.parquet"], {"train": ["train-0.parquet", "train-1.parquet"]}),
        (["b.json", "a.json", "notes.md"], {"train": ["a.json", "b.json"]}),
        (["houses.jsonl", "validation.jsonl"], {"train": ["houses.jsonl"], "validation": ["validation.jsonl"]}),
    ],
)  # fmt: skip
def test_parts_are_found_by_their_names(names, expected, tmp_path):
    assert parts(touch(tmp_path, *names)) == expected


def test_a_single_file_is_the_training_part(tmp_path):
    assert find_dataset(touch(tmp_path, "x.jsonl") / "x.jsonl").parts == {"train": [str(tmp_path / "x.jsonl")]}


@pytest.mark.parametrize(("name", "problem"), [("x.pdf", "is none of .json"), ("gone", "does not exist")])
def test_what_cannot_be_read_is_refused(name, problem, tmp_path):
    touch(tmp_path, "x.pdf")
    with pytest.raises(DataError, match=problem):
        find_dataset(tmp_path / name)
    with pytest.raises(DataError, match="holds no training samples"):
        find_dataset(touch(tmp_path, "validation/a.json") / "validation" / "..")


def test_a_validation_part_is_known_by_name_unless_it_has_one_itself(tmp_path):
    touch(tmp_path, "validation/a.json", "train/a.json", "val/train/a.json", "val/validation/a.json")
    assert is_validation_part(tmp_path / "validation")
    assert not is_validation_part(tmp_path / "train")
    assert not is_validation_part(tmp_path / "val")


def test_lines_come_with_their_numbers_in_every_format(tmp_path):
    rows = [{"id": str(number), "input": {"a": number}} for number in (1, 2)]
    text = "\n\n".join(map(json.dumps, rows)) + "\n"
    (tmp_path / "a.jsonl").write_text(text)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    with pa.output_stream(str(tmp_path / "c.jsonl.zst"), compression="zstd") as stream:
        stream.write(text.encode())
    for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl.zst"):
        assert [(number, json.loads(line)) for number, line in read_lines(tmp_path / name)] == [
            (1, rows[0]),
            (3, rows[1]),
        ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    assert list(read_lines(tmp_path / "d.parquet")) == [(1, rows[0]), (2, rows[1])]
    (tmp_path / "e.csv").write_text('id,input\n1,"two\nlines, and ""quotes"""\n\n2\n', encoding="utf-8-sig")
    first, second = read_lines(tmp_path / "e.csv")
    assert first == (3, {"id": "1", "input": 'two\nlines, and "quotes"'})
    assert second == (5, "has 1 cells, the first line has 2")
    (tmp_path / "f.TSV").write_text("id\tinput\n1\ta,b\n")
    assert list(read_lines(tmp_path / "f.TSV")) == [(2, {"id": "1", "input": "a,b"})]
    (tmp_path / "g.JSON.gz").write_bytes(gzip.compress(b"[1]", mtime=0))
    assert list(read_lines(tmp_path / "g.JSON.gz")) == [(0, b"[1]")]


def test_structs_of_parquet_have_no_keys_that_only_other_rows_have(tmp_path):
    rows = [{"input": {"a": 1, "deep": [{"x": 1}]}}, {"input": {"b": 2, "deep": [{"y": 2}]}}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert [row for _, row in read_lines(tmp_path / "a.parquet")] == rows


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.jsonl", '{"id": 1}\n'.encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
        ("a.jsonl", b"<!DOCTYPE html>", "is a web page"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0), "is empty"),
    ],
)
def test_a_file_that_is_something_else_says_what(name, data, said, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=said):
        list(read_lines(tmp_path / name))


def test_all_of_a_folder_is_read_or_named(tmp_path):
    touch(tmp_path, "train/a.json", "train/batch2/b.JSON", "train/batch2/c.ndjson", "train/d.json.gz", "train/notes.md",
          "train/._a.json", "batch3/e.json", "README.md")  # fmt: skip
    (tmp_path / "train" / "empty.jsonl").write_text("")
    os.mkfifo(tmp_path / "train" / "queue.json")
    found = find_dataset(tmp_path)
    assert [path[len(str(tmp_path)) + 7 :] for path in found.parts["train"]] == [
        "a.json", "batch2/b.JSON", "batch2/c.ndjson", "d.json.gz"
    ]  # fmt: skip
    assert dict(found.aside) == {
        "train/._a.json": "macOS made them",
        "train/empty.jsonl": "empty",
        "train/notes.md": "no data by their names",
        "train/queue.json": "no regular file",
        "batch3/ with 1 files": "beside the part train",
        "README.md": "no data by their names",
    }
    assert found.describe().startswith("read 4 files; left aside: train/._a.json (macOS made them); ")


def test_what_is_left_aside_says_how_it_becomes_data(tmp_path):
    touch(tmp_path, "a.json", "b.tar.gz", "0.arrow", "table.xlsx", "dataset_info.json")
    assert dict(find_dataset(tmp_path).aside) == {
        "b.tar.gz": "an archive; unpack it",
        "0.arrow": "a dataset saved to disk; load_from_disk(FOLDER).to_parquet(FILE) makes data of it",
        "dataset_info.json": "about the data, for the datasets library",
        "table.xlsx": "a spreadsheet; save it as CSV",
    }


def test_a_folder_without_parts_is_read_with_its_sub_folders(tmp_path):
    touch(tmp_path, "b/2.json", "a/1.json", "0.json", ".git/x.json")
    assert parts(tmp_path) == {"train": ["0.json", "a/1.json", "b/2.json"]}
    assert find_dataset(tmp_path).aside == [(".git", "hidden")]


def test_a_file_in_a_sub_folder_is_called_with_it():
    names = ["/d/train/a.json", "/d/train/batch2/a.json", "/d/x/y/a.b.json", "/d/a.json"]
    assert [name_below("/d", name) for name in names] == ["a", "batch2/a", "x/y/a", "a"]
    assert name_below("/d/a.jsonl", "/d/a.jsonl") == "a"
