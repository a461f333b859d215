"""The guide's tree of one split, split_04/train/*.json, and its literal zip."""

import json
import os
import shutil
import zipfile
from pathlib import Path

from housebrain_core import codec
from housebrain_core.data import Part
from housebrain_core.encoding import EncodedDataset
from housebrain_core.manifests import sha256_of


def write_tree(folder: Path, dataset: EncodedDataset, part: Part, rows: list[int]) -> int:
    """Hard links to the source's files, or the samples written out where it has none.

    Args:
        folder: of the split; the part becomes a new folder in it.
        dataset: where the samples are.
        part: which part.
        rows: which samples, ascending.

    Returns:
        The number of files.
    """
    (folder / part).mkdir(parents=True)
    target, files, used = str(folder / part), dataset.files[part], set()
    for row in rows:
        if files[row] is not None:
            name = os.path.basename(files[row])
            link_or_copy(files[row], os.path.join(target, _unused(name, used)))
    written = [row for row in rows if files[row] is None]
    for sample_id, prompt, completion, metadata in dataset.tables[part].select(written).records():
        brief = codec.read_prompt(prompt)
        design = codec.decode(brief, completion)
        sample = {"id": sample_id, "input": brief, "output": design, "metadata": json.loads(metadata)}
        path = folder / part / _unused(f"{_file_name(sample_id)}.json", used)
        with path.open("x", encoding="utf-8") as file:  # never through a link into the source
            file.write(json.dumps(sample, indent=2))
    return len(rows)


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
