"""Results as they come, a line of JSON each, so that a killed run continues where it was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Journal:
    """The rows of a JSONL file by their key; a row that was cut off by a kill does not count.

    Args:
        path: the file; it is made with the first row.
        key_of: the key of a row; it raises ValueError, KeyError or TypeError for a row that is none.
    """

    def __init__(self, path: Path, key_of: Callable[[Any], Any]) -> None:
        self.path = path
        self.key_of = key_of
        self.rows: dict[Any, Any] = {}
        for line in path.read_bytes().split(b"\n") if path.is_file() else []:
            try:
                row = json.loads(line)
                self.rows[key_of(row)] = row
            except (ValueError, KeyError, TypeError, RecursionError):  # torn by a kill, or an empty line
                continue

    def add(self, row: Any) -> None:
        """Notes a row, on disk too, under its key."""
        self.rows[self.key_of(row)] = row
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(row))  # a new line first: the last one may be torn
