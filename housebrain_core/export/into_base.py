"""The merged update added to the full weights of the base model, streamed: a few megabytes at a time.

Each weight is W + s B A in float32, rounded once to float16. Everything else is copied. A 4-bit base is refused:
re-quantising keeps 0.2 to 6 % of a typical update (research: merging, section 4).
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.adapters.algebra import Pair
from housebrain_core.adapters.archives import CONFIG, RUN
from housebrain_core.adapters.parallel import map_ahead
from housebrain_core.adapters.tensors import Entry, HashedFile, TensorFile, layout
from housebrain_core.config import MergeConfig
from housebrain_core.errors import ConfigError
from housebrain_core.export.base_weights import FLOATS, find_base_folder, read_shards, write_index
from housebrain_core.manifests import MANIFEST, seal, to_json, write_atomically
from housebrain_core.merge.merge_card import describe_full_model
from housebrain_core.merge.planning import Plan, Recipe, merged_factors, plan_merge, trained_in_4bit
from housebrain_core.merge.strategies import STRATEGIES

BLOCK = 2**18
"""Elements that are worked on at once."""
NOT_COPIED = (MANIFEST, CONFIG, RUN, "merge.json", "trainer_state.json")
"""Files of a base folder that tell of an adapter or of how that folder was made, which is not how this one was."""
LARGEST = torch.finfo(torch.float16).max


def merge_into_base(config: MergeConfig, adapters: list[Adapter], staging: Path, report: Callable[[str], None]) -> dict:
    """Writes a full model: the base plus the merged update, in float16.

    Args:
        config: `into_base` names the base; rank auto means full here, which costs nothing.
        adapters: checked, of one base.
        staging: an empty folder for the model.
        report: gets lines of progress.

    Returns:
        The contents of merge.json.

    Raises:
        AdapterError: a module is not in the base exactly once, or has another shape.
        ConfigError: the base is another one, is quantised, has no safetensors, or does not fit into float16.
    """
    if STRATEGIES[config.strategy].measured or config.scale == "auto":
        raise ConfigError(
            "--into-base adds a merge that is chosen already. Choose it by merging into an adapter first, then: "
            "housebrain merge --models THAT_ADAPTER --into-base BASE --output FOLDER"
        )
    base, revision = find_base_folder(config.into_base, adapters[0])
    recipe = Recipe(config.strategy, STRATEGIES[config.strategy].weigh(adapters, config), config.scale, config.density)
    plan = plan_merge(adapters, recipe, "full" if config.rank == "auto" else config.rank)
    for line in (recipe.describe(adapters), *plan.describe_distance()):
        report(line)
    view, shares, written, losses = _write_better_view(base, adapters, plan, config, staging, report)
    result = {
        "strategy": config.strategy,
        "scale": config.scale,
        "density": config.density if config.strategy == "ties" else None,
        "error_of_strategy": plan.mean_error,
        "rank": plan.rank,
        "base": {"name": adapters[0].base_model, "revision": revision, "view": view},
        "inputs": [{"name": a.name, "sha256": a.sha256, "weight": w}
                   for a, w in zip(adapters, recipe.weights, strict=True)],
        "rounding": shares,
        "validation_losses": losses,
    }  # fmt: skip
    worst = max(shares, key=shares.get)
    report(f"rounding to float16 is at most {shares[worst]:.1%} of the update ({worst})")
    if shares[worst] > 0.1:
        report("WARNING: float16 rounds off more than a tenth of an update; serving base and adapter apart keeps it.")
    write_atomically(staging / "merge.json", to_json(result))
    write_atomically(staging / "README.md", describe_full_model(adapters[0].base_model, result))
    seal(staging, "model", known=written, merged_from=[a.sha256 for a in adapters], base=result["base"])
    return result


def _write_better_view(base: Path, adapters, plan: Plan, config: MergeConfig, staging: Path, report):
    """Writes the model of the view asked for; with validation and view auto both, and the one of lower loss stays.

    Returns:
        The view, the two results of `stream` for it, and the validation loss of each view measured.
    """
    views = [config.base_view]
    if config.base_view == "auto":
        views = ["nf4-dequant", "fp16"] if trained_in_4bit(adapters) else ["fp16"]
        views = views if config.run_validation else views[:1]
        report(f"base view {' and '.join(views)}: what the adapters were trained on" + ", and the better of them stays"
               * (len(views) > 1))  # fmt: skip
    streamed, losses = {}, {}
    for view in views:
        folder = staging / f".{view}"
        folder.mkdir()
        streamed[view] = stream(base, adapters, plan, view, folder, report)
        if config.run_validation:
            losses[view] = _validation_loss(folder, config.data)
            report(f"validation loss {losses[view]:.4f} nats per token  base view {view}")
    kept = min(views, key=lambda view: losses.get(view, 0))
    for path in (staging / f".{kept}").iterdir():
        path.rename(staging / path.name)
    for view in views:
        shutil.rmtree(staging / f".{view}")
    return kept, *streamed[kept], losses


def _validation_loss(folder: Path, data: Path) -> float:
    """Nats per token of a full model, which is loaded whole."""
    from housebrain_core.llm.llm import HouseBrainLLM
    from housebrain_core.splits.encode import read_validation

    sums, tokens = HouseBrainLLM(folder).losses(read_validation(data))
    return sum(sums) / sum(tokens)


def stream(
    base: Path, adapters: list[Adapter], plan: Plan, view: str, output: Path, report=print
) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
    """Copies a base model with the update in it.

    Returns:
        Module -> norm of what rounding to float16 changed, as a share of the update's norm, in its first rows; and
        file -> its size and sha256.
    """
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    shards = read_shards(base, config, adapters[0])
    write_index(shards, output)
    shares: dict[str, float] = {}
    written: dict[str, dict[str, Any]] = {}
    for number, (name, entries) in enumerate(shards.items(), 1):
        kept = {key: _new_type(entry) for key, entry in entries.items()}
        source = TensorFile(base / name)
        with HashedFile(output / name) as target:
            target.write(layout(kept, {"format": "pt"})[0])
            for key, entry in entries.items():
                module = key.removesuffix(".weight")
                if key.endswith(".weight") and module in plan.spectra:
                    factors = merged_factors(adapters, plan, module)
                    for block, share in _merged(source, entry, factors, view):
                        target.write(_bytes(block))
                        shares.setdefault(module, share)
                else:
                    for block in _copied(source, entry, key):
                        target.write(_bytes(block))
        written[name] = target.description
        report(f"wrote {name}, {number} of {len(shards)}")
    config.pop("torch_dtype", None)
    write_atomically(output / "config.json", to_json(config | {"dtype": "float16"}))
    for path in sorted(base.iterdir()):
        other = path.name in NOT_COPIED or path.name.endswith(".index.json") or (output / path.name).exists()
        if path.suffix in (".json", ".txt", ".model", ".jinja") and not other:
            shutil.copyfile(path, output / path.name)
    return shares, written


def _merged(file: TensorFile, entry: Entry, factors: Pair, view: str) -> Iterator[tuple[torch.Tensor, float]]:
    """W + B A in float16, some rows at a time, each with rounding's share of the update in the first."""
    b, a = factors
    height, width = entry.shape
    rows, scales, share = max(1, BLOCK // width), None, 0.0
    if view == "nf4-dequant":
        from housebrain_core.export import nf4  # bitsandbytes, which the other view need not load

        whole = nf4.whole_rows(width)
        rows = max(1, rows // whole) * whole
        scales = nf4.read_scales(_parts(file, entry, rows * width))

    def one(start: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        block = file.read_part(entry, start, min(start + rows, height), dim=0)
        weight = block.float()
        if scales is not None:
            first = start * width // nf4.BLOCK
            weight = nf4.dequantise(block, scales[first : first + -(-weight.numel() // nf4.BLOCK)])
        summed = torch.addmm(weight, b[start : start + rows], a)
        rounded = _to_half(summed, "a merged weight")
        if start:  # measuring it in every block would take longer than the merge
            return rounded, None
        size = (summed - weight).norm()
        return rounded, (rounded.float() - summed).norm() / size if size else size

    for rounded, found in map_ahead(one, range(0, height, rows)):
        share = share if found is None else float(found)
        yield rounded, share


def _copied(file: TensorFile, entry: Entry, name: str) -> Iterator[torch.Tensor]:
    """A tensor that no adapter changes, in float16 where it has floating point."""
    return _parts(file, entry, BLOCK, lambda part: _to_half(part, name) if entry.dtype in FLOATS else part)


def _parts(file: TensorFile, entry: Entry, step: int, change: Callable = lambda part: part) -> Iterator[torch.Tensor]:
    """A tensor of a file in pieces of `step` values, flat, each changed."""
    count = math.prod(entry.shape)
    starts = range(0, count, step)
    return map_ahead(lambda start: change(file.read(entry, start, min(start + step, count))), starts)


def _to_half(block: torch.Tensor, name: str) -> torch.Tensor:
    if block.dtype == torch.float16:
        return block
    half, (low, high) = block.half(), torch.aminmax(block)
    if not max(-low, high) <= LARGEST:
        raise ConfigError(f"{name} has values beyond {LARGEST:g}, the largest of float16; keep base and adapter apart.")
    return half


def _bytes(tensor: torch.Tensor) -> memoryview:
    return memoryview(tensor.contiguous().view(-1).view(torch.uint8).numpy())


def _new_type(entry: Entry) -> tuple[str, tuple[int, ...]]:
    return ("F16" if entry.dtype in FLOATS else entry.dtype, entry.shape)
