"""What came back: who sent which split, how its training ended, and whether its update looks like the others'."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from housebrain_core.adapters.adapter import Adapter, try_adapters
from housebrain_core.adapters.archives import name_all, unpacked
from housebrain_core.adapters.comparison import (
    RELATED_TWIN_COSINE,
    TWIN_COSINE,
    Geometry,
    judge_updates,
    missing_splits,
)
from housebrain_core.adapters.compatibility import (
    base_keys,
    describe_leg,
    describe_start,
    most_common_sizes,
    newest_leg,
)
from housebrain_core.adapters.updates import Spectrum, decompose, mean_spectrum, read_updates
from housebrain_core.config import InspectConfig
from housebrain_core.display.results import Table, show
from housebrain_core.errors import AdapterError
from housebrain_core.manifests import to_json, write_atomically
from housebrain_core.outputs import check_file, check_folder, lock_output

NOTE = (
    "norm: the length of the whole update; cosine: its direction against the mean of the others' (1 the same, "
    "0 unrelated, below 0 against them)"
)


@dataclass(frozen=True)
class AdapterRow:
    """One path that was given, and what is in it; all but name and verdict are None where it could not be read."""

    name: str
    verdict: tuple[str, ...] = ()
    """What is wrong with it; nothing when it can be merged."""
    split: int | None = None
    leg: str | None = None
    """Of a plan, such as "leg 2 of 3"."""
    start: str | None = None
    """What training started from: "fresh", or the first digits of an adapter's sha256."""
    base: str | None = None
    revision: str | None = None
    rank: str | None = None
    """A number, or a range where it differs between modules."""
    samples: int | None = None
    tokens: int | None = None
    epochs: str | None = None
    """Trained, of how many."""
    why_it_ended: str | None = None
    train_loss: float | None = None
    """Nats per token."""
    validation_loss: float | None = None
    norm: float | None = None
    """Frobenius norm of the whole update."""
    cosine: float | None = None
    """Of the update to the mean of the others."""

    def with_verdict(self, *reasons: str) -> "AdapterRow":
        """The row with more reasons."""
        return replace(self, verdict=(*self.verdict, *reasons))


@dataclass(frozen=True)
class Inspection:
    """What came back."""

    rows: tuple[AdapterRow, ...]
    """One for each path."""
    missing: tuple[int, ...] = ()
    """Splits that nobody sent."""
    names: tuple[str, ...] = ()
    """Adapters whose updates were compared."""
    cosines: tuple[tuple[float, ...], ...] = ()
    """Between their updates, (names, names)."""
    spectrum: tuple[float, ...] = ()
    """Singular values of the mean of the updates, relative to the first."""

    def table(self) -> Table:
        """A row for each path, with its verdict."""
        of_plan = ("leg", "start") if any(row.leg or row.start not in (None, "fresh") for row in self.rows) else ()
        columns = ("adapter", "split", *of_plan, "rank", "samples", "tokens", "epochs", "ended", "train", "val.",
                   "norm", "cosine", "verdict")  # fmt: skip
        rows = []
        for row in self.rows:
            values = (row.name, row.split, *(getattr(row, name) for name in of_plan), row.rank, row.samples, row.tokens,
                      row.epochs, row.why_it_ended, row.train_loss, row.validation_loss, row.norm,
                      row.cosine)  # fmt: skip
            rows.append((*map(_cell, values), "; ".join(row.verdict) or "ok"))
        notes = [NOTE] if self.names else []
        bases = sorted({f"{row.base} at {row.revision or 'an unknown revision'}" for row in self.rows if row.base})
        if bases:
            notes.append(f"base model: {', '.join(bases)}")
        if self.missing:
            notes.append(f"missing splits: {', '.join(map(str, self.missing))}")
        return Table(columns, rows, notes)


def inspect_adapters(config: InspectConfig, report: Callable[[Any], None] = show) -> Inspection:
    """Reads what came back and says what each is worth; nothing is refused, every reason is in the table.

    Args:
        config: paths, and a folder for table and figures where they are wanted as files.
        report: gets the table, and the path of what was written.

    Returns:
        A row for each path, and what comparing the updates told; `draw_inspection` draws it.
    """
    if config.output:
        check_folder(config.output)
        check_file(config.output / "inspection.json", {"rows", "missing", "cosines"})
        for name in ("cosines", "spectrum"):
            check_file(config.output / f"{name}.png")
    with unpacked(config.models) as folders:
        inspection = _inspect(folders)
    report(inspection.table())
    if config.output:
        from housebrain_core.display import plots

        with lock_output(config.output / "inspection.json"):
            write_atomically(config.output / "inspection.json", to_json(asdict(inspection)))
            for name, figure in draw_inspection(inspection).items():
                plots.save(figure, config.output / f"{name}.png")
        report(f"table and figures in {config.output}")
    return inspection


def draw_inspection(inspection: Inspection) -> dict[str, Any]:
    """Draws how much adapters agree, and how many directions their mean needs.

    Args:
        inspection: what `inspect_adapters` returns.

    Returns:
        `cosines` and `spectrum` as figures; nothing where no adapter could be read.
    """
    if not inspection.names:
        return {}
    from housebrain_core.display import plots

    return {
        "cosines": plots.cosine_map(list(inspection.names), [list(row) for row in inspection.cosines]),
        "spectrum": plots.spectrum({"mean of the updates": list(inspection.spectrum)}),
    }


