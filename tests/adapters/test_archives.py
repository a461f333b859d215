"""Zips of adapters: the one adapter in them is unpacked, and nothing that is unsafe."""

from pathlib import Path

import pytest
from adapter_files import CONFIG, WEIGHTS, zip_of

from housebrain_core.adapters.archives import name_all, name_of, unpack_adapter, unpacked
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
        (FILES | {WEIGHTS: b"/etc/passwd"}, (WEIGHTS,), "is a link"),
        ({"a/" + CONFIG: b"{}", "b/" + CONFIG: b"{}"}, (), "holds 2 adapters: a, b. Unpack it"),
        ({"readme": b"x"}, (), f"lacks {CONFIG}; .*it holds readme"),
        ({"hb/hb-01.zip": b"x"}, (), "holds no adapter but hb/hb-01.zip. Unpack it"),
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


@pytest.mark.parametrize(
    "members",
    [
        {f"hb\\{name}": data for name, data in FILES.items()},
        {f"checkpoint-500/{name}": data for name, data in FILES.items()},
        {f"hb/{name}": data for name, data in FILES.items()} | {"hb/runs/12:30.log": b"x", "__MACOSX/hb/._a": b"x"},
    ],
)
def test_backslashes_one_checkpoint_and_clutter_are_read(members, tmp_path):
    folder = unpack_adapter(zip_of(tmp_path / "hb.zip", members), tmp_path / "out")
    assert {file.name for file in folder.iterdir()} == {CONFIG, WEIGHTS}


def test_a_link_beside_the_adapter_does_not_matter(tmp_path):
    path = zip_of(tmp_path / "hb.zip", FILES | {"latest": b"/etc/passwd"}, ("latest",))
    assert {file.name for file in unpack_adapter(path, tmp_path / "out").iterdir()} == {CONFIG, WEIGHTS}


def test_several_checkpoints_alone_are_several_adapters(tmp_path):
    members = {f"checkpoint-{step}/{name}": data for step in (10, 20) for name, data in FILES.items()}
    with pytest.raises(AdapterError, match="holds 2 adapters: checkpoint-20, checkpoint-10"):
        unpack_adapter(zip_of(tmp_path / "hb.zip", members), tmp_path / "out")


@pytest.mark.parametrize("missing", [CONFIG, WEIGHTS])
def test_a_part_of_a_download_says_that_there_are_others(missing, tmp_path):
    members = {f"hb/{name}": data for name, data in FILES.items() if name != missing}
    path = zip_of(tmp_path / "hb-20261128T120000Z-001.zip", members)
    with pytest.raises(AdapterError, match=f"is one of several parts of a download, and {missing} is in another"):
        unpack_adapter(path, tmp_path / "out")


@pytest.mark.parametrize(("field", "value", "said"), [("method", 9, "Deflate64"), ("flag", 1, "is encrypted")])
def test_a_packing_that_python_does_not_read_is_named(field, value, said, tmp_path):
    data = bytearray(zip_of(tmp_path / "hb.zip", FILES).read_bytes())
    for signature, offset in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        place = -1
        while (place := data.find(signature, place + 1)) >= 0:
            data[place + offset + (2 if field == "method" else 0)] = value
    (tmp_path / "hb.zip").write_bytes(data)
    with pytest.raises(AdapterError, match=said):
        unpack_adapter(tmp_path / "hb.zip", tmp_path / "out")


@pytest.mark.parametrize(("data", "said"), [(b"<html>", "a web page"), (b"7z\xbc\xaf\x27\x1c", "a 7z archive")])
def test_a_file_that_is_no_zip_says_what_it_is(data, said, tmp_path):
    (tmp_path / "hb.zip").write_bytes(data)
    with pytest.raises(AdapterError, match=said):
        unpack_adapter(tmp_path / "hb.zip", tmp_path / "out")


def test_a_zip_that_was_cut_says_so(tmp_path):
    path = zip_of(tmp_path / "hb.zip", FILES)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(AdapterError, match="is cut off after 60 bytes: download it again"):
        unpack_adapter(path, tmp_path / "out")


def test_an_adapter_is_called_as_its_folder_or_zip(tmp_path, monkeypatch):
    assert name_of(tmp_path / "hb-kaggle-04.zip") == name_of(tmp_path / "hb-kaggle-04") == "hb-kaggle-04"
    (tmp_path / "folder.zip").mkdir()
    assert name_of(tmp_path / "folder.zip") == "folder.zip"
    monkeypatch.chdir(tmp_path)
    assert name_of(Path()) == tmp_path.name


def test_adapters_of_one_name_are_told_apart_by_as_much_of_the_path_as_it_takes():
    paths = [Path(p) for p in ("/w/anna/lora_model", "/w/ben/lora_model.zip", "/w/x/a/c", "/w/y/a/c", "/w/hb-01")]
    assert list(name_all(paths).values()) == ["anna/lora_model", "ben/lora_model", "x/a/c", "y/a/c", "hb-01"]
    assert list(name_all([Path("/w/hb"), Path("/w/hb.zip")]).values()) == ["hb", "hb.zip"]
