"""The train notebook as a person runs it on Kaggle and Colab: the shipped file, on the image's versions."""

import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import nbformat
import pytest
from cloud_sessions import ABSENT, SECRET, SESSIONS, Colab, Session, make_python, read_image
from notebook_outputs import find_problems

from housebrain_core.cloud.install import PINS
from housebrain_core.config import FineTuningConfig, RoundConfig
from housebrain_core.manifests import sha256_of
from housebrain_core.rounds.round import run_round
from housebrain_core.train.tuner import HouseBrainFineTuner

PLATFORMS = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in SESSIONS]
CHECK = """
import importlib.metadata, json
import datasets, pyarrow
found = {"loaded": [datasets.__version__, pyarrow.__version__]}
for one in importlib.metadata.distributions():
    found.setdefault(one.name.lower().replace("_", "-").replace(".", "-"), one.version)
print(json.dumps(found))
import housebrain_core
"""


@pytest.fixture(scope="module", params=PLATFORMS)
def rehearsed(request, base, splits, tmp_path_factory) -> tuple[Session, tuple[bool, str, str], dict]:
    """A rehearsal in an image as it is: what the install cell leaves behind serves the other tests of its platform.

    Returns:
        The session, what it printed, and the versions before it.
    """
    folder = tmp_path_factory.mktemp(request.param)
    python = make_python(folder / "python", request.param)
    before = look(python)
    session = SESSIONS[request.param](folder / "machine", base, python, secret=SECRET)
    session.add_bundle(splits / "split_02.zip")
    return session, session.run(rehearsal=True), before


@pytest.fixture
def session(rehearsed, tmp_path, base) -> Session:
    """A new session, nothing uploaded, in which the libraries lie ready."""
    return SESSIONS[rehearsed[0].platform](tmp_path / "machine", base, rehearsed[0].python)


