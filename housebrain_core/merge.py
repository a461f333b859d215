"""Many adapters into one, exactly, straight from the files and without the base model.

An adapter's update of a module is D = s B A, with s = alpha / rank. `average` and `weighted` are means of these
updates, never of A and B apart: mean(B) mean(A) is another matrix. The mean of N updates of rank r is known
exactly as stacked factors of rank N r; a small singular value decomposition brings it to a lower rank with
the least possible error, and the error is known without ever forming D.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file

from housebrain_core.adapters import CONFIG, WEIGHTS, Adapter, check_mergeable, read_adapter
from housebrain_core.config import MergeConfig
from housebrain_core.errors import AdapterError, ConfigError
from housebrain_core.llm import HouseBrainLLM, check_sanity
from housebrain_core.manifests import MANIFEST, read_manifest, seal, to_json, write_atomically
from housebrain_core.splits import read_validation

AUTO_RANKS = (8, 16, 32, 64)
AUTO_ENERGY = 0.999
"""Share of the squared singular values that `rank="auto"` keeps."""


# --- strategies: how much each adapter counts, and how updates are combined

Part = tuple[float, torch.Tensor, torch.Tensor]
"""Weight, B (out_features, rank) with the scaling in it, A (rank, in_features)."""


def equal_weights(adapters: list[Adapter]) -> list[float]:
    """1 / N each: the uniform soup of Wortsman et al. 2022 (arXiv 2203.05482), on updates."""
    return [1 / len(adapters)] * len(adapters)


def token_weights(adapters: list[Adapter]) -> list[float]:
    """By tokens trained on: the weights of federated averaging (McMahan et al. 2017, arXiv 1602.05629).

    Raises:
        AdapterError: an adapter does not say how many tokens it was trained on.
    """
    tokens = [_from_run(adapter, "tokens") for adapter in adapters]
    return [count / sum(tokens) for count in tokens]


def best_alone(adapters: list[Adapter]) -> list[float]:
    """1 for the adapter with the lowest loss on the common validation sample, the first by split among equals.

    Raises:
        AdapterError: an adapter does not say its validation loss.
    """
    losses = [_from_run(adapter, "validation_loss") for adapter in adapters]
    winner = losses.index(min(losses))
    return [float(index == winner) for index in range(len(adapters))]


def sum_updates(parts: list[Part]) -> tuple[torch.Tensor, torch.Tensor]:
    """The exact sum of w B A as one pair of factors: B's side by side, w A's on top of each other.

    Returns:
        B (out_features, R) and A (R, in_features), R the sum of the ranks; a part of weight zero is left out.
    """
    kept = [part for part in parts if part[0] != 0]
    return torch.cat([b for _, b, _ in kept], dim=1), torch.cat([w * a for w, _, a in kept], dim=0)


def mean_factors(parts: list[Part]) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of B times the mean of A, which is not the mean of the updates; for comparison only.

    Known as FedIT (Zhang et al. 2023, arXiv 2305.05644); its error is the covariance of B and A over adapters.
    """
    return sum(w * b for w, b, _ in parts), sum(w * a for w, _, a in parts)


class Strategy(NamedTuple):
    """A way to merge: weights for the adapters, and how a module's weighted parts become one pair of factors."""

    weigh: Callable[[list[Adapter]], list[float]]
    combine: Callable[[list[Part]], tuple[torch.Tensor, torch.Tensor]]


STRATEGIES = {
    "average": Strategy(equal_weights, sum_updates),
    "weighted": Strategy(token_weights, sum_updates),
    "best": Strategy(best_alone, sum_updates),
    "ab-average": Strategy(equal_weights, mean_factors),
}


def _from_run(adapter: Adapter, name: str) -> float:
    value = (adapter.run or {}).get(name)
    if type(value) not in (int, float) or not math.isfinite(value) or value <= 0:
        raise AdapterError(
            f"{adapter.folder} does not say its {name.replace('_', ' ')} (run.json). Use --strategy average, "
            "or train that split with HouseBrain."
        )
    return value


# --- algebra on factors


@dataclass(frozen=True)
class Factors:
    """A module's update D = b @ a as factors, with its singular values.

    b is (out_features, rank), a is (rank, in_features), values are all singular values of D in float64.
    """

    b: torch.Tensor
    a: torch.Tensor
    values: torch.Tensor

    @property
    def energy(self) -> float:
        """Squared Frobenius norm of the exact update."""
        return float(self.values.square().sum())

    def lost(self, rank: int) -> float:
        """Squared Frobenius norm of what truncation to `rank` loses (Eckart and Young 1936)."""
        return float(self.values[rank:].square().sum())


