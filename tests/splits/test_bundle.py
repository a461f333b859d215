"""Bundles read as they come: packed, unpacked, zipped again; damaged, unsafe or of another format they are refused."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from housebrain_core.errors import DataError
from housebrain_core.splits.bundle import FORMAT, is_bundle, read_bundle, read_bundle_manifest

OLD = Path(__file__).parents[1] / "samples_0_1_0" / "split_01.zip"


@pytest.fixture
def bundle(splits) -> Path:
    return splits / "split_02.zip"


@pytest.fixture
def unpacked(bundle, tmp_path) -> Path:
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path)
    return tmp_path / "split_02"


def rewrite(folder: Path, **changes) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_packed_and_unpacked_hold_the_same(bundle, unpacked):
    one, other = read_bundle(bundle), read_bundle(unpacked)
    assert one.name == other.name == "split_02"
    assert one.train.equals(other.train) and one.validation.equals(other.validation)
    assert one.manifest["format"] == FORMAT and read_bundle_manifest(bundle) == one.manifest
    assert is_bundle(bundle) and is_bundle(unpacked) and not is_bundle(unpacked.parent)


def test_zipped_again_by_a_mac_it_is_read_too(unpacked, tmp_path):
    path = tmp_path / "again.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__MACOSX/split_02/._train.parquet", "")
        for file in ("train.parquet", "validation.parquet", "manifest.json"):
            archive.write(unpacked / file, f"split_02/{file}")
    assert read_bundle(path).train.num_rows == read_bundle(unpacked).train.num_rows


def test_what_0_1_0_wrote_is_read():
    old = read_bundle(OLD)
    assert old.manifest["format"] == 1 and old.train.num_rows > 0


@pytest.mark.parametrize("changes", [{"format": 3}, {"format": None}, {"codec_version": 2}])
def test_another_format_is_refused_with_what_to_do(changes, unpacked):
    rewrite(unpacked, **changes)
    with pytest.raises(DataError, match="this code reads bundles of format 1 and 2 .* split the dataset again"):
        read_bundle(unpacked)


def test_a_changed_table_is_named(unpacked):
    with (unpacked / "train.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match="train.parquet has changed"):
        read_bundle(unpacked)


def test_a_manifest_that_leaves_a_table_out_hides_nothing(unpacked):
    manifest = json.loads((unpacked / "manifest.json").read_text())
    rewrite(unpacked, files={name: entry for name, entry in manifest["files"].items() if name != "train.parquet"})
    with pytest.raises(DataError, match="train.parquet has changed"):
        read_bundle(unpacked)


@pytest.mark.parametrize("name", ["../evil.py", "/evil.py"])
def test_a_member_that_would_leave_the_folder_is_refused(name, bundle, tmp_path):
    path = Path(shutil.copy(bundle, tmp_path))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "x")
    with pytest.raises(DataError, match="unsafe member"):
        read_bundle(path)


def test_half_a_bundle_no_bundle_and_another_zip_are_told_apart(bundle, tmp_path):
    (tmp_path / "half.zip").write_bytes(bundle.read_bytes()[:-500])
    with pytest.raises(DataError, match="is damaged"):
        read_bundle(tmp_path / "half.zip")
    with pytest.raises(DataError, match="does not exist"):
        read_bundle(tmp_path / "gone.zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("train/1.json", "{}")
    with pytest.raises(DataError, match=r"holds no train\.parquet"):
        read_bundle(tmp_path / "other.zip")
