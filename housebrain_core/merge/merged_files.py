"""The files of a merge: weights, configuration, tokenizer and run.json of an adapter, and README.md of any result."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.adapters.folders import CONFIG, RUN, TOKENIZER, WEIGHTS
from housebrain_core.adapters.run import HASH_PREFIX, BaseRecord, DataRecord, Run, SettingsRecord
from housebrain_core.adapters.tensors import TensorInfo, tensor_name, write_tensors
from housebrain_core.contents import read_json
from housebrain_core.errors import AdapterError, DataError
from housebrain_core.house.briefs import SANITY_BRIEF, check_brief
from housebrain_core.house.codec import write_prompt
from housebrain_core.manifests import to_json, write_atomically
from housebrain_core.merge.compute import Pair
from housebrain_core.merge.result import MergeRecord, MergeResult, common_place, common_value
from housebrain_core.texts import render
from housebrain_core.train.base_models import with_known_class

TOKENIZER_CONFIG = "tokenizer_config.json"
CHOSEN = ("dataset", "selection")
"""What a merged adapter's record says of its data, where all inputs agree."""


def write_adapter(
    folder: Path, adapters: list[Adapter], rank: int, factors: Callable[[str], Pair], alpha: int | None = None
) -> None:
    """Writes an adapter without its manifest.

    Args:
        folder: exists.
        adapters: what it is made of.
        rank: of every module.
        factors: module -> (B, A).
        alpha: the update is alpha / rank x B @ A; the rank when None, so that every server reads the same scaling, 1.
    """
    _write_weights(folder / WEIGHTS, adapters[0].sizes, rank, factors)
    reference = reference_adapter(adapters)
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": next((adapter.task_type for adapter in adapters if adapter.task_type), None),
        "base_model_name_or_path": reference.public_base,
        "revision": reference.revision,
        "r": rank,
        "lora_alpha": alpha or rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "fan_in_fan_out": any(adapter.fan_in_fan_out for adapter in adapters),
        "target_modules": sorted(adapters[0].sizes),  # in full: a last part such as q_proj may name other modules too
        "inference_mode": True,
    }
    write_atomically(folder / CONFIG, to_json(config))
    write_atomically(folder / RUN, to_json(merged_run(adapters).to_dict()))
    _copy_tokenizer(adapters[0].folder, folder)


def _write_weights(path: Path, sizes: dict[str, tuple[int, int]], rank: int, factors: Callable[[str], Pair]) -> None:
    infos = {}
    places = {}
    for module, (out_features, in_features) in sizes.items():
        for index, side, shape in ((0, "B", (out_features, rank)), (1, "A", (rank, in_features))):
            infos[tensor_name(module, side)] = TensorInfo("F32", shape)
            places[tensor_name(module, side)] = module, index
    pair_of = functools.lru_cache(maxsize=1)(factors)  # A and B of a module follow each other

    def read(name: str) -> np.ndarray:
        module, index = places[name]
        return pair_of(module)[index]

    with threadpool_limits(1):
        write_tensors(path, infos, read)


def reference_adapter(adapters: list[Adapter]) -> Adapter:
    """The adapter that names the base model for all: one that names a commit, which a person can download."""
    commits = [adapter for adapter in adapters if adapter.revision and not adapter.revision.startswith(HASH_PREFIX)]
    named = [adapter for adapter in adapters if adapter.base_model]
    return (commits or named or adapters)[0]


def merged_run(adapters: list[Adapter]) -> Run:
    """What evaluation and generation need to know of the runs that were merged."""
    runs = [adapter.run for adapter in adapters if adapter.run]
    reference = reference_adapter(adapters)
    contents = [adapter.base_content for adapter in adapters if adapter.base_content]
    content = contents[0] if contents else None
    return Run(
        finished=True,
        why_it_ended=f"merged from {len(adapters)} adapters",
        **common_place(runs),
        base=BaseRecord(name=reference.public_base, revision=reference.revision, content=content),
        settings=SettingsRecord(load_in_4bit=all(adapter.trained_in_4bit for adapter in adapters)),
        data=DataRecord(**{name: common_value([getattr(run.data, name) for run in runs]) for name in CHOSEN}),
        tokens=sum(run.tokens or 0 for run in runs),
        samples=sum(run.samples or 0 for run in runs),
    )


def _copy_tokenizer(source: Path, folder: Path) -> None:
    """Copies the tokenizer of an adapter, with a class that other tools know."""
    for name in TOKENIZER:
        if (source / name).is_file():
            write_atomically(folder / name, (source / name).read_bytes())
    if (folder / TOKENIZER_CONFIG).is_file():
        try:
            config = read_json(folder / TOKENIZER_CONFIG)
        except DataError as error:
            raise AdapterError(f"{source / TOKENIZER_CONFIG} {error}. Copy it again.") from None
        write_atomically(folder / TOKENIZER_CONFIG, to_json(with_known_class(config)))


def describe_merged_adapter(base_model: str | None, result: MergeResult) -> str:
    """README.md of a merged adapter, from its merge.json."""
    verdict = f". On validation samples {result.validation.verdict}" if result.validation else "."
    text = (
        f"{describe_recipe(result)}. Written at rank {result.rank}, which changed it by {result.relative_error:.2e} "
        f"(relative Frobenius distance){verdict}"
    )
    return merge_card(base_model, "peft", text, result)


def describe_recipe(result: MergeRecord) -> str:
    """What was merged, and how."""
    used = sum(entry.weight != 0 for entry in result.inputs)
    given = len(result.inputs)
    text = f"{used} adapter{'s' * (used != 1)}"
    if used < given:
        text += f" of {given}"
    text += f", strategy {result.strategy}"
    if result.density is not None:
        text += f", density {result.density:g}"
    text += f", scale {result.scale:g}"
    if result.outer_rate != 1:
        text += f", {result.outer_rate:g} times as far from what they were trained from as their mean is"
    if result.error_of_strategy:
        text += f", {result.error_of_strategy:.1%} away from the exact mean of the updates"
    return text


def merge_card(base_model: str | None, library: str, text: str, result: MergeRecord) -> str:
    """README.md with the front matter that the Hugging Face Hub reads.

    Args:
        base_model: its id on the Hub, or the name of a folder; None where it is not known.
        library: what loads it, such as peft.
        text: what it is, a paragraph.
        result: what was merged; its notices come before everything else.
    """
    prompt = write_prompt(check_brief(SANITY_BRIEF))
    values = {"base_model": base_model, "library": library, "text": text, "prompt": prompt}
    values |= {"inputs": result.inputs, "notices": result.notices, "selection": result.selection}
    return render("merge", "card.md.jinja", **values)