def decompose(b: torch.Tensor, a: torch.Tensor) -> Factors:
    """Orthogonalises b @ a by the singular value decomposition of its small core.

    With Gram matrices G_B = B'B and G_A = A A' (R x R, float64), B = Q_B R_B and A' = Q_A R_A', and the singular
    values of B A are those of R_B R_A'. Only products touch the long dimensions. Directions below 1e-7 of the
    largest are dropped, so that repeated adapters are harmless. Source: the core space of Panariello et al. 2025
    (arXiv 2509.17786), which is exact for linear merges.

    Args:
        b: (out_features, R).
        a: (R, in_features).

    Returns:
        Factors of rank at most R, ordered by singular value; signs are fixed, so that equal input gives equal bytes.
    """
    root_b, inverse_b = _gram_root(b.double().T @ b.double())
    root_a, inverse_a = _gram_root(a.double() @ a.double().T)
    u, values, vt = torch.linalg.svd(root_b @ root_a.T)
    rank = max(1, int((values > values[:1] * 1e-7).sum())) if len(values) else 0
    u, values, vt = u[:, :rank], values[:rank], vt[:rank]
    signs = torch.sign(u.gather(0, u.abs().argmax(0, keepdim=True)))
    signs[signs == 0] = 1
    root = values.sqrt()
    left = b @ (inverse_b @ (u * signs) * root).float()
    right = (root[:, None] * ((vt * signs.T) @ inverse_a.T)).float() @ a
    return Factors(left, right, values)


