"""The cell that finds the bundle and takes the code in it, as it is shipped: what it reaches, waits for and refuses."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from notebook_checks import CLOUD, find_source, run_find_cell
from test_rooms import find_python

from housebrain_core.splits.bundle import hash_source, read_bundle, read_source

pytestmark = pytest.mark.slow

SOURCE = read_source()
PLACES = {"kaggle": "kaggle/input", "colab": "content"}


@pytest.fixture
def bundle(splits) -> Path:
    return splits / "split_02.zip"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Waiting takes no time."""
    pause = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: pause(seconds / 1000))


def written(variables: dict) -> dict[str, str]:
    """The files that the cell wrote, by name."""
    folder = variables["folder"]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().decode() for path in folder.rglob("*") if path.is_file()
    }


def edit(source: Path, target: Path, change) -> None:
    """Copies a bundle whose members, by name, went through a change."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, contents in members.items():
            archive.writestr(name, contents)


def edit_manifest(members: dict, change) -> None:
    manifest = json.loads(members["split_02/manifest.json"])
    change(manifest)
    members["split_02/manifest.json"] = json.dumps(manifest).encode()


def refused(platform: str, monkeypatch, folder: Path, **settings) -> str:
    """What the cell says when it takes no code; it wrote nothing and changed nothing."""
    before = set(sys.modules)
    with pytest.raises(Exception, match="split_NN.zip is not here") as error:
        run_find_cell(platform, monkeypatch, folder, **settings)
    assert type(error.value).__name__ == "BundleError"
    assert error.value._render_traceback_() == [str(error.value)]
    assert list((folder / "home").iterdir()) == []
    assert not {name for name in set(sys.modules) - before if name.startswith("housebrain_core")}
    return str(error.value)


@pytest.mark.parametrize("platform", CLOUD)
def test_exactly_the_packages_files_are_written_to_a_new_local_folder_that_is_imported_from(
    platform, bundle, tmp_path, monkeypatch
):
    (tmp_path / PLACES[platform]).mkdir(parents=True)
    shutil.copy(bundle, tmp_path / PLACES[platform])
    first = run_find_cell(platform, monkeypatch, tmp_path)
    assert written(first) == SOURCE
    assert first["folder"].parent == tmp_path / "home" and hash_source(SOURCE)[:12] in first["folder"].name
    assert first["import_path"][0] == str(first["folder"])
    assert "housebrain_core" in sys.modules and not [n for n in first["modules"] if n.startswith("housebrain_core")]
    second = run_find_cell(platform, monkeypatch, tmp_path)
    assert second["folder"] != first["folder"] and written(second) == SOURCE


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_it_runs_in_the_images_versions_of_python_with_nothing_installed(version, bundle, tmp_path):
    python = find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} found")
    shutil.copy(bundle, tmp_path)
    script = tmp_path / "cell.py"
    source = find_source("colab")
    script.write_text(f'bundle = ""\ndrive_folder = ""\n{source}\nprint(folder)\n')
    environment = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"], "LC_ALL": "C"}
    done = subprocess.run(
        [python, "-I", "-W", "error", "-W", "ignore:unclosed file:ResourceWarning", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert written({"folder": Path(done.stdout.strip())}) == SOURCE


@pytest.mark.parametrize(
    "mount", ["housebrain", "datasets/alice/housebrain", "datasets/alice/housebrain/splits", "alice/data/versions/1"]
)
@pytest.mark.parametrize("form", ["zip", "unpacked", "without its folder"])
def test_on_kaggle_it_is_found_in_both_mount_layouts_unpacked_or_still_a_zip(
    form, mount, bundle, tmp_path, monkeypatch
):
    place = tmp_path / "kaggle/input" / mount
    place.mkdir(parents=True)
    if form == "zip":
        shutil.copy(bundle, place)
    else:
        with zipfile.ZipFile(bundle) as archive:
            archive.extractall(place)
    if form == "without its folder":
        shutil.copytree(place / "split_02", place, dirs_exist_ok=True)
        shutil.rmtree(place / "split_02")
    found = run_find_cell("kaggle", monkeypatch, tmp_path)
    assert written(found) == SOURCE
    assert place / {"zip": "split_02.zip", "unpacked": "split_02"}.get(form, "") in found["paths"]


@pytest.mark.parametrize("name", ["split_02.zip", "split_02(1).zip", "split_02 (1).zip", "split_02 2.zip"])
@pytest.mark.parametrize("platform", CLOUD)
def test_it_is_found_however_a_browser_named_it(platform, name, bundle, tmp_path, monkeypatch):
    place = tmp_path / PLACES[platform]
    place.mkdir(parents=True)
    shutil.copy(bundle, place / name)
    assert place / name in run_find_cell(platform, monkeypatch, tmp_path)["paths"]


@pytest.mark.parametrize("platform", CLOUD)
def test_one_that_a_mac_unpacked_and_zipped_again_is_read(platform, bundle, tmp_path, monkeypatch):
    def zip_again(members):
        shadows = {f"__MACOSX/{Path(name).parent}/._{Path(name).name}": b"\0\5\x16\7" for name in members}
        old = dict(members)
        members.clear()
        members.update(shadows | {"split_02/.DS_Store": b"\0", "split_02/housebrain_core/.DS_Store": b"\0"} | old)

    edit(bundle, tmp_path / PLACES[platform] / "split_02.zip", zip_again)
    assert written(run_find_cell(platform, monkeypatch, tmp_path)) == SOURCE


@pytest.mark.parametrize("platform", CLOUD)
def test_one_whose_folder_was_unpacked_into_a_folder_of_its_name_and_zipped_again_is_read(
    platform, bundle, tmp_path, monkeypatch
):
    def double(members):
        old = dict(members)
        members.clear()
        members.update({f"split_02/{name}": data for name, data in old.items()})

    target = tmp_path / PLACES[platform] / "split_02.zip"
    edit(bundle, target, double)
    assert written(run_find_cell(platform, monkeypatch, tmp_path)) == SOURCE
    assert read_bundle(target).train.num_rows == read_bundle(bundle).train.num_rows


def test_windows_line_ends_make_no_difference(bundle, tmp_path, monkeypatch):
    def end_lines(members):
        for name in SOURCE:
            members[f"split_02/{name}"] = members[f"split_02/{name}"].replace(b"\n", b"\r\n")

    edit(bundle, tmp_path / "content/split_02.zip", end_lines)
    assert written(run_find_cell("colab", monkeypatch, tmp_path)) == SOURCE


@pytest.mark.parametrize("platform", CLOUD)
@pytest.mark.parametrize("form", ["zip", "folder"])
def test_a_given_path_is_taken_wherever_it_is(form, platform, bundle, tmp_path, monkeypatch):
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path / "elsewhere")
    given = bundle if form == "zip" else tmp_path / "elsewhere/split_02"
    found = run_find_cell(platform, monkeypatch, tmp_path, bundle=str(given))
    assert written(found) == SOURCE and given in found["paths"]
    assert "/no/such.zip" in refused(platform, monkeypatch, tmp_path / "other", bundle="/no/such.zip")


def test_an_input_that_appears_late_is_waited_for(bundle, tmp_path, monkeypatch):
    place = tmp_path / "kaggle/input/housebrain"
    place.mkdir(parents=True)
    monkeypatch.setattr(time, "sleep", lambda seconds: shutil.copy(bundle, place))
    assert written(run_find_cell("kaggle", monkeypatch, tmp_path)) == SOURCE


def test_a_half_uploaded_zip_is_waited_for(bundle, tmp_path, monkeypatch):
    (tmp_path / "content").mkdir()
    place, data = tmp_path / "content/split_02.zip", bundle.read_bytes()
    place.write_bytes(data[:1000])
    later = threading.Timer(0.5, lambda: place.write_bytes(data))
    later.start()
    assert written(run_find_cell("colab", monkeypatch, tmp_path)) == SOURCE
    later.join()


def test_an_upload_that_stopped_long_ago_is_not_waited_for_but_named(bundle, tmp_path, monkeypatch):
    (tmp_path / "content").mkdir()
    place = tmp_path / "content/split_02.zip"
    place.write_bytes(bundle.read_bytes()[:1000])
    os.utime(place, (0, 0))
    assert (
        f"{place}: no whole bundle of this version; upload it as it was sent (BadZipFile('File is not a zip file'))"
        in refused("colab", monkeypatch, tmp_path)
    )


@pytest.mark.parametrize("platform", CLOUD)
def test_of_several_the_one_with_the_notebooks_code_counts(platform, bundle, tmp_path, monkeypatch):
    place = tmp_path / PLACES[platform]
    name = "split_02/housebrain_core/errors.py"
    for other in ("split_01.zip", "split_03.zip"):
        edit(bundle, place / other, lambda members: members.update({name: members[name] + b"\nprint('other')\n"}))
    shutil.copy(bundle, place)
    assert written(run_find_cell(platform, monkeypatch, tmp_path)) == SOURCE
    (place / bundle.name).unlink()
    said = refused(platform, monkeypatch, tmp_path / "other", bundle=str(place / "split_01.zip"))
    assert f"{place / 'split_01.zip'}: code " in said and hash_source(SOURCE) not in said


@pytest.mark.parametrize("form", ["zip", "folder"])
@pytest.mark.parametrize("platform", CLOUD)
def test_a_leg_file_is_found_beside_the_bundle_and_its_code_counts_where_the_bundle_has_an_older_one(
    platform, form, bundle, leg_file, tmp_path, monkeypatch
):
    place = tmp_path / PLACES[platform]
    name = "split_02/housebrain_core/errors.py"
    edit(bundle, place / "split_02.zip", lambda members: members.update({name: members[name] + b"\nprint('old')\n"}))
    refused(platform, monkeypatch, tmp_path)
    if form == "zip":
        leg = Path(shutil.copy(leg_file, place / "leg_2.zip"))
    else:
        leg = place / "leg_2"
        with zipfile.ZipFile(leg_file) as archive:
            archive.extractall(place)
    for given in ("", str(place / "split_02.zip")):
        found = run_find_cell(platform, monkeypatch, tmp_path, bundle=given)
        assert written(found) == SOURCE
        assert {leg, place / "split_02.zip"} <= set(found["paths"])


@pytest.mark.parametrize("platform", CLOUD)
def test_without_a_bundle_it_says_what_is_there_and_what_to_click(platform, tmp_path, monkeypatch):
    (tmp_path / PLACES[platform] / "something-else").mkdir(parents=True)
    said = refused(platform, monkeypatch, tmp_path)
    assert {"kaggle": "Add Input > Datasets", "colab": "Folder symbol on the left"}[platform] in said
    assert "Run all" in said and "something-else" in said


def test_a_bundle_of_version_0_1_0_is_named_as_one_without_code(tmp_path, monkeypatch):
    sample = Path(__file__).parent / "samples_0_1_0" / "split_01.zip"
    (tmp_path / "content").mkdir()
    shutil.copy(sample, tmp_path / "content")
    assert "split_01.zip: no whole bundle of this version; upload it as it was sent (KeyError('code'))" in refused(
        "colab", monkeypatch, tmp_path
    )


def add_module(members):
    members["split_02/housebrain_core/extra.py"] = b"raise SystemExit"


def add_listed_module(members):
    add_module(members)
    edit_manifest(members, lambda manifest: manifest["code"].update({"housebrain_core/extra.py": ""}))


def add_module_outside(members):
    members["split_02/sitecustomize.py"] = b"raise SystemExit"
    edit_manifest(members, lambda manifest: manifest["code"].update({"sitecustomize.py": ""}))


def climb_out(members):
    members["split_02/../../evil.py"] = b"raise SystemExit"
    edit_manifest(members, lambda manifest: manifest["code"].update({"../../evil.py": ""}))


def name_a_place(members):
    edit_manifest(members, lambda manifest: manifest["code"].update({"/etc/hostname": ""}))


def change_a_module(members):
    members["split_02/housebrain_core/errors.py"] += b"\nraise SystemExit\n"


def claim_the_hash(members):
    change_a_module(members)
    edit_manifest(members, lambda manifest: manifest.update(code_sha256=hash_source(SOURCE)))


def leave_a_module_out(members):
    edit_manifest(members, lambda manifest: manifest["code"].pop("housebrain_core/errors.py"))


def swell(members):
    members["split_02/housebrain_core/errors.py"] += b" " * 20_000_000


def list_nonsense(members):
    edit_manifest(members, lambda manifest: manifest.update(code=[1, None]))


ATTACKS = [
    add_listed_module, add_module_outside, climb_out, name_a_place, change_a_module, claim_the_hash, leave_a_module_out,
    swell, list_nonsense,
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_code_that_is_not_the_notebooks_is_never_written(attack, bundle, tmp_path, monkeypatch):
    edit(bundle, tmp_path / "content/split_02.zip", attack)
    refused("colab", monkeypatch, tmp_path)
    assert not list(tmp_path.rglob("evil.py"))


def test_a_module_that_is_not_listed_is_not_written(bundle, tmp_path, monkeypatch):
    edit(bundle, tmp_path / "content/split_02.zip", add_module)
    assert written(run_find_cell("colab", monkeypatch, tmp_path)) == SOURCE


def test_of_a_member_that_is_there_twice_what_is_written_is_what_was_hashed(bundle, tmp_path, monkeypatch):
    (tmp_path / "content").mkdir()
    target = tmp_path / "content/split_02.zip"
    shutil.copy(bundle, target)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(target, "a") as archive:
        archive.writestr("split_02/housebrain_core/errors.py", "raise SystemExit")
    refused("colab", monkeypatch, tmp_path)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(target, "a") as archive:
        archive.writestr("split_02/housebrain_core/errors.py", SOURCE["housebrain_core/errors.py"])
    assert written(run_find_cell("colab", monkeypatch, tmp_path)) == SOURCE


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_a_damaged_zip_is_named(place, bundle, tmp_path, monkeypatch):
    (tmp_path / "content").mkdir()
    data = bytearray(bundle.read_bytes())
    start = int(len(data) * place)
    for offset in range(start, start + 200):
        data[offset] ^= 0xFF
    (tmp_path / "content/split_02.zip").write_bytes(data)
    assert "split_02.zip: no whole bundle" in refused("colab", monkeypatch, tmp_path)


def test_a_damaged_zip_of_another_packing_is_named(bundle, tmp_path, monkeypatch):
    (tmp_path / "content").mkdir()
    target = tmp_path / "content/split_02.zip"
    with zipfile.ZipFile(bundle) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_LZMA) as packed:
        for name in source.namelist():
            packed.writestr(name, source.read(name))
        member = packed.getinfo("split_02/manifest.json")
        start = member.header_offset + 30 + len(member.filename) + 20
    data = bytearray(target.read_bytes())
    data[start : start + 40] = b"\xff" * 40
    target.write_bytes(data)
    assert "split_02.zip: no whole bundle" in refused("colab", monkeypatch, tmp_path)


@pytest.fixture
def colab(tmp_path, monkeypatch):
    """The google.colab module of a machine; `mounts` has what was mounted, `refuse` an error to raise instead."""
    module, drive, errors = ModuleType("google.colab"), ModuleType("drive"), ModuleType("errors")
    errors.Error = type("Error", (Exception,), {})
    module.drive, module.errors, module.mounts, module.refuse = drive, errors, [], None

    def mount(place):
        if module.refuse:
            raise module.refuse
        module.mounts.append(place)
        (tmp_path / "content/drive/MyDrive/housebrain").mkdir(parents=True, exist_ok=True)
        if module.bundle:
            shutil.copy(module.bundle, tmp_path / "content/drive/MyDrive/housebrain/split_02 (1).zip")

    drive.mount, module.bundle = mount, None
    monkeypatch.setitem(sys.modules, "google", ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", module)
    return module


def test_drive_is_mounted_only_if_nothing_lies_locally(bundle, tmp_path, monkeypatch, colab):
    colab.bundle = bundle
    (tmp_path / "content").mkdir()
    shutil.copy(bundle, tmp_path / "content")
    run_find_cell("colab", monkeypatch, tmp_path, drive_folder="housebrain")
    assert colab.mounts == []
    (tmp_path / "content" / bundle.name).unlink()
    found = run_find_cell("colab", monkeypatch, tmp_path, drive_folder="housebrain")
    assert colab.mounts == ["/content/drive"] and written(found) == SOURCE
    assert not str(found["folder"]).startswith(str(tmp_path / "content/drive")), "never imported from Drive"
    run_find_cell("colab", monkeypatch, tmp_path, bundle=str(bundle), drive_folder="housebrain")
    assert colab.mounts == ["/content/drive"]


def test_a_given_path_on_drive_is_mounted_first(bundle, tmp_path, monkeypatch, colab):
    colab.bundle = bundle
    given = "drive/MyDrive/housebrain/split_02 (1).zip"
    found = run_find_cell("colab", monkeypatch, tmp_path, bundle=given, drive_folder="housebrain")
    assert colab.mounts == ["/content/drive"] and written(found) == SOURCE


def test_a_drive_that_refuses_or_has_nothing_ends_with_what_to_click(tmp_path, monkeypatch, colab):
    assert "drag it into the list" in refused("colab", monkeypatch, tmp_path, drive_folder="housebrain")
    for error in (colab.errors.Error("no"), ValueError("mount failed"), NotImplementedError()):
        colab.refuse = error
        assert "drag it into the list" in refused("colab", monkeypatch, tmp_path, drive_folder="housebrain")
    assert colab.mounts == ["/content/drive"]
    refused("colab", monkeypatch, tmp_path, drive_folder="")
