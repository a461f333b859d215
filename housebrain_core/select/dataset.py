"""Writes a selection as an ordinary dataset: its training and validation samples, a page about it, and a manifest."""

import random
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from housebrain_core.data.audit import measure_rules
from housebrain_core.data.fields import Fields, Sample
from housebrain_core.data.samples import Part
from housebrain_core.house import codec
from housebrain_core.manifests import seal
from housebrain_core.outputs import staged_output
from housebrain_core.select.reading import Pool, read_chosen
from housebrain_core.select.selection import RuleShare, Selection
from housebrain_core.select.selection_page import PAGE, draw_sample, write_page
from housebrain_core.select.settings import SelectConfig
from housebrain_core.splits.encode import SELECTION

FILES: dict[Part, str] = {"train": "train.jsonl", "validation": "validation.jsonl"}
DRAWN = 3
"""Chosen samples that the page shows."""
RULE_SAMPLES = 1_000
"""Samples of source and result, each, that rules are tried on, at most."""


class Ids(NamedTuple):
    """Training samples by their ids."""

    chosen: set[str]
    ordinary: set[str]


def write_selection(config: SelectConfig, selection: Selection, ids: Ids, pool: Pool, fields: Fields) -> Selection:
    """Writes the dataset, in the order of the source; the folder is there when all of it is.

    Args:
        config: where to.
        selection: what was chosen.
        ids: the samples.
        pool: all samples of the source.
        fields: which fields are input and output.

    Returns:
        The selection, with how often references keep each rule.
    """
    with staged_output(config.output, SELECTION, config.overwrite) as staging:
        seen = _write_samples(config.source, ids, pool, fields, staging)
        selection = selection.model_copy(update={"rules": compare_rules(seen.source, seen.result)})
        drawn = random.Random(config.seed).sample(seen.chosen, min(DRAWN, len(seen.chosen)))
        write_page(selection, [draw_sample(sample, config) for sample in drawn], staging / PAGE)
        about = selection.model_dump(mode="json") | {"text": selection.describe()}
        seal(staging, SELECTION, [*FILES.values(), PAGE], **about)
    return selection


class Seen(NamedTuple):
    """Training samples that were kept in memory while all were written."""

    source: list[Sample]
    result: list[Sample]
    chosen: list[Sample]


def _write_samples(source: Path, ids: Ids, pool: Pool, fields: Fields, folder: Path) -> Seen:
    """Writes the lines of both parts; keeps some samples for the page."""
    training = [row.id for row in pool.rows if row.part == "train"]
    taken = ids.chosen | ids.ordinary
    in_source = spread(training, RULE_SAMPLES)
    in_result = spread([name for name in training if name in taken], RULE_SAMPLES)
    validation = {row.id for row in pool.rows if row.part == "validation"}
    seen = Seen([], [], [])
    with (folder / FILES["train"]).open("wb") as train, (folder / FILES["validation"]).open("wb") as held_out:
        for part, sample in read_chosen(source, taken | in_source | validation, fields):
            name = sample["id"]
            if part == "validation":
                held_out.write(to_line(sample))
                continue
            if name in taken:
                train.write(to_line(sample))
            for group, kept in ((in_source, seen.source), (in_result, seen.result)):
                if name in group:
                    kept.append(sample)
            if name in in_result and name in ids.chosen:
                seen.chosen.append(sample)
    return seen


def to_line(sample: Sample) -> bytes:
    """A sample as a line of JSON, its values as they were read."""
    return f"{codec.dumps(sample)}\n".encode(errors="surrogatepass")


def spread(names: list[str], count: int) -> set[str]:
    """So many of the names at most, evenly spaced."""
    return set(islice(names, 0, None, -(-len(names) // count) or 1))


def compare_rules(source: list[Sample], result: list[Sample]) -> dict[str, RuleShare]:
    """How often references keep each rule that applies in both, in source and result."""
    before = measure_rules(source)
    after = measure_rules(result)
    return {
        name: RuleShare(source=1 - before[name].share, result=1 - after[name].share) for name in before if name in after
    }