def look(python: Path) -> dict:
    """The versions on a Python's disk, and some as loaded; that it has no housebrain_core is asserted."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([python, "-c", CHECK], cwd=python.parent, env=environment, capture_output=True, text=True)
    assert done.stderr.endswith("No module named 'housebrain_core'\n"), done.stderr
    return json.loads(done.stdout)


def test_the_python_is_the_images_and_has_nothing_else(rehearsed):
    session, _, before = rehearsed
    image = read_image(session.platform)
    assert before["loaded"] == ["4.0.0", "18.1.0"]
    assert {name: version for name, version in before.items() if name not in ("loaded", "torch")} == image
    assert not set(ABSENT) & set(before)


def test_the_committed_lists_are_the_images(shared):
    for platform, python in (("kaggle", "3.12"), ("colab", "3.13")):
        lines = (shared / "images" / f"{platform}_python{python}.txt").read_text().splitlines()
        image = dict(line.split("==") for line in lines if "==" in line)
        image = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in image.items()}
        assert len(read_image(platform)) > 90 and read_image(platform).items() <= image.items()
        assert not set(ABSENT) & set(image)


def test_the_install_cell_brings_the_pins_and_moves_nothing_else(rehearsed):
    session, (fine, printed, last), before = rehearsed
    assert fine, last
    after = look(session.python)
    assert {name: after[name] for name in PINS} == PINS and "bitsandbytes" not in before
    assert "torchao" in before and "torchao" not in after
    for name in ("numpy", "pandas", "pyarrow", "datasets", "pydantic", "fsspec", "torch"):
        assert after[name] == before[name]
    assert "installing " in printed and f"transformers=={PINS['transformers']}" in printed
    assert "torch==" not in printed and "numpy==" not in printed
    assert "Successfully" not in printed and "ERROR" not in printed, "pip's own words are for failures"


def test_a_rehearsal_trains_saves_stops_resumes_and_packs(rehearsed):
    session, (fine, printed, last), _ = rehearsed
    assert fine, last
    assert "stopped from outside (SIGTERM) at step 11 of 20" in printed and "resuming from checkpoint-11" in printed
    assert "rehearsal went well" in last
    kinds = [kind for output in session.outputs for kind in output.get("data", {})]
    assert kinds.count("image/png") == 3 and kinds.count("text/markdown") == 2
    assert find_problems(nbformat.read(session.executed, as_version=4)) == []
    assert "Warning" not in printed and "<Figure" not in printed and "IProgress" not in printed
    assert (session.home / f"hb-{session.platform}-02-rehearsal.zip").exists()


def test_a_secret_token_is_used_and_stands_nowhere(rehearsed):
    session, (fine, printed, last), _ = rehearsed
    assert fine, last
    assert "the secret HF_TOKEN is used for the Hub" in printed
    files = [path for path in session.root.rglob("*") if path.is_file() and "fake" not in path.parts]
    assert session.executed in files and len(files) > 20
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_a_run_that_ran_out_of_time_goes_on_in_the_next_session(session, splits):
    session.add_bundle(splits / "split_02.zip")
    fine, printed, last = session.run(time_budget_hours=0.001)
    assert fine, last
    assert "no secret HF_TOKEN" in printed and "training starts at step 0" in printed
    assert "the time budget ended at step 1 of 4" in printed
    assert "Not finished yet" in last and not list(session.home.glob("hb-*.zip"))
    if session.platform == "kaggle":
        assert "Add Input > Your Work" in last and "kaggle kernels push -p kernel_resume" in last
    else:
        assert "copied checkpoint-1 to Drive" in printed and "on your Drive" in last
    session.next_session()
    fine, printed, last = session.run()
    assert fine, last
    assert "resuming from checkpoint-1" in printed and "all steps done at step 4 of 4" in printed
    archive = session.home / f"hb-{session.platform}-02.zip"
    assert f"Download `{archive.name}`" in last and sha256_of(archive) in printed
    with zipfile.ZipFile(archive) as adapter:
        names = set(adapter.namelist())
    assert {f"{archive.stem}/manifest.json", f"{archive.stem}/adapter_model.safetensors"} <= names


@pytest.mark.parametrize(
    ("rehearsed", "compared"),
    [
        pytest.param("kaggle", False, marks=pytest.mark.xdist_group("kaggle")),
        pytest.param("kaggle", True, marks=[pytest.mark.soak, pytest.mark.xdist_group("kaggle")]),
        pytest.param("colab", True, marks=[pytest.mark.soak, pytest.mark.xdist_group("colab")]),
    ],
    indirect=["rehearsed"],
)
def test_two_rounds_with_one_small_file_between_them_and_a_round_cut_short_ends_as_the_undisturbed_one(
    session, compared, two_rounds, base, tmp_path
):
    """The long form compares the bytes with those of an undisturbed session; in CI train/test_start.py does it."""
    platform = session.platform
    session.add_bundle(two_rounds / "split_02.zip")
    fine, printed, last = session.run(max_steps=8)
    assert fine, last
    assert "leg 1 of 2, starts from a fresh LoRA initialisation" in printed and "step 4 of 4" in printed
    assert f"Download `hb-{platform}-02-leg-1.zip`" in last and "you will be sent `leg_2.zip`" in last
    leg_file = end_first_leg(two_rounds, session.home / f"hb-{platform}-02-leg-1.zip", base, tmp_path)
    session.add_leg_file(leg_file)
    session.next_session()
    fine, printed, last = session.run(max_steps=8, time_budget_hours=0.001)
    assert fine and "leg 2 of 2, starts from leg_2" in printed and "no earlier run is attached" in printed, printed
    assert "at step 1 of 4" in printed and "Not finished yet" in last
    session.next_session()
    fine, printed, last = session.run(max_steps=8)
    assert fine and "resuming from checkpoint-1" in printed and "leg 2 of 2 done at step 4 of 4" in printed, printed
    assert f"Download `hb-{platform}-02-leg-2.zip`" in last and "leg_3" not in last
    if compared:
        undisturbed = SESSIONS[platform](tmp_path / "other machine", base, session.python)
        undisturbed.add_leg_file(leg_file)
        undisturbed.add_bundle(two_rounds / "split_02.zip")
        assert undisturbed.run(max_steps=8)[0]
        weights = f"hb-{platform}-02-leg-2/adapter_model.safetensors"
        assert sha256_of(session.home / weights) == sha256_of(undisturbed.home / weights)


def end_first_leg(splits: Path, archive: Path, base: Path, folder: Path) -> Path:
    """What happens at home: the other split is trained, and the leg is merged; returns what everybody gets next."""
    config = FineTuningConfig(
        dataset_path=splits / "split_01.zip",
        output_dir=folder / "hb-colab-01-leg-1",
        base_model=str(base),
        row_length=512,
        gradient_accumulation_steps=1,
        learning_rate=5e-3,
        max_steps=8,
    )
    HouseBrainFineTuner(config, report=lambda line: None).train()
    models = [config.output_dir, archive]
    merge = RoundConfig(models=models, splits=splits, output=folder / "rounds", run_validation=False)
    run_round(merge, report=lambda line: None)
    return folder / "rounds" / "leg_2.zip"


def test_without_its_bundle_the_last_output_shows_what_is_there_and_what_to_click(session):
    place = session.input if session.platform == "kaggle" else session.home
    (place / "something-else").mkdir()
    fine, printed, last = session.run()
    click = {"kaggle": "Add Input > Datasets", "colab": "Folder symbol on the left"}[session.platform]
    assert not fine
    assert "split_NN.zip is not here" in last and click in last and "something-else" in last
    assert "Traceback" not in last and printed == last, "nothing else ran"


def test_with_the_bundle_of_another_split_it_is_said_which_one_is_missing(session, splits):
    session.add_bundle(splits / "split_03.zip")
    fine, printed, last = session.run()
    click = {"kaggle": "Add Input > Datasets", "colab": "Click the folder symbol on the left"}[session.platform]
    assert not fine and "Traceback" not in last and printed == last
    assert "split_02.zip is not here" in last and click in last and "split 3: " in last


def test_a_leg_whose_file_was_forgotten_is_not_trained_again_from_the_start(session, two_rounds):
    session.add_bundle(two_rounds / "split_02.zip")
    fine, _, last = session.run(leg=2)
    click = {"kaggle": "Add Input > Datasets", "colab": "Click the folder symbol on the left"}[session.platform]
    assert not fine and "Traceback" not in last
    assert "leg_2.zip is not here, and this notebook is for leg 2 of 2" in last and click in last
    assert not list(session.home.glob("hb-*")), "nothing was trained"


def test_a_bundle_of_another_version_is_not_run_but_named(session, splits, tmp_path):
    other = tmp_path / "split_02.zip"
    with zipfile.ZipFile(splits / "split_02.zip") as bundle, zipfile.ZipFile(other, "w") as changed:
        for name in bundle.namelist():
            more = b"\nprint('other code ran')" if name.endswith("housebrain_core/__init__.py") else b""
            changed.writestr(name, bundle.read(name) + more)
    session.add_bundle(other)
    fine, printed, last = session.run()
    assert not fine and "Traceback" not in last and printed == last
    assert "split_NN.zip is not here" in last and ": code " in last
    assert "other code ran" not in printed


@pytest.mark.parametrize("member", ["train.parquet", "housebrain_core/errors.py"])
def test_a_damaged_bundle_is_named_before_training(member, session, splits):
    place = session.add_bundle(splits / "split_02.zip")
    damaged = place / member if place.is_dir() else place
    data = bytearray(damaged.read_bytes())
    data[find_member(place, f"split_02/{member}") if place.is_file() else len(data) // 2] ^= 1
    damaged.write_bytes(data)
    fine, printed, last = session.run()
    assert not fine and "Traceback" not in last and "tokens in" not in printed and "installing" not in printed
    if member == "train.parquet":
        assert "is damaged" in last and "again" in last
    else:
        assert "split_NN.zip is not here" in last and str(place) in last


def find_member(archive: Path, name: str) -> int:
    """Where in a zip the middle of a member's data lies."""
    with zipfile.ZipFile(archive) as members:
        member = members.getinfo(name)
    return member.header_offset + 30 + len(name) + member.compress_size // 2


