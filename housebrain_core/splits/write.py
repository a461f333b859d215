"""Writes what all splits hold, trees and bundles, and what their manifests say of the whole."""

import hashlib
import os
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from housebrain_core.config import SplitConfig
from housebrain_core.data.columns import make_columns
from housebrain_core.data.findings import entropy_floor, study_fields
from housebrain_core.errors import ConfigError
from housebrain_core.house import codec
from housebrain_core.manifests import seal, sha256_of
from housebrain_core.progress import with_bar
from housebrain_core.splits.bundle_writer import seal_bundle, write_contents
from housebrain_core.splits.encode import EncodedDataset
from housebrain_core.splits.tables import PackedTable, as_texts
from housebrain_core.splits.tree import link_tree, write_samples, zip_tree


class Written(NamedTuple):
    """What `write_data` wrote."""

    about: dict
    """What every manifest says of the whole."""
    parts: list[list[int]]
    """The training samples of each split."""
    bundles: list[Path]
    characters: list[list[int]]
    """Of each split's training prompts and completions."""


@contextmanager
def write_data(config: SplitConfig, dataset: EncodedDataset, picked: list[int], folder: Path) -> Iterator[Written]:
    """Writes the tree and the bundle of every split, on all cores; the trees are whole when the block has ended.

    Links are made in worker processes; compression and hashes release the interpreter's lock, so that threads do it.

    Args:
        config: how to split.
        dataset: the samples.
        picked: validation samples, the same for all.
        folder: to write to; nothing of theirs is in it yet.

    Raises:
        ConfigError: there are fewer samples than splits.
    """
    train, validation = dataset.tables["train"], dataset.tables["validation"].select(picked)
    names = [f"split_{number:02d}" for number in range(1, config.splits + 1)]
    threads = ThreadPoolExecutor(1 + (os.cpu_count() or 1))
    links: list[Future] = []
    try:
        chosen = train.select(range(0, train.num_rows, -(-train.num_rows // FLOOR_SAMPLES)))
        entropy = threads.submit(estimate_entropy, chosen)
        digests = threads.map(hash_table, dataset.tables.values())
        parts = cut(train.num_rows, config.splits, config.seed)
        samples = []
        for name, rows in zip(names, parts, strict=True):
            for tree in ((folder / name, dataset, "train", rows), (folder / name, dataset, "validation", picked)):
                links.append(link_tree(*tree))
                samples.append(threads.submit(write_samples, *tree))
        groups = max(2, os.cpu_count() or 1)  # each thread unpacks the table once, for all of its splits
        jobs = [
            threads.submit(_write_tables, folder, names[n::groups], config.bundle, train, parts[n::groups], validation)
            for n in range(min(groups, len(names)))
        ]
        for job in with_bar(samples + jobs, lambda: len(samples + jobs), "writing"):
            job.result()
        characters = [jobs[n % groups].result()[n // groups] for n in range(len(names))]
        digest = sha256_of("".join(digests).encode())
        about = {"codec_version": codec.VERSION, "dataset": digest, "splits": config.splits, "seed": config.seed}
        about |= entropy.result()
        if config.bundle == "json":  # the bundles hold the trees
            wait(links)
        sealed = []
        for number, (name, rows) in enumerate(zip(names, parts, strict=True), 1):
            own = {"counts": {"train": len(rows), "validation": len(picked)}, "split_id": number, **about}
            sealed.append(threads.submit(_seal_split, folder, name, config.bundle, **own))
        yield Written(about, parts, [job.result() for job in sealed], characters)
        for link in with_bar(links, lambda: len(links), "linking"):
            link.result()
    finally:
        threads.shutdown(cancel_futures=True)
        wait([link for link in links if not link.cancel()])  # nothing is written once this has failed


def cut(count: int, splits: int, seed: int) -> list[list[int]]:
    """One seeded shuffle of all samples, cut into splits whose sizes differ by at most one.

    Returns:
        Sample positions of each split, in the order of the dataset within a split.
    """
    if count < splits:
        raise ConfigError(f"splits = {splits}: there are only {count} training samples.")
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return [np.sort(part).tolist() for part in np.array_split(order, splits)]


def _write_tables(
    folder: Path, names: list[str], form: str, train: PackedTable, parts: list[list[int]], validation: PackedTable
) -> list[list[int]]:
    """What goes into bundles, where it is not the tree; returns the characters of training prompts and completions."""
    characters = [[0, 0] for _ in names]
    batches = _count_characters(train.cut(parts), characters)
    if form == "parquet":
        write_contents(folder, names, batches, [*validation.batches()])
    for _ in batches:
        pass
    return characters


def _count_characters(
    batches: Iterable[list[pa.RecordBatch]], characters: list[list[int]]
) -> Iterator[list[pa.RecordBatch]]:
    """The same batches of each split; adds up the characters of their prompts and completions on the way."""
    for parts in batches:
        for batch, counts in zip(parts, characters, strict=True):
            for place, name in enumerate(("prompt", "completion")):
                counts[place] += pc.sum(pc.utf8_length(batch[name])).as_py() or 0
        yield parts


def _seal_split(folder: Path, name: str, form: str, **about) -> Path:
    """The manifest of a split's folder, and its bundle; returns the bundle."""
    seal(folder / name, "split", [], **about)
    return zip_tree(folder, name) if form == "json" else seal_bundle(folder, name, **about)


FLOOR_SAMPLES = 5_000
"""Training samples that the entropy in the manifests is estimated from; at least a fifth must be there."""


def estimate_entropy(rows: PackedTable) -> dict[str, float]:
    """The least loss on samples as {"entropy_nats_per_sample": nats}, or {} when they are too few."""
    if rows.num_rows < FLOOR_SAMPLES // 5:
        return {}
    examples = (codec.restore(prompt, completion) for _, prompt, completion, _ in rows.records())
    columns = make_columns({"input": brief, "output": design} for brief, design in examples)
    return {"entropy_nats_per_sample": entropy_floor(study_fields(columns))}


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
