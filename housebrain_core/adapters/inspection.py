"""What came back: who sent which split, how its training ended, and whether its update looks like the others'."""

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from housebrain_core import plots
from housebrain_core.adapters.adapter import Adapter, try_adapters
from housebrain_core.adapters.algebra import Spectrum, fit
from housebrain_core.adapters.archives import unpacked
from housebrain_core.adapters.compatibility import usual_sizes
from housebrain_core.adapters.parallel import map_ahead
from housebrain_core.config import InspectConfig
from housebrain_core.errors import AdapterError
from housebrain_core.manifests import to_json, write_atomically
from housebrain_core.merge.stacks import read_stack, threads_for
from housebrain_core.outputs import check_folder

TWIN_COSINE = 0.9999
NORM_RANGE = (0.25, 4.0)
"""Norms of updates, in medians, outside which an adapter is an outlier: a bad run, or a poisoned one."""


LOW_COSINE = 0.3
"""Share of the usual cosine to the others below which an adapter is one too: other data, or another start."""


@dataclass(frozen=True)
class Geometry:
    """Lengths and angles of whole updates, all modules together, from Frobenius inner products (N, N)."""

    inner: torch.Tensor

    @property
    def norms(self) -> list[float]:
        return self.inner.diagonal().clamp(min=0).sqrt().tolist()

    @property
    def cosines(self) -> torch.Tensor:
        """(N, N); zero for an update that is zero."""
        norms = torch.tensor(self.norms, dtype=torch.float64)
        return self.inner / (norms[:, None] * norms[None, :]).clamp(min=1e-300)

    @property
    def cosines_to_others(self) -> list[float | None]:
        """Of each update to the mean of the others; None for one alone."""
        if len(self.inner) < 2:
            return [None]
        with_sum, total = self.inner.sum(1), self.inner.sum()
        result = []
        for index, norm in enumerate(self.norms):
            others = float(total - 2 * with_sum[index] + self.inner[index, index])
            product = norm * math.sqrt(max(others, 0))
            result.append(float(with_sum[index] - self.inner[index, index]) / product if product else 0.0)
        return result


def judge_updates(names: list[str], geometry: Geometry) -> tuple[list[list[str]], list[list[str]]]:
    """What is wrong with each update.

    Returns:
        Per adapter, reasons to refuse it (untrained, a twin), and reasons to look at it (outliers).
    """
    refused: list[list[str]] = [[] for _ in names]
    odd: list[list[str]] = [[] for _ in names]
    norms, cosines = geometry.norms, geometry.cosines
    usual = median([norm for norm in norms if norm] or [0.0])
    usual_cosine = median([cosine or 0.0 for cosine in geometry.cosines_to_others])
    for index, norm in enumerate(norms):
        if not norm:
            refused[index].append("untrained: every B is zero")
            continue
        twins = [names[other] for other in range(index) if cosines[index, other] > TWIN_COSINE]
        refused[index] += [f"the same update as {twin}: one split submitted twice" for twin in twins]
        if not NORM_RANGE[0] <= norm / usual <= NORM_RANGE[1]:
            of = f"that of {names[1 - index]}" if len(names) == 2 else "the median"
            ratio = norm / (norms[1 - index] if len(names) == 2 else usual)
            odd[index].append(f"outlier: its norm is {ratio:.3g} times {of}")
        towards = geometry.cosines_to_others[index]
        if towards is not None and towards < 0:
            odd[index].append(f"outlier: it points away from the others (cosine {towards:.2f})")
        elif towards is not None and towards < LOW_COSINE * usual_cosine:
            odd[index].append(f"outlier: it points elsewhere (cosine {towards:.2f}, usual is {usual_cosine:.2f})")
    return refused, odd


def measure(adapters: list[Adapter]) -> tuple[Geometry, list[Spectrum]]:
    """Geometry of adapters with the same modules, and the singular values of their mean in every module."""

    def one(module: str) -> tuple[torch.Tensor, Spectrum]:
        stacked = read_stack(adapters, module)
        mean = stacked.diagonal([1 / len(adapters)] * len(adapters))
        return stacked.inner, fit(stacked, mean, keep=1).spectrum

    found = list(map_ahead(one, sorted(adapters[0].shapes), threads_for(adapters)))
    return Geometry(sum(inner for inner, _ in found)), [spectrum for _, spectrum in found]