@pytest.mark.xdist_group("kaggle")
@pytest.mark.parametrize("rehearsed", ["kaggle"], indirect=True)
def test_two_processes_train_stop_and_resume_from_the_bundle_where_the_package_is_not_installed(session, splits):
    session.add_bundle(splits / "split_02.zip")
    fine, printed, last = session.run(gpus=2, rehearsal=True)
    assert fine, last
    assert "stopped from outside (SIGTERM) at step 11 of 20" in printed and "resuming from checkpoint-11" in printed
    assert "all steps done at step 20 of 20" in printed and "rehearsal went well" in last
    run = json.loads((session.home / "hb-kaggle-02-rehearsal" / "run.json").read_text())
    assert run["hardware"]["gpus"] == 2


def test_without_a_gpu_the_last_output_says_where_to_choose_one(session, splits):
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a GPU")
    session.add_bundle(splits / "split_02.zip")
    fine, printed, last = session.run(require_gpu=True)
    menu = {"kaggle": 'Session options > Accelerator > "GPU T4 x2"', "colab": "Runtime > Change runtime type > T4 GPU"}
    assert not fine and f"there is no GPU. {'In the panel on the right: ' * (session.platform == 'kaggle')}" in last
    assert menu[session.platform] in last and "Traceback" not in last and "installing" not in printed


def test_unknown_settings_wrong_types_and_ranges_are_refused_at_once_all_together(session, splits):
    session.add_bundle(splits / "split_02.zip")
    fine, printed, last = session.run(
        splitid=2, epoch=3, split_id="1", rehearsal="true", epochs=2.0, load_in_4bit=1, lora_r=True, row_length=5
    )
    assert not fine and "Traceback" not in last
    assert "epoch: there is no such setting. Did you mean epochs?" in last
    assert "splitid: there is no such setting. Did you mean split_id?" in last
    assert "split_id = '1': this has to be int, not str" in last
    assert "rehearsal = 'true': this has to be bool, not str" in last
    assert "epochs = 2.0: this has to be int, not float" in last
    assert "load_in_4bit = 1: this has to be bool, not int" in last
    assert "lora_r = True: this has to be int, not bool" in last
    assert "row_length = 5: input should be greater than or equal to 16" in last
    assert printed == last, "nothing else ran"


@pytest.mark.xdist_group("colab")
@pytest.mark.parametrize("rehearsed", ["colab"], indirect=True)
def test_on_colab_a_drive_that_refuses_does_not_stop_training(rehearsed, tmp_path, base, splits):
    refuses = "raise errors.Error('credential propagation was unsuccessful')"
    colab = Colab(tmp_path / "machine", base, rehearsed[0].python, drive=refuses)
    colab.add_bundle(splits / "split_02.zip")
    fine, printed, last = colab.run()
    assert fine, last
    assert "Drive is not used (credential propagation was unsuccessful)" in printed and "Done." in last
