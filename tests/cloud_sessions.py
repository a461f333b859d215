"""Simulated Kaggle and Colab sessions: their folders, their fake modules, and a Python with what their images have.

The Python is a fresh virtual environment: the image's own versions where they matter, the heavy rest (torch above all)
by links into the environment that runs the tests, and neither the repository nor the installed package.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import nbformat
from conftest import skip_without_index

from housebrain_core.cloud.install import PINS

RENDERED = Path(__file__).parents[1] / "notebooks" / "rendered"
COMMON = {
    "datasets": "4.0.0", "pyarrow": "18.1.0", "fsspec": "2025.3.0", "dill": "0.3.8", "multiprocess": "0.70.16",
    "ipython": "7.34.0", "tokenizers": "0.22.2", "torchao": "0.10.0",
}  # fmt: skip
IMAGE = {
    "kaggle": COMMON | {
        "accelerate": "1.13.0", "huggingface-hub": "1.11.0", "numpy": "2.0.2", "pandas": "2.2.2", "peft": "0.19.1",
        "pydantic": "2.12.3", "safetensors": "0.7.0", "transformers": "5.0.0",
    },
    "colab": COMMON | {
        "accelerate": "1.14.0", "huggingface-hub": "1.27.0", "numpy": "2.1.3", "pandas": "2.2.3", "peft": "0.20.0",
        "pydantic": "2.13.4", "safetensors": "0.8.0", "transformers": "5.15.0",
    },
}  # fmt: skip
"""What each image has of what training uses, in the image's versions; bitsandbytes is in neither."""
TINY = {
    "split_id": 2,
    "require_gpu": False,
    "row_length": 512,
    "gradient_accumulation_steps": 1,
    "learning_rate": 5e-3,
    "max_steps": 4,
}
SECRET = "hf_" + "ThisIsNoRealToken" * 2


def make_python(folder: Path, platform: str) -> Path:
    """A fresh environment with an image's versions; skips the test where no package index can be reached.

    Returns:
        Its interpreter.
    """
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    wanted = [f"{name}=={version}" for name, version in IMAGE[platform].items()]
    command = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", python, *wanted]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    skip_without_index(done)
    hidden = {"__editable__.housebrain-0.1.0.pth", "__pycache__"}
    hidden |= {file.parts[0] for name in PINS for file in distribution(name).files if file.parts[0] != ".."}
    links = folder / "image"
    links.mkdir()
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if entry.name not in hidden and "housebrain" not in entry.name:
            (links / entry.name).symlink_to(entry)
    own = next((folder / "lib").glob("python3*/site-packages"))
    (own / "image.pth").write_text(str(links))  # its own .pth files, an editable install for one, are not processed
    return python


class Session:
    """A session on one platform, whose machine is a folder, and the shipped notebook that runs in it."""

    platform: str
    marks: dict[str, str]
    home: Path
    """Where the person finds the output."""

    def __init__(self, root: Path, base: Path, python: Path):
        self.root, self.base, self.python = root, base, python
        (root / "tmp").mkdir(parents=True)
        self.home.mkdir(parents=True)

    def run(self, **parameters) -> tuple[bool, str, str]:
        """Runs the notebook: (it went through, all that it printed, its last output)."""
        settings = self.root / "settings.json"
        settings.write_text(json.dumps(TINY | {"base_model": str(self.base)} | parameters))
        self.executed = self.root / "executed.ipynb"
        shipped = RENDERED / self.platform / "02_train.ipynb"
        command = [self.python, "-m", "papermill", shipped, self.executed, "-f", settings, "--cwd", self.root]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= self.marks | {
            "HOUSEBRAIN_SIMULATED_ROOT": str(self.root),
            "PYTHONPATH": str(self.root / "fake"),
            "TMPDIR": str(self.root / "tmp"),
            "PIP_NO_COMPILE": "1",  # Python compiles what it imports; all of transformers would take half a minute
        }
        done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
        assert self.executed.exists(), done.stderr[-2000:]
        outputs = [out for cell in nbformat.read(self.executed, 4).cells for out in cell.get("outputs", [])]
        texts = [read_output(out) for out in outputs]
        return done.returncode == 0, "\n".join(texts), texts[-1]

    def write_module(self, path: str, text: str) -> None:
        """A module that only the platform has."""
        file = self.root / "fake" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


class Kaggle(Session):
    """Inputs are mounted read-only, zips unpacked; only /kaggle/working outlives the session, as an output."""

    platform, marks = "kaggle", {"KAGGLE_KERNEL_RUN_TYPE": "Batch"}

    def __init__(self, root: Path, base: Path, python: Path, secret: str = ""):
        self.home, self.input = root / "kaggle/working", root / "kaggle/input"
        super().__init__(root, base, python)
        self.input.mkdir(parents=True)
        answer = f"return {secret!r}" if secret else "raise BackendError('no such secret')"
        self.write_module(
            "kaggle_secrets.py",
            f"""
class CredentialError(Exception): pass
class BackendError(Exception): pass
class UserSecretsClient:
    def get_secret(self, label):
        assert label == "HF_TOKEN"
        {answer}
""",
        )

    def add_bundle(self, bundle: Path) -> Path:
        """Adds a bundle as a dataset, unpacked as Kaggle does it; returns where its files lie."""
        with zipfile.ZipFile(bundle) as archive:
            archive.extractall(self.input / "datasets" / "alice" / "housebrain-split-02")
        return self.input / "datasets" / "alice" / "housebrain-split-02" / bundle.stem

    def next_session(self) -> None:
        """A new session on an empty disk, with this one's output attached."""
        shutil.move(self.home, self.input / "notebooks" / "alice" / "housebrain-split-02")
        self.home.mkdir()


class Colab(Session):
    """A machine with a google.colab, whose Drive is a folder, or refuses."""

    platform, marks = "colab", {"COLAB_RELEASE_TAG": "release-colab"}

    def __init__(self, root: Path, base: Path, python: Path, secret: str = "", drive: str = ""):
        self.home = root / "content"
        super().__init__(root, base, python)
        drive = drive or "os.makedirs(place + '/MyDrive', exist_ok=True)"
        answer = f"return {secret!r}" if secret else "raise SecretNotFoundError(key)"
        self.write_module("google/colab/__init__.py", "")
        self.write_module("google/colab/errors.py", "class Error(Exception): pass\n")
        self.write_module(
            "google/colab/drive.py",
            f"import os\nfrom google.colab import errors\n\ndef mount(place):\n    {drive}\n",
        )
        self.write_module(
            "google/colab/userdata.py",
            f"""
from google.colab import errors
class NotebookAccessError(Exception): pass
class SecretNotFoundError(errors.Error): pass
def get(key):
    assert key == "HF_TOKEN"
    {answer}
""",
        )

    def add_bundle(self, bundle: Path) -> Path:
        """Uploads a bundle for the second time, as the browser names it."""
        return Path(shutil.copy(bundle, self.home / f"{bundle.stem} (1).zip"))

    def next_session(self) -> None:
        """A new machine: all is gone but Drive and the bundle, which the person uploads again."""
        for path in self.home.glob("hb-*"):
            shutil.rmtree(path)


SESSIONS = {"kaggle": Kaggle, "colab": Colab}


def read_output(output) -> str:
    """The text of one output, as a person sees it."""
    if output.output_type == "stream":
        return output.text
    if output.output_type == "error":
        return "\n".join(output.traceback)
    return output.data.get("text/markdown", output.data.get("text/plain", ""))
