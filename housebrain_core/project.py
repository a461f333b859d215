"""Where a notebook's relative paths start, and what to run first where something is not there yet."""

import os
import tomllib
from collections.abc import Iterable
from pathlib import Path

from housebrain_core.errors import ConfigError
from housebrain_core.settings import is_url
from housebrain_core.texts import say

VARIABLE = "HOUSEBRAIN_PROJECT"
SPLITS_MANIFEST = Path("housebrain_splits") / "manifest.json"
ADAPTERS = ("hb-*/adapter_config.json", "hb-*.zip")
"""What lies in a folder of adapters as they come back, as folders and as zips."""


def find_project(start: Path | None = None) -> Path:
    """The project's folder.

    Args:
        start: where to look from, upwards; by default the current folder, which is where Jupyter started the kernel.

    Returns:
        HOUSEBRAIN_PROJECT; else the nearest folder upwards that holds housebrain_splits/manifest.json or HouseBrain's
        pyproject.toml; else `start`. An absolute path.

    Raises:
        ConfigError: HOUSEBRAIN_PROJECT is no absolute path of a folder.
    """
    named = os.environ.get(VARIABLE)
    if named:
        folder = Path(named).expanduser()
        if not folder.is_absolute() or not folder.is_dir():
            raise ConfigError(f"{VARIABLE} = {named}: name a folder that exists, by its absolute path.")
        return folder
    start = (start or Path.cwd()).absolute()
    return next((folder for folder in (start, *start.parents) if _is_project(folder)), start)


def _is_project(folder: Path) -> bool:
    if (folder / SPLITS_MANIFEST).is_file():
        return True
    project = folder / "pyproject.toml"
    if not project.is_file():
        return False
    try:
        return tomllib.loads(project.read_text(encoding="utf-8")).get("project", {}).get("name") == "housebrain"
    except ValueError:  # somebody else's, and not well written
        return False


def enter_project() -> Path:
    """Makes the project's folder the current one, so that relative paths start there, and says so.

    It says the way there from where it started: notebooks are sent with their outputs, and absolute paths name people.

    Returns:
        The folder.

    Raises:
        ConfigError: HOUSEBRAIN_PROJECT is no absolute path of a folder.
    """
    start = Path.cwd()
    folder = find_project()
    os.chdir(folder)
    way = os.path.relpath(folder, start) if folder.anchor == start.anchor else folder.name
    say(f"project: {way} (paths start there; set {VARIABLE} for another)")
    return folder


def check_inputs(setting: str, paths: Path | str | Iterable[Path | str], first: str) -> None:
    """Refuses inputs that are not there.

    Args:
        setting: the name of the setting that names them.
        paths: one input or several, relative to the current folder; addresses of servers are left to who asks them.
        first: what makes them, as a sentence, such as "Run notebook 1 first."

    Raises:
        ConfigError: naming every missing one by its absolute path, and what to do first.
    """
    wanted = [paths] if isinstance(paths, str | Path) else list(paths)
    missing = [str(Path(path).absolute()) for path in wanted if not is_url(path) and not Path(path).exists()]
    if missing:
        raise ConfigError(f"{setting}: nothing is at {' and '.join(missing)}. {first}")


def find_adapters(folder: Path | str) -> list[Path]:
    """The adapters in a folder: sub-folders first, then zips, each in the order of their names.

    Args:
        folder: such as models; a relative one starts in the current folder.

    Returns:
        At least one path.

    Raises:
        ConfigError: there is none; the message names the absolute folder that was looked in.
    """
    folder = Path(folder)
    unpacked = sorted(path.parent for path in folder.glob(ADAPTERS[0]))
    adapters = unpacked + sorted(folder.glob(ADAPTERS[1]))
    if not adapters:
        raise ConfigError(
            f"{folder.absolute()} holds no adapters (hb-*). Train every split with notebook 2 first, or put the "
            "folders and zips that came back there."
        )
    return adapters
