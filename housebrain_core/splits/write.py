"""Cuts an encoded dataset, and writes the tree and the bundle of every split."""

import json
import os
import random
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from housebrain_core.adapters.folders import WEIGHTS
from housebrain_core.config import SplitConfig
from housebrain_core.data.columns import make_columns
from housebrain_core.data.findings import entropy_floor, learnable_from_brief, study_fields
from housebrain_core.display.progress import with_bar
from housebrain_core.errors import ConfigError
from housebrain_core.house import codec
from housebrain_core.legs import Place
from housebrain_core.manifests import seal, sha256_of
from housebrain_core.splits.assignments import Assignment, Job
from housebrain_core.splits.bundle import SCHEMA, write_bundle
from housebrain_core.splits.encode import EncodedDataset, hash_table, read_selection
from housebrain_core.splits.parts import SplitPart
from housebrain_core.texts import fold_name, is_file_name

FLOOR_SAMPLES = 5_000
"""Training samples that the entropy in the manifests is estimated from; at least a fifth must be there."""


def write_splits(
    config: SplitConfig, dataset: EncodedDataset, picked: list[int], assignment: Assignment, folder: Path
) -> tuple[dict, list[SplitPart]]:
    """Writes the tree and the bundle of every split; links, compression and hashes run in a thread for each core.

    Args:
        config: how to split.
        dataset: the samples.
        picked: rows of the validation samples, the same for all splits.
        assignment: who trains which split, and in which legs.
        folder: to write to; nothing of theirs is in it yet.

    Returns:
        What every manifest says of the whole, and the splits in order.

    Raises:
        ConfigError: there are fewer samples than splits.
    """
    rows_of_splits = cut(dataset.tables["train"].num_rows, config.splits, config.seed)
    train = dataset.tables["train"]
    validation = dataset.tables["validation"].take(pa.array(picked))
    threads = ThreadPoolExecutor(os.cpu_count())
    try:
        about = threads.submit(_describe, config, dataset, assignment)  # first, as every bundle waits for it
        writing = [
            threads.submit(_write_split, folder, job, train, rows, validation, about, config.init_adapter)
            for job, rows in zip(assignment.jobs, rows_of_splits, strict=True)
        ]
        parts = [split.result() for split in with_bar(writing, lambda: len(writing), "writing")]
    finally:
        threads.shutdown(cancel_futures=True)  # nothing is written once this has failed
    return about.result(), parts


def cut(count: int, splits: int, seed: int) -> list[np.ndarray]:
    """One seeded shuffle of all samples, cut into splits whose sizes differ by at most one.

    Args:
        count: samples.
        splits: number of splits.
        seed: of the shuffle.

    Returns:
        Rows of each split, in the order of the dataset within a split.

    Raises:
        ConfigError: there are fewer samples than splits.
    """
    if count < splits:
        raise ConfigError(f"splits = {splits}: there are only {count} training samples.")
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return [np.sort(part) for part in np.array_split(order, splits)]


def _write_split(
    folder: Path,
    job: Job,
    samples: pa.Table,
    rows: np.ndarray,
    validation: pa.Table,
    about: Future[dict[str, Any]],
    init: Path | None,
) -> SplitPart:
    """Writes the tree, its manifest and the bundle of one split."""
    train = samples.take(pa.array(rows))
    write_tree(folder / job.name / "train", train)
    write_tree(folder / job.name / "validation", validation)
    counts = {"train": train.num_rows, "validation": validation.num_rows}
    manifest = {"counts": counts, "split_id": job.split_id, **first_leg(about.result())}
    seal(folder / job.name, "split", [], **manifest)
    tables = train.select(SCHEMA.names), validation.select(SCHEMA.names)
    bundle = write_bundle(folder, job.name, *tables, init, **manifest)
    return SplitPart(
        **job._asdict(),
        **counts,
        bundle=bundle.name,
        bundle_bytes=bundle.stat().st_size,
        bundle_sha256=sha256_of(bundle),
        characters=(count_characters(train["prompt"]), count_characters(train["completion"])),
        notebook=job.notebook,
    )


