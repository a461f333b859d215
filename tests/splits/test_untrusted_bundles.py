"""Bundles and Parquet files from anywhere: one sentence for each that cannot be used, in bounded memory."""

import gzip
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from housebrain_core.contents import LIMIT
from housebrain_core.data.lines import UNPACKED
from housebrain_core.data.samples import ReadLog, read_samples
from housebrain_core.errors import DataError
from housebrain_core.manifests import sha256_of
from housebrain_core.splits.bundle import SCHEMA, read_bundle
from housebrain_core.splits.encode import read_drawn_fields

GIGABYTES = 4e9
TABLE, MANIFEST = "split_01/train.parquet", "split_01/manifest.json"
Members = dict[str, bytes]


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", store_schema=False)
    return sink.getvalue()


def bomb(columns: tuple[str, ...] = tuple(SCHEMA.names)) -> bytes:
    """Some kilobytes of Parquet: 500 rows, each with the same eight million letters."""
    rows = 500
    size = int(GIGABYTES / rows)
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * size]))
    ids = pa.array([str(number) for number in range(rows)])
    return parquet(pa.table({name: texts if name in ("prompt", "input") else ids for name in columns}))


def with_manifest(members: Members, **changes) -> Members:
    manifest = json.loads(members[MANIFEST]) | changes
    return members | {MANIFEST: json.dumps(manifest).encode()}


def without_name(members: Members) -> Members:
    manifest = json.loads(members[MANIFEST])
    del manifest["name"]
    return members | {MANIFEST: json.dumps(manifest).encode()}


def sealed(members: Members, table: bytes, name: str = "train.parquet") -> Members:
    """The bundle with another table that its manifest lists."""
    files = json.loads(members[MANIFEST])["files"] | {name: {"sha256": sha256_of(table), "size": len(table)}}
    return with_manifest(members, files=files) | {f"split_01/{name}": table}


def column_of(kind: pa.DataType, value) -> bytes:
    return parquet(pa.table({name: pa.array([value] * 3, kind) for name in SCHEMA.names}))


BAD: dict[str, Callable[[Members], Members]] = {
    "no name": without_name,
    "name a number": lambda members: with_manifest(members, name=4),
    "name without end": lambda members: with_manifest(members, name="x" * 10_000),
    "split id a list": lambda members: with_manifest(members, split_id=[1]),
    "split id 0": lambda members: with_manifest(members, split_id=0),
    "selection a number": lambda members: with_manifest(members, selection=1),
    "a file of another folder": lambda members: with_manifest(members, files={"../../x": {}}),
    "a device": lambda members: with_manifest(members, files={"/dev/zero": {}}),
    "split id true": lambda members: with_manifest(members, split_id=True),
    "entropy a text": lambda members: with_manifest(members, entropy_nats_per_sample="1"),
    "entropy not a number": lambda members: with_manifest(members, entropy_nats_per_sample=float("nan")),
    "format a text": lambda members: with_manifest(members, format="2"),
    "newer format": lambda members: with_manifest(members, format=99),
    "dataset an object": lambda members: with_manifest(members, dataset={}),
    "files a list": lambda members: with_manifest(members, files=["train.parquet"]),
    "files of lists": lambda members: with_manifest(members, files={"train.parquet": [1]}),
    "no files": lambda members: with_manifest(members, files={}),
    "manifest a list": lambda members: members | {MANIFEST: b"[]"},
    "manifest without end": lambda members: members | {MANIFEST: b"[" * 200_000},
    "manifest of zeros": lambda members: members | {MANIFEST: bytes(LIMIT + 1)},
    "no manifest": lambda members: {name: data for name, data in members.items() if name != MANIFEST},
    "garbage, sealed": lambda members: sealed(members, b"garbage"),
    "Parquet cut, sealed": lambda members: sealed(members, members[TABLE][:-9]),
    "Parquet torn, sealed": lambda members: sealed(members, members[TABLE][:99] + b"\xff" * 99 + members[TABLE][198:]),
    "prompts null, sealed": lambda members: sealed(members, column_of(pa.string(), None)),
    "prompts numbers, sealed": lambda members: sealed(members, column_of(pa.int64(), 1)),
    "prompts bytes, sealed": lambda members: sealed(members, column_of(pa.binary(), b"\xff")),
    "no rows, sealed": lambda members: sealed(members, parquet(SCHEMA.empty_table())),
    "no validation, sealed": lambda members: sealed(members, parquet(SCHEMA.empty_table()), "validation.parquet"),
    "columns missing, sealed": lambda members: sealed(members, parquet(pa.table({"id": ["1"]}))),
    "two bundles": lambda members: members | {f"again/{name}": data for name, data in members.items()},
    "a bundle in a bundle": lambda members: {"a/b.zip": b"PK"},
    "leaves its folder": lambda members: members | {"../x": b""},
}


