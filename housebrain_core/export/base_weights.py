"""A base model's folder as something to add an update to: found, whole, unquantised, and with every adapted module.

Only headers are read here; the weights are streamed by into_base.py.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.adapters.tensors import DTYPES, Entry, read_header
from housebrain_core.errors import AdapterError, ConfigError
from housebrain_core.manifests import to_json, write_atomically
from housebrain_core.train.base_models import resolve_base

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOATS = ("F16", "BF16", "F32", "F64")

Shards = dict[str, dict[str, Entry]]
"""File name -> its tensors, in the order of their bytes."""


def find_base_folder(name: str, adapter: Adapter) -> tuple[Path, str]:
    """The base model's folder and revision, downloaded where it is a Hub id.

    Raises:
        ConfigError: it is not the base model that the adapter was trained on.
    """
    if not adapter.revision and Path(name).is_dir():
        return Path(name), "unknown: the adapter names no revision"
    base = resolve_base(name, None if Path(name).expanduser().is_dir() else adapter.revision)
    if adapter.revision and base.revision != adapter.revision:
        raise ConfigError(
            f"the adapters were trained on {adapter.base_model} at {adapter.revision}; {name} is {base.revision}. "
            "Give the very base model they were trained on."
        )
    if Path(base.source).is_dir():
        return Path(base.source), base.revision
    return _download(base.source, base.revision), base.revision


def read_shards(base: Path, config: dict[str, Any], adapter: Adapter) -> Shards:
    """The headers of a base model that can take the update of an adapter.

    Args:
        base: its folder.
        config: its config.json.
        adapter: any of those to be merged; they have the same modules.

    Raises:
        AdapterError: a module is not in the base exactly once, or has another shape.
        ConfigError: it is quantised, or has no safetensors, or tensors or files of its index are missing.
    """
    shards = {path.name: read_header(path, ConfigError) for path in _find_shards(base, config)}
    _check_modules(adapter, shards)
    _check_whole(base, shards)
    return shards


def write_index(shards: Shards, output: Path) -> None:
    """The index of the new files, unless the only one has the name that needs none."""
    if list(shards) == [SINGLE]:
        return
    size = 0
    for entries in shards.values():
        for entry in entries.values():
            width = 2 if entry.dtype in FLOATS else DTYPES[entry.dtype].itemsize
            size += (entry.end - entry.start) // DTYPES[entry.dtype].itemsize * width
    weight_map = {key: name for name, entries in shards.items() for key in entries}
    write_atomically(output / INDEX, to_json({"metadata": {"total_size": size}, "weight_map": weight_map}))


def _download(name: str, revision: str) -> Path:
    """The folder of a model of the Hub in its cache, completed where the Hub can be reached."""
    import httpx  # what huggingface_hub fetches with, and whose errors it lets through
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    patterns = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, httpx.TransportError, OfflineModeIsEnabled):  # `read_shards` says what the cache lacks
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns, local_files_only=True))


def _find_shards(base: Path, config: dict[str, Any]) -> list[Path]:
    """The files of a base model that can take an update.

    Raises:
        ConfigError: it is quantised, or has no safetensors, or files of its index are missing.
    """
    if config.get("quantization_config"):
        raise ConfigError(
            f"{base} is quantised. Re-quantising would round nearly all of the update away; give the unquantised base."
        )
    names = sorted(set(_weight_map(base).values())) or [SINGLE]
    missing = [name for name in names if "/" in name or "\\" in name or not (base / name).is_file()]
    if missing:
        raise ConfigError(f"{base} lacks {', '.join(missing)}; a base model in safetensors is needed, whole.")
    return [base / name for name in names]


def _weight_map(base: Path) -> dict[str, str]:
    """Tensor -> file from the index; empty where there is none, or where a single file goes before it.

    transformers too takes model.safetensors first, whatever the index says.
    """
    if not (base / INDEX).is_file():
        return {}
    files = json.loads((base / INDEX).read_text(encoding="utf-8"))["weight_map"]
    return {} if (base / SINGLE).is_file() and SINGLE not in files.values() else files


def _check_whole(base: Path, shards: Shards) -> None:
    """Every tensor of the index is in the base exactly once; a missing one would be made of random numbers on loading.

    Raises:
        ConfigError: naming the first ten that are not.
    """
    counts = Counter(key for entries in shards.values() for key in entries)
    wrong = sorted(key for key in counts.keys() | _weight_map(base).keys() if counts[key] != 1)
    if wrong:
        lines = "\n  ".join(f"{key} is in it {counts[key]} times; expected once" for key in wrong[:10])
        raise ConfigError(f"{base} is not the whole base model:\n  {lines}\nDownload or copy it again.")


def _check_modules(adapter: Adapter, shards: Shards) -> None:
    """Every module of the adapter is in the base exactly once, as a floating-point matrix of its size."""
    found: dict[str, list[Entry]] = {}
    for entries in shards.values():
        for key, entry in entries.items():
            found.setdefault(key, []).append(entry)
    problems = []
    for module, size in adapter.sizes.items():
        entries = found.get(f"{module}.weight", [])
        if len(entries) != 1:
            problems.append(f"{module}.weight is in it {len(entries)} times; expected once")
        elif entries[0].shape != size or entries[0].dtype not in FLOATS:
            problems.append(f"{module}.weight is {list(entries[0].shape)} of {entries[0].dtype}, the update {size}")
    if problems:
        raise AdapterError("the adapter does not fit the base model:\n  " + "\n  ".join(problems[:10]))
