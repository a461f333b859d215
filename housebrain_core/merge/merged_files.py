"""The files of a merged adapter: weights, configuration, tokenizer, run.json and README.md."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.adapters.archives import CONFIG, RUN, TOKENIZER, WEIGHTS
from housebrain_core.adapters.run import HASH_PREFIX, BaseRecord, DataRecord, Run, SettingsRecord
from housebrain_core.adapters.tensors import TensorInfo, read_json, tensor_name, write_tensors
from housebrain_core.errors import AdapterError
from housebrain_core.manifests import to_json, write_atomically
from housebrain_core.merge.compute import Pair
from housebrain_core.merge.result import common_value
from housebrain_core.train.base_models import with_known_class

TOKENIZER_CONFIG = "tokenizer_config.json"


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
        "base_model_name_or_path": reference.base_model,
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
        plan=common_value([run.plan for run in runs]),
        leg=common_value([run.leg for run in runs]),
        legs=common_value([run.legs for run in runs]),
        parent_sha256=common_value([run.parent_sha256 for run in runs]),
        base=BaseRecord(name=reference.base_model, revision=reference.revision, content=content),
        settings=SettingsRecord(load_in_4bit=all(adapter.trained_in_4bit for adapter in adapters)),
        data=DataRecord(dataset=common_value([run.data.dataset for run in runs])),
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
            config = read_json((folder / TOKENIZER_CONFIG).read_bytes())
        except ValueError as error:
            raise AdapterError(f"{source / TOKENIZER_CONFIG} is not JSON ({error}). Copy it again.") from None
        write_atomically(folder / TOKENIZER_CONFIG, to_json(with_known_class(config)))
