"""What a bundle holds beside its samples: the package's code, listed and hashed, and nothing else."""

import zipfile

import pyarrow as pa
import pytest

from housebrain_core.manifests import read_manifest, sha256_of
from housebrain_core.splits.bundle import SCHEMA, read_bundle, read_bundle_manifest
from housebrain_core.splits.bundle_writer import write_bundle
from housebrain_core.splits.source_files import hash_source, read_source

SOURCE = read_source()


@pytest.fixture
def samples() -> pa.Table:
    return pa.table([[f"{name} {number}" for number in range(5)] for name in SCHEMA.names], SCHEMA)


def test_a_bundle_holds_samples_manifest_and_exactly_the_packages_source_files(splits):
    with zipfile.ZipFile(splits / "split_02.zip") as archive:
        members = {name: archive.read(name).decode() for name in archive.namelist() if not name.endswith("parquet")}
        assert {name for name in archive.namelist() if name.endswith("parquet")} == {
            "split_02/train.parquet",
            "split_02/validation.parquet",
        }
    assert members.pop("split_02/manifest.json")
    assert members == {f"split_02/{name}": text for name, text in SOURCE.items()}


def test_its_manifest_lists_the_code_and_has_the_fields_of_a_plan(splits):
    manifest = read_bundle_manifest(splits / "split_02.zip")
    assert manifest["code_sha256"] == hash_source(SOURCE)
    assert manifest["code"] == {name: sha256_of(text.encode()) for name, text in SOURCE.items()}
    assert set(manifest["files"]) == {"train.parquet", "validation.parquet"}
    assert manifest["format"] == 2
    assert [manifest[name] for name in ("leg", "legs", "parent_sha256")] == [None, None, None]


def test_the_code_adds_at_most_250_kilobytes(splits):
    with zipfile.ZipFile(splits / "split_02.zip") as archive:
        code = [member for member in archive.infolist() if not member.filename.endswith("parquet")]
    headers = sum(2 * len(member.filename) + 76 for member in code)
    assert sum(member.compress_size for member in code) + headers <= 250_000


def test_the_same_samples_give_the_same_bytes_and_are_read_back(samples, tmp_path):
    paths = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        paths.append(write_bundle(tmp_path / name, "split_04", samples, samples.slice(1, 2), split_id=4, seed=7))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    bundle = read_bundle(paths[0])
    assert bundle.train.equals(samples) and bundle.validation.equals(samples.slice(1, 2))
    assert (bundle.name, bundle.manifest["split_id"], bundle.manifest["seed"]) == ("split_04", 4, 7)
    assert [path.name for path in (tmp_path / "first").iterdir()] == ["split_04.zip"]
    with zipfile.ZipFile(paths[0]) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert read_manifest(zipfile.Path(archive, "split_04/"), "bundle") == bundle.manifest
