"""A base model's folder as something to add an update to: whole, unquantised, and with every adapted module.

Only headers are read here; the weights are streamed by into_base.py.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.adapters.tensors import TensorInfo, read_header
from housebrain_core.errors import AdapterError, ConfigError
from housebrain_core.merge.merged_files import reference_adapter
from housebrain_core.train.base_models import download_base, find_trained_base, weight_files, weight_map

FLOATS = ("F16", "BF16", "F32", "F64")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of the base model, and the file that holds it."""

    file: Path
    info: TensorInfo


def find_base_folder(name: str, adapters: list[Adapter]) -> tuple[Path, str]:
    """The base model's folder and revision, downloaded where it is a Hub id.

    Args:
        name: a folder, or an id on the Hub.
        adapters: of one base model.

    Raises:
        ConfigError: it is not the base model that the adapters were trained on.
    """
    adapter = reference_adapter(adapters)
    contents = [adapter.base_content for adapter in adapters if adapter.base_content]
    if not adapter.revision and Path(name).is_dir():
        return Path(name), "unknown: the adapter names no revision"
    trained_on = f"the adapters were trained on {adapter.base}"
    base = find_trained_base(name, adapter.revision, contents[0] if contents else None, trained_on)
    return Path(base.source) if base.commit is None else download_base(base), base.revision


def read_base(folder: Path, config: dict[str, Any], adapter: Adapter) -> dict[str, StoredTensor]:
    """The tensors of a base model that can take the update of an adapter, by name; from the headers of its files.

    Args:
        folder: of the base model.
        config: its config.json.
        adapter: any of those to be merged; they have the same modules.

    Raises:
        AdapterError: a module is not in the base exactly once, or has another shape.
        ConfigError: it is quantised, or has no safetensors, or tensors or files of its index are missing.
    """
    if config.get("quantization_config"):
        raise ConfigError(
            f"{folder} is quantised. Re-quantising would round nearly all of the update away; give the unquantised "
            "base."
        )
    files = weight_files(folder)
    missing = [path.name for path in files if path.parent != folder or "\\" in path.name or not path.is_file()]
    if missing:
        raise ConfigError(f"{folder} lacks {', '.join(missing)}; a base model in safetensors is needed, whole.")
    places: dict[str, list[StoredTensor]] = {}
    for path in files:
        for name, info in read_header(path, ConfigError).items():
            places.setdefault(name, []).append(StoredTensor(path, info))
    _check_modules(adapter, places, config)
    _check_whole(folder, places)
    return {name: tensors[0] for name, tensors in places.items()}


def stores_transposed(config: dict[str, Any]) -> bool:
    """Whether a base model stores its weights as (in_features, out_features): those with transformers' Conv1D do."""
    return config.get("model_type") in ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")


def _check_modules(adapter: Adapter, places: dict[str, list[StoredTensor]], config: dict[str, Any]) -> None:
    """Every module of the adapter is in the base exactly once, as a floating-point matrix of its size."""
    problems = []
    for module, (out_features, in_features) in adapter.sizes.items():
        size = (in_features, out_features) if stores_transposed(config) else (out_features, in_features)
        tensors = places.get(f"{module}.weight", [])
        if config.get("tie_word_embeddings") and module.endswith("lm_head"):
            problems.append(f"{module} has the weights of the embeddings; only an adapter can change the one alone")
        elif len(tensors) != 1:
            problems.append(f"{module}.weight is in it {len(tensors)} times; expected once")
        elif tensors[0].info.shape != size or tensors[0].info.dtype not in FLOATS:
            info = tensors[0].info
            problems.append(f"{module}.weight is {list(info.shape)} of {info.dtype}, the update {size}")
    if problems:
        raise AdapterError("the adapter does not fit the base model:\n  " + "\n  ".join(problems[:10]))


def _check_whole(folder: Path, places: dict[str, list[StoredTensor]]) -> None:
    """Every tensor of the index is in the base exactly once; a missing one would be made of random numbers on loading.

    Raises:
        ConfigError: naming the first ten that are not.
    """
    counts = {name: len(places.get(name, [])) for name in sorted(places.keys() | weight_map(folder).keys())}
    wrong = [f"{name} is in it {count} times; expected once" for name, count in counts.items() if count != 1]
    if wrong:
        lines = "\n  ".join(wrong[:10])
        raise ConfigError(f"{folder} is not the whole base model:\n  {lines}\nDownload or copy it again.")
