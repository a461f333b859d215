"""Cuts a dataset into one split per person, and writes what each of them uploads and reads."""

import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from housebrain_core.adapters.adapter import Adapter, read_adapter
from housebrain_core.adapters.adapter_config import read_config
from housebrain_core.adapters.folders import CONFIG, WEIGHTS
from housebrain_core.adapters.tensors import TensorInfo, tensor_name, write_tensors
from housebrain_core.adapters.updates import rewrite_update
from housebrain_core.config import FineTuningConfig, SplitConfig
from housebrain_core.data.fields import choose_fields
from housebrain_core.data.samples import ReadLog, read_samples
from housebrain_core.display.results import say
from housebrain_core.errors import DataError
from housebrain_core.manifests import seal, to_json
from housebrain_core.outputs import NO_SPACE, check_replaceable, staged_output
from housebrain_core.settings import parse_condition
from housebrain_core.splits.assignments import Assignment, assign, check_lengths
from housebrain_core.splits.encode import EncodedDataset, encode_dataset
from housebrain_core.splits.handouts import advise, describe_folder, describe_part, hand_out
from housebrain_core.splits.parts import SUMMARY, SplitSummary
from housebrain_core.splits.write import write_splits


def split_dataset(config: SplitConfig, report: Callable[[str], None] = say) -> SplitSummary:
    """Writes the splits folder: the guide's tree, bundle, notebook and handout of each split, and the summary.

    Args:
        config: what to split, into how many, and where to.
        report: gets lines of progress.

    Returns:
        The contents of split_summary.json.

    Raises:
        DataError: the dataset cannot be read, or too many samples are bad; nothing is written then.
        ConfigError: the output exists, there are fewer samples than splits, or who trains what cannot be used.
        AdapterError: the adapter to start from cannot be used.
    """
    check_replaceable(config.output, "splits", config.overwrite)
    assignment = assign(config)
    start = read_adapter(config.init_adapter, accept_plain=True) if config.init_adapter else None
    dataset = choose_samples(config, report)
    picked = choose_validation(dataset, config)
    report(describe_counts(dataset, len(picked)))
    try:
        with staged_output(config.output, "splits", config.overwrite) as staging, TemporaryDirectory() as scratch:
            if start and assignment.legs:
                config = config.model_copy(update={"init_adapter": Path(scratch)})
                report(rewrite_start(start, Path(scratch), assignment.training.settings))
            summary = _write_folder(config, dataset, picked, assignment, staging, report)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise DataError(
            f"{config.output} cannot be written: no space left there. What was written is removed again. "
            "Free some space, or choose an --output on another disk; beside the source, files are links."
        ) from None
    report(advise(summary.entropy_nats_per_sample, summary.brief_nats_per_sample))
    report(describe_folder(config.output, summary))
    return summary


def rewrite_start(start: Adapter, folder: Path, settings: FineTuningConfig) -> str:
    """Writes an adapter at rank and alpha of the training, so that everybody's first leg starts from the same bytes.

    Args:
        start: the adapter.
        folder: for its weights and configuration; it exists.
        settings: of the training.

    Returns:
        What was done, in a line.
    """
    rank, alpha = settings.lora_r, settings.lora_alpha
    rewritten = rewrite_update(start, rank, alpha)
    weights = {
        tensor_name(module, side): matrix
        for module, (b, a) in rewritten.factors.items()
        for side, matrix in (("A", a), ("B", b))
    }
    infos = {name: TensorInfo("F32", matrix.shape) for name, matrix in weights.items()}
    write_tensors(folder / WEIGHTS, infos, weights.__getitem__)
    ranks = {"r": rank, "lora_alpha": alpha, "rank_pattern": {}, "alpha_pattern": {}, "use_rslora": False}
    (folder / CONFIG).write_text(to_json(read_config(start.folder) | ranks), encoding="utf-8")
    return f"{start.name}: rewritten at rank {rank} and alpha {alpha}, which keeps {rewritten.kept:.3%} of its energy"


