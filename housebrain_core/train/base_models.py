"""Which base model a name means, exactly: its commit on the Hub and a hash over its contents. Needs no torch."""

import json
import re
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

from housebrain_core.adapters.archives import SIZE_LIMITS
from housebrain_core.adapters.run import HASH_PREFIX
from housebrain_core.adapters.tensors import read_header
from housebrain_core.contents import read_json
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.manifests import sha256_of
from housebrain_core.texts import is_file_name

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SAMPLED = 2**20
"""Bytes at both ends of a file that its hash is made of, beside its size: fast, and any other model differs there."""
COMMIT = re.compile(r"[0-9a-f]{40}")
SIZES = {
    **dict.fromkeys(("vocab_size", "max_position_embeddings", "n_positions", "n_ctx"), 2**27),
    **dict.fromkeys(("hidden_size", "intermediate_size", "n_embd", "n_inner"), 2**20),
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads", "head_dim", "n_head"), 2**14),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 2**14),
    **dict.fromkeys(("num_hidden_layers", "n_layer"), 2**10),
}
"""Sizes in a config.json, and how large each can be: ten times those of the largest models, and more."""
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
"""Files that a tokenizer's vocabulary may be in."""
PICKLED = "its weights are pickled, which could run code and is not read; it is needed in safetensors"
TINY = re.compile(r"tiny-[0-9a-f]{12}")
"""What the folder of a tiny base model is called, by its recipe."""
NUMBERED = re.compile(r"\D*?\.(\d+)\.")
"""The number of a layer in a tensor's name."""


class Base(NamedTuple):
    """Which base model, and where it is on this machine."""

    name: str
    """Id on the Hugging Face Hub, or the name of a folder."""
    revision: str
    """Commit on the Hub; for a folder its content hash."""
    source: str
    """What to load from: the id, or the folder's path, which differs between machines."""

    @property
    def commit(self) -> str | None:
        """The commit to load; None for a folder."""
        return None if self.revision.startswith(HASH_PREFIX) else self.revision

    @property
    def folder(self) -> Path | None:
        """Where the files are on this machine; None for a model of the Hub that is not in the cache."""
        if self.commit is None:
            return Path(self.source)
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(self.name, "config.json", revision=self.revision)
        return Path(cached).parent if isinstance(cached, str) else None

    @property
    def content(self) -> str | None:
        """Hash over configuration, tokenizer and weights, the same wherever the model lies; None before a download."""
        whole = self.commit is None or (self.folder is not None and all(map(Path.is_file, weight_files(self.folder))))
        return hash_content(self.folder) if whole and self.folder else None


def resolve_base(name: str, revision: str | None = None) -> Base:
    """Finds out exactly which base model a folder or a Hugging Face id is.

    Args:
        name: a folder with the model, its id on the Hub, or tiny.
        revision: commit on the Hub; the newest when None. A folder has none.

    Returns:
        The base model; of one on the Hub, only the configuration is downloaded.

    Raises:
        ConfigError: it cannot be had.
    """
    name = locate_base(name)
    if (folder := Path(name).expanduser()).exists():
        if revision or not (folder / "config.json").is_file():
            what = f"a folder has no revision {revision}; leave it out" if revision else "it holds no config.json"
            raise ConfigError(f"base_model = {name}: {what}. Name the folder of a whole model, or an id of the Hub.")
        if any(folder.glob("*.bin")) and not (folder / SINGLE).is_file() and not (folder / INDEX).is_file():
            raise ConfigError(f"base_model = {name!r}: {PICKLED}.")
        return Base(folder.name, hash_content(folder), str(folder))
    from huggingface_hub import hf_hub_download

    try:  # the cached one where the Hub cannot be reached; its folder is named after the commit
        return Base(name, Path(hf_hub_download(name, "config.json", revision=revision)).parent.name, name)
    except (OSError, ValueError) as error:  # not found, not allowed, no connection, no valid id
        raise ConfigError(
            f"base_model = {name!r} cannot be had from the Hugging Face Hub ({shorten(str(error), 240)}). "
            "Check the name and the Internet connection, or give a folder that holds the model."
        ) from None


