"""Reading samples: every layout gives the same samples, and every bad one is named."""

import csv
import datetime
import gzip
import json
import subprocess
from collections import Counter
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from housebrain_core.config import SplitConfig
from housebrain_core.data.samples import ReadLog, is_held_out, read_samples
from housebrain_core.errors import DataError
from housebrain_core.splits.split import split_dataset


def make(count: int, start: int = 0) -> list[dict]:
    return [
        {"id": f"s-{number:03d}", "input": {"n": number}, "output": {"m": [number]}, "metadata": {}}
        for number in range(start, start + count)
    ]


def write_json_folder(folder, samples):
    folder.mkdir(parents=True)
    for sample in samples:
        (folder / f"{sample['id']}.json").write_text(json.dumps(sample, indent=2))
    return folder


def write_jsonl(path, samples):
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return path


@pytest.mark.parametrize("layout", ["folder", "jsonl", "jsonl.gz", "jsonl.zst", "parquet"])
def test_every_layout_gives_the_same_samples(layout, tmp_path):
    samples, held_out = make(20), make(5, start=100)
    root = tmp_path / "data"
    root.mkdir()
    for part, rows in (("train", samples), ("validation", held_out)):
        if layout == "folder":
            write_json_folder(root / part, rows)
        elif layout == "parquet":
            columns = {name: [json.dumps(row[name]) if name != "id" else row[name] for row in rows] for name in rows[0]}
            pq.write_table(pa.table(columns), root / f"{part}.parquet")
        else:
            path = write_jsonl(root / f"{part}.jsonl", rows)
            if layout.endswith("gz"):
                (root / f"{part}.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
                path.unlink()
            if layout.endswith("zst"):
                (root / f"{part}.jsonl.zst").write_bytes(pa.compress(path.read_bytes(), "zstd", asbytes=True))
                path.unlink()
    assert sorted(read_samples(root, "train"), key=lambda s: s["id"]) == samples
    assert sorted(read_samples(root, "validation"), key=lambda s: s["id"]) == held_out


def test_a_missing_validation_part_is_held_out_by_a_hash_of_the_id(tmp_path):
    samples = make(600)
    path = write_jsonl(tmp_path / "all.jsonl", samples)
    train, validation = ({s["id"] for s in read_samples(path, part)} for part in ("train", "validation"))
    assert validation == {s["id"] for s in samples if is_held_out(s["id"])}
    assert train | validation == {s["id"] for s in samples} and not train & validation
    assert 0 < len(validation) < 30
    backwards = write_jsonl(tmp_path / "backwards.jsonl", samples[::-1])
    assert {s["id"] for s in read_samples(backwards, "validation")} == validation


BAD = {
    "not JSON": b'{"id": "x", "input": ',
    "no input": b'{"id": "x", "output": {}}',
    "no output": b'{"id": "x", "input": {}}',
    "empty": b"",
    "not UTF-8": b'{"id": "x", "input": {"a": "\xff"}, "output": {}}',
    "NUL bytes": b'{"id": "x", "input": {}, "output": {}}\x00',
    "a duplicate id": b'{"id": "s-001", "input": {}, "output": {}}',
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_counted_and_named(kind, tmp_path):
    folder = write_json_folder(tmp_path / "train", make(3))
    (folder / "zz-bad.json").write_bytes(BAD[kind])
    log = ReadLog()
    assert len(list(read_samples(folder, "train", log))) == 3
    assert [bad.origin.rpartition("/")[2] for bad in log.bad] == ["zz-bad.json"]
    assert log.bad[0].reason


@pytest.mark.parametrize("kind", [kind for kind in BAD if kind != "empty"])
def test_a_bad_line_is_named_with_file_and_line(kind, tmp_path):
    lines = [json.dumps(sample).encode() for sample in make(3)]
    lines.insert(2, BAD[kind])
    (tmp_path / "train.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    log = ReadLog()
    assert len(list(read_samples(tmp_path / "train.jsonl", "train", log))) >= 2
    assert any(bad.origin.endswith("train.jsonl:3") for bad in log.bad)


def test_too_many_bad_samples_write_nothing_and_say_why(tmp_path):
    folder = write_json_folder(tmp_path / "data" / "train", make(50))
    write_json_folder(tmp_path / "data" / "validation", make(10, start=200))
    (folder / "bad.json").write_text("{")
    config = SplitConfig(source=tmp_path / "data", output=tmp_path / "out", splits=2, max_bad=0.001)
    with pytest.raises(DataError, match=r"(?s)1 of 61 .*nothing was written.*bad\.json.*--max-bad"):
        split_dataset(config, report=lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    lines = []
    split_dataset(config.model_copy(update={"max_bad": 0.05}), report=lines.append)
    assert any("bad.json" in line for line in lines)


def test_an_empty_or_missing_source_says_what_to_give(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        list(read_samples(tmp_path / "none", "train"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        list(read_samples(tmp_path / "empty", "train"))


def test_the_real_dataset_reads_as_jsonl_zst(shared):
    from itertools import islice

    first = next(islice(read_samples(shared / "data", "train"), 1))
    assert first["id"].startswith("HBV5") and first["input"]["roomBreakdown"]
    assert subprocess.run(["zstd", "--version"], capture_output=True).returncode == 0


def test_an_array_counts_by_its_samples(tmp_path):
    folder = write_json_folder(tmp_path / "train", make(3))
    (folder / "array.json").write_text(json.dumps([*make(4, start=50), 5, {"id": "x", "input": {"n": 1}}]))
    log = ReadLog()
    assert len(list(read_samples(folder.parent, "train", log))) == 7 and log.good == 7
    assert [(bad.origin.rpartition("/")[2], bad.reason) for bad in log.bad] == [
        ("array.json:5", 'is a JSON single value; a sample is an object such as {"input": ..., "output": ...}'),
        ("array.json:6", "has no output"),
    ]


@pytest.mark.parametrize("count", [20, 30, 50, 100, 150])
def test_a_small_dataset_always_has_samples_to_validate_with(count, tmp_path):
    for start in range(0, 5000, 1000):
        path = write_jsonl(tmp_path / "all.jsonl", make(count, start))
        train, validation = ({s["id"] for s in read_samples(path, part)} for part in ("train", "validation"))
        assert min(max(2, count // 10), 10) <= len(validation) <= 15 and len(train) + len(validation) == count
        backwards = write_jsonl(tmp_path / "backwards.jsonl", make(count, start)[::-1])
        assert {s["id"] for s in read_samples(backwards, "validation")} == validation


def test_files_of_one_name_in_sub_folders_are_different_samples(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.json").write_text(json.dumps({"input": {"n": folder}, "output": {"m": 1}}))
    assert [sample["id"] for sample in read_samples(tmp_path, "train")] == ["one/a", "two/a"]


def test_the_same_text_is_read_the_same_from_every_format(tmp_path):
    rows = [{"id": f"x{n}", "input": json.dumps({"q": n}), "output": f"answer {n}"} for n in range(40)]
    write_jsonl(tmp_path / "a.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "array.json").write_text(json.dumps(rows))
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    read = []
    for name in ("a.jsonl", "a.parquet", "array.json", "a.csv"):
        log = ReadLog()
        read.append(list(read_samples(tmp_path / name, "train", log)))
        assert log.notes == {"input is JSON in a text, and read as that JSON": 40}
    assert read[0][0]["input"] == {"q": 0} and all(samples == read[0] for samples in read)


def test_bad_samples_of_one_reason_are_one_line(tmp_path):
    path = write_jsonl(tmp_path / "all.jsonl", [{"messages": [{"role": "user", "content": "q"}]}] * 30)
    log = ReadLog()
    assert list(read_samples(path, "train", log)) == []
    (line,) = log.describe().splitlines()[1:]
    assert "all.jsonl:1 and 29 more: has no input, but messages. It looks like chat messages" in line


def test_an_empty_input_beside_an_instruction_is_told_as_alpaca(tmp_path):
    path = write_jsonl(tmp_path / "all.jsonl", [{"instruction": "say hi", "input": "", "output": "hi"}] * 3)
    log = ReadLog()
    assert list(read_samples(path, "train", log)) == []
    assert "It looks like Alpaca: --input-field instruction" in log.describe()


def test_parts_without_ids_do_not_collide_and_dots_in_names_are_part_of_them(tmp_path):
    for part in ("train", "validation"):
        (tmp_path / part).mkdir()
        write_jsonl(tmp_path / part / "data.jsonl", [{"input": part, "output": 1}] * 2)
        for number in (1, 2):
            (tmp_path / part / f"plan.v{number}.json").write_text('{"input": 1, "output": 2}')
    log = ReadLog(strict=True)
    ids = [sample["id"] for part in ("train", "validation") for sample in read_samples(tmp_path, part, log)]
    names = ["data-1", "data-2", "plan.v1", "plan.v2"]
    assert ids == names + [f"validation/{name}" for name in names]


@pytest.mark.parametrize("value", [datetime.date(2026, 1, 1), Decimal("1.10"), b"x", float("nan")])
def test_what_parquet_has_and_json_has_not_is_a_bad_sample_where_it_counts(value, tmp_path):
    rows = [{"input": "q", "output": {"a": value}, "other": "x"}, {"input": "q", "output": {}, "other": "y"}]
    pq.write_table(pa.Table.from_pylist(rows[:1]), tmp_path / "a.parquet")
    log = ReadLog()
    assert list(read_samples(tmp_path / "a.parquet", "train", log)) == []
    assert "a sample cannot be written as JSON" in log.bad[0].reason and "save them as text" in log.bad[0].reason
    pq.write_table(pa.Table.from_pylist([{"input": "q", "output": "a", "other": value}]), tmp_path / "b.parquet")
    assert len(list(read_samples(tmp_path / "b.parquet", "train"))) == 1


def test_an_array_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(make(3)), encoding="utf-8-sig")
    assert list(read_samples(tmp_path / "a.json", "train")) == make(3)


def test_notes_on_fields_that_differ_from_sample_to_sample_are_not_thousands_of_lines():
    log = ReadLog(notes=Counter({f"{number} is not read": 1 for number in range(500)}))
    assert len(log.describe_notes()) == 31 and log.describe_notes()[-1].startswith("and 470 more such lines")