def choose_samples(config: SplitConfig, report: Callable[[str], None]) -> EncodedDataset:
    """Reads the source and keeps what is wanted: conditions, then repeats, then a random share.

    Raises:
        DataError: the dataset cannot be read, too many samples are bad, or none meets the conditions.
    """
    log = ReadLog()
    where = [parse_condition(text) for text in config.where]
    fields = choose_fields(config.input_field, config.output_field)
    dataset = encode_dataset(config.source, log, report, where, fields)
    if config.where and not log.good:
        first = next(read_samples(config.source, "train", fields=fields), {})
        shown = "; ".join(parse_condition(text).describe(first) for text in config.where)
        raise DataError(f"no sample of {config.source} has {' and '.join(config.where)}. In its first sample {shown}.")
    log.check(config.max_bad)
    if log.bad:
        report(log.describe())
    for line in log.describe_notes():
        report(f"NOTE: {line}")
    unrepeated = dataset.find_repeats()
    if dataset.repeats or dataset.leaks:
        counts = f"samples that repeat another: {dataset.repeats:,}; of validation in train too: {dataset.leaks:,}"
        advice = "they are left out" if config.drop_duplicates else "--drop-duplicates leaves them out"
        report(f"{counts}: {advice}")
    if config.drop_duplicates:
        for part, rows in unrepeated.items():
            dataset.narrow(part, rows)
    count = dataset.tables["train"].num_rows
    if config.sample and config.sample < count:
        dataset.narrow("train", sorted(random.Random(config.seed).sample(range(count), config.sample)))
    return dataset


def describe_counts(dataset: EncodedDataset, picked: int) -> str:
    """How many samples there are of each part, and where those of validation come from and go to."""
    train, validation = (dataset.tables[part].num_rows for part in ("train", "validation"))
    held_out = " (held out by their ids, as the source has no validation part)" * dataset.held_out
    return f"{train:,} training samples, {validation:,} for validation{held_out}, of them {picked:,} in every bundle"


def choose_validation(dataset: EncodedDataset, config: SplitConfig) -> list[int]:
    """Positions of the validation samples that every bundle carries."""
    count = dataset.tables["validation"].num_rows
    if not count:
        wanted = f" with {' and '.join(config.where)}" if config.where else ""
        raise DataError(
            f"{config.source} has no validation samples{wanted}, only {dataset.tables['train'].num_rows:,} for "
            "training; add a validation part, or more samples."
        )
    return sorted(random.Random(config.seed).sample(range(count), min(count, config.validation_samples)))


def _write_folder(
    config: SplitConfig,
    dataset: EncodedDataset,
    picked: list[int],
    assignment: Assignment,
    staging: Path,
    report: Callable[[str], None],
) -> SplitSummary:
    """All files of a splits folder into `staging`, the manifest last."""
    about, parts = write_splits(config, dataset, picked, assignment, staging)
    summary = SplitSummary(
        **about,
        source=config.source.name,
        train=dataset.tables["train"].num_rows,
        validation=dataset.tables["validation"].num_rows,
        validation_in_each=len(picked),
        repeats=dataset.repeats,
        leaks=dataset.leaks,
        where=config.where,
        sample=config.sample,
        drop_duplicates=config.drop_duplicates,
        bad=[bad.to_record(config.source) for bad in dataset.log.bad],
        parts=parts,
    )
    if summary.plan:
        check_lengths(summary.plan, parts, assignment.training.settings)
    for part in parts:
        report(describe_part(part, summary.plan))
    written = summary.model_dump(mode="json")
    (staging / SUMMARY).write_text(to_json(written))
    names = [SUMMARY, *(part.bundle for part in parts), *hand_out(staging, parts, assignment, summary.plan)]
    seal(staging, "splits", names, **about, parts=written["parts"])
    return summary
