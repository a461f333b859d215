"""Zips of adapters: the one adapter in them is unpacked, and nothing that is unsafe."""

import pytest
from adapter_files import CONFIG, WEIGHTS, zip_of

from housebrain_core.adapters.archives import name_of, unpack_adapter, unpacked
from housebrain_core.errors import AdapterError

FILES = {CONFIG: b"{}", WEIGHTS: b"weights", "notes.exe": b"no"}


def test_only_the_files_of_an_adapter_are_unpacked(tmp_path):
    path = zip_of(tmp_path / "hb.zip", {f"models/hb/{name}": data for name, data in FILES.items()})
    folder = unpack_adapter(path, tmp_path / "out")
    assert {file.name for file in folder.iterdir()} == {CONFIG, WEIGHTS}
    assert (folder / WEIGHTS).read_bytes() == b"weights"


def test_checkpoints_inside_are_no_second_adapter(tmp_path):
    members = {f"{place}{name}": data for place in ("", "checkpoint-20/", "invalid/") for name, data in FILES.items()}
    assert unpack_adapter(zip_of(tmp_path / "hb.zip", members), tmp_path / "out").is_dir()


@pytest.mark.parametrize(
    ("members", "links", "problem"),
    [
        ({"../" + CONFIG: b"{}"}, (), "would leave its folder"),
        ({"/" + CONFIG: b"{}"}, (), "would leave its folder"),
        ({"C:" + CONFIG: b"{}"}, (), "would leave its folder"),
        (FILES | {"link": b"/etc/passwd"}, ("link",), "is a link"),
        ({"a/" + CONFIG: b"{}", "b/" + CONFIG: b"{}"}, (), "2 folders in it have an"),
        ({"readme": b"x"}, (), "0 folders in it have an"),
        (FILES | {WEIGHTS: bytes(3_000_000)}, (), "would unpack from"),
    ],
)
def test_what_is_unsafe_or_no_adapter_is_refused_and_nothing_is_unpacked(members, links, problem, tmp_path):
    path = zip_of(tmp_path / "hb.zip", members, links)
    with pytest.raises(AdapterError, match=problem):
        unpack_adapter(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_zip_or_missing_is_said(tmp_path):
    (tmp_path / "hb.zip").write_bytes(b"not a zip")
    with pytest.raises(AdapterError, match="damaged or no zip"):
        unpack_adapter(tmp_path / "hb.zip", tmp_path / "out")
    with pytest.raises(AdapterError, match="does not exist"):
        unpack_adapter(tmp_path / "gone.zip", tmp_path / "out")


def test_folders_stay_where_they_are_and_zips_are_gone_at_the_end(tmp_path):
    good, bad = zip_of(tmp_path / "good.zip", FILES), zip_of(tmp_path / "bad.zip", {"x": b""})
    with unpacked([tmp_path, good, bad]) as folders:
        assert folders[tmp_path] == tmp_path
        assert (folders[good] / CONFIG).is_file() and folders[good].name == "good"
        assert isinstance(folders[bad], AdapterError)
    assert not folders[good].exists()


def test_an_adapter_is_called_as_its_folder_or_zip(tmp_path):
    assert name_of(tmp_path / "hb-kaggle-04.zip") == name_of(tmp_path / "hb-kaggle-04") == "hb-kaggle-04"
    (tmp_path / "folder.zip").mkdir()
    assert name_of(tmp_path / "folder.zip") == "folder.zip"
