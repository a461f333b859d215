"""The guide's tree of one split, split_04/train/*.json, and its literal zip."""

import json
import os
import shutil
import zipfile
from concurrent.futures import Future
from pathlib import Path

from housebrain_core.data.samples import Part
from housebrain_core.data.workers import in_worker
from housebrain_core.house import codec
from housebrain_core.manifests import sha256_of
from housebrain_core.splits.encode import EncodedDataset


def link_tree(folder: Path, dataset: EncodedDataset, part: Part, rows: list[int]) -> Future:
    """Makes the folder of a part, and starts to link the source's files into it, in a worker process.

    Args:
        folder: of the split; the part becomes a new folder in it.
        dataset: where the samples are.
        part: which part.
        rows: which samples, ascending.

    Returns:
        What to wait for; the worker writes until then.
    """
    (folder / part).mkdir(parents=True)
    return in_worker(len(dataset.files[part]), link_files, str(folder / part), _files_of(dataset, part, rows))


def write_samples(folder: Path, dataset: EncodedDataset, part: Part, rows: list[int]) -> None:
    """Writes those samples that have no file of their own in the source into the folder that `link_tree` made."""
    files = dataset.files[part]
    rest = [row for row in rows if files[row] is None]
    used = {name.lower() for name in _name_links(_files_of(dataset, part, rows))} if rest else set()
    for sample_id, prompt, completion, metadata in dataset.tables[part].select(rest).records():
        brief, design = codec.restore(prompt, completion)
        sample = {"id": sample_id, "input": brief, "output": design, "metadata": json.loads(metadata)}
        path = folder / part / _unused(f"{_file_name(sample_id)}.json", used)
        with path.open("x", encoding="utf-8") as file:  # never through a link into the source
            file.write(json.dumps(sample, indent=2))


def _files_of(dataset: EncodedDataset, part: Part, rows: list[int]) -> list[str]:
    files = dataset.files[part]
    return [files[row] for row in rows if files[row] is not None]


def link_files(folder: str, files: list[str]) -> None:
    """Hard links to files in a folder, or copies."""
    for file, name in zip(files, _name_links(files), strict=True):
        link_or_copy(file, f"{folder}/{name}")


def zip_tree(folder: Path, name: str) -> Path:
    """Writes folder/name.zip with the files under folder/name, in the order of their names and with fixed dates.

    Returns:
        The zip's path.
    """
    path = folder / f"{name}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((folder / name).rglob("*.json")):
            member = zipfile.ZipInfo(file.relative_to(folder).as_posix(), date_time=(1980, 1, 1, 0, 0, 0))
            member.external_attr = 0o644 << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, file.read_bytes())
    return path


def _name_links(files: list[str]) -> list[str]:
    """What links to these files are called in one folder."""
    names = [file.rpartition(os.sep)[2] for file in files]
    if len({name.lower() for name in names}) == len(names):
        return names
    used: set[str] = set()
    return [_unused(name, used) for name in names]


def _unused(name: str, used: set[str]) -> str:
    """A file name that differs from those before it on any file system: HOUSE.json after house.json gets a number."""
    stem, number, result = name.removesuffix(".json"), 1, name
    while result.lower() in used:
        number += 1
        result = f"{stem}-{number}.json"
    used.add(result.lower())
    return result


def _file_name(sample_id: str) -> str:
    """An id as a file name: readable where it can be, its hash where it cannot."""
    plain = sample_id.replace("-", "").replace("_", "").isalnum() and len(sample_id.encode()) <= 200
    return sample_id if plain else sha256_of(sample_id.encode(errors="surrogatepass"))[:24]


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """A hard link where the file system can, a copy elsewhere."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
