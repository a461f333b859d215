"""Leg files: the adapter to go on from, read in any form that people and platforms make of them."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from housebrain_core.errors import AdapterError, DataError
from housebrain_core.legs import Place, TrainingPlan, plan_rounds
from housebrain_core.manifests import seal, sha256_of
from housebrain_core.splits.bundle import NO_PLACE, hash_source, read_package_manifest, read_source
from housebrain_core.splits.leg_file import KIND, find_inputs, read_place, read_start, write_leg_file

PLAN = TrainingPlan(dataset="ab" * 32, splits=3, legs=plan_rounds(3, 3))
WEIGHTS = b"weights of a merged adapter"


@pytest.fixture
def adapter(tmp_path) -> Path:
    """What is copied into a leg file: its contents are for training to understand."""
    folder = tmp_path / "merged"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(WEIGHTS)
    (folder / "adapter_config.json").write_text('{"r": 8}')
    (folder / "README.md").write_text("not for a leg file")
    return folder


@pytest.fixture
def leg_file(adapter, tmp_path) -> Path:
    return write_leg_file(tmp_path, Place(plan=PLAN, leg=2), adapter)


def unpack(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder / path.stem


def rewrite(folder: Path, **changes) -> Path:
    """Changes fields of an unpacked leg file's manifest."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def test_a_leg_file_holds_adapter_code_and_manifest_and_nothing_else(leg_file):
    with zipfile.ZipFile(leg_file) as archive:
        members = {name.removeprefix("leg_2/"): archive.read(name) for name in archive.namelist()}
    assert leg_file.name == "leg_2.zip"
    assert members.pop("init/adapter_model.safetensors") == WEIGHTS
    assert members.pop("init/adapter_config.json") == b'{"r": 8}'
    manifest = json.loads(members.pop("manifest.json"))
    assert {name: text.decode() for name, text in members.items()} == read_source()
    assert (manifest["kind"], manifest["format"], manifest["name"]) == ("leg", 1, "leg_2")
    assert manifest["code_sha256"] == hash_source(read_source())
    assert manifest["plan"] == PLAN.model_dump(mode="json")
    assert (manifest["leg"], manifest["legs"], manifest["parent_sha256"]) == (2, 3, sha256_of(WEIGHTS))
    assert set(manifest["files"]) == {"init/adapter_model.safetensors", "init/adapter_config.json"}


def test_the_same_adapter_gives_the_same_bytes(leg_file, adapter, tmp_path):
    again = write_leg_file(tmp_path / "again", Place(plan=PLAN, leg=2, parent_sha256="of another"), adapter)
    assert again.read_bytes() == leg_file.read_bytes()
    assert [path.name for path in again.parent.iterdir()] == ["leg_2.zip"]


def test_a_zip_its_folder_and_one_zipped_again_on_a_mac_start_the_same_leg(leg_file, tmp_path):
    folder = unpack(leg_file, tmp_path / "unpacked")
    with zipfile.ZipFile(leg_file) as archive, zipfile.ZipFile(tmp_path / "again.zip", "w") as again:
        for name in archive.namelist():
            again.writestr(f"__MACOSX/Downloads/{name}", b"a shadow")
            again.writestr(f"Downloads/{name}", archive.read(name))
    for path in (leg_file, folder, tmp_path / "again.zip"):
        start = read_start(path)
        assert start.place == Place(plan=PLAN, leg=2, parent_sha256=sha256_of(WEIGHTS))
        assert (start.weights, start.config, start.parent_sha256) == (WEIGHTS, b'{"r": 8}', sha256_of(WEIGHTS))
        assert read_package_manifest(path, KIND)["name"] == "leg_2"


def test_any_adapter_folder_is_a_start_without_a_leg(adapter, tmp_path):
    start = read_start(adapter)
    assert start.place is None and start.parent_sha256 == sha256_of(WEIGHTS)
    start.write_to(tmp_path / "copy" / "init")
    assert read_start(tmp_path / "copy" / "init") == start
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match="lacks adapter_model.safetensors"):
        read_start(adapter)


def test_a_damaged_adapter_or_zip_is_named(leg_file, tmp_path):
    folder = unpack(leg_file, tmp_path / "unpacked")
    (folder / "init/adapter_model.safetensors").write_bytes(WEIGHTS[:-1])
    with pytest.raises(DataError, match="init/adapter_model.safetensors has changed"):
        read_start(folder)
    (folder / "init/adapter_model.safetensors").unlink()
    with pytest.raises(DataError, match="init/adapter_model.safetensors is missing"):
        read_start(folder)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(leg_file.read_bytes()[:-100])
    with pytest.raises(DataError, match="cut.zip is damaged .*again"):
        read_start(cut)
    with pytest.raises(DataError, match="nowhere.zip does not exist"):
        read_start(tmp_path / "nowhere.zip")


