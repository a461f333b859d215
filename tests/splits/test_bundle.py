"""Bundles: what is in them, and how they are read in any form that a platform gives them."""

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from housebrain_core.errors import DataError
from housebrain_core.manifests import read_manifest, sha256_of
from housebrain_core.splits import bundle as bundle_module
from housebrain_core.splits.bundle import (
    AT_HOME,
    FORMAT,
    SCHEMA,
    hash_source,
    is_bundle,
    read_bundle,
    read_package_manifest,
    read_source,
    write_bundle,
)

SOURCE = read_source()
PACKAGE = Path(bundle_module.__file__).parents[1]
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
        assert read_package_manifest(path) == first.manifest


def test_what_is_no_bundle_is_named(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_bundle(tmp_path / "split_09.zip")
    (tmp_path / "photo.zip").write_bytes(b"no zip")
    for read in (read_bundle, read_package_manifest):
        with pytest.raises(DataError, match="photo.zip is damaged .*again"):
            read(tmp_path / "photo.zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("notes.txt", "")
    with pytest.raises(DataError, match="holds no train.parquet"):
        read_package_manifest(tmp_path / "other.zip")


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
    manifest = read_package_manifest(splits / "split_02.zip")
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


def rewrite(folder: Path, **changes) -> None:
    """Changes fields of an unpacked bundle's manifest."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def unpacked(splits, tmp_path) -> Path:
    with zipfile.ZipFile(splits / "split_02.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path / "split_02"


@pytest.mark.parametrize("changes", [{"format": 3}, {"format": None}, {"codec_version": 2}])
def test_another_format_is_refused_with_what_to_do(changes, unpacked):
    rewrite(unpacked, **changes)
    with pytest.raises(DataError, match="this code reads bundles of format 1 and 2 .* split the dataset again"):
        read_bundle(unpacked)


def test_a_manifest_that_leaves_a_table_out_hides_nothing(unpacked):
    manifest = json.loads((unpacked / "manifest.json").read_text())
    rewrite(unpacked, files={name: entry for name, entry in manifest["files"].items() if name != "train.parquet"})
    with pytest.raises(DataError, match="train.parquet has changed"):
        read_bundle(unpacked)


def is_at_home(name: str) -> bool:
    """Whether no session runs a file: commands, demo, audit, splitting, merge, judging, export, serve, machines."""
    if name.startswith("cloud/"):
        return Path(name).stem not in ("__init__", "doctor", "install", "next_steps", "session")
    if name.startswith("evaluate/"):
        return Path(name).stem not in ("__init__", "first_house")
    splitting = "assignments", "costs", "handout", "hours", "kaggle", "notebooks", "split.", "write"
    rooms = (
        "merge/",
        "rounds/",
        "select/",
        "export/",
        "serve/",
        "commands/",
        "data/audit",
        *(f"splits/{start}" for start in splitting),
    )
    adapters = "comparison", "compatibility", "convert", "inspection", "unpickle"
    auditing = "columns", "findings", "formulas", "token_counts"
    looking = (*(f"adapters/{module}.py" for module in adapters), *(f"data/{module}.py" for module in auditing))
    return name in ("cli.py", "parameters/settings.py", *looking) or name.startswith(rooms)


def test_every_file_that_a_session_can_run_is_there_and_no_test_cache_or_editors_copy(monkeypatch, tmp_path):
    command = ["git", "-C", PACKAGE, "ls-files", "--cached", "--others", "--exclude-standard", "."]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    files = [name for name in listed if (PACKAGE / name).is_file() and not name.startswith("train/tiny_base/")]
    kept = {name for name in files if not is_at_home(name)}
    assert set(read_source()) == {f"housebrain_core/{name}" for name in kept}
    assert {
        "housebrain_core/__init__.py",
        "housebrain_core/constraints.txt",
        "housebrain_core/adapters/run.md.jinja",
    } <= {*read_source()}
    for name in ("a.py", "page.html", "note.md", "a.pyc", ".hidden.py", "room/b.py", "room/.ipynb_checkpoints/b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1")
    monkeypatch.setattr(bundle_module.resources, "files", lambda package: tmp_path)
    assert list(read_source()) == ["housebrain_core/a.py", "housebrain_core/page.html", "housebrain_core/room/b.py"]


def test_line_ends_make_no_difference_but_every_character_and_name_does(monkeypatch, tmp_path):
    hashes = []
    for text in (b"a\nb\n", b"a\r\nb\r\n", b"a\nb"):
        (tmp_path / "one.py").write_bytes(text)
        monkeypatch.setattr(bundle_module.resources, "files", lambda package: tmp_path)
        hashes.append(hash_source(read_source()))
    assert hashes[0] == hashes[1] != hashes[2]
    assert len({hash_source({"a": "bc"}), hash_source({"ab": "c"}), hash_source({"a": "b", "c": ""})}) == 3
    assert hash_source({"a": "1", "b": "2"}) == hash_source({"b": "2", "a": "1"})


def test_the_hash_is_that_of_other_processes():
    code = "from housebrain_core.splits.bundle import *; print(hash_source(read_source()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hash_source(read_source())


def test_texts_are_those_of_the_files_with_line_feeds():
    files = read_source()
    assert files["housebrain_core/config.py"] == (PACKAGE / "config.py").read_text(encoding="utf-8")
    assert not [name for name, text in files.items() if "\r" in text]


def test_nothing_that_a_bundle_carries_imports_what_it_leaves_at_home():
    left = [name.removesuffix(".py").replace("/", ".") for name in AT_HOME]
    gone = re.compile(rf"({'|'.join(map(re.escape, left))})\b")
    assert [name for name, text in read_source().items() if gone.search(text)] == []


def changed_zip(splits, target, change):
    """A copy of a bundle after `change` had its members (name -> bytes)."""
    with zipfile.ZipFile(splits / "split_01.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return target


def with_manifest(change):
    def change_members(members):
        manifest = json.loads(members["split_01/manifest.json"])
        change(manifest)
        members["split_01/manifest.json"] = json.dumps(manifest).encode()

    return change_members


def sealed(data):
    """The training samples replaced, as somebody could who writes the manifest too."""

    def change_members(members):
        files = {"train.parquet": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}}
        with_manifest(lambda manifest: manifest["files"].update(files))(members)
        members["split_01/train.parquet"] = data

    return change_members


def parquet(columns) -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.table(columns), target)
    return target.getvalue()


TEXTS = dict.fromkeys(SCHEMA.names, ["x"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_manifest(lambda manifest: manifest.pop("name")), "does not say what the bundle is called"),
        (
            with_manifest(lambda manifest: manifest.update(files={"train.parquet": [1]})),
            "lists train.parquet without a size",
        ),
        (lambda members: members.update({"split_01/manifest.json": b"[" * 200_000}), "nested too deeply"),
        (sealed(b"garbage"), "is no Parquet file that can be read"),
        (sealed(parquet(TEXTS | {"prompt": pa.nulls(1, pa.string())})), "the column prompt is not all texts"),
        (sealed(parquet(TEXTS | {"completion": [1]})), "the column completion is not all texts"),
        (lambda members: members.update({"other/train.parquet": b"x"}), "holds 2 of them"),
    ],
)
def test_a_bundle_that_somebody_changed_is_refused_in_one_sentence(change, said, splits, tmp_path):
    with pytest.raises(DataError, match=said):
        read_bundle(changed_zip(splits, tmp_path / "split_01.zip", change))


def test_an_encrypted_bundle_says_so(splits, tmp_path):
    data = bytearray((splits / "split_01.zip").read_bytes())
    place = -1
    while (place := data.find(b"PK\1\2", place + 1)) >= 0:
        data[place + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DataError, match="is encrypted"):
        read_bundle(tmp_path / "a.zip")
