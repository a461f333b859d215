"""The train notebook as a person runs it on Kaggle: the shipped file, its own code, folders as the platform has them.

The kernel is started without the site module, so that neither this repository nor the installed package can be
imported; a simulated root holds /kaggle.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import nbformat
import pytest

from housebrain_core.manifests import sha256_of

SHIPPED = Path(__file__).parents[1] / "notebooks" / "rendered" / "kaggle" / "02_train.ipynb"
TINY = {
    "split_id": 2,
    "require_gpu": False,
    "row_length": 512,
    "gradient_accumulation_steps": 1,
    "learning_rate": 5e-3,
    "max_steps": 4,
}


class Kaggle:
    """A simulated Kaggle session, and the notebook that runs in it."""

    def __init__(self, root: Path, base: Path):
        self.root, self.base = root, base
        self.working, self.input = root / "kaggle/working", root / "kaggle/input"
        for folder in (self.working, self.input, root / "tmp"):
            folder.mkdir(parents=True)
        kernel = root / "jupyter/kernels/bare"
        kernel.mkdir(parents=True)
        argv = [sys.executable, "-S", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        path = {"PYTHONPATH": sysconfig.get_paths()["purelib"]}
        (kernel / "kernel.json").write_text(
            json.dumps({"argv": argv, "display_name": "bare", "language": "python", "env": path})
        )

    def attach_bundle(self, bundle: Path) -> Path:
        """Adds a bundle as input, unpacked as Kaggle does it."""
        folder = self.input / "datasets" / "alice" / "housebrain-split"
        with zipfile.ZipFile(bundle) as archive:
            archive.extractall(folder)
        return folder / bundle.stem

    def next_session(self) -> None:
        """Attaches this session's output as input to a new one, whose disk is empty."""
        shutil.move(self.working, self.input / "notebooks" / "alice" / "housebrain-train")
        self.working.mkdir()

    def run(self, **parameters) -> tuple[bool, str, str]:
        """Runs the notebook: (it went through, all that it printed, its last output)."""
        settings = self.root / "settings.json"
        settings.write_text(json.dumps(TINY | {"base_model": str(self.base)} | parameters))
        target = self.root / "executed.ipynb"
        command = [sys.executable, "-m", "papermill", SHIPPED, target, "-f", settings, "-k", "bare", "--cwd", self.root]
        environment = os.environ | {
            "HOUSEBRAIN_SIMULATED_ROOT": str(self.root),
            "KAGGLE_KERNEL_RUN_TYPE": "Batch",
            "JUPYTER_PATH": str(self.root / "jupyter"),
            "TMPDIR": str(self.root / "tmp"),
        }
        done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
        assert target.exists(), done.stderr[-2000:]
        outputs = [out for cell in nbformat.read(target, 4).cells for out in cell.get("outputs", [])]
        texts = [read_output(out) for out in outputs]
        return done.returncode == 0, "\n".join(texts), texts[-1]


def read_output(output) -> str:
    """The text of one output, as a person sees it."""
    if output.output_type == "stream":
        return output.text
    if output.output_type == "error":
        return "\n".join(output.traceback)
    return output.data.get("text/markdown", output.data.get("text/plain", ""))


@pytest.fixture()
def kaggle(tmp_path, base) -> Kaggle:
    return Kaggle(tmp_path, base)


def test_the_kernel_sees_neither_the_repository_nor_the_installed_package(kaggle):
    kernel = json.loads((kaggle.root / "jupyter/kernels/bare/kernel.json").read_text())
    command = [*kernel["argv"][:2], "-c", "import transformers, housebrain_core"]
    done = subprocess.run(command, cwd=kaggle.root, env=os.environ | kernel["env"], capture_output=True, text=True)
    assert done.stderr.endswith("No module named 'housebrain_core'\n")


def test_a_run_that_ran_out_of_time_goes_on_from_its_attached_output(kaggle, splits):
    kaggle.attach_bundle(splits / "split_02.zip")
    fine, printed, last = kaggle.run(time_budget_hours=0.001)
    assert fine, last
    assert "training starts at step 0" in printed and "the time budget ended at step 1 of 4" in printed
    assert "Add Input" in last and not list(kaggle.working.glob("*.zip"))
    kaggle.next_session()
    fine, printed, last = kaggle.run()
    assert fine, last
    assert "resuming from checkpoint-1" in printed and "max_steps done at step 4 of 4" in printed
    archive = kaggle.working / "hb-kaggle-02.zip"
    assert archive.name in last and sha256_of(archive) in printed
    with zipfile.ZipFile(archive) as adapter:
        names = set(adapter.namelist())
    assert {"hb-kaggle-02/manifest.json", "hb-kaggle-02/adapter_model.safetensors"} <= names


def test_a_rehearsal_trains_saves_stops_resumes_and_packs(kaggle, splits):
    shutil.copy(splits / "split_02.zip", kaggle.input / "split_02.zip")
    fine, printed, last = kaggle.run(rehearsal=True)
    assert fine, last
    assert "stopped by SIGTERM at step 11 of 20" in printed and "resuming from checkpoint-11" in printed
    assert "rehearsal went well" in last and (kaggle.working / "hb-kaggle-02-rehearsal.zip").exists()


def test_without_its_bundle_the_last_output_shows_what_is_there_and_what_to_click(kaggle):
    (kaggle.input / "something-else").mkdir()
    fine, _, last = kaggle.run()
    assert not fine
    assert "split_02.zip is not here" in last and "Add Input" in last and "something-else" in last
    assert "Traceback" not in last


def test_a_damaged_bundle_is_named_before_training(kaggle, splits):
    folder = kaggle.attach_bundle(splits / "split_02.zip")
    with (folder / "train.parquet").open("ab") as file:
        file.write(b"x")
    fine, _, last = kaggle.run()
    assert not fine and "is damaged: train.parquet has" in last and "Traceback" not in last


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"require_gpu": True}, "there is no GPU. In the panel on the right: Session options > Accelerator"),
        ({"epoch": 3}, "epoch: there is no such setting. Did you mean epochs?"),
        ({"rehearsal": "true"}, "rehearsal = 'true': this has to be bool, not str"),
        ({"epochs": 2.0}, "epochs = 2.0: this has to be int, not float"),
        ({"load_in_4bit": 1}, "load_in_4bit = 1: this has to be bool, not int"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once_and_the_last_output_says_what_to_do(kaggle, parameters, expected):
    if parameters.get("require_gpu") and shutil.which("nvidia-smi"):
        pytest.skip("this machine has a GPU")
    fine, _, last = kaggle.run(**parameters)
    assert not fine and expected in last and "Traceback" not in last
