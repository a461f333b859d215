"""A merge worked out in small matrices, then written one module at a time, so that few of either are in memory.

First each module's factors are read and brought into small core matrices (algebra.py), where the merge, its rank and
its error are known; then they are read again and the merged factors are written.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.adapters.algebra import AUTO_RANKS, Fit, Pair, Spectrum, choose_rank, combine, fit
from housebrain_core.adapters.archives import CONFIG, TOKENIZER, WEIGHTS
from housebrain_core.adapters.inspection import Geometry, judge_updates
from housebrain_core.adapters.parallel import map_ahead
from housebrain_core.adapters.tensors import write_tensors
from housebrain_core.errors import AdapterError
from housebrain_core.manifests import to_json, write_atomically
from housebrain_core.merge.shelf import Shelf
from housebrain_core.merge.stacks import Side, read_stack, threads_for
from housebrain_core.merge.strategies import STRATEGIES, coefficients_of, sum_updates


class Recipe(NamedTuple):
    """What is to be computed: a strategy's name, a weight for each adapter, and the factor of the result."""

    strategy: str
    weights: list[float]
    scale: float
    density: float

    def describe(self, adapters: list[Adapter]) -> str:
        """Strategy, weights and scale, in a line."""
        shown = ", ".join(f"{a.name} {w:.4f}" for a, w in zip(adapters, self.weights, strict=True))
        return f"{self.strategy}: {shown}" + (f"; scale {self.scale:.3g}" if self.scale != 1 else "")


class Plan(NamedTuple):
    """The merge in small matrices, before anything is written."""

    recipe: Recipe
    spectra: dict[str, Spectrum]
    """Of the merged update of each module."""
    coefficients: Shelf
    """Left and right coefficients of each module (algebra.Fit)."""
    rank: int
    geometry: Geometry
    mean_error: float
    """Relative Frobenius distance of the strategy's update from the exact weighted mean."""

    def describe_distance(self) -> list[str]:
        """A line on how far from the exact mean a strategy is that is not one."""
        if STRATEGIES[self.recipe.strategy].combine is sum_updates:
            return []
        return [f"{self.recipe.strategy} is {self.mean_error:.1%} away from the exact mean of the updates"]


def plan_merge(adapters: list[Adapter], recipe: Recipe, rank: int | str) -> Plan:
    """Works out a merge: singular values, error and rank, all known before a byte is written.

    Raises:
        AdapterError: an adapter is untrained, or two are the same.
    """
    strategy = STRATEGIES[recipe.strategy]
    modules = sorted(adapters[0].shapes)
    keep = {"auto": AUTO_RANKS[-1], "full": None}.get(rank, rank)

    def one(module: str) -> tuple[Fit, torch.Tensor, float, float]:
        stacked = read_stack(adapters, module)
        merged = coefficients_of(strategy, stacked, recipe.weights, recipe.density)
        distance, square = 0.0, 1.0
        if strategy.combine is not sum_updates:
            mean = stacked.diagonal(recipe.weights).diag()
            distance, square = stacked.square_norm(merged - mean), stacked.square_norm(mean)
        return fit(stacked, merged.mul_(recipe.scale), keep), stacked.inner, distance, square

    spectra, shelf, inner, distance, square = {}, Shelf(), 0, 0.0, 0.0
    for module, found in zip(modules, map_ahead(one, modules, threads_for(adapters)), strict=True):
        spectra[module] = found[0].spectrum
        shelf.put(module, found[0].left, found[0].right)
        inner, distance, square = inner + found[1], distance + found[2], square + found[3]
    geometry = Geometry(inner)
    refused, _ = judge_updates([adapter.name for adapter in adapters], geometry)
    problems = [f"{a.name} is {why}" for a, reasons in zip(adapters, refused, strict=True) for why in reasons]
    if problems:
        raise AdapterError("these adapters cannot be merged:\n  " + "\n  ".join(problems))
    chosen = choose_rank(rank, list(spectra.values()))
    if keep and chosen > keep:  # auto, where 64 are not enough
        return plan_merge(adapters, recipe, chosen)
    return Plan(recipe, spectra, shelf, chosen, geometry, math.sqrt(distance / square) if square else 0.0)


def merged_factors(adapters: list[Adapter], plan: Plan, module: str) -> Pair:
    """The merged factors of one module at the plan's rank: B (out, rank), A (rank, in)."""
    left, right = plan.coefficients.get(module)
    kept = min(plan.rank, len(right))
    out, inner, _ = adapters[0].shapes[module]
    b, a = torch.empty(out, plan.rank), torch.empty(plan.rank, inner)
    combine(left[:, :kept].T, Side(adapters, module, "B").blocks(), b.T)
    combine(right[:kept], Side(adapters, module, "A").blocks(), a)
    return b, a


def write_adapter(folder: Path, adapters: list[Adapter], rank: int, factors: Callable[[str], Pair]) -> dict[str, Any]:
    """Writes weights and configuration of an adapter: alpha = rank, so that every server reads the same scaling, 1.

    Args:
        folder: exists.
        adapters: what it is made of; base model, modules and tokenizer are taken from the first.
        rank: of every module.
        factors: module -> (B, A).

    Returns:
        File -> size and sha256, of the weights.
    """
    modules = sorted(adapters[0].shapes)
    shapes = {}
    for module in modules:
        out, inner, _ = adapters[0].shapes[module]
        shapes[f"base_model.model.{module}.lora_A.weight"] = (rank, inner)
        shapes[f"base_model.model.{module}.lora_B.weight"] = (out, rank)
    tensors = (tensor for b, a in map_ahead(factors, modules, threads_for(adapters)) for tensor in (a, b))
    written = {WEIGHTS: write_tensors(folder / WEIGHTS, shapes, tensors)}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": adapters[0].base_model,
        "revision": adapters[0].revision,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "target_modules": sorted({module.rpartition(".")[2] for module in modules}),
        "inference_mode": True,
    }
    write_atomically(folder / CONFIG, to_json(config))
    for name in TOKENIZER:
        if (adapters[0].folder / name).is_file():
            write_atomically(folder / name, (adapters[0].folder / name).read_bytes())
    return written


def merged_run(adapters: list[Adapter]) -> dict[str, Any]:
    """What evaluation and generation need to know of the runs that were merged."""
    runs = [adapter.run for adapter in adapters if adapter.run]
    first = runs[0] if runs else {}
    datasets = {adapter.dataset for adapter in adapters if adapter.run}
    return {
        "finished": True,
        "why_it_ended": f"merged from {len(adapters)} adapters",
        "base": first.get("base"),
        "settings": {"load_in_4bit": trained_in_4bit(adapters)},
        "data": {"dataset": datasets.pop() if len(datasets) == 1 else None},
        "tokens": sum(run.get("tokens") or 0 for run in runs),
        "samples": sum(run.get("samples") or 0 for run in runs),
    }


def trained_in_4bit(adapters: list[Adapter]) -> bool:
    """Whether the base was NF4 in training; plain adapters are taken to be QLoRA."""
    return all(bool(((a.run or {}).get("settings") or {}).get("load_in_4bit", True)) for a in adapters)
