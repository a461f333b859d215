"""adapter_model.bin, a pickle, made into safetensors: only when asked for, and in a process of its own with limits.

torch.load(weights_only=True) executed code below torch 2.6 (CVE-2025-32434), so that it is refused there.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten

from packaging.version import Version

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.adapters.folders import CONFIG, WEIGHTS
from housebrain_core.config import ConvertConfig
from housebrain_core.errors import AdapterError
from housebrain_core.texts import say

PICKLE = "adapter_model.bin"
SCRIPT = Path(__file__).with_name("unpickle.py")


def convert_adapters(config: ConvertConfig, report: Callable[[str], None] = say) -> None:
    """Writes adapter_model.safetensors beside adapter_model.bin, which stays and is never read again.

    Args:
        config: folders, and the limits of the process that reads them.
        report: gets a line for each folder.

    Raises:
        AdapterError: there is none, the result is there already, it needs more than its limits, is no table of
            tensors, or what it holds is no adapter that could be merged; nothing is written then.
    """
    import torch

    if Version(torch.__version__) < Version("2.6"):
        raise AdapterError(f"torch {torch.__version__} may run code from a pickle (CVE-2025-32434); 2.6 is needed.")
    for folder in config.models:
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise AdapterError(f"{folder} {what}. Give the folder that holds an {PICKLE}.")
        if not (folder / PICKLE).is_file() or (folder / WEIGHTS).exists():
            raise AdapterError(f"{folder}: expected an {PICKLE} and no {WEIGHTS} in it.")
        with TemporaryDirectory(dir=folder, prefix=".converting-") as staging:
            _unpickle(folder / PICKLE, Path(staging) / WEIGHTS, config)
            _check(folder, Path(staging))
            (Path(staging) / WEIGHTS).rename(folder / WEIGHTS)
        report(f"{folder / WEIGHTS} written; merge it with --accept-plain")


def _unpickle(source: Path, target: Path, config: ConvertConfig) -> None:
    """Writes the tensors of a pickle as safetensors, in a process of its own."""
    command = [sys.executable, "-P", str(SCRIPT), str(source), str(target), str(int(config.memory_gb * 1e9))]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=config.timeout_seconds)
    except subprocess.TimeoutExpired:
        raise AdapterError(f"{source} took longer than {config.timeout_seconds:g} s.") from None
    if ran.returncode != 0:
        lines = ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"]
        named = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
        why = shorten((named or lines)[-1].split(". ")[0], 300).rstrip(".")
        raise AdapterError(f"{source} is not converted: {why}. Ask for the adapter as safetensors.")


def _check(folder: Path, staging: Path) -> None:
    """Refuses what came out unless the merge would take it: the folder's configuration, and every value."""
    if (folder / CONFIG).is_file():
        shutil.copyfile(folder / CONFIG, staging / CONFIG, follow_symlinks=False)
    try:
        adapter = read_adapter(staging, accept_plain=True)
        for module in adapter.shapes:
            adapter.factors(module)
    except AdapterError as error:
        why = str(error).replace(str(staging / WEIGHTS), "its tensors").replace(str(staging), str(folder))
        why = why.replace(staging.name, folder.name)
        raise AdapterError(f"{folder / PICKLE} is not converted: {why}") from None