def check_base(base: Base) -> None:
    """Refuses a base model that is not whole, or whose sizes cannot be, before anything of it is loaded.

    Args:
        base: of one on the Hub, only the sizes are looked at; what it lacks is downloaded.

    Raises:
        ConfigError: naming what is wrong.
    """
    folder = base.folder
    if folder is None:
        return
    config = read_base_config(folder)
    problems = check_sizes(config)
    if not problems and base.commit is None:
        problems = _check_texts(folder) + _check_weights(folder, config)
    if problems:
        raise ConfigError(
            f"base_model = {base.source!r}: {'; '.join(problems[:5])}. Download or copy it again, or take another."
        )


def read_base_config(folder: Path) -> dict[str, Any]:
    """The config.json of a base model's folder; ConfigError where it is none."""
    path = folder / "config.json"
    try:
        return read_json(path)
    except DataError as error:
        raise ConfigError(f"{path} {error}. Download or copy it again.") from None


def check_sizes(config: dict[str, Any]) -> list[str]:
    """The sizes of a config.json, or of the language model in it, that no model has."""
    inner = config.get("text_config")
    values = {**(inner if isinstance(inner, dict) else {}), **config}
    return [
        f"its config.json has {name} = {shorten(repr(value), 40)}; expected a whole number up to {limit:,}"
        for name, limit in SIZES.items()
        if (value := values.get(name)) is not None and not (type(value) is int and 1 <= value <= limit)
    ]


def _check_texts(folder: Path) -> list[str]:
    """What a folder lacks of a tokenizer, and texts that transformers does not read."""
    for path in filter(Path.is_file, folder.glob("*.json")):
        with path.open("rb") as file:
            if file.read(3) == b"\xef\xbb\xbf":
                return [f"its {path.name} begins with a byte order mark: save it as UTF-8 without one"]
    if (path := folder / TOKENIZERS[0]).is_file():
        try:
            parts = read_json(path, SIZE_LIMITS[path.name])
        except DataError as error:
            return [f"its tokenizer.json {error}"]
        return [] if isinstance(parts.get("model"), dict) else ["its tokenizer.json holds no tokenizer"]
    there = any((folder / name).is_file() for name in TOKENIZERS) or any(folder.glob("*.tiktoken"))
    return [] if there else [f"it has no tokenizer (none of {', '.join(TOKENIZERS)})"]


def _check_weights(folder: Path, config: dict[str, Any]) -> list[str]:
    """What a folder lacks of its weights, and where they are not those of its config.json; from their headers."""
    files = weight_files(folder)
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        return [f"it lacks {', '.join(missing[:5])}"]
    shapes = {name: info.shape for path in files for name, info in read_header(path, ConfigError).items()}
    problems = [f"it lacks {name}" for name in weight_map(folder) if name not in shapes]
    layers = config.get("num_hidden_layers", config.get("n_layer"))
    held = 1 + max((int(match[1]) for name in shapes if (match := NUMBERED.match(name))), default=-1)
    if layers is not None and layers > held:
        problems.append(f"its config.json has {layers} layers, its weights {held}")
    lengths = {length for shape in shapes.values() for length in shape}
    for name in ("vocab_size", "hidden_size", "n_embd"):
        if config.get(name) is not None and config[name] not in lengths:
            problems.append(f"its config.json has {name} = {config[name]}, which no tensor of its weights has")
    return problems


def locate_base(name: str) -> str:
    """Where a base model is on this machine: the folder of `tiny`, or of one that the demo made; else its name."""
    if name != "tiny" and not TINY.fullmatch(name):
        return name
    from housebrain_core.train.tiny import cache_folder, tiny_base

    made = tiny_base() if name == "tiny" else cache_folder() / name
    return str(made) if made.is_dir() else name


def find_trained_base(source: str, revision: str | None, content: str | None, trained_on: str) -> Base:
    """The base model that an adapter was trained on, wherever a person has it: contents decide, else the commit.

    Args:
        source: a folder, an id on the Hub, or tiny.
        revision: what the adapter's configuration names: a commit, a folder's content hash, or None.
        content: the content hash that its run recorded, where it did.
        trained_on: who was trained on what, for the message.

    Raises:
        ConfigError: it cannot be had, or is another base model.
    """
    source = locate_base(source)
    in_folder = Path(source).expanduser().is_dir()
    is_commit = revision is not None and not revision.startswith(HASH_PREFIX)
    base = resolve_base(source, revision if is_commit and not in_folder else None)
    if is_same_base(base, revision, content):
        return base
    if not in_folder and not is_commit:  # the newest on the Hub may be what a folder held
        download_base(base)
        if is_same_base(base, revision, content):
            return base
    raise ConfigError(f"{trained_on}; {source} is {base.revision}. Give the very base model of the training.")