def count_characters(texts: pa.ChunkedArray) -> int:
    """Characters of all texts of a column."""
    lengths = pc.utf8_length(texts)  # pyright: ignore[reportAttributeAccessIssue] - pyarrow makes it when imported
    return pc.sum(lengths).as_py()  # pyright: ignore[reportAttributeAccessIssue]


def _describe(config: SplitConfig, dataset: EncodedDataset, assignment: Assignment) -> dict[str, Any]:
    """What every manifest says of the whole: the dataset, and the plan of its training, or None."""
    about = describe_dataset(config, dataset)
    plan = assignment.make_plan(about["dataset"])
    parent = sha256_of(config.init_adapter / WEIGHTS) if config.init_adapter else None
    return about | {"plan": plan.model_dump(mode="json") if plan else None, "parent_sha256": parent}


def first_leg(about: dict[str, Any]) -> dict[str, Any]:
    """What every manifest says of the whole, with the place of a bundle in it: the first leg, where there is a plan."""
    if about["plan"] is None:
        return about
    return about | Place(plan=about["plan"], leg=1, parent_sha256=about["parent_sha256"]).about()


def describe_dataset(config: SplitConfig, dataset: EncodedDataset) -> dict:
    """What every manifest says of the samples: their hash, how they were cut, their entropy, what briefs tell."""
    digest = sha256_of("".join(map(hash_table, dataset.tables.values())).encode())
    about = {"codec_version": codec.VERSION, "dataset": digest, "splits": config.splits, "seed": config.seed}
    about["selection"] = read_selection(config.source)
    train = dataset.tables["train"]
    if train.num_rows < FLOOR_SAMPLES // 5:
        return about
    chosen = train.take(pa.array(range(0, train.num_rows, -(-train.num_rows // FLOOR_SAMPLES))))
    texts = zip(chosen["prompt"].to_pylist(), chosen["completion"].to_pylist(), strict=True)
    samples = (dict(zip(("input", "output"), codec.restore(*pair), strict=True)) for pair in texts)
    findings = study_fields(make_columns(samples))
    return about | {
        "entropy_nats_per_sample": entropy_floor(findings),
        "brief_nats_per_sample": learnable_from_brief(findings),
    }


# --- the tree


def write_tree(folder: Path, samples: pa.Table) -> None:
    """Writes samples as files: hard links to the source's files (copies across disks), new ones for all others.

    Args:
        folder: of one part of a split; it is made.
        samples: with the columns of `encode.ENCODED`.
    """
    folder.mkdir(parents=True)
    names = _Names()
    for file in samples["file"].drop_null().to_pylist():
        stem = os.path.basename(file).removesuffix(".json")
        link_or_copy(file, f"{folder}/{names.take(f'{_file_name(stem)}.json')}")
    for row in samples.filter(samples["file"].is_null()).to_pylist():
        brief, design = codec.restore(row["prompt"], row["completion"])
        sample = {"id": row["id"], "input": brief, "output": design, "metadata": json.loads(row["metadata"])}
        path = folder / names.take(f"{_file_name(row['id'])}.json")
        with path.open("x", encoding="utf-8") as file:  # never through a link into the source
            file.write(json.dumps(sample, indent=2))


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Makes a hard link where the file system can, a copy elsewhere."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)


class _Names:
    """File names of one folder that differ on any file system: HOUSE.json after house.json gets a number."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str) -> str:
        """The name, with a number where it was taken before."""
        result = name
        number = 1
        while fold_name(result) in self._taken:
            number += 1
            result = f"{name.removesuffix('.json')}-{number}.json"
        self._taken.add(fold_name(result))
        return result


def _file_name(sample_id: str) -> str:
    """An id as a file name: itself where every system takes it, its hash where one does not."""
    return sample_id if is_file_name(sample_id) else sha256_of(sample_id.encode(errors="surrogatepass"))[:24]
