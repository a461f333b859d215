"""Conditions on samples, such as metadata.region=Asia_India: which samples of a dataset are wanted."""

from typing import Any, NamedTuple

from housebrain_core.errors import ConfigError
from housebrain_core.house import codec


class Condition(NamedTuple):
    """A field of a sample by its path, and the value that it must have, as text."""

    path: tuple[str, ...]
    value: str

    def holds(self, sample: dict) -> bool:
        """Whether a sample has that value: a text as it is, everything else as JSON (2, true, null)."""
        found: Any = sample
        for key in self.path:
            if not isinstance(found, dict) or key not in found:
                return False
            found = found[key]
        return (found if isinstance(found, str) else codec.dumps(found)) == self.value

    def describe(self, sample: dict) -> str:
        """What a sample has in its place: its value, or the names that are there."""
        found: Any = sample
        for depth, key in enumerate(self.path):
            if not isinstance(found, dict) or key not in found:
                names = ", ".join(list(found)[:20]) if isinstance(found, dict) else "no fields"
                return f"{'.'.join(self.path[:depth]) or 'the top'} has {names}"
            found = found[key]
        value = codec.dumps(found)
        return f"{'.'.join(self.path)} is {value if len(value) <= 100 else value[:96] + ' ...'}"


def parse_condition(text: str) -> Condition:
    """Reads PATH=VALUE, with a path from the top of a sample such as metadata.region or input.plot.shape.

    Raises:
        ConfigError: it is no condition.
    """
    path, equals, value = text.partition("=")
    keys = tuple(path.strip().split("."))
    if not equals or keys[0] not in ("id", "input", "output", "metadata"):
        raise ConfigError(
            f"where = {text!r} is no condition. Write PATH=VALUE with a path that starts with id, input, output or "
            "metadata, such as metadata.region=Asia_India."
        )
    return Condition(keys, value.strip())
