"""Names x contents x formats of whatever comes from elsewhere: each is used, or refused in a paragraph.

`make soak` runs the long form and prints counts; HOUSEBRAIN_FUZZ_SECONDS says how long it takes, 300 for each kind.
"""

import csv
import gzip
import io
import itertools
import json
import os
import random
import shutil
import signal
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save as save_tensors

from housebrain_core.adapters.adapter import try_adapters
from housebrain_core.adapters.archives import unpacked
from housebrain_core.adapters.inspection import inspect_adapters
from housebrain_core.adapters.run import DataRecord
from housebrain_core.config import InspectConfig
from housebrain_core.data.samples import ReadLog
from housebrain_core.display.results import Table
from housebrain_core.errors import HouseBrainError
from housebrain_core.house import codec
from housebrain_core.manifests import sha256_of
from housebrain_core.splits.bundle import SCHEMA, read_bundle
from housebrain_core.splits.encode import encode_dataset, read_drawn_fields, read_validation
from housebrain_core.splits.leg_file import find_inputs, read_start
from housebrain_core.texts import HIDDEN, visible
from housebrain_core.train.base_models import check_base, resolve_base

HANG = 60
"""Seconds after which a case counts as hanging; each takes milliseconds."""
CASES = 40
"""Of each kind, in the short form."""
PARAGRAPH = 5000
"""Characters of an error, at most."""
HOSTILE = "\x1b[2J\u202e|<b>`$x^{$\u2028\x9b"
NAMES = ["plain", "CON", "a b", "घर", "-rf", "a'b\"c", "x" * 120, "a:b", "$(x)", "%s{}", "a\nb", "\udcff", HOSTILE,
         "._x", "train", "validation", "split_01", "leg_2", "a.b.c", "#*?[x]"]  # fmt: skip
VALUES = [None, True, False, 0, -1, 1.5, 10**30, float("nan"), float("inf"), -0.0, "", " ", "x" * 3000, HOSTILE,
          "\ud800", "../..", "/dev/zero", "{}", '{"a": 1}', "[1", [], [[]], [None], {},
          {"a": {}}, {"": [HOSTILE]}]  # fmt: skip

OTHER_BYTES = [b"", b"\0" * 99, b"[" * 5000, b'{"a":' * 5000, b"<html>", b"version https://git-lfs", b"PK\3\4",
               b"\x80\4", b"PAR1", b"GGUF"]  # fmt: skip


@contextmanager
def time_limit() -> Iterator[None]:
    """Ends a case that hangs with TimeoutError."""

    def end(number: int, frame: Any) -> None:
        raise TimeoutError(f"it hung for {HANG} seconds")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def some_value(rng: random.Random, depth: int = 0) -> Any:
    """Any value of JSON."""
    if depth < 3 and rng.random() < 0.3:
        inner = [some_value(rng, depth + 1) for _ in range(rng.randrange(4))]
        return inner if rng.random() < 0.5 else {rng.choice([HOSTILE, "", "a", "rooms", "$"]): value for value in inner}
    if rng.random() < 0.02:
        deep: Any = 1
        for _ in range(rng.choice([50, 300])):
            deep = [deep]
        return deep
    return rng.choice(VALUES)


def write_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def damage(data: bytes, rng: random.Random) -> bytes:
    """Bytes as they are, in nine of ten cases; else cut, changed, or something else."""
    kind = rng.randrange(40)
    place = rng.randrange(len(data) + 1)
    ends = {
        0: data[:place],
        1: data[:place] + rng.randbytes(rng.randrange(20)) + data[place + rng.randrange(20) :],
        2: b"\xef\xbb\xbf" + data,
        3: rng.choice(OTHER_BYTES),
    }
    return ends.get(kind, data)


# --- the four kinds: each writes something below a folder and says what to do with it


def records(rng: random.Random) -> list[Any]:
    """Samples, more or less."""
    keys = rng.choice([("input", "output"), ("instruction", "output"), ("messages", "x"), ("prompt", "completion")])
    rows: list[Any] = []
    for number in range(rng.choice([0, 1, 3, 30, 60])):
        row: Any = {"id": rng.choice([number, str(number), rng.choice(NAMES)])}
        row |= {key: some_value(rng) if rng.random() < 0.3 else f"text {number}" for key in keys}
        if rng.random() < 0.1:
            row[rng.choice(["metadata", "system", HOSTILE])] = some_value(rng)
        rows.append(some_value(rng) if rng.random() < 0.05 else row)
    return rows


def as_csv(rows: list[Any]) -> bytes:
    text = io.StringIO()
    names = list({str(key): 0 for row in rows if isinstance(row, dict) for key in row})
    writer = csv.writer(text, delimiter=random.Random(len(rows)).choice(",;\t"))
    writer.writerow(names)
    for row in rows:
        writer.writerow([row.get(name) for name in names] if isinstance(row, dict) else [row])
    return text.getvalue().encode(errors="replace")


