"""Whether a result may be written where a person wants it, asked before the work and not after it."""

import json
from pathlib import Path

from housebrain_core.errors import ConfigError


def check_file(path: Path, keys: set[str] | None = None) -> None:
    """Refuses a file name that cannot be written to, or that has what no earlier run wrote.

    Args:
        path: the file that will be written.
        keys: what a JSON file of an earlier run has; such a file is replaced, any other stays. None replaces all.

    Raises:
        ConfigError: it is a folder, a file stands where its folder would be, or it holds something else.
    """
    if path.is_dir():
        raise ConfigError(f"output = {path}: that is a folder; name a file, such as {path / 'result'}{path.suffix}.")
    _check_folder_above(path)
    if keys and path.is_file() and not keys <= _keys_of(path):
        raise ConfigError(f"{path} holds something that no earlier run of this command wrote. Choose another --output.")


def check_folder(path: Path) -> None:
    """Refuses a folder name that is a file's, or below one.

    Raises:
        ConfigError: naming it.
    """
    if path.is_file():
        raise ConfigError(f"output = {path}: that is a file; name a folder.")
    _check_folder_above(path)


def _check_folder_above(path: Path) -> None:
    wrong = next((parent for parent in path.absolute().parents if parent.exists() and not parent.is_dir()), None)
    if wrong:
        raise ConfigError(f"output = {path}: {wrong} is a file, so that nothing can be written below it.")


def _keys_of(path: Path) -> set[str]:
    try:
        value = json.loads(path.read_bytes())
    except ValueError:
        return set()
    return set(value) if isinstance(value, dict) else set()
