"""Datasets as tables of encoded samples: all good ones in their order, and every bad one named."""

import hashlib
import json
from pathlib import Path

import pytest
from outside import real_samples

from housebrain_core.data import processes
from housebrain_core.data.samples import BadSample, Item, ReadLog, list_items
from housebrain_core.errors import DataError
from housebrain_core.house import codec, synthetic
from housebrain_core.splits.bundle import SCHEMA
from housebrain_core.splits.encode import encode_chunk, encode_dataset, read_drawn_fields


def write(folder: Path, texts: list[bytes]) -> list[Item]:
    """A dataset folder of one file for each text, and its items."""
    (folder / "train").mkdir(parents=True)
    for number, text in enumerate(texts):
        (folder / "train" / f"{number:03d}.json").write_bytes(text)
    return list(list_items(folder, ("train", "validation")))


def one_by_one(items: list[Item]) -> tuple[dict, dict]:
    """Part -> rows with their positions, and what is wrong with bad items."""
    rows: dict[str, list] = {}
    bad = {}
    for position, item in enumerate(items):
        try:
            part, sample, _ = item.read()
        except DataError as error:
            bad[position] = str(error)
            continue
        prompt, completion = codec.encode(sample)
        digest = hashlib.sha256((prompt + completion).encode()).digest()[:8]
        row = (position, digest, sample["id"], prompt, completion, codec.dumps(sample["metadata"]))
        rows.setdefault(part, []).append(row)
    return rows, bad


def assert_as_one_by_one(items: list[Item]) -> None:
    chunk, (rows, bad) = encode_chunk(items), one_by_one(items)
    samples = {position: row for position, row in chunk.results if not isinstance(row, BadSample)}
    assert {position: row.reason for position, row in chunk.results if isinstance(row, BadSample)} == bad
    for part, expected in rows.items():
        found = [(position, *row) for position, (own, *row) in samples.items() if own == part]
        assert [(position, *row[:4]) for position, *row, _, _ in found] == [(row[0], *row[2:]) for row in expected]
        assert [row[-2] for row in found] == [int.from_bytes(row[1], "little", signed=True) for row in expected]
        assert [row[-1] for row in found] == [items[row[0]].path for row in expected]
    assert len(samples) == sum(map(len, rows.values()))


@pytest.fixture
def texts(shared, samples) -> list[bytes]:
    """Real samples, generated ones with geometry, and damaged ones, one after the other."""
    real = [json.dumps(sample, indent=2).encode() for sample in real_samples(shared, "train", 60)]
    generated = [json.dumps(sample, indent=2).encode() for sample in samples[:20]]
    broken = [b"", b"[]", b'{"id": "x"', real[3][:-9], b"\xff\xfe", b'{"input": {}, "output": {"a": 1}}', b'"text"']
    mixed = real[:]
    for number, text in enumerate(generated + broken):
        mixed.insert(2 * number, text)
    return mixed


def test_a_chunk_is_what_its_items_are_one_by_one(texts, tmp_path):
    items = write(tmp_path, texts)
    assert items[0].held_out
    assert_as_one_by_one(items)


def test_a_dataset_is_its_chunks_in_order_without_repeated_ids(texts, tmp_path, monkeypatch):
    repeated = json.dumps(json.loads(texts[0]) | {"metadata": {"second": True}}).encode()
    items = write(tmp_path, [*texts, repeated])
    rows, bad = one_by_one(items[:-1])
    for chunk in (3, 1000):
        monkeypatch.setattr(processes, "CHUNK", chunk)
        log = ReadLog()
        dataset = encode_dataset(tmp_path, log, lambda line: None)
        assert dataset.held_out and log.good == sum(map(len, rows.values()))
        assert [entry.reason for entry in log.bad] == [
            *bad.values(),
            "its id, or without one the name of its file, is that of an earlier sample",
        ]
        for part, table in dataset.tables.items():
            found = [tuple(row.values()) for row in table.select(SCHEMA.names).to_pylist()]
            assert found == [row[2:] for row in rows.get(part, [])]


def test_held_out_samples_go_to_their_part(shared, tmp_path):
    texts = [json.dumps(sample, indent=2).encode() for sample in real_samples(shared, "train", 300)]
    items = write(tmp_path, texts)
    assert {row[0] for _, row in encode_chunk(items).results} == {"train", "validation"}
    assert_as_one_by_one(items)


def test_files_that_cannot_be_read_and_nothing_at_all(tmp_path):
    gone = Item(str(tmp_path / "gone.json"), None, None, "train", False)
    assert encode_chunk([gone]).results == [(0, (gone.path, "cannot be read (No such file or directory)"))]
    assert encode_chunk([]) == ([], {})


def test_drawn_fields_are_those_that_the_metadata_name_wherever_the_samples_are(dataset, splits, tmp_path):
    for data in (splits, splits / "split_01.zip", dataset, dataset / "validation"):
        assert read_drawn_fields(data) == tuple(synthetic.DRAWN)
    (tmp_path / "validation").mkdir()
    for number, metadata in enumerate(({}, {"drawn": "anything else"})):
        sample = next(synthetic.make_samples(1, number)) | {"metadata": metadata}
        (tmp_path / "validation" / "one.json").write_text(json.dumps(sample))
        assert read_drawn_fields(tmp_path / "validation") == ()