def as_parquet(rows: list[Any]) -> bytes:
    good = [row for row in rows if isinstance(row, dict)]
    sink = io.BytesIO()
    try:
        pq.write_table(pa.Table.from_pylist(good), sink)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError, RecursionError):  # a row that no Parquet can hold
        plain = [{str(key): repr(value) for key, value in row.items() if key != "\ud800"} for row in good]
        plain = [{visible(key): visible(value) for key, value in row.items()} for row in plain]
        pq.write_table(pa.Table.from_pylist(plain), sink)
    return sink.getvalue()


FORMATS: dict[str, Callable[[list[Any]], bytes]] = {
    ".jsonl": lambda rows: b"\n".join(map(write_json, rows)),
    ".ndjson": lambda rows: b"\r\n".join(map(write_json, rows)),
    ".json": write_json,
    ".csv": as_csv,
    ".tsv": as_csv,
    ".parquet": as_parquet,
    ".jsonl.gz": lambda rows: gzip.compress(b"\n".join(map(write_json, rows))),
    ".json.zst": lambda rows: pa.compress(write_json(rows), codec="zstd", asbytes=True),
    ".txt": write_json,
}


def write_name(folder: Path, rng: random.Random, ending: str = "") -> Path:
    return folder / f"{rng.choice(NAMES)}{ending}"


def try_source(folder: Path, rng: random.Random) -> None:
    """A dataset: a file, or a folder of files of several forms."""
    source = folder / "data"
    source.mkdir()
    place = source / rng.choice(["train", "validation", HOSTILE]) if rng.random() < 0.3 else source
    place.mkdir(exist_ok=True)
    path = source
    for _ in range(rng.choice([1, 1, 1, 3])):
        ending = rng.choice(list(FORMATS))
        path = write_name(place, rng, ending)
        path.write_bytes(damage(FORMATS[ending](records(rng)), rng))
    dataset = encode_dataset(
        path if rng.random() < 0.5 else source, ReadLog(strict=rng.random() < 0.3), lambda line: None
    )
    for table in dataset.tables.values():
        for row in table.slice(0, 50).to_pylist():
            codec.restore(row["prompt"], row["completion"])


def make_bundle(rng: random.Random) -> dict[str, bytes]:
    """Members of a bundle with one thing wrong, or two, or none."""
    tables = {}
    for name in ("train.parquet", "validation.parquet"):
        pairs = [
            codec.encode({"input": f"question {n}", "output": f"answer {n}"})
            for n in range(rng.choice([1, 5] * 8 + [0]))
        ]
        columns: dict[str, Any] = {"id": pa.array([str(n) for n in range(len(pairs))], pa.string())}
        columns |= {"prompt": pa.array([pair.prompt for pair in pairs], pa.string())}
        columns |= {"completion": pa.array([pair.completion for pair in pairs], pa.string())}
        columns |= {"metadata": pa.array(["{}"] * len(pairs), pa.string())}
        if rng.random() < 0.05:
            wrong = rng.choice([pa.int64(), pa.binary(), pa.large_string(), pa.list_(pa.string()), pa.null()])
            columns[rng.choice(SCHEMA.names)] = pa.nulls(len(pairs), wrong)
        if rng.random() < 0.1 and pairs:
            text = json.dumps(some_value(rng))
            columns[rng.choice(SCHEMA.names)] = pa.array([visible(text)] * len(pairs), pa.string())
        if rng.random() < 0.03:
            del columns[rng.choice(list(columns))]
        sink = io.BytesIO()
        pq.write_table(pa.table(columns), sink)
        tables[name] = damage(sink.getvalue(), rng)
    manifest: dict[str, Any] = {
        "kind": "bundle", "format": 2, "name": "split_01", "split_id": 1, "splits": 2, "seed": 42, "codec_version": 1,
        "dataset": "d" * 64, "plan": None, "leg": None, "legs": None, "parent_sha256": None, "code": {},
        "files": {name: {"sha256": sha256_of(data), "size": len(data)} for name, data in tables.items()},
    }  # fmt: skip
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        manifest[rng.choice(list(manifest))] = some_value(rng)
    return {**tables, "manifest.json": damage(write_json(manifest), rng)}


def write_members(folder: Path, members: dict[str, bytes], rng: random.Random) -> Path:
    """Members as a folder, or as a zip in one of the forms in which they come."""
    inside = rng.choice(["", "split_01/", "a/b/", f"{HOSTILE}/"] * 8 + ["__MACOSX/", "../", "a\\"])
    if rng.random() < 0.3:
        path = write_name(folder, rng)
        path.mkdir()
        for name, data in members.items():
            (path / name).write_bytes(data)
        return path
    path = write_name(folder, rng, rng.choice([".zip", ".ZIP"]))
    with zipfile.ZipFile(
        path, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED] * 5 + [zipfile.ZIP_LZMA])
    ) as archive:
        for name, data in members.items():
            archive.writestr(inside + name, data)
        if rng.random() < 0.05:
            archive.writestr("again/train.parquet", b"")
    path.write_bytes(damage(path.read_bytes(), rng))
    return path