def _gram_root(gram: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """R with R'R = gram, and its pseudo-inverse; null directions dropped. (k, R) and (R, k)."""
    values, vectors = torch.linalg.eigh(gram)
    keep = values > values[-1:] * 1e-14
    root = values[keep].sqrt()
    return root[:, None] * vectors[:, keep].T, vectors[:, keep] / root


def choose_rank(rank: int | str, spectra: list[torch.Tensor]) -> int:
    """One rank for the whole adapter.

    Args:
        rank: a number, "full" (the largest rank any module has), or "auto" (the smallest of 8, 16, 32, 64 that
            keeps 99.9 % of the energy of all modules together, else full).
        spectra: singular values of each module.
    """
    full = max(len(values) for values in spectra)
    if rank == "full":
        return full
    if rank != "auto":
        return int(rank)
    total = sum(float(values.square().sum()) for values in spectra)
    for candidate in AUTO_RANKS:
        kept = sum(float(values[:candidate].square().sum()) for values in spectra)
        if candidate < full and kept >= AUTO_ENERGY * total:
            return candidate
    return full


def fit_rank(factors: Factors, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A module's factors at exactly this rank: truncated, or filled up with zeros."""
    missing = rank - factors.b.shape[1]
    if missing <= 0:
        return factors.b[:, :rank].contiguous(), factors.a[:rank].contiguous()
    return (
        torch.nn.functional.pad(factors.b, (0, missing)),
        torch.nn.functional.pad(factors.a, (0, 0, 0, missing)),
    )


# --- files


def merge_adapters(config: MergeConfig, report: Callable[[str], None] = print) -> dict[str, Any]:
    """Merges adapter folders into one adapter folder.

    Args:
        config: which adapters, how, and where to.
        report: gets lines of progress.

    Returns:
        The contents of merge.json.

    Raises:
        AdapterError: an adapter is damaged, or they do not belong together.
        ConfigError: the output exists.
    """
    _refuse_existing(config)
    adapters = sorted((read_adapter(folder, config.accept_plain) for folder in config.models), key=_order)
    check_mergeable(adapters)
    strategy = STRATEGIES[config.strategy]
    weights = strategy.weigh(adapters)
    report(f"{config.strategy}: " + ", ".join(f"{a.name} {w:.4f}" for a, w in zip(adapters, weights, strict=True)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small matrices: a second thread makes them slower, up to a thousand times
    merged = {module: decompose(*strategy.combine(parts)) for module, parts in _read_modules(adapters, weights)}
    torch.set_num_threads(threads)
    rank = choose_rank(config.rank, [factors.values for factors in merged.values()])
    result = describe_merge(config, adapters, weights, merged, rank)
    write_merged(config.output, adapters, merged, rank, result)
    report(f"rank {rank}, {result['retained_energy']:.4%} of the energy kept; merged adapter in {config.output}")
    if config.run_validation:
        result["validation"] = validate_merge(config, adapters, report)
        write_atomically(config.output / "merge.json", to_json(result))
        _seal(config.output, result)
    return result


def validate_merge(config: MergeConfig, adapters: list[Adapter], report: Callable[[str], None]) -> dict[str, Any]:
    """Loads base, adapters and merge, and answers whether merging was better than the best split.

    Returns:
        losses: model name -> nats per token on the validation sample; answer: what a generated design parsed to.
    """
    examples = read_validation(config.data)
    llm = HouseBrainLLM(config.output, config.base_model, report=report)
    losses = {}
    for name, folder in {"base": None, **{a.name: a.folder for a in adapters}, "merged": config.output}.items():
        llm.use(folder)
        sums, tokens = llm.losses(examples)
        losses[name] = sum(sums) / sum(tokens)
        report(f"validation loss {losses[name]:.4f} nats per token  {name}")
    best = min(losses[adapter.name] for adapter in adapters)
    answer = check_sanity(llm)
    report(f"a generated design: {answer}")
    verdict = "better" if losses["merged"] < best else "NOT better"
    report(f"the merge is {verdict} than the best single adapter: {losses['merged']:.4f} against {best:.4f}")
    return {"losses": losses, "samples": len(examples), "answer": answer}


def _order(adapter: Adapter) -> tuple:
    """Merging does not depend on the order of arguments: by split, then by content."""
    return (adapter.split or (), adapter.sha256) if adapter.split else ((), adapter.sha256)


def _refuse_existing(config: MergeConfig) -> None:
    if not config.output.exists():
        return
    if not config.overwrite:
        raise ConfigError(f"{config.output} exists already. Choose another --output, or replace it with --overwrite.")
    read_manifest(config.output, "adapter")  # only what we wrote is ever replaced


def _read_modules(adapters: list[Adapter], weights: list[float]) -> Iterator[tuple[str, list]]:
    """(module, [(weight, B, A) of each adapter]), one module at a time."""
    modules = sorted(adapters[0].shapes)
    for parts in zip(*(adapter.factors(modules) for adapter in adapters), strict=True):
        yield parts[0][0], [(weight, b, a) for weight, (_, b, a) in zip(weights, parts, strict=True)]


def describe_merge(config: MergeConfig, adapters, weights, merged: dict[str, Factors], rank: int) -> dict[str, Any]:
    """merge.json: inputs by sha256, weights, rank, and what truncation cost in each module."""
    energy = sum(factors.energy for factors in merged.values())
    lost = sum(factors.lost(rank) for factors in merged.values())
    return {
        "strategy": config.strategy,
        "rank": rank,
        "rank_setting": config.rank,
        "inputs": [
            {"name": a.name, "sha256": a.sha256, "weight": w, "split": a.split, "checked": a.run is not None}
            for a, w in zip(adapters, weights, strict=True)
        ],
        "retained_energy": 1 - lost / energy if energy else 1.0,
        "relative_error": math.sqrt(lost / energy) if energy else 0.0,
        "modules": {
            module: {
                "norm": math.sqrt(factors.energy),
                "relative_error": math.sqrt(factors.lost(rank) / factors.energy) if factors.energy else 0.0,
            }
            for module, factors in merged.items()
        },
    }


def write_merged(output: Path, adapters: list[Adapter], merged: dict[str, Factors], rank: int, result: dict) -> None:
    """Writes the merged adapter's folder: alpha = rank, so that every server reads the same scaling, 1."""
    staging = output.with_name(f".{output.name}.partial")
    for old in staging.glob("*"):
        old.unlink()
    staging.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for module, factors in merged.items():
        b, a = fit_rank(factors, rank)
        tensors[f"base_model.model.{module}.lora_A.weight"] = a
        tensors[f"base_model.model.{module}.lora_B.weight"] = b
    save_file(tensors, staging / WEIGHTS, metadata={"format": "pt"})
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
        "target_modules": sorted({module.rpartition(".")[2] for module in merged}),
        "inference_mode": True,
    }
    write_atomically(staging / CONFIG, to_json(config))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"):
        if (adapters[0].folder / name).is_file():
            write_atomically(staging / name, (adapters[0].folder / name).read_bytes())
    write_atomically(staging / "merge.json", to_json(result))
    write_atomically(staging / "run.json", to_json(_merged_run(adapters)))
    write_atomically(staging / "README.md", _readme(adapters, result))
    _seal(staging, result)
    if output.exists():
        (output / MANIFEST).unlink(missing_ok=True)
        for old in output.glob("*"):
            old.unlink()
        output.rmdir()
    output.parent.mkdir(parents=True, exist_ok=True)
    staging.rename(output)


def _seal(folder: Path, result: dict) -> None:
    seal(folder, "adapter", finished=True, merged_from=[entry["sha256"] for entry in result["inputs"]])


def _merged_run(adapters: list[Adapter]) -> dict[str, Any]:
    """What evaluation and generation need to know of the runs that were merged."""
    runs = [adapter.run for adapter in adapters if adapter.run]
    return {
        "finished": True,
        "why_it_ended": f"merged from {len(adapters)} adapters",
        "base": runs[0]["base"] if runs else None,
        "settings": {"load_in_4bit": runs[0]["settings"]["load_in_4bit"]} if runs else {},
        "data": {"dataset": (runs[0].get("data") or {}).get("dataset") if runs else None},
        "tokens": sum(run["tokens"] for run in runs),
    }


def _readme(adapters: list[Adapter], result: dict) -> str:
    rows = "\n".join(f"| {entry['name']} | {entry['weight']:.4f} | `{entry['sha256']}` |" for entry in result["inputs"])
    return (
        f"---\nbase_model: {adapters[0].base_model}\nlibrary_name: peft\npipeline_tag: text-generation\n---\n\n"
        f"# HouseBrain, merged\n\nThe exact {result['strategy']} of {len(adapters)} adapters, at rank {result['rank']} "
        f"(relative error {result['relative_error']:.2e}).\n\n"
        f"| adapter | weight | sha256 |\n|---|---|---|\n{rows}\n"
    )
