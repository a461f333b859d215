"""Which files a dataset has, by the names that people give its parts, and the lines in them."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from housebrain_core.data.files import find_parts, is_validation_part, read_lines
from housebrain_core.errors import DataError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


def parts(folder) -> dict[str, list[str]]:
    return {part: [str(file)[len(str(folder)) + 1 :] for file in files] for part, files in find_parts(folder).items()}


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
    assert find_parts(touch(tmp_path, "x.jsonl") / "x.jsonl") == {"train": [str(tmp_path / "x.jsonl")]}


@pytest.mark.parametrize(("name", "problem"), [("x.csv", "is none of .json"), ("gone", "does not exist")])
def test_what_cannot_be_read_is_refused(name, problem, tmp_path):
    touch(tmp_path, "x.csv")
    with pytest.raises(DataError, match=problem):
        find_parts(tmp_path / name)
    with pytest.raises(DataError, match="holds no training samples"):
        find_parts(touch(tmp_path, "validation/a.json") / "validation" / "..")


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
    pq.write_table(pa.table({"id": ["1", "2"], "input": ['{"a": 1}', '{"a": 2}']}), tmp_path / "d.parquet")
    assert list(read_lines(tmp_path / "d.parquet")) == [(1, rows[0]), (2, rows[1])]