def try_bundle(folder: Path, rng: random.Random) -> None:
    path = write_members(folder, make_bundle(rng), rng)
    bundle = read_bundle(path)
    DataRecord(**{name: bundle.manifest.get(name) for name in DataRecord.model_fields})
    find_inputs(path, [])
    for example in read_validation(path):
        codec.decode(codec.read_prompt(example.prompt), example.completion)
    read_drawn_fields(path)
    if rng.random() < 0.2:
        read_start(path)


def try_adapter(folder: Path, rng: random.Random) -> None:
    """Adapters of two people, of which the first has something wrong."""
    paths = []
    for number in range(2):
        generator = np.random.default_rng(number)
        name = "base_model.model.model.layers.0.q_proj.lora_{}.weight"
        sizes = {"A": (2, 5), "B": (6, 2)}
        values = {name.format(side): generator.standard_normal(size).astype("f4") for side, size in sizes.items()}
        config: dict[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"],
                                  "base_model_name_or_path": rng.choice(NAMES), "revision": None}  # fmt: skip
        run: dict[str, Any] = {"finished": True, "why_it_ended": "x", "tokens": 5, "base": {}, "data": {}, "curve": []}
        if not number:
            for record in (config, run):
                if rng.random() < 0.5:
                    record[rng.choice(list(record))] = some_value(rng)
        members = {"adapter_model.safetensors": save_tensors(values), "adapter_config.json": write_json(config)}
        if rng.random() < 0.6:
            members["run.json"] = write_json(run)
        if not number:
            members = {name: damage(data, rng) for name, data in members.items()}
        place = folder / f"person {number}"
        place.mkdir()
        paths.append(write_members(place, members, rng))
    shown: list[Any] = []
    inspect_adapters(InspectConfig(models=paths), report=shown.append)
    for table in shown:
        assert isinstance(table, Table) and not HIDDEN.search(f"{table}{table.to_html()}")
    with unpacked(paths) as folders:
        for result in try_adapters(folders, accept_plain=True):
            assert not HIDDEN.search(str(result))


def try_base(folder: Path, rng: random.Random) -> None:
    """A base model's folder with one thing wrong, or two, or none."""
    path = write_name(folder, rng)
    path.mkdir()
    config: dict[str, Any] = {"vocab_size": 16, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1,
                              "model_type": "llama", "intermediate_size": 8, "text_config": None}  # fmt: skip
    tensors = {"model.embed_tokens.weight": np.zeros((16, 4), "f4"), "model.layers.0.w.weight": np.ones((4, 4), "f4")}
    if rng.random() < 0.4:
        config[rng.choice(list(config))] = rng.choice([10**9, 10**12, some_value(rng)])
    places = {name: "model.safetensors" if rng.random() < 0.95 else "model-2.safetensors" for name in tensors}
    if rng.random() < 0.2:
        places[rng.choice(list(tensors))] = some_value(rng)
    members = {
        "config.json": write_json(config),
        "tokenizer.json": write_json({"model": some_value(rng) if rng.random() < 0.1 else {"type": "BPE"}}),
        "model.safetensors": save_tensors(tensors),
        "model.safetensors.index.json": write_json({"weight_map": places}),
    }
    for name in rng.sample(list(members), rng.choice([0, 0, 0, 1, 2])):
        del members[name]
    if rng.random() < 0.2:
        members["pytorch_model.bin"] = b"\x80\2"
    for name, data in members.items():
        (path / name).write_bytes(damage(data, rng))
    check_base(resolve_base(str(path)))


KINDS = {"source": try_source, "bundle": try_bundle, "adapter": try_adapter, "base": try_base}


def fuzz(kind: str, seeds: Iterator[int], folder: Path) -> Counter[str]:
    """Runs cases of a kind, and counts how they end; a case that does not end well names its seed."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        place = folder / str(seed)
        place.mkdir()
        try:
            with time_limit():
                KINDS[kind](place, random.Random(f"{kind} {seed}"))
            counts["used"] += 1
        except HouseBrainError as error:
            message = str(error)
            assert message and len(message) < PARAGRAPH and not HIDDEN.search(message), f"{kind} {seed}: {message!r}"
            counts[type(error).__name__] += 1
        except BaseException as error:
            error.add_note(f"the fuzzer's {kind}, seed {seed}")
            raise
        shutil.rmtree(place)
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_comes_is_used_or_refused_in_a_paragraph(kind, tmp_path):
    counts = fuzz(kind, iter(range(CASES)), tmp_path)
    assert counts.total() == CASES and counts["used"], counts
    assert len(counts) > 1 or kind == "adapter", "an inspection says in its table what it refuses"


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_comes_for_minutes_is_used_or_refused_in_a_paragraph(kind, tmp_path, capsys):
    end = time.monotonic() + float(os.environ.get("HOUSEBRAIN_FUZZ_SECONDS", "300"))
    seeds = itertools.takewhile(lambda seed: time.monotonic() < end, itertools.count(1000))
    counts = fuzz(kind, seeds, tmp_path)
    with capsys.disabled():
        print(f"\nfuzzed {kind}: {counts.total():,} cases, {dict(counts)}")
