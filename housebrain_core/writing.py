"""Writes what all splits hold, trees and bundles, and what their manifests say of the whole."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from housebrain_core import codec
from housebrain_core.bundle_writer import seal_bundle, write_contents
from housebrain_core.columns import read_chunk
from housebrain_core.config import SplitConfig
from housebrain_core.data import Item
from housebrain_core.encoding import EncodedDataset, in_worker
from housebrain_core.findings import entropy_floor, study_fields
from housebrain_core.manifests import seal, sha256_of
from housebrain_core.progress import with_bar
from housebrain_core.tables import PackedTable, as_texts
from housebrain_core.trees import link_tree, write_samples, zip_tree


def write_data(
    config: SplitConfig, dataset: EncodedDataset, parts: list[list[int]], picked: list[int], folder: Path
) -> tuple[dict, list[Path], list[list[int]]]:
    """Writes the tree and the bundle of every split, on all cores.

    Links are made in worker processes; compression and hashes release the interpreter's lock, so that threads do it.

    Args:
        config: how to split.
        dataset: the samples.
        parts: training samples of each split.
        picked: validation samples, the same for all.
        folder: to write to; nothing of theirs is in it yet.

    Returns:
        What every manifest says of the whole, the bundles, and the characters of each split's training prompts and
        completions.
    """
    train, validation = dataset.tables["train"], dataset.tables["validation"].select(picked)
    names = [f"split_{number:02d}" for number in range(1, config.splits + 1)]
    threads = ThreadPoolExecutor(os.cpu_count())
    links: list[Future] = []
    try:
        chosen = train.select(range(0, train.num_rows, -(-train.num_rows // FLOOR_SAMPLES)))
        entropy = in_worker(train.num_rows, estimate_entropy, chosen.unpack())
        digests = threads.map(hash_table, dataset.tables.values())
        tables, samples = [], []
        for name, rows in zip(names, parts, strict=True):
            tables.append(threads.submit(_write_tables, folder, name, config.bundle, train.select(rows), validation))
            for tree in ((folder / name, dataset, "train", rows), (folder / name, dataset, "validation", picked)):
                links.append(link_tree(*tree))
                samples.append(threads.submit(write_samples, *tree))
        for job in with_bar(tables + links + samples, lambda: 5 * len(names), "writing"):
            job.result()
        digest = sha256_of("".join(digests).encode())
        about = {"codec_version": codec.VERSION, "dataset": digest, "splits": config.splits, "seed": config.seed}
        about |= entropy.result()
        jobs = []
        for number, (name, rows) in enumerate(zip(names, parts, strict=True), 1):
            own = {"counts": {"train": len(rows), "validation": len(picked)}, "split_id": number, **about}
            jobs.append(threads.submit(_seal_split, folder, name, config.bundle, **own))
        return about, [job.result() for job in jobs], [job.result() for job in tables]
    finally:
        threads.shutdown(cancel_futures=True)
        wait([link for link in links if not link.cancel()])  # nothing is written once this has failed


def _write_tables(folder: Path, name: str, form: str, train: PackedTable, validation: PackedTable) -> list[int]:
    """What goes into a bundle, where it is not the tree; returns the characters of training prompts and completions."""
    characters = [0, 0]
    batches = _count_characters(train.batches(), characters)
    if form == "parquet":
        write_contents(folder, name, {"train": batches, "validation": validation.batches()})
    for _ in batches:
        pass
    return characters


def _count_characters(batches: Iterable[pa.RecordBatch], characters: list[int]) -> Iterator[pa.RecordBatch]:
    """The same batches; adds up the characters of their prompts and completions on the way."""
    for batch in batches:
        for place, name in enumerate(("prompt", "completion")):
            characters[place] += pc.sum(pc.utf8_length(batch[name])).as_py()
        yield batch


def _seal_split(folder: Path, name: str, form: str, **about) -> Path:
    """The manifest of a split's folder, and its bundle; returns the bundle."""
    seal(folder / name, "split", [], **about)
    return zip_tree(folder, name) if form == "json" else seal_bundle(folder, name, **about)


FLOOR_SAMPLES = 5_000
"""Training samples that the entropy in the manifests is estimated from; at least a fifth must be there."""


def estimate_entropy(rows: pa.Table) -> dict[str, float]:
    """The least loss on samples as {"entropy_nats_per_sample": nats}, or {} when they are too few."""
    if rows.num_rows < FLOOR_SAMPLES // 5:
        return {}
    columns = (rows.column(name).to_pylist() for name in ("prompt", "completion"))
    items = (_as_item(*row) for row in enumerate(zip(*columns, strict=True)))  # one at a time in memory
    fields = {name: pa.chunked_array([values]) for name, values in read_chunk(items).columns.items()}
    return {"entropy_nats_per_sample": entropy_floor(study_fields(fields))}


def _as_item(number: int, example: tuple[str, str]) -> Item:
    brief = codec.read_prompt(example[0])
    sample = {"input": brief, "output": codec.decode(brief, example[1])}
    return Item("sample", number, sample, "train", False)


_NONE_AND_ZERO = as_texts(["", "\0"])
"""What is between columns, and what joins them; Python's own texts would make pyarrow import pandas."""


def hash_table(table: PackedTable) -> str:
    """A hash over the ids, prompts and completions of a table, in order, each followed by a zero byte."""
    digest = hashlib.sha256()
    for batch in table.batches():
        columns = [batch.column(name) for name in ("id", "prompt", "completion")]
        _, ends, text = pc.binary_join_element_wise(*columns, *_NONE_AND_ZERO).buffers()
        digest.update(memoryview(text)[: np.frombuffer(ends, np.int32)[batch.num_rows]])
    return digest.hexdigest()