def test_a_bundle_without_an_adapter_is_no_start(splits):
    with pytest.raises(DataError, match="holds no init/adapter_model.safetensors, so it is no leg file"):
        read_start(splits / "split_01.zip")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "is a leg file of format 2; this code reads format 1"),
        ({"kind": "split"}, "is of the kind 'split'"),
        ({"plan": {"format": 9}}, "a plan of format 9; this code reads format 1"),
        ({"plan": PLAN.model_dump(mode="json") | {"legs": []}}, "a plan that cannot be read: plan.legs"),
        ({"plan": "rounds"}, "a plan that cannot be read: plan"),
        ({"leg": 4}, "is for leg 4 of 3, which cannot be"),
        ({"leg": None}, "a plan that cannot be read: leg"),
        ({"parent_sha256": "0" * 64}, "names another adapter to start from than it holds"),
    ],
)
def test_a_leg_file_that_cannot_be_understood_is_refused_with_the_reason(changes, said, leg_file, tmp_path):
    folder = rewrite(unpack(leg_file, tmp_path / "unpacked"), **changes)
    with pytest.raises(DataError, match=said):
        read_start(folder)


def test_a_member_that_would_leave_its_folder_is_refused(leg_file, tmp_path):
    with zipfile.ZipFile(leg_file, "a") as archive:
        archive.writestr("leg_2/../../outside", b"")
    with pytest.raises(DataError, match="unsafe member .*get the leg file again"):
        read_start(leg_file)


def test_a_manifest_without_a_plan_has_no_place(tmp_path):
    assert read_place({}, tmp_path) is None and read_place({"plan": None, "leg": None}, tmp_path) is None
    place = Place(plan=PLAN, leg=1)
    assert read_place(place.about(), tmp_path) == place


def test_an_adapter_that_changed_after_its_manifest_was_written_is_no_start(leg_file, adapter, tmp_path):
    shutil.copy(unpack(leg_file, tmp_path / "unpacked") / "manifest.json", adapter)
    files = {
        name: {"sha256": sha256_of(adapter / name), "size": len(WEIGHTS)} for name in ["adapter_model.safetensors"]
    }
    rewrite(adapter, kind="adapter", files=files)
    with pytest.raises(DataError, match="adapter_config.json has changed"):
        read_start(adapter)


def make_data(folder: Path, place: Place | None) -> Path:
    """A split's folder whose manifest names a plan, or none."""
    folder.mkdir()
    seal(folder, "split", [], **(place.about() if place else NO_PLACE))
    return folder


@pytest.fixture
def data(tmp_path) -> Path:
    return make_data(tmp_path / "split_02", Place(plan=PLAN, leg=1))


def test_the_highest_leg_of_the_splits_own_plan_is_trained_now(data, adapter, leg_file, tmp_path):
    third = write_leg_file(tmp_path / "later", Place(plan=PLAN, leg=3), adapter)
    other = TrainingPlan(dataset="cd" * 32, splits=3, legs=plan_rounds(3, 5))
    stray = write_leg_file(tmp_path / "other", Place(plan=other, leg=4), adapter)
    unpacked = unpack(third, tmp_path / "unpacked")
    assert find_inputs(data, []) == (data, None, Place(plan=PLAN, leg=1))
    assert find_inputs(data, [leg_file, stray, data, tmp_path])[1:] == (leg_file, read_start(leg_file).place)
    for path in (third, unpacked):
        found = find_inputs(data, [path, leg_file, stray])
        assert (found.leg_file, found.place and found.place.leg) == (path, 3)


def test_of_two_for_one_leg_the_one_that_ends_the_plan_early_counts(data, adapter, leg_file, tmp_path):
    ended = write_leg_file(tmp_path / "end", Place(plan=PLAN.ended_early(1), leg=2), adapter)
    os.utime(ended, (0, 0))
    found = find_inputs(data, [leg_file, ended])
    assert found.leg_file == ended and found.place and found.place.is_last


def test_of_two_for_one_leg_the_one_with_this_very_code_counts_and_then_the_newest(data, leg_file, tmp_path):
    copies = [Path(shutil.copy(leg_file, tmp_path / f"leg_2 ({number}).zip")) for number in (1, 2)]
    for age, path in enumerate([*copies, leg_file]):
        os.utime(path, (age, age))
    assert find_inputs(data, [leg_file, *copies]).leg_file == leg_file
    other = rewrite(unpack(leg_file, tmp_path / "other"), code_sha256="0" * 64)
    assert find_inputs(data, [*copies, other]).leg_file == copies[1]


def test_a_damaged_leg_file_is_named_rather_than_an_earlier_leg_trained_again(data, leg_file, tmp_path):
    broken = tmp_path / "leg_3.zip"
    broken.write_bytes(leg_file.read_bytes()[:500])
    with pytest.raises(DataError, match=r"leg_3\.zip is damaged"):
        find_inputs(data, [leg_file, broken])


def test_data_without_a_plan_need_no_leg_file(leg_file, tmp_path):
    data = make_data(tmp_path / "split_01", None)
    assert find_inputs(data, [leg_file]) == (data, None, None)
    assert find_inputs(tmp_path / "no manifest", [leg_file]).place is None