def is_same_base(base: Base, revision: str | None, content: str | None) -> bool:
    """Whether a base model on this machine is the one that an adapter names; see `find_trained_base`.

    Contents decide where both are known, else the commit; an adapter that names no revision fits any.
    """
    if revision is None or revision == base.revision:
        return True
    content = revision if revision.startswith(HASH_PREFIX) else content
    here = base.content
    if here and content:
        return here == content
    return revision == (base.commit or find_commit(Path(base.source)))


def find_commit(folder: Path) -> str | None:
    """The commit that a folder says it holds: its name in the Hub's cache, or what a download noted beside its files.

    Sources: huggingface_hub, "Understand caching" (snapshots/COMMIT) and `local_dir` (.cache/huggingface/download).
    """
    resolved = folder.resolve()
    if resolved.parent.name == "snapshots" and COMMIT.fullmatch(resolved.name):
        return resolved.name
    files = [folder / "config.json", *weight_files(folder)]
    notes = [folder / ".cache/huggingface/download" / f"{path.name}.metadata" for path in files]
    if not all(note.is_file() for note in notes):
        return None
    commits = {note.read_text(encoding="utf-8").partition("\n")[0].strip() for note in notes}
    commit = commits.pop()
    return commit if not commits and COMMIT.fullmatch(commit) else None


def hash_content(folder: Path) -> str:
    """A hash over configuration, tokenizer, and sizes, headers and ends of the weights: "sha256:" and 64 digits."""
    parts = {}
    for path in [folder / "config.json", folder / "tokenizer.json", *weight_files(folder)]:
        if path.is_file():
            with path.open("rb") as file:
                head = file.read(SAMPLED)
                file.seek(max(0, path.stat().st_size - SAMPLED))
                parts[path.name] = [path.stat().st_size, sha256_of(head), sha256_of(file.read())]
    return HASH_PREFIX + sha256_of(json.dumps(parts, sort_keys=True).encode())


def weight_files(folder: Path) -> list[Path]:
    """The files that a model's weights are loaded from, whether they are there or not."""
    return [folder / name for name in sorted(set(weight_map(folder).values())) or [SINGLE]]


def weight_map(folder: Path) -> dict[str, str]:
    """Tensor -> file from a model's index; empty where there is none, or where a single file goes before it.

    transformers too takes model.safetensors first, whatever the index says.
    """
    if not (folder / INDEX).is_file():
        return {}
    try:
        files = read_json(folder / INDEX).get("weight_map")
    except DataError as error:
        raise ConfigError(f"{folder / INDEX} {error}. Download or copy it again.") from None
    if not isinstance(files, dict) or not all(isinstance(name, str) and is_file_name(name) for name in files.values()):
        raise ConfigError(f"{folder / INDEX} does not say which tensors are in which files. Download it again.")
    return {} if (folder / SINGLE).is_file() and SINGLE not in files.values() else files


def download_base(base: Base) -> Path:
    """The folder of a model of the Hub in its cache, completed where the Hub can be reached."""
    import httpx  # what huggingface_hub fetches with, and whose errors it lets through
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    patterns = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
    try:
        return Path(snapshot_download(base.name, revision=base.revision, allow_patterns=patterns))
    except (HfHubHTTPError, httpx.TransportError, OfflineModeIsEnabled):  # who reads the folder says what it lacks
        return Path(
            snapshot_download(base.name, revision=base.revision, allow_patterns=patterns, local_files_only=True)
        )


def with_known_class(tokenizer_config: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer_config.json whose class other tools know, without what only this machine needs."""
    kept = {key: value for key, value in tokenizer_config.items() if key not in ("is_local", "local_files_only")}
    if kept.get("tokenizer_class") in ("TokenizersBackend", "PreTrainedTokenizerFast"):
        kept["tokenizer_class"] = "PreTrainedTokenizerFast"
        kept.setdefault("model_input_names", ["input_ids", "attention_mask"])  # version 4 adds what generate refuses
    return kept