def mean_spectrum(spectra: list[Spectrum]) -> list[float]:
    """Root of the summed squares of the k-th singular values over modules, relative to the first."""
    length = max(len(values) for (values,) in spectra)
    padded = torch.stack([torch.nn.functional.pad(values, (0, length - len(values))) for (values,) in spectra])
    totals = padded.square().sum(0).sqrt()
    return (totals / totals[0].clamp(min=1e-300)).tolist()


def inspect_adapters(config: InspectConfig, report=print) -> dict[str, Any]:
    """Reads what came back and says what each is worth; nothing is refused, every reason is in the table.

    Returns:
        rows (one per path), missing (splits nobody sent), cosines (N, N) with their names, spectrum of the mean.
    """
    if config.output:
        check_folder(config.output)
    with unpacked(config.models) as folders:
        rows, adapters = _read_rows(folders)
        if not adapters:
            result = {"rows": rows, "missing": [], "names": [], "cosines": [], "spectrum": []}
        else:
            result = _measure_rows(rows, adapters)
    report(describe_inspection(result))
    if config.output:
        config.output.mkdir(parents=True, exist_ok=True)
        write_atomically(config.output / "inspection.json", to_json(result))
        for name, figure in draw_inspection(result).items():
            plots.save(figure, config.output / f"{name}.png")
        report(f"table and figures in {config.output}")
    return result


def draw_inspection(result: dict[str, Any]) -> dict[str, Any]:
    """Draws how much adapters agree, and how many directions their mean needs.

    Args:
        result: what `inspect_adapters` returns.

    Returns:
        `cosines` and `spectrum` as figures; nothing where no adapter could be read.
    """
    if not result["names"]:
        return {}
    return {
        "cosines": plots.cosine_map(result["names"], result["cosines"]),
        "spectrum": plots.spectrum({"mean of the updates": result["spectrum"]}),
    }


def describe_inspection(result: dict[str, Any]) -> str:
    """The inspection as a table for a terminal, and what to do."""
    head = ("adapter", "split", "rank", "samples", "tokens", "epochs", "ended", "train", "val.", "norm", "cosine",
            "verdict")  # fmt: skip
    lines = [tuple(map(_cell, (
        row["name"], row.get("split"), row.get("rank"), row.get("samples"), row.get("tokens"), row.get("epochs"),
        row.get("why_it_ended"), row.get("train_loss"), row.get("validation_loss"), row.get("norm"), row.get("cosine"),
        "; ".join(row["verdict"]) or "ok",
    ))) for row in result["rows"]]  # fmt: skip
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head) - 1)]
    sides = ["<" if name in ("adapter", "epochs", "ended", "verdict") else ">" for name in head]
    table = ["  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, [*widths, 0], strict=True))
             for line in [head, *lines]]  # fmt: skip
    if result["names"]:
        table.append("norm: the length of the whole update; cosine: its direction against the mean of the others' "
                     "(1 the same, 0 unrelated, below 0 against them)")  # fmt: skip
    bases = sorted({f"{row['base']} at {row['revision']}" for row in result["rows"] if row.get("base")})
    table += [f"base model: {', '.join(bases)}"] if bases else []
    if result["missing"]:
        table.append(f"missing splits: {', '.join(map(str, result['missing']))}")
    return "\n".join(table)


def _read_rows(folders: dict[Path, Path | AdapterError]) -> tuple[list[dict[str, Any]], list[tuple[int, Adapter]]]:
    """A row per path, and the readable adapters with the number of their row."""
    rows, adapters = [], []
    read = try_adapters(folders.values(), accept_plain=True)
    for number, (path, found) in enumerate(zip(folders, read, strict=True)):
        if isinstance(found, AdapterError):
            rows.append({"name": path.name, "verdict": [f"refused: {' '.join(str(found).split())}"]})
            continue
        adapters.append((number, found))
        rows.append(_describe(found))
    return rows, adapters


