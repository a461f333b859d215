"""The libraries that training needs, put beside what the platform has, without moving torch or numpy."""

import importlib.metadata
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from housebrain_core.cloud.doctor import CLICKS
from housebrain_core.errors import MachineError
from housebrain_core.platforms import Platform
from housebrain_core.texts import say

INSTALLED = (
    "accelerate", "bitsandbytes", "huggingface-hub", "peft", "safetensors", "tokenizers", "transformers",
)  # fmt: skip
"""What is installed; all else comes with the platform."""


def read_pins() -> dict[str, str]:
    """Version of each of these libraries by its name, from the package's lock file."""
    lines = resources.files("housebrain_core").joinpath("constraints.txt").read_text(encoding="utf-8").splitlines()
    versions = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    return {name: versions[name] for name in INSTALLED}


PINS = read_pins()
KEPT = (
    "torch", "torchvision", "torchaudio", "triton", "numpy", "pandas", "pyarrow", "scipy", "pillow", "protobuf",
    "datasets", "pydantic", "fsspec",
)  # fmt: skip
"""What pip may not move: much of it is loaded before the first cell runs."""


def install_libraries(platform: Platform, report: Callable[[str], None] = say) -> None:
    """Installs the pins that differ, removes torchao, and checks that what is loaded is what lies on disk.

    peft refuses to work beside the old torchao that both platforms have, and nothing here needs it.

    Args:
        platform: where we are.
        report: gets a line that says what is installed.

    Raises:
        MachineError: pip failed, or the session has to be restarted; the message says what to click.
    """
    versions = installed_versions()
    wanted = [f"{name}=={version}" for name, version in PINS.items() if versions.get(name) != version]
    if wanted:
        report(f"installing {', '.join(wanted)} (a minute or two)")
        kept = Path(tempfile.gettempdir()) / "housebrain_constraints.txt"
        kept.write_text("".join(f"{name}=={versions[name]}\n" for name in KEPT if name in versions))
        run_pip(platform, "install", "-q", "-c", str(kept), "--upgrade-strategy", "only-if-needed", *wanted)
    else:
        report("all libraries are here in the right versions; nothing is installed")
    if "torchao" in versions:
        run_pip(platform, "uninstall", "-q", "-y", "torchao")
    stale = find_stale()
    if stale:
        raise MachineError(f"{'; '.join(stale)}. {CLICKS[platform]['restart']}")


def installed_versions() -> dict[str, str]:
    """The version on disk of every library, by its name; of several, the one that Python would load."""
    versions: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = (distribution.metadata["Name"] or "").lower().replace("_", "-")
        versions.setdefault(name, distribution.version)
    return versions


def run_pip(platform: Platform, *arguments: str) -> None:
    """Runs pip without showing its output; the MachineError of a failure quotes the end of it."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        tail = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise MachineError(f"pip {arguments[0]} failed:\n{tail}\n{CLICKS[platform]['restart']}")


def find_stale() -> list[str]:
    """Libraries that were replaced after Python had loaded them: their loaded version is not the one on disk."""
    versions = installed_versions()
    stale: list[str] = []
    for name in ("numpy", "torch", *PINS):
        loaded = getattr(sys.modules.get(name.replace("-", "_")), "__version__", None)
        if loaded and name in versions and loaded.partition("+")[0] != versions[name].partition("+")[0]:
            stale.append(f"{name} is loaded as {loaded} and lies on disk as {versions[name]}")
    return stale