def _inspect(folders: dict[Path, Path | AdapterError]) -> Inspection:
    rows, adapters = [], {}
    read = try_adapters(folders, accept_plain=True)
    names = name_all(list(folders))
    for number, (path, result) in enumerate(zip(folders, read, strict=True)):
        if isinstance(result, AdapterError):
            rows.append(AdapterRow(names[path], (f"refused: {' '.join(str(result).split())}",)))
        else:
            rows.append(_describe(result))
            adapters[number] = result
    while adapters:
        try:
            return _compare(rows, adapters)
        except _UnreadableError as error:  # its values are read last; the others are compared without it
            del adapters[error.number]
            rows[error.number] = rows[error.number].with_verdict(f"refused: {error}")
    return Inspection(tuple(rows))


class _UnreadableError(Exception):
    """The values of an adapter are no numbers that training gives."""

    def __init__(self, number: int, reason: AdapterError) -> None:
        super().__init__(str(reason))
        self.number = number


def _describe(adapter: Adapter) -> AdapterRow:
    ranks = sorted({shape.rank for shape in adapter.shapes.values()})
    row = AdapterRow(
        adapter.name,
        split=adapter.split.number if adapter.split else None,
        leg=describe_leg(adapter),
        start=describe_start(adapter),
        base=adapter.base_model,
        revision=adapter.revision,
        rank=str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]}-{ranks[-1]}",
    )
    row = row.with_verdict(*adapter.doubts)
    run = adapter.run
    if run is None:
        return row.with_verdict("plain: origin and data are not known")
    of_all = "" if run.settings.max_steps else f" of {run.settings.epochs}"
    row = replace(
        row,
        samples=run.samples,
        tokens=run.tokens,
        epochs=None if run.epochs is None else f"{run.epochs:.3g}{of_all}",
        why_it_ended=run.why_it_ended,
        train_loss=run.train_loss,
        validation_loss=run.validation_loss,
    )
    return row if run.finished else row.with_verdict(f"unfinished: {run.why_it_ended}")


def _compare(rows: list[AdapterRow], adapters: dict[int, Adapter]) -> Inspection:
    """Adds what comparing tells: other bases, datasets and modules; norms and cosines of those with equal modules."""
    result = list(rows)
    for number, reasons in _find_differences(adapters).items():
        result[number] = result[number].with_verdict(*reasons)
    newest = newest_leg(list(adapters.values()))
    sizes = most_common_sizes(newest)
    alike = {n: adapter for n, adapter in adapters.items() if adapter.sizes == sizes and adapter in newest}
    geometry, spectra = _measure(alike)
    names = [adapter.name for adapter in alike.values()]
    with_split = [adapter.name for adapter in alike.values() if adapter.split]
    related = any(adapter.run and adapter.run.parent_sha256 for adapter in newest)
    verdicts = judge_updates(names, geometry, with_split, RELATED_TWIN_COSINE if related else TWIN_COSINE)
    measured = zip(alike, geometry.norms, geometry.cosines_to_others, verdicts, strict=True)
    for number, norm, cosine, verdict in measured:
        row = result[number].with_verdict(*verdict.refused, *verdict.odd)
        result[number] = replace(row, norm=norm, cosine=cosine)
    return Inspection(
        tuple(result),
        () if describe_leg(newest[0]) else tuple(missing_splits(newest)),  # a leg may be for few; a plan says who
        tuple(names),
        tuple(map(tuple, geometry.cosines.tolist())),
        tuple(mean_spectrum(spectra)),
    )


def _find_differences(adapters: dict[int, Adapter]) -> dict[int, list[str]]:
    """What each adapter has otherwise than most."""
    values = list(adapters.values())
    newest = newest_leg(values)
    starts = [(adapter.run.plan, adapter.run.parent_sha256) for adapter in newest if adapter.run]
    plan, parent = max(starts, key=starts.count, default=(None, None))
    bases = base_keys(values)
    datasets = [adapter.dataset for adapter in values if adapter.dataset]
    base, dataset = max(bases, key=bases.count), max(datasets, key=datasets.count, default="")
    sizes = most_common_sizes(values)
    first_of_split: dict[Any, str] = {}
    differences = {}
    for (number, adapter), its_base in zip(adapters.items(), bases, strict=True):
        reasons = []
        if its_base != base:
            reasons.append(f"another base: {adapter.base}")
        if adapter.dataset and adapter.dataset != dataset:
            reasons.append(f"another dataset: {adapter.dataset[:8]}; most were trained on {dataset[:8]}")
        turn = (adapter.split, describe_leg(adapter))
        if adapter.split and first_of_split.setdefault(turn, adapter.name) != adapter.name:
            reasons.append(f"the same split as {first_of_split[turn]}")
        if adapter not in newest:
            reasons.append(f"another leg: the newest is {describe_leg(newest[0])}")
        elif adapter.run and adapter.run.plan != plan:
            reasons.append(f"another plan: {adapter.run.plan}; most were trained for {plan}")
        elif adapter.run and adapter.run.parent_sha256 != parent:
            reasons.append(f"another start: {describe_start(adapter)}; most started from {(parent or 'fresh')[:8]}")
        if adapter.sizes != sizes:
            reasons.append("other modules than the others")
        differences[number] = reasons
    return differences


def _measure(adapters: dict[int, Adapter]) -> tuple[Geometry, list[Spectrum]]:
    """Geometry of adapters with the same modules, and the singular values of their mean in every module."""
    for number, adapter in adapters.items():
        try:
            for module in adapter.shapes:
                adapter.factors(module)
        except AdapterError as error:
            raise _UnreadableError(number, error) from None
    members = list(adapters.values())
    inner = np.zeros((len(members),) * 2)
    spectra = []
    with threadpool_limits(1):
        for module in sorted(members[0].shapes):
            updates = read_updates(members, module)
            inner += updates.inner
            spectra.append(decompose(updates, updates.weighted_sum([1 / len(members)] * len(members)), keep=1).spectrum)
    return Geometry(inner), spectra


def _cell(value: float | str | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if isinstance(value, float) else value
