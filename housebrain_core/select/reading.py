"""Every sample of a dataset looked at once: its part, which conditions it meets, and what its brief says."""

import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from housebrain_core.data.fields import USUAL, Fields, Sample
from housebrain_core.data.files import find_dataset
from housebrain_core.data.processes import Chunk, map_chunks, note_chunk, read_chunk
from housebrain_core.data.samples import Item, Part, ReadLog, list_items, read_parts
from housebrain_core.display.progress import with_bar
from housebrain_core.house import codec
from housebrain_core.house.rules import check_or_none
from housebrain_core.manifests import sha256_of
from housebrain_core.select.difficulty import Brief, read_brief
from housebrain_core.settings import Condition
from housebrain_core.splits.encode import count_files

PARTS: tuple[Part, ...] = ("train", "validation")


class Conditions(NamedTuple):
    """What a sample itself is asked, in the order in which it is asked."""

    where: tuple[Condition, ...] = ()
    rules: tuple[str, ...] = ()
    """Rules that the reference must not break."""
    reads_briefs: bool = False
    """Whether what briefs say is needed later."""

    def names(self) -> list[str]:
        """Each condition in words."""
        values = [f"{'.'.join(condition.path)}={condition.value}" for condition in self.where]
        return values + [f"the reference keeps {rule}" for rule in self.rules]

    def count_held(self, sample: Sample, applying: set[str]) -> int:
        """How many hold before the first that does not; rules that apply to the sample are added to `applying`."""
        for number, condition in enumerate(self.where):
            if not condition.holds(sample):
                return number
        held = len(self.where)
        findings = check_or_none(sample["input"], sample["output"]) if self.rules else {}
        if findings is None:  # no house, of which nobody can say that it keeps a rule
            return held
        applying.update(rule for rule in self.rules if findings[rule] is not None)
        broken = [bool(findings[rule]) for rule in self.rules]
        return held + (broken.index(True) if True in broken else len(self.rules))


class Row(NamedTuple):
    """A sample that was looked at."""

    part: Part
    id: str
    held: int
    """Conditions that hold before the first that does not."""
    brief_hash: int
    design_hash: int
    brief: Brief | None
    """Of a training sample that meets all conditions, where briefs are read; None also where it is no house brief."""


@dataclass
class Pool:
    """All good samples of a dataset, in the order of its files."""

    log: ReadLog
    rows: list[Row] = field(default_factory=list)
    applying: set[str] = field(default_factory=set)
    """Rules that apply to a sample which meets the conditions on values."""

    def training(self) -> list[Row]:
        """Training samples whose brief no validation sample has, so that nothing of the validation is trained on."""
        kept_apart = {row.brief_hash for row in self.rows if row.part == "validation"}
        return [row for row in self.rows if row.part == "train" and row.brief_hash not in kept_apart]

    def count(self, part: Part) -> int:
        """Samples of a part."""
        return sum(row.part == part for row in self.rows)

    def sha256(self) -> str:
        """Over part, id and content of all samples, in order."""
        texts = (f"{row.part}\0{row.id}\0{row.brief_hash}\0{row.design_hash}\0" for row in self.rows)
        return sha256_of("".join(texts).encode(errors="surrogatepass"))


def read_pool(
    source: Path, conditions: Conditions, fields: Fields, report: Callable[[str], None] = lambda line: None
) -> Pool:
    """Looks at every sample of both parts, on all cores.

    Args:
        source: anything that `data.read_samples` takes.
        conditions: what each is asked.
        fields: which fields are input and output.
        report: gets a line at the end.

    Raises:
        DataError: there is no dataset, or one of its files is damaged as a whole.
    """
    files = find_dataset(source)
    pool = Pool(ReadLog(aside=files.describe()))
    items_of = list_items(source, PARTS, fields, files)
    chunks = map_chunks(partial(look_at_chunk, conditions=conditions, fields=fields), items_of)
    for items, (chunk, applying) in with_bar(chunks, partial(count_files, files), "looking", lambda step: len(step[0])):
        pool.rows += [Row(*result) for result in note_chunk(items, chunk, pool.log)]
        pool.applying |= applying
    report(f"looked at {pool.log.good:,} samples")
    return pool


def look_at_chunk(items: list[Item], conditions: Conditions, fields: Fields) -> tuple[Chunk, set[str]]:
    """Looks at some items; runs in another process when there are many."""
    applying: set[str] = set()
    chunk = read_chunk(items, fields, lambda part, sample, _: look_at(part, sample, conditions, applying))
    return chunk, applying


def look_at(part: Part, sample: Sample, conditions: Conditions, applying: set[str]) -> Row:
    """What there is to know of a sample; of a validation sample no more than its hashes."""
    held = conditions.count_held(sample, applying) if part == "train" else 0
    meets_all = part == "train" and held == len(conditions.names())
    brief = read_brief(sample["input"]) if meets_all and conditions.reads_briefs else None
    return Row(part, sample["id"], held, hash_of(sample["input"]), hash_of(sample["output"]), brief)


def hash_of(value: Any) -> int:
    """Sixty-four bits of a hash over the JSON text of a value."""
    text = codec.dumps(value).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def read_chosen(
    source: Path, ids: Collection[str], fields: Fields = USUAL, parts: tuple[Part, ...] = PARTS
) -> Iterator[tuple[Part, Sample]]:
    """Reads some samples again, in the order of the dataset; bad ones were counted by `read_pool`.

    Args:
        source: of the pool.
        ids: of the samples.
        fields: which fields are input and output.
        parts: those that they are in.
    """
    for part, sample, _ in read_parts(source, parts, ReadLog(), fields):
        if sample["id"] in ids:
            yield part, sample


def answers_path(output: Path) -> Path:
    """Where a model's answers and losses are kept until the dataset is written."""
    return output.with_name(f"{output.name}.answers.jsonl")