@pytest.fixture(scope="module")
def members(splits) -> Members:
    with zipfile.ZipFile(splits / "split_01.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith(".py")}


def write(path: Path, members: Members) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("kind", BAD)
def test_a_bundle_that_cannot_be_used_is_refused_in_a_paragraph(kind, members, tmp_path):
    path = write(tmp_path / "split_01.zip", BAD[kind](members))
    with pytest.raises(DataError) as refused:
        read_bundle(path)
    assert "split_01.zip" in str(refused.value) and len(str(refused.value)) < 1000


def test_folders_with_backslashes_are_read_and_cannot_leave(members, tmp_path):
    turned = {name.replace("/", "\\"): data for name, data in members.items()}
    path = write(tmp_path / "split_01.zip", turned)
    assert read_bundle(path) == read_bundle(write(tmp_path / "as_sent.zip", members))
    with pytest.raises(DataError, match="unsafe member"):
        read_bundle(write(path, turned | {"split_01\\..\\..\\x": b""}))
    with pytest.raises(DataError, match="unsafe member"):
        read_bundle(write(path, turned | {"\\x": b""}))


@pytest.mark.parametrize(("flag", "method"), [(1, 8), (0, 9), (0, 93), (0, 99)])
def test_a_zip_that_python_does_not_read_is_refused(flag, method, members, tmp_path):
    path = write(tmp_path / "split_01.zip", members)
    data = bytearray(path.read_bytes())
    for signature, place in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        for found in re.finditer(re.escape(signature), data):
            data[found.start() + place] |= flag
            data[found.start() + place + 2] = method
    path.write_bytes(data)
    with pytest.raises(DataError, match="encrypted, or packed in a way"):
        read_bundle(path)


def test_drawn_fields_of_any_metadata_are_names(members, tmp_path):
    for metadata in ('{"drawn": ["a", 1, null]}', '{"drawn": 1}', "[]", "1"):
        table = parquet(pa.table({name: [metadata] for name in SCHEMA.names}))
        path = write(tmp_path / "split_01.zip", sealed(members, table, "validation.parquet"))
        assert read_drawn_fields(path) in ((), ("a",))


PEAK = """
import resource, sys
from pathlib import Path
from housebrain_core.errors import DataError
from housebrain_core.data.lines import UNPACKED
from housebrain_core.data.samples import ReadLog, read_samples
from housebrain_core.splits.bundle import read_bundle

path = Path(sys.argv[1])
try:
    read_bundle(path) if path.suffix == ".zip" else list(read_samples(path, "train", ReadLog()))
except DataError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bundle", "source", "json", "zip"])
def test_what_unpacks_to_gigabytes_is_refused_in_bounded_memory(kind, members, tmp_path):
    if kind == "bundle":
        path = write(tmp_path / "split_01.zip", sealed(members, bomb()))
    elif kind == "zip":
        path = write(tmp_path / "split_01.zip", members)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("split_01/zeros", bytes(UNPACKED + 1), compresslevel=1)
    elif kind == "source":
        path = tmp_path / "data.parquet"
        path.write_bytes(bomb(("id", "input", "output")))
    else:
        path = tmp_path / "data.jsonl.gz"
        with gzip.open(path, "wb", compresslevel=1) as file:
            for _ in range(600):
                file.write(b" " * 2**20)
    assert path.stat().st_size < 10_000_000
    ran = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True)
    peak, _, message = ran.stdout.partition(" ")
    assert "unpack" in message, ran.stdout + ran.stderr
    assert int(peak) < GIGABYTES / 2


def test_a_parquet_file_of_one_text_repeated_is_read_as_long_as_it_is_small(tmp_path):
    texts = pa.array(["a long system prompt"] * 5000).dictionary_encode()
    table = pa.table({"id": [str(n) for n in range(5000)], "input": texts, "output": [str(n) for n in range(5000)]})
    (tmp_path / "data.parquet").write_bytes(parquet(table))
    assert sum(1 for _ in read_samples(tmp_path / "data.parquet", "train", ReadLog())) > 4000


def test_a_pipe_or_a_device_that_is_called_a_bundle_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.zip")
    (tmp_path / "zero.zip").symlink_to("/dev/zero")
    for name in ("pipe.zip", "zero.zip"):
        with pytest.raises(DataError, match=f"{name} is no file. Give the bundle as it was sent"):
            read_bundle(tmp_path / name)