def _describe(adapter: Adapter) -> dict[str, Any]:
    run, ranks = adapter.run or {}, sorted({rank for _, _, rank in adapter.shapes.values()})
    settings = run.get("settings") or {}
    planned = "" if settings.get("max_steps") else f" of {settings.get('epochs')}"
    verdict = [] if adapter.run else ["plain: origin and data are not known"]
    if adapter.run and not run["finished"]:
        verdict.append(f"unfinished: {run['why_it_ended']}")
    return {
        "name": adapter.name,
        "split": adapter.split[2] if adapter.split else None,
        "base": adapter.base_model,
        "revision": adapter.revision,
        "rank": ranks[0] if len(ranks) == 1 else f"{ranks[0]}-{ranks[-1]}",
        "samples": run.get("samples"),
        "tokens": run.get("tokens"),
        "epochs": f"{run['epochs']:.3g}{planned}" if run.get("epochs") is not None else None,
        "why_it_ended": run.get("why_it_ended"),
        "train_loss": run.get("train_loss"),
        "validation_loss": run.get("validation_loss"),
        "verdict": verdict,
    }


def _measure_rows(rows: list[dict[str, Any]], numbered: list[tuple[int, Adapter]]) -> dict[str, Any]:
    """Adds norms, cosines and verdicts for adapters that have the usual modules."""
    usual = usual_sizes([adapter for _, adapter in numbered])
    seen: dict[tuple, str] = {}
    alike, numbers = [], []
    base = max((key := [(a.base_model, a.revision) for _, a in numbered]), key=key.count)
    datasets = [adapter.dataset for _, adapter in numbered if adapter.dataset]
    dataset = max(datasets, key=datasets.count, default=None)
    for number, adapter in numbered:
        verdict = rows[number]["verdict"]
        if (adapter.base_model, adapter.revision) != base:
            verdict.append(f"another base: {adapter.base_model} at {adapter.revision}")
        if adapter.dataset and adapter.dataset != dataset:
            verdict.append(f"another dataset: {adapter.dataset[:8]}; most were trained on {dataset[:8]}")
        if adapter.split and seen.setdefault(adapter.split, adapter.name) != adapter.name:
            verdict.append(f"the same split as {seen[adapter.split]}")
        if adapter.sizes != usual:
            verdict.append("other modules than the others")
            continue
        alike.append(adapter)
        numbers.append(number)
    try:
        geometry, spectra = measure(alike)
    except AdapterError as error:
        for number, adapter in numbered:
            if str(adapter.folder) in str(error):
                rows[number]["verdict"].append(f"refused: {error}")
                rest = [entry for entry in numbered if entry[1] is not adapter]
                return _measure_rows(rows, rest) if rest else _result(rows, [], None, [])
        raise
    names = [adapter.name for adapter in alike]
    refused, odd = judge_updates(names, geometry)
    towards = geometry.cosines_to_others
    for index, number in enumerate(numbers):
        rows[number] |= {"norm": geometry.norms[index], "cosine": towards[index]}
        rows[number]["verdict"] += refused[index] + odd[index]
    return _result(rows, [adapter for _, adapter in numbered], geometry, spectra, names)


def missing_splits(adapters: list[Adapter]) -> list[int]:
    """Numbers of the splits that were cut and that none of the adapters was trained on."""
    splits = {adapter.split for adapter in adapters if adapter.split}
    planned = max((split[1] or 0 for split in splits), default=0)
    return sorted(set(range(1, planned + 1)) - {split[2] for split in splits})


def _result(rows, adapters: list[Adapter], geometry, spectra, names=()) -> dict[str, Any]:
    return {
        "rows": rows,
        "missing": missing_splits(adapters),
        "names": list(names),
        "cosines": geometry.cosines.tolist() if geometry else [],
        "spectrum": mean_spectrum(spectra) if spectra else [],
    }


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if isinstance(value, float) else str(value)
