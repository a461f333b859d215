"""The files of a dataset: which there are, and which are left aside and why."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from housebrain_core.errors import DataError

PART_NAMES = {"train": ("train", "training"), "validation": ("validation", "valid", "val")}
OTHER_WORDS = frozenset(("test", "tests", "testing", "dev", "eval", "evaluation", *PART_NAMES["validation"]))
INPUTS = frozenset(("input", "inputs", "brief", "briefs", "prompt", "prompts", "question", "questions"))
OUTPUTS = frozenset(("output", "outputs", "design", "designs", "completion", "completions", "answer", "answers"))
NO_TEXT = re.compile("[\ud800-\udfff]")
"""What stands in a name for bytes that are not UTF-8."""
PACKED = ("", ".gz", ".zst")
SUFFIXES = (
    *(kind + packed for kind in (".json", ".jsonl", ".ndjson", ".csv", ".tsv") for packed in PACKED), ".parquet",
)  # fmt: skip
NO_DATA = (
    ((".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".lz4", ".br", ".7z", ".rar"), "an archive; unpack it"),
    ((".arrow",), "a dataset saved to disk; load_from_disk(FOLDER).to_parquet(FILE) makes data of it"),
    ((".xlsx", ".xlsm", ".xls", ".ods", ".numbers"), "a spreadsheet; save it as CSV"),
    (
        (".yaml", ".yml", ".xml", ".db", ".sqlite", ".sqlite3", ".pkl", ".pickle", ".feather", ".avro", ".orc"),
        "another form of data; save it as JSON Lines, CSV or Parquet",
    ),
    ((".crdownload", ".part", ".partial", ".tmp"), "a download that did not end; get it again"),
    (("",), "no data by their names"),
)  # fmt: skip
"""How names end that are no data, and why such a file is not read."""
ABOUT_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""Files that the datasets library writes beside data."""
SPLITS = "split_summary.json"
"""What lies in a folder of splits, whose samples are those of their source."""
SHOWN = 5
"""Names that a message says of files that are left aside."""


@dataclass(frozen=True)
class DatasetFiles:
    """What was found in a dataset's folder."""

    parts: dict[str, list[str]]
    """{"train": [...]} or {"train": [...], "validation": [...]}, sorted; as text, which takes a quarter of a Path."""
    aside: list[tuple[str, str]] = field(default_factory=list)
    """Files and folders that are not read, and why."""
    remarks: list[str] = field(default_factory=list)
    """What names say that is not as it is read, in sentences."""

    def describe(self) -> str:
        """What is left aside, and what is read in spite of its name, in a line; empty where nothing is."""
        reasons: dict[str, list[str]] = {}
        for name, why in self.aside:
            reasons.setdefault(why, []).append(name)
        lines = [f"{_name_some(names)} ({why})" for why, names in reasons.items()]
        said = [f"read {sum(map(len, self.parts.values())):,} files; left aside: {'; '.join(lines)}"] * bool(lines)
        return ". ".join(said + self.remarks)


def _name_some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def find_dataset(source: Path) -> DatasetFiles:
    """Looks for the files of a dataset, in sub-folders too.

    Args:
        source: a folder with train/ and validation/ (or files of those names) at any depth, a folder of files, or one
            file.

    Raises:
        DataError: nothing readable is there.
    """
    if not source.exists():
        raise DataError(f"{source} does not exist. Give the dataset's folder, or a JSON, JSONL, CSV or Parquet file.")
    if NO_TEXT.search(str(source)):
        raise DataError(f"{source} has bytes in its name that are no text. Rename it.")
    if not source.is_dir():
        if not source.is_file() or not source.name.lower().endswith(SUFFIXES):
            raise DataError(f"{source} is no folder, and no file of {', '.join(SUFFIXES)}.")
        return DatasetFiles({"train": [str(source)]})
    found: Found = {}
    aside: list[tuple[str, str]] = []
    _sort_files(str(source), "", (0, ""), found, aside)
    level = min((level for level, part in found if part), default=0)  # parts inside of parts or of others are none
    parts = {part: files for (of, part), files in found.items() if part and of == level}
    others = sorted(path for (of, part), files in found.items() if not part or of != level for path in files)
    start = len(os.path.join(source, ""))
    if "train" in parts:
        aside += _describe_others([path[start:] for path in others], [path[start:] for path in chain(*parts.values())])
    else:
        parts["train"] = others
    dataset = DatasetFiles(dict(sorted(parts.items())), aside)
    if not dataset.parts["train"]:
        raise DataError(
            f"{source} holds no training samples. Expected {source}/train/*.json, or {', '.join(SUFFIXES[3:])} files."
            + f"\n{dataset.describe()}" * bool(dataset.aside)
        )
    dataset.remarks.extend(_doubt([path[start:] for path in dataset.parts["train"]]))
    return dataset


