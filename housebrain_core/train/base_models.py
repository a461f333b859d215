"""Which base model a name means, exactly: its commit on the Hub, or a hash over its folder. Needs no torch."""

import json
from pathlib import Path
from textwrap import shorten
from typing import NamedTuple

from housebrain_core.errors import ConfigError
from housebrain_core.manifests import sha256_of


class Base(NamedTuple):
    """Which base model: adapters are merged only when name and revision are equal."""

    name: str  # Hugging Face id, or the name of a folder
    revision: str  # commit on the Hub; for a folder "sha256:" and a hash over its configuration and weights
    source: str  # what to load from: the id, or the folder's path, which differs between machines

    @property
    def commit(self) -> str | None:
        """The commit to load; None for a folder."""
        return None if self.revision.startswith("sha256:") else self.revision


def resolve_base(name: str, revision: str | None = None) -> Base:
    """Finds out exactly which base model a folder or a Hugging Face id is; ConfigError when it cannot be had."""
    if (folder := Path(name).expanduser()).is_dir():
        if revision or not (folder / "config.json").is_file():
            raise ConfigError(f"base_model = {name!r}: a folder needs config.json and no revision (given: {revision}).")
        return Base(folder.name, _hash_folder(folder), str(folder))
    from huggingface_hub import hf_hub_download

    try:  # the cached one where the Hub cannot be reached; its folder is named after the commit
        return Base(name, Path(hf_hub_download(name, "config.json", revision=revision)).parent.name, name)
    except (OSError, ValueError) as error:  # not found, not allowed, no connection, no valid id
        raise ConfigError(
            f"base_model = {name!r} cannot be had from the Hugging Face Hub ({shorten(str(error), 240)}). "
            "Check the name and the Internet connection, or give a folder that holds the model."
        ) from None


def _hash_folder(folder: Path) -> str:
    """A hash over configuration, tokenizer and the weights' sizes, headers and ends: fast, and catches any swap."""
    parts = {}
    for path in [*folder.glob("*.safetensors"), *folder.glob("config.json"), *folder.glob("tokenizer.json")]:
        with path.open("rb") as file:
            head = file.read(2**20)
            file.seek(max(0, path.stat().st_size - 2**20))
            parts[path.name] = [path.stat().st_size, sha256_of(head), sha256_of(file.read())]
    return "sha256:" + sha256_of(json.dumps(parts, sort_keys=True).encode())
