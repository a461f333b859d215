"""Bundles as they are read: whole, in any form that a platform gives them, of this format or the one before."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from housebrain_core.errors import DataError
from housebrain_core.splits.bundle import FORMAT, is_bundle, read_bundle, read_bundle_manifest

SAMPLE = Path(__file__).parents[1] / "samples_0_1_0" / "split_01.zip"


def test_a_bundle_that_version_0_1_0_wrote_is_read():
    bundle = read_bundle(SAMPLE)
    assert bundle.manifest["format"] == 1 and bundle.manifest["housebrain"] == "0.1.0" and FORMAT == 2
    assert bundle.name == "split_01" and (bundle.train.num_rows, bundle.validation.num_rows) == (3, 2)
    assert all(bundle.train["prompt"].to_pylist()) and all(bundle.train["completion"].to_pylist())


def test_a_zip_its_folder_and_one_zipped_again_on_a_mac_hold_the_same(splits, tmp_path):
    bundle = splits / "split_02.zip"
    with zipfile.ZipFile(bundle) as archive, zipfile.ZipFile(tmp_path / "again.zip", "w") as again:
        archive.extractall(tmp_path)
        for name in archive.namelist():
            again.writestr(f"__MACOSX/{name}", b"a shadow")
            again.writestr(name, archive.read(name))
    first = read_bundle(bundle)
    for path in (tmp_path / "split_02", tmp_path / "again.zip"):
        other = read_bundle(path)
        assert is_bundle(path) and other.name == "split_02" and other.manifest == first.manifest
        assert other.train.equals(first.train) and other.validation.equals(first.validation)
        assert read_bundle_manifest(path) == first.manifest


def test_what_is_no_bundle_is_named(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_bundle(tmp_path / "split_09.zip")
    (tmp_path / "photo.zip").write_bytes(b"no zip")
    for read in (read_bundle, read_bundle_manifest):
        with pytest.raises(DataError, match="photo.zip is damaged .*again"):
            read(tmp_path / "photo.zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("notes.txt", "")
    with pytest.raises(DataError, match="holds no train.parquet"):
        read_bundle_manifest(tmp_path / "other.zip")


@pytest.mark.parametrize("name", ["train.parquet", "validation.parquet"])
def test_a_changed_or_missing_file_is_named(name, splits, tmp_path):
    with zipfile.ZipFile(splits / "split_02.zip") as archive:
        archive.extractall(tmp_path)
    path = tmp_path / "split_02" / name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=f"{name} has changed"):
        read_bundle(path.parent)
    shutil.copy(path, tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=f"{name} is missing"):
        read_bundle(path.parent)


@pytest.mark.parametrize("name", ["../split_02/train.parquet", "/split_02/train.parquet", "a/../../train.parquet"])
def test_a_member_that_would_leave_its_folder_is_refused_and_nothing_is_written(splits, tmp_path, name):
    evil = tmp_path / "inside" / "split_02.zip"
    evil.parent.mkdir()
    with zipfile.ZipFile(splits / "split_02.zip") as good, zipfile.ZipFile(evil, "w") as bad:
        for member in good.namelist():
            bad.writestr(name if member.endswith("train.parquet") else member, good.read(member))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match="unsafe member"):
        read_bundle(evil)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unpacked_bundle_whose_manifest_points_elsewhere_is_refused(splits, tmp_path):
    with zipfile.ZipFile(splits / "split_02.zip") as archive:
        archive.extractall(tmp_path)
    manifest = json.loads((tmp_path / "split_02/manifest.json").read_text())
    manifest["files"]["../outside"] = manifest["files"]["train.parquet"]
    (tmp_path / "split_02/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="outside"):
        read_bundle(tmp_path / "split_02")
