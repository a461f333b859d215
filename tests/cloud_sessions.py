"""Simulated Kaggle and Colab sessions: their folders, their fake modules, and a Python with what their images have.

The Python is a fresh virtual environment with just the packages of the image, in the image's versions (tests/images
lists those that a session imports); what the image lacks is missing. torch is this machine's, by links, and Python 3.11
stands in for the images' 3.12 and 3.13. The notebook is run by papermill in the environment of the tests.
"""

import ast
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
from outside import skip_without_index

TESTS = Path(__file__).parent
RENDERED = TESTS.parent / "notebooks" / "rendered"
ABSENT = ("bitsandbytes", "housebrain", "json-repair", "llguidance", "loky", "papermill")
"""What this project uses or is, and neither image has."""
TINY = {
    "rehearsal": False,
    "split_id": 2,
    "require_gpu": False,
    "row_length": 512,
    "gradient_accumulation_steps": 1,
    "learning_rate": 5e-3,
    "max_steps": 4,
}
SECRET = "hf_" + "ThisIsNoRealToken" * 2
QUICK = """
import time
pause = time.sleep
time.sleep = lambda seconds: pause(min(seconds, 0.05))
"""
"""What makes waiting for inputs and uploads short in every Python of a session."""


def read_image(platform: str) -> dict[str, str]:
    """Version of each package that a session imports and the image has, by name; torch is not among them."""
    lines = (TESTS / "images" / f"{platform}.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def make_python(folder: Path, platform: str) -> Path:
    """A fresh environment with an image's packages; skips the test where no package index can be reached.

    Returns:
        Its interpreter.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "uv", "pip", "install", "-q", "--no-deps", "--python", python]
    command += ["-r", TESTS / "images" / f"{platform}.txt"]
    skip_without_index(subprocess.run(list(map(str, command)), capture_output=True, text=True))
    packages = next((folder / "lib").glob("python3*/site-packages"))
    for name in {file.parts[0] for file in distribution("torch").files or () if file.parts[0] != ".."}:
        (packages / name).symlink_to(Path(sysconfig.get_paths()["purelib"]) / name)
    return python


class Session:
    """A session on one platform, whose machine is a folder, and the shipped notebook that runs in it."""

    platform: str
    marks: dict[str, str]
    home: Path
    """Where the person finds the output."""

    def __init__(self, root: Path, base: Path, python: Path):
        self.root, self.base, self.python = root, base, python
        for name in ("tmp", "home"):
            (root / name).mkdir(parents=True)
        self.home.mkdir(parents=True)
        self.write_module("sitecustomize.py", QUICK)

    def run(self, **parameters) -> tuple[bool, str, str]:
        """Runs the notebook: (it went through, all that it printed, its last output)."""
        settings = self.root / "settings.json"
        settings.write_text(json.dumps(TINY | {"base_model": str(self.base)} | parameters))
        self.executed = self.root / "executed.ipynb"
        shipped = RENDERED / self.platform / "02_train.ipynb"
        command = [sys.executable, "-m", "papermill", shipped, self.executed, "-f", settings, "--cwd", self.home]
        environment = os.environ | {"JUPYTER_PATH": str(self.describe_kernel()), "PYTHONPATH": ""}
        done = subprocess.run([*map(str, command), "-k", "session"], env=environment, capture_output=True, text=True)
        assert self.executed.exists(), done.stderr[-2000:]
        self.outputs = [out for cell in nbformat.read(self.executed, 4).cells for out in cell.get("outputs", [])]
        texts = [read_output(out) for out in self.outputs]
        return done.returncode == 0, "\n".join(texts), texts[-1]

    def describe_kernel(self) -> Path:
        """Tells Jupyter how to start a kernel in this session; returns the folder to look in."""
        folder = self.root / "jupyter"
        (folder / "kernels" / "session").mkdir(parents=True, exist_ok=True)
        kernel = {
            "argv": [str(self.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "session",
            "language": "python",
            "env": self.environment(),
        }
        (folder / "kernels" / "session" / "kernel.json").write_text(json.dumps(kernel))
        return folder

    def environment(self) -> dict[str, str]:
        """The variables of the session."""
        return (
            self.marks
            | {
                "HOUSEBRAIN_SIMULATED_ROOT": str(self.root),
                "PYTHONPATH": str(self.root / "fake"),
                "TMPDIR": str(self.root / "tmp"),
                "HOME": str(self.root / "home"),
                "PIP_NO_COMPILE": "1",  # Python compiles what it imports; all of transformers would take half a minute
            }
            | pip_settings()
        )

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

    def add_leg_file(self, leg_file: Path) -> None:
        """Adds a leg file as a dataset of its own, unpacked as Kaggle does it."""
        with zipfile.ZipFile(leg_file) as archive:
            archive.extractall(self.input / "datasets" / "alice" / "the-next-leg")

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
        drive = drive or "os.makedirs(root + place.removeprefix(root) + '/MyDrive', exist_ok=True)"
        answer = f"return {secret!r}" if secret else "raise SecretNotFoundError(key)"
        self.write_module("google/colab/__init__.py", "")
        self.write_module("google/colab/errors.py", "class Error(Exception): pass\n")
        self.write_module(
            "google/colab/drive.py",
            f"import os\nfrom google.colab import errors\n\nroot = {str(root)!r}\ndef mount(place):\n    {drive}\n",
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

    def add_leg_file(self, leg_file: Path) -> None:
        """Uploads a leg file beside the bundle."""
        shutil.copy(leg_file, self.home)

    def next_session(self) -> None:
        """A new machine: all is gone but Drive, and the bundle and leg file, which the person uploads again."""
        for path in self.home.glob("hb-*"):
            path.unlink() if path.is_file() else shutil.rmtree(path)


def pip_settings() -> dict[str, str]:
    """Where this user's pip looks for packages, for a session with a home of its own."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    pairs = [line.partition("=")[::2] for line in lines if line.startswith("global.")]
    return {f"PIP_{name[7:].upper().replace('-', '_')}": ast.literal_eval(value) for name, value in pairs}


SESSIONS = {"kaggle": Kaggle, "colab": Colab}


def read_output(output) -> str:
    """The text of one output, as a person sees it."""
    if output.output_type == "stream":
        return output.text
    if output.output_type == "error":
        return " ".join(" ".join(output.traceback).split())  # wherever its lines were broken
    return output.data.get("text/markdown", output.data.get("text/plain", ""))