def _doubt(names: list[str]) -> Iterator[str]:
    """What the names of files that are read for training say otherwise."""
    others: list[str] = []
    halves: dict[bool, str] = {}  # whether it is an input -> the first such name
    for name in names:
        words = _words_of(name)
        if words & OTHER_WORDS and words.isdisjoint(PART_NAMES["train"]):
            others.append(name)
        if words.isdisjoint(INPUTS) != words.isdisjoint(OUTPUTS):
            halves.setdefault(words.isdisjoint(OUTPUTS), name)
    if others:
        yield (
            f"read for training: {_name_some(others)}, though the name says otherwise; what is for validation belongs "
            "into a folder validation, and what is for tests elsewhere"
        )
    if len(halves) == 2:
        yield (
            f"input and output seem to be files of their own, such as {halves[True]} and {halves[False]}; a sample is "
            'one object with both: {"input": ..., "output": ...}'
        )


def is_validation_part(source: Path) -> bool:
    """Whether a folder or file is the validation part of a dataset, as dataset/validation is: by name, and whole."""
    return _part_of(source.resolve().name) == "validation" and "validation" not in find_dataset(source).parts


def name_below(source: str, path: str) -> str:
    """What a file is called inside its part, without endings: a, or batch2/a where it lies in a sub-folder."""
    inside = path[len(source) :].strip(os.sep) or os.path.basename(path)
    folder, _, name = inside.rpartition(os.sep)
    first, _, rest = folder.partition(os.sep)
    below = rest if first.lower() in PART_NAMES["train"] else folder
    ending = next((ending for ending in SUFFIXES[::-1] if name.lower().endswith(ending)), "")
    stem = name.removesuffix(name[len(name) - len(ending) :])
    return f"{below.replace(os.sep, '/')}/{stem}" if below else stem


def _words_of(name: str) -> set[str]:
    """The words in the name of a file or folder."""
    return set(re.split(r"[-_. ()/\\]+|\d+", name.lower()))


def _part_of(name: str) -> str:
    """The part that a folder or file of a dataset is, by its name; empty for any other.

    Any word of the name of a file with many samples counts, as in houses_val.jsonl; of another name only the first.
    """
    small = name.lower()
    many = small.endswith(SUFFIXES) and not small.endswith(".json")
    words = _words_of(small) if many else {small.split(".")[0].split("-")[0] if "." in small else small}
    return next((part for part, names in PART_NAMES.items() if not words.isdisjoint(names)), "")


def _describe_others(others: list[str], used: list[str]) -> list[tuple[str, str]]:
    """Files beside the parts, as paths in the dataset: their names, or one line for a folder without any part."""
    tops = {path.partition(os.sep)[0] for path in used}
    folders = Counter(path.partition(os.sep)[0] for path in others if os.sep in path)
    names = [path for path in others if os.sep not in path or path.partition(os.sep)[0] in tops]
    names += [f"{name}/ with {count:,} files" for name, count in folders.items() if name not in tops]
    return [(name, "beside the part train") for name in names]


Found = dict[tuple[int, str], list[str]]
"""Files by the depth at which a name says their part, and that part; by 0 and nothing where none does."""


def _sort_files(folder: str, shown: str, place: tuple[int, str], found: Found, aside: list[tuple[str, str]]) -> None:
    """Adds the readable files of a folder and of those in it to their parts, sorted; all others go to `aside`."""
    with os.scandir(folder) as scanned:
        entries = sorted(scanned, key=lambda entry: entry.name)
    for entry in entries:
        part = "" if place[1] else _part_of(entry.name)
        of = (shown.count("/"), part) if part else place
        if why := _why_not(entry, follow=bool(part) and not shown):
            aside.append((f"{shown}{entry.name}", why))
        elif entry.is_dir():
            _sort_files(entry.path, f"{shown}{entry.name}/", of, found, aside)
        else:
            found.setdefault(of, []).append(entry.path)


def _why_not(entry: os.DirEntry, follow: bool) -> str | None:  # noqa: PLR0911 - one line a reason
    """Why a file or folder is not read, or None; links to folders are followed only for the parts themselves."""
    name = entry.name.lower()
    if name.startswith("."):
        return "macOS made them" if name.startswith("._") else "hidden"
    if NO_TEXT.search(name):
        return "bytes that are no text in the name; rename it"
    if entry.is_symlink() and not Path(entry.path).exists():
        return "a link that leads nowhere"
    if entry.is_dir() and Path(entry.path, SPLITS).is_file():
        return "splits that HouseBrain wrote"
    if entry.is_dir():
        return "a link to a folder" if entry.is_symlink() and not follow else None
    if name in ABOUT_DATA:
        return "about the data, for the datasets library"
    if not name.endswith(SUFFIXES):
        return next(why for endings, why in NO_DATA if name.endswith(endings))
    if not entry.is_file():
        return "no regular file"
    return "empty" if not name.endswith(".json") and not entry.stat().st_size else None
