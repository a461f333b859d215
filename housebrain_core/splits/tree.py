"""The guide's tree of one split: split_04/train/*.json and split_04/validation/*.json."""

import json
import os
import shutil
from pathlib import Path

import pyarrow as pa

from housebrain_core.house import codec
from housebrain_core.manifests import sha256_of


def write_tree(folder: Path, samples: pa.Table) -> None:
    """Writes samples as files: hard links to the source's files (copies across disks), new ones for all others.

    Args:
        folder: of one part of a split; it is made.
        samples: with the columns of `encode.ENCODED`.
    """
    folder.mkdir(parents=True)
    names = _Names()
    for file in samples["file"].drop_null().to_pylist():
        link_or_copy(file, f"{folder}/{names.take(os.path.basename(file))}")
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
        while result.lower() in self._taken:
            number += 1
            result = f"{name.removesuffix('.json')}-{number}.json"
        self._taken.add(result.lower())
        return result


def _file_name(sample_id: str) -> str:
    """An id as a file name: readable where it can be, its hash where it cannot."""
    plain = sample_id.replace("-", "").replace("_", "").isalnum() and len(sample_id.encode()) <= 200
    return sample_id if plain else sha256_of(sample_id.encode(errors="surrogatepass"))[:24]
