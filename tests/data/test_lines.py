"""What stands in the lines of a file, in every format."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from housebrain_core.data import lines
from housebrain_core.data.lines import read_lines
from housebrain_core.errors import DataError


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


def write_csv(path, text):
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a|b|c,d\n1,2\n", [(2, {"a|b|c": "1", "d": "2"})]),
        ("input|output\n1|2,3\n", [(2, {"input": "1", "output": "2,3"})]),
        ("\n\ninput,output\n1,2\n", [(4, {"input": "1", "output": "2"})]),
        ("sep=;\r\ninput;output\r\n1;2\r\n", [(3, {"input": "1", "output": "2"})]),
        ('input,output,"a;b;c;d"\n1,2,3\n', [(2, {"input": "1", "output": "2", "a;b;c;d": "3"})]),
        ('input,"out\nput"\n1,2\n', [(3, {"input": "1", "out\nput": "2"})]),
        ("input,output,,\n1,2,3,4\n", [(2, {"input": "1", "output": "2", "column 3": "3", "column 4": "4"})]),
        ('input,output\n"big" house,2\n3,4\n',
         [(2, 'has text behind a closing quote; a quote inside of a quoted cell is written twice ("")'),
          (3, {"input": "3", "output": "4"})]),
        ("a,b\n1,2\na,b\n3,4\n", [(2, {"a": "1", "b": "2"}), (3, "repeats the first line"), (4, {"a": "3", "b": "4"})]),
        ("\n\n", []),
    ],
)  # fmt: skip
def test_tables_are_read_as_people_save_them_and_nothing_of_a_cell_is_dropped(text, rows, tmp_path):
    assert list(read_lines(write_csv(tmp_path / "a.csv", text))) == rows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("input,output,output\n1,2,3\n", "has the column 'output' twice; give each its own name"),
        ('input,output\n1,"2\n3,4\n5,6\n', "is no CSV from line 2 on: unexpected end of data; look for a quote there"),
        ('"input" x,output\n', "its first line has text behind a closing quote"),
    ],
)
def test_a_table_that_would_lose_cells_is_refused(text, said, tmp_path):
    with pytest.raises(DataError, match=said):
        list(read_lines(write_csv(tmp_path / "a.csv", text)))
    (tmp_path / "b.csv").write_bytes("input,output\nKüche,2\n".encode("latin-1"))
    with pytest.raises(DataError, match="is not UTF-8; save it as UTF-8"):
        list(read_lines(tmp_path / "b.csv"))


def test_a_line_that_fits_into_no_memory_ends_the_reading(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LONGEST", 50)
    monkeypatch.setattr(lines, "LARGEST", 50)
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n' + "x" * 100)
    with pytest.raises(DataError, match="line 2 is longer than 50"):
        list(read_lines(tmp_path / "a.jsonl"))
    (tmp_path / "b.json").write_text("1" * 60)
    assert "has 60 bytes: too much for one value" in lines.read_file(str(tmp_path / "b.json"))


@pytest.mark.parametrize("start", ["[", "\ufeff\n ["])
def test_an_array_in_a_file_for_lines_is_read_as_an_array(start, tmp_path):
    (tmp_path / "a.jsonl").write_text(f'{start}{{"a": 1}},\n{{"a": 2}}]', encoding="utf-8")
    assert [number for number, _ in read_lines(tmp_path / "a.jsonl")] == [0]


def test_columns_of_parquet_with_one_name_and_other_files_are_refused_and_maps_are_objects(tmp_path):
    pq.write_table(pa.Table.from_arrays([pa.array([1])] * 2, names=["a", "a"]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="has two columns of one name: a, a"):
        list(read_lines(tmp_path / "a.parquet"))
    (tmp_path / "b.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match="git lfs pull"):
        list(read_lines(tmp_path / "b.parquet"))
    pairs = pa.array([[("x", 1), ("y", 2)], []], pa.map_(pa.string(), pa.int64()))
    pq.write_table(pa.table({"a": pairs}), tmp_path / "c.parquet")
    assert list(read_lines(tmp_path / "c.parquet")) == [(1, {"a": {"x": 1, "y": 2}}), (2, {"a": []})]
