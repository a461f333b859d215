"""Chunks of samples as workers encode them: the usual at once, the others one by one, in the order of the items."""

import hashlib
import json
from pathlib import Path

import pytest
from conftest import real_samples

from housebrain_core.data.samples import Item, list_items
from housebrain_core.errors import DataError
from housebrain_core.house import codec
from housebrain_core.splits import encode as encoding
from housebrain_core.splits.encode import encode_chunk
from housebrain_core.splits.tables import unpack


def write(folder: Path, texts: list[bytes]) -> list[Item]:
    """A dataset folder of one file for each text, and its items."""
    (folder / "train").mkdir(parents=True)
    for number, text in enumerate(texts):
        (folder / "train" / f"{number:03d}.json").write_bytes(text)
    return list(list_items(folder, ("train", "validation")))


def one_by_one(items: list[Item]) -> tuple[dict, dict]:
    """Part -> rows with their positions, and what is wrong with bad items, by the general way alone."""
    rows: dict[str, list] = {}
    bad = {}
    for position, item in enumerate(items):
        try:
            part, sample = item.read()
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
    assert chunk.bad == bad and chunk.rows.keys() == rows.keys()
    for part, found in chunk.rows.items():
        digests = [found.digests[start : start + 8] for start in range(0, len(found.digests), 8)]
        table = [tuple(row.values()) for row in unpack(found.packed).to_pylist()]
        assert found.ids == [row[0] for row in table]
        assert [
            (*head, *row) for head, row in zip(zip(found.positions, digests, strict=True), table, strict=True)
        ] == rows[part]


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


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_a_chunk_is_what_its_items_are_one_by_one(texts, tmp_path, monkeypatch, block):
    monkeypatch.setattr(encoding, "BLOCK", block)
    items = write(tmp_path, texts)
    assert items[0].held_out
    assert_as_one_by_one(items)


def test_long_texts_are_encoded_few_at_a_time(texts, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "BLOCK_BYTES", 10_000)
    sizes = []
    encode = encoding.encode_texts
    monkeypatch.setattr(encoding, "encode_texts", lambda texts: (sizes.append(len(b"".join(texts))), encode(texts))[1])
    assert_as_one_by_one(write(tmp_path, texts))
    assert max(sizes) < 10_000 + max(map(len, texts)) and len(sizes) > 10


def test_held_out_samples_go_to_their_part(shared, tmp_path):
    texts = [json.dumps(sample, indent=2).encode() for sample in real_samples(shared, "train", 300)]
    items = write(tmp_path, texts)
    assert encode_chunk(items).rows.keys() == {"train", "validation"}
    assert_as_one_by_one(items)


def test_files_that_cannot_be_read_and_nothing_at_all(tmp_path):
    gone = Item(str(tmp_path / "gone.json"), None, None, "train", False)
    assert encode_chunk([gone]).bad == {0: "cannot be read (No such file or directory)"}
    assert encode_chunk([]).rows == {} and encode_chunk([]).bad == {}
