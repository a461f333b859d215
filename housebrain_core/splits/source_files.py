"""The source files of this package: every bundle carries them, and a notebook names the hash of those it runs."""

import hashlib
import json
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable

PACKAGE = "housebrain_core"
KINDS = (".py", ".jinja", ".html", ".txt")
"""Endings of the files that belong to the package."""
AT_HOME = {f"{PACKAGE}/{name}" for name in ("cli.py", "flags.py", "demo.py", "merge", "export")}
"""What only the person who merges runs; without it, the code adds less than 250 kB to a bundle."""


def read_source() -> dict[str, str]:
    """The source files of the running package that a session can run, which is all but `AT_HOME`.

    Returns:
        Name, such as housebrain_core/config.py, -> text, in which every line ends with a line feed.
    """
    return dict(sorted(_walk(resources.files(PACKAGE), PACKAGE)))


def hash_source(files: dict[str, str]) -> str:
    """The sha256 over names and texts, in hexadecimal; the train notebook computes the same before it imports anything.

    Args:
        files: as `read_source` gives them.
    """
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _walk(folder: Traversable, name: str) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        inside = f"{name}/{entry.name}"
        if entry.name.startswith(".") or inside in AT_HOME:  # a hidden one is an editor's
            continue
        if entry.is_dir():
            yield from _walk(entry, inside)
        elif entry.name.endswith(KINDS):
            yield inside, entry.read_text(encoding="utf-8")  # which makes every newline \n
