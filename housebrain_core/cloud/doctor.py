"""Can this session train? Asked before anything is installed or downloaded; every answer says what to click.

Only the standard library: this runs before the install cell.
"""

import os
import platform as python_platform
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

from housebrain_core.errors import MachineError
from housebrain_core.platforms import WORKING, Gpu, Platform, detect_platform, list_gpus
from housebrain_core.texts import say

PYTHON = (3, 11)
"""Python needed: the oldest that transformers runs on."""
CAPABILITY = (7, 5)
"""Compute capability needed: that of a T4. Current torch builds have no code for anything older."""
GPU_MEMORY = 5 * 1024
"""MiB of free GPU memory needed: a 1.5-billion-parameter base in 4 bits with its activations."""
DISK = {"working": 1.0, "scratch": 8.0}
"""GB of free disk needed: checkpoints and the adapter; libraries and the base model."""
TIMEOUT = 5
"""Seconds that a server has to answer."""
ATTEMPTS = 4
"""How often a server that did not answer in time is asked: a single lost answer does not stop a session."""
CLICKS = {
    "kaggle": {
        "gpu": 'In the panel on the right: Session options > Accelerator > "GPU T4 x2". Then Run > Run all.',
        "internet": "In the panel on the right: Session options > Internet > on (if it is grey, verify your phone "
        "number at kaggle.com/settings first). Then Run > Run all.",
        "restart": "Run > Restart & clear cell outputs, then Run > Run all.",
        "disk": "Run > Restart & clear cell outputs gives a fresh disk; delete old files in /kaggle/working.",
    },
    "colab": {
        "gpu": "Runtime > Change runtime type > T4 GPU > Save. Then Runtime > Run all. When Colab says that no GPU is "
        "free, try again later or use the Kaggle notebook.",
        "internet": "Runtime > Disconnect and delete runtime, then Runtime > Run all.",
        "restart": "Runtime > Restart session, then Runtime > Run all.",
        "disk": "Runtime > Disconnect and delete runtime gives a fresh disk; then Runtime > Run all.",
    },
    "local": dict.fromkeys(("gpu", "internet", "restart", "disk"), "Put it right and start the notebook again."),
}
"""What to do, by platform and problem."""


def check_machine(base_model: str, require_gpu: bool, report: Callable[[str], None] = say) -> Platform:
    """Checks Python, GPU, disk and Internet, and names all problems at once.

    The base model's files will go to scratch disk.

    Args:
        base_model: a folder, or an id on the Hub, which then has to be reachable.
        require_gpu: refuse to train without one.
        report: gets a line that describes the machine.

    Returns:
        The platform.

    Raises:
        MachineError: it cannot train; one line per problem.
    """
    platform = detect_platform()
    gpus = list_gpus()
    os.environ.setdefault("HF_HOME", str(Path(tempfile.gettempdir()) / "huggingface"))
    devices = ", ".join(f"{gpu.name} ({gpu.free:,} MiB free)" for gpu in gpus) or "no GPU"
    report(f"{platform}, Python {python_platform.python_version()}, {devices}")
    problems = [
        *check_python(platform),
        *(check_gpu(gpus, platform) if require_gpu else []),
        *check_disk(platform),
        *check_internet(platform, [index_page(), *([] if Path(base_model).is_dir() else [hub_address()])]),
    ]
    if problems:
        raise MachineError("This session cannot train yet:\n" + "\n".join(f"- {problem}" for problem in problems))
    return platform


def check_python(platform: Platform) -> Iterable[str]:
    """Whether the libraries exist for this Python."""
    if sys.version_info < PYTHON:
        needed = ".".join(map(str, PYTHON))
        yield (
            f"Python is {python_platform.python_version()}; {needed} or newer is needed. "
            "Choose the platform's newest environment."
        )


def check_gpu(gpus: list[Gpu], platform: Platform) -> Iterable[str]:
    """Whether the first GPU is there, new enough and free."""
    click = CLICKS[platform]["gpu"]
    if not gpus:
        yield f"there is no GPU. {click}"
    elif gpus[0].capability < CAPABILITY:
        capability, needed = (".".join(map(str, value)) for value in (gpus[0].capability, CAPABILITY))
        yield f"the GPU is a {gpus[0].name}, compute capability {capability}; {needed} or more is needed. {click}"
    elif gpus[0].free < GPU_MEMORY:
        yield (
            f"{gpus[0].free:,} MiB of GPU memory are free; {GPU_MEMORY:,} are needed: something else is using it. "
            f"{CLICKS[platform]['restart']}"
        )


def check_disk(platform: Platform) -> Iterable[str]:
    """Whether checkpoints and downloads have room."""
    places = {"working": WORKING[platform], "scratch": Path(tempfile.gettempdir())}
    for name, folder in places.items():
        free = shutil.disk_usage(folder).free / 1e9
        if free < DISK[name]:
            yield f"{folder} has {free:.1f} GB free; {DISK[name]:.0f} are needed. {CLICKS[platform]['disk']}"


def check_internet(platform: Platform, addresses: list[str]) -> Iterable[str]:
    """Whether each address answers, whatever it answers; after a timeout it is asked again."""
    for address in addresses:
        try:
            request_headers(address)
        except (OSError, ValueError) as error:
            host = urllib.parse.urlsplit(address).hostname  # the rest may hold a password
            yield f"{host} cannot be reached ({error}). {CLICKS[platform]['internet']}"


def request_headers(address: str) -> None:
    """Returns once the server at an address answers, even if it answers with an error.

    Raises:
        OSError: it cannot be reached, or did not answer in time in any attempt.
        ValueError: that is no address.
    """
    request = urllib.request.Request(address, method="HEAD")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            urllib.request.urlopen(request, timeout=TIMEOUT).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError as error:
            # A timeout while reading is a TimeoutError; while connecting it is the reason of a URLError.
            timed_out = isinstance(getattr(error, "reason", error), TimeoutError)
            if attempt == ATTEMPTS or not timed_out:
                raise


def index_page() -> str:
    """A small page of the package index; its root lists hundreds of thousands of names, which takes seconds."""
    return f"{package_index().rstrip('/')}/pip/"


def package_index() -> str:
    """The address of the package index that pip is configured for."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    pairs = [line.partition("=")[::2] for line in lines]
    configured = [value.strip("'\"") for name, value in pairs if name.endswith(".index-url")]
    return configured[-1] if configured else "https://pypi.org/simple"


def hub_address() -> str:
    """Where huggingface_hub fetches models from."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")
