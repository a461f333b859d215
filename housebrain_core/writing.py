"""Writes what all splits hold, trees and bundles, and what their manifests say of the whole."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
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
from housebrain_core.tables import PackedTable
from housebrain_core.trees import write_tree, zip_tree


def write_data(
    config: SplitConfig, dataset: EncodedDataset, parts: list[list[int]], picked: list[int], folder: Path
) -> tuple[dict, list[Path]]:
    """Writes the tree and the bundle of every split, on all cores.

    Links, compression and hashes release the interpreter's lock, so that threads do it.

    Args:
        config: how to split.
        dataset: the samples.
        parts: training samples of each split.
        picked: validation samples, the same for all.
        folder: to write to; nothing of theirs is in it yet.

    Returns:
        What every manifest says of the whole, and the bundles.
    """
    train, validation = dataset.tables["train"], dataset.tables["validation"].select(picked)
    names = [f"split_{number:02d}" for number in range(1, config.splits + 1)]
    threads = ThreadPoolExecutor(os.cpu_count())
    try:
        chosen = train.select(range(0, train.num_rows, -(-train.num_rows // FLOOR_SAMPLES)))
        entropy = in_worker(train.num_rows, estimate_entropy, chosen.unpack())
        digests = threads.map(hash_table, dataset.tables.values())
        jobs = []
        for name, rows in zip(names, parts, strict=True):
            jobs.append(threads.submit(_write_trees, folder / name, dataset, rows, picked))
            if config.bundle == "parquet":
                tables = {"train": train.select(rows).batches(), "validation": validation.batches()}
                jobs.append(threads.submit(write_contents, folder, name, tables))
        for job in with_bar(jobs, lambda: len(jobs), "writing"):
            job.result()
        digest = sha256_of("".join(digests).encode())
        about = {"codec_version": codec.VERSION, "dataset": digest, "splits": config.splits, "seed": config.seed}
        about |= entropy()
        jobs = []
        for number, (name, rows) in enumerate(zip(names, parts, strict=True), 1):
            own = {"counts": {"train": len(rows), "validation": len(picked)}, "split_id": number, **about}
            jobs.append(threads.submit(_seal_split, folder, name, config.bundle, **own))
        return about, [job.result() for job in jobs]
    finally:
        threads.shutdown(cancel_futures=True)


def _write_trees(folder: Path, dataset: EncodedDataset, train: list[int], validation: list[int]) -> None:
    write_tree(folder, dataset, "train", train)
    write_tree(folder, dataset, "validation", validation)


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
    items = []
    columns = [rows.column(name).to_pylist() for name in ("prompt", "completion")]
    for number, (prompt, completion) in enumerate(zip(*columns, strict=True)):
        brief = codec.read_prompt(prompt)
        sample = {"input": brief, "output": codec.decode(brief, completion)}
        items.append(Item("sample", number, sample, "train", False))
    fields = {name: pa.chunked_array([values]) for name, values in read_chunk(items).columns.items()}
    return {"entropy_nats_per_sample": entropy_floor(study_fields(fields))}


def hash_table(table: PackedTable) -> str:
    """A hash over the ids, prompts and completions of a table, in order, each followed by a zero byte."""
    digest = hashlib.sha256()
    for batch in table.batches():
        columns = [batch.column(name) for name in ("id", "prompt", "completion")]
        _, ends, text = pc.binary_join_element_wise(*columns, "", "\0").buffers()
        digest.update(memoryview(text)[: np.frombuffer(ends, np.int32)[batch.num_rows]])
    return digest.hexdigest()


def count_characters(table: PackedTable) -> list[int]:
    """Characters of all prompts, and of all completions."""
    prompts = completions = 0
    for batch in table.batches():
        prompts += pc.sum(pc.utf8_length(batch["prompt"])).as_py()
        completions += pc.sum(pc.utf8_length(batch["completion"])).as_py()
    return [prompts, completions]
