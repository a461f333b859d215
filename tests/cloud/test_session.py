"""Where a bundle and an earlier run are found, what is copied to Drive, and what is never trusted."""

import json
import os
import shutil
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from housebrain_core.cloud import session as cloud
from housebrain_core.errors import DataError
from housebrain_core.manifests import seal


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A machine with both platforms' folders."""
    for folder in ("kaggle/input", "kaggle/working", "content/sample_data", "content/drive/MyDrive/housebrain"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(cloud, "ROOT", tmp_path)
    monkeypatch.setattr(cloud, "WORKING", {"kaggle": tmp_path / "kaggle/working", "colab": tmp_path / "content"})
    monkeypatch.setattr(cloud, "DRIVE", tmp_path / "content/drive/MyDrive")
    return tmp_path


def test_the_bundle_of_the_split_is_chosen_among_all_that_are_there(root, splits):
    paths = []
    for number in (1, 2, 3):
        with zipfile.ZipFile(splits / f"split_{number:02d}.zip") as archive:
            archive.extractall(root / "kaggle/input/housebrain")
        paths.append(root / f"kaggle/input/housebrain/split_{number:02d}")
    said: list[str] = []
    assert cloud.choose_bundle(3, paths, said.append).name == "split_03"
    assert said == [f"{paths[2]}: 16 samples, whole and unchanged"]
    with pytest.raises(DataError) as error:
        cloud.choose_bundle(4, paths)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("split_04.zip is not here. Give its path as `bundle`.")
    assert lines[1:] == [f"  split {number}: {path}" for number, path in enumerate(paths, 1)]


@pytest.mark.parametrize(("platform", "click"), [("kaggle", "Add Input > Datasets"), ("colab", "Runtime > Run all")])
def test_without_the_bundle_the_message_says_how_to_add_it_on_each_platform(root, monkeypatch, platform, click):
    monkeypatch.setattr(cloud, "detect_platform", lambda: platform)
    (root / "other.zip").write_bytes(b"no zip at all")
    with pytest.raises(DataError, match="split_04.zip is not here") as error:
        cloud.choose_bundle(4, [root / "other.zip", root])
    assert click in str(error.value) and "split_04.zip" in str(error.value).partition("not here")[2]


def test_the_bundle_with_this_very_code_counts_before_a_newer_one_and_the_newest_of_these(root, splits):
    paths = [root / f"{name}.zip" for name in ("old", "new", "other")]
    for age, path in enumerate(paths):
        shutil.copy(splits / "split_02.zip", path)
        os.utime(path, (age, age))
    replace_in_manifest(paths[2], code_sha256="0" * 64)
    assert cloud.choose_bundle(2, paths, report=lambda line: None) == paths[1]


def test_the_leg_file_of_the_bundles_plan_comes_with_it_and_a_given_bundle_counts_before_others(
    root, two_rounds, leg_file
):
    given = Path(shutil.copy(two_rounds / "split_02.zip", root / "mine.zip"))
    said: list[str] = []
    found = cloud.choose_inputs(2, [two_rounds / "split_02.zip", leg_file, root], report=said.append)
    assert (found.data.name, found.leg_file) == ("split_02.zip", leg_file)
    assert said[-1] == f"leg 2 of 2, {leg_file}: the adapter to start from"
    found = cloud.choose_inputs(2, [two_rounds / "split_02.zip"], str(given), report=said.append)
    assert (found.data, found.leg_file) == (given, None) and said[-1] == "leg 1 of 2, no leg file is needed"


def test_a_forgotten_leg_file_is_asked_for_where_the_notebook_is_for_its_leg(root, two_rounds, leg_file, monkeypatch):
    monkeypatch.setattr(cloud, "detect_platform", lambda: "kaggle")
    bundle = two_rounds / "split_02.zip"
    with pytest.raises(DataError, match="leg_2.zip is not here, and this notebook is for leg 2 of 2") as error:
        cloud.choose_inputs(2, [bundle], leg=2)
    assert "leg 1 would be trained again, for nothing" in str(error.value)
    assert "Add Input > Datasets > your upload of leg_2.zip" in str(error.value)
    said: list[str] = []
    assert cloud.choose_inputs(2, [bundle, leg_file], leg=2, report=said.append).leg_file == leg_file
    assert cloud.choose_inputs(2, [bundle, leg_file], leg=1, report=said.append).leg_file == leg_file
    assert cloud.choose_inputs(2, [bundle], leg=3, report=said.append).place, "the plan has ended before leg 3"


def replace_in_manifest(path, **fields) -> None:
    """Rewrites a bundle with other fields in its manifest."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, contents in members.items():
            changed = json.dumps(json.loads(contents) | fields).encode() if name.endswith("manifest.json") else contents
            archive.writestr(name, changed)


def make_run(folder, *steps):
    """A run's folder with sealed checkpoints."""
    for step in steps:
        (folder / f"checkpoint-{step}").mkdir(parents=True)
        (folder / f"checkpoint-{step}" / "weights").write_text(str(step))
        seal(folder / f"checkpoint-{step}", "checkpoint", step=step)


def test_the_run_with_most_steps_is_brought_back_and_one_of_this_session_is_kept(root):
    earlier = root / "kaggle/input/notebooks/alice"
    make_run(earlier / "first/hb-kaggle-02", 5)
    make_run(earlier / "second/hb-kaggle-02", 5, 9)
    make_run(earlier / "other/hb-kaggle-03", 50)
    output, said = root / "kaggle/working/hb-kaggle-02", []
    assert cloud.bring_back(output.name, "kaggle", None, said.append) == output
    assert str(earlier / "second/hb-kaggle-02") in said[-1]
    assert cloud.progress_of(output) == 9 and "at step 9" in said[-1]
    make_run(output, 12)
    cloud.bring_back(output.name, "kaggle", None, said.append)
    assert "this session has a run" in said[-1] and cloud.progress_of(output) == 12


def test_without_an_earlier_run_training_starts_at_step_0(root):
    said = []
    cloud.bring_back("hb-kaggle-02", "kaggle", None, said.append)
    assert said == ["no earlier run is attached; training starts at step 0"]


def test_drive_gets_sealed_checkpoints_only_and_keeps_the_newest(root):
    drive, output, said = root / "content/drive/MyDrive/housebrain", root / "content/hb-colab-02", []
    make_run(output, 1, 2, 3)
    (output / "checkpoint-4").mkdir()  # being written
    with cloud.DriveCopies(output, drive, every=60, report=said.append):
        pass
    assert sorted(path.name for path in (drive / output.name).iterdir()) == ["checkpoint-2", "checkpoint-3"]
    assert "copied checkpoint-3 to Drive" in said


def test_a_drive_that_fails_in_the_middle_stops_nothing_and_is_tried_again(root, monkeypatch):
    drive, output, said = root / "content/drive/MyDrive/housebrain", root / "content/hb-colab-02", []
    make_run(output, 1)

    def fail(*arguments, **options):
        raise OSError(107, "Transport endpoint is not connected")

    copies = cloud.DriveCopies(output, drive, report=said.append)
    with monkeypatch.context() as broken:
        broken.setattr(shutil, "copytree", fail)
        copies.copy()
    assert "Transport endpoint is not connected" in said[0] and "training goes on" in said[0]
    copies.copy()
    assert said[1] == "copied checkpoint-1 to Drive"


def platform_module(monkeypatch, name: str, **contents) -> None:
    module = ModuleType(name)
    module.__dict__.update(contents)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def kaggle_secret(monkeypatch):
    """A kaggle_secrets module; its answer is a value or an exception."""

    def set_answer(answer):
        def get_secret(self, label):
            if isinstance(answer, Exception):
                raise answer
            return answer

        client = type("UserSecretsClient", (), {"get_secret": get_secret})
        kinds = {name: type(name, (Exception,), {}) for name in ("CredentialError", "BackendError")}
        platform_module(monkeypatch, "kaggle_secrets", UserSecretsClient=client, **kinds)
        return kinds

    monkeypatch.setenv("HF_TOKEN", "before")
    return set_answer


def test_a_secret_is_used_without_a_word_of_it(kaggle_secret, capsys):
    kaggle_secret("hf_" + "x" * 30)
    cloud.use_token("kaggle")
    assert cloud.os.environ["HF_TOKEN"] == "hf_" + "x" * 30
    assert "xxx" not in capsys.readouterr().out


def test_a_secret_that_is_missing_or_unreachable_is_no_error(kaggle_secret, capsys):
    cloud.use_token("local")
    for error in (ConnectionError("Timeout error"), None):
        kinds = kaggle_secret(error)
    for kind in kinds.values():
        sys.modules["kaggle_secrets"].UserSecretsClient.get_secret = lambda self, label, kind=kind: (
            _ for _ in ()
        ).throw(kind("no"))
        cloud.use_token("kaggle")
    assert cloud.os.environ["HF_TOKEN"] == "before"
    assert capsys.readouterr().out.count("no secret HF_TOKEN") == 3


@pytest.mark.parametrize("error", ["NotebookAccessError", "SecretNotFoundError", "TimeoutException"])
def test_on_colab_each_way_of_having_no_secret_is_no_error(monkeypatch, error):
    base = type("Error", (Exception,), {})
    kinds = {name: type(name, (Exception,), {}) for name in ("NotebookAccessError", "SecretNotFoundError")}
    kinds["TimeoutException"] = type("TimeoutException", (Exception,), {})

    def get(key):
        raise kinds[error]("no")

    platform_module(monkeypatch, "google", colab=None)
    userdata, errors = SimpleNamespace(get=get, **kinds), SimpleNamespace(Error=base)
    platform_module(monkeypatch, "google.colab", userdata=userdata, errors=errors)
    monkeypatch.setenv("HF_TOKEN", "before")
    cloud.use_token("colab", report=lambda line: None)
    assert cloud.os.environ["HF_TOKEN"] == "before"


def test_a_rehearsal_is_stopped_once_however_many_checkpoints_follow(monkeypatch, capsys):
    raised: list[int] = []
    monkeypatch.setattr(cloud.signal, "raise_signal", raised.append)
    report = cloud.interrupt_at_checkpoint()
    for line in ("step 10 of 20", "saved checkpoint-10", "saved checkpoint-11", "To go on, run this cell again"):
        report(line)
    assert raised == [cloud.signal.SIGTERM]
    printed = capsys.readouterr().out
    assert printed.count("on purpose") == 1 and "To go on" not in printed, "it goes on by itself"
