"""Adapters as attacks: whatever is in a folder or zip is refused with an AdapterError, or merges to finite numbers."""

import json
import zipfile

import pytest
import torch
from adapter_files import (
    CONFIG,
    NAME,
    WEIGHTS,
    join_file,
    make_adapter,
    merge,
    merged_update,
    split_file,
    tensors,
    zip_of,
)
from safetensors.torch import save_file

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.adapters.archives import unpacked
from housebrain_core.adapters.tensors import TensorInfo, read_header, write_tensors
from housebrain_core.errors import AdapterError

EXPECTED = (lambda t: 2 * t[NAME.format(0, "B")] @ t[NAME.format(0, "A")])(tensors())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_is_accepted(dtype, tmp_path):
    folder = make_adapter(tmp_path / "a", tensors(dtype=dtype))
    assert torch.allclose(merged_update(folder, tmp_path / "out"), EXPECTED, atol=0.15)


def test_reordered_keys_padding_and_extra_files_are_accepted(tmp_path):
    folder = make_adapter(tmp_path / "a")
    header, body = split_file(folder / WEIGHTS)
    text = json.dumps(dict(reversed(header.items()))).encode() + b" " * 64
    join_file(folder / WEIGHTS, text, body)
    (folder / "README.md").write_text("hello")
    (folder / "optimizer.pt").write_bytes(b"never opened")
    assert torch.allclose(merged_update(folder, tmp_path / "out"), EXPECTED, atol=1e-5)


@pytest.mark.parametrize("inside", ["", "a/", "models/hb-kaggle-04/"])
def test_a_zip_is_an_adapter_too(inside, tmp_path):
    folder = make_adapter(tmp_path / "a")
    path = zip_of(tmp_path / "hb-kaggle-04.zip", {f"{inside}{p.name}": p.read_bytes() for p in folder.iterdir()})
    result = merge(path, tmp_path / "out")
    assert result.inputs[0].name == "hb-kaggle-04"
    assert torch.allclose(merged_update(path, tmp_path / "out"), EXPECTED, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "links", "said"),
    [
        ({"../evil.txt": b"x"}, (), "leave its folder"),
        ({"/etc/evil": b"x"}, (), "leave its folder"),
        ({"a\\..\\evil": b"x"}, (), "leave its folder"),
        ({WEIGHTS: b"/etc/passwd"}, (WEIGHTS,), "is a link"),
        ({WEIGHTS: bytes(2**24)}, (), "would unpack"),
        ({f"other/{CONFIG}": b"{}"}, (), "holds 2 adapters: the top, other"),
        ({CONFIG: None}, (), f"holds {WEIGHTS}, weights of an adapter without the {CONFIG}"),
    ],
)
def test_unsafe_zips_are_refused_and_write_nothing(changes, links, said, tmp_path):
    folder = make_adapter(tmp_path / "a")
    members = {p.name: p.read_bytes() for p in folder.iterdir()} | changes
    path = zip_of(tmp_path / "x" / "b.zip" if (tmp_path / "x").mkdir() else tmp_path / "x" / "b.zip",
                  {name: data for name, data in members.items() if data is not None}, links)  # fmt: skip
    with unpacked([path]) as folders:
        assert said in str(folders[path])
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["b.zip"] and not (tmp_path / "evil.txt").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_in_a_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for _ in range(2):
            archive.writestr(CONFIG, "{}")
    with unpacked([tmp_path / "a.zip"]) as folders:
        assert "twice" in str(folders[tmp_path / "a.zip"])


def break_header(header: dict, body: bytes) -> dict[str, tuple]:
    first = NAME.format(0, "A")
    entry = header[first]

    def changed(**more) -> dict:
        return header | {first: entry | more}

    start, end = entry["data_offsets"]
    return {
        "overlap": (changed(data_offsets=[start + 4, end + 4]), body),
        "beyond": (changed(data_offsets=[2**62, 2**62 + end - start]), body),
        "negative": (changed(data_offsets=[-4, end]), body),
        "huge-shape": (changed(shape=[2**40, 2**40]), body),
        "bool-shape": (changed(shape=[True, 10]), body),
        "float-shape": (changed(shape=[2.0, 5]), body),
        "type": (changed(dtype="F8_E4M3"), body),
        "integers": (changed(dtype="I32"), body),
        "list": (header | {first: [1, 2]}, body),
        "extra-byte": (header, body + b"x"),
        "cut": (header, body[:-1]),
        "twice": (json.dumps(header)[:-1].encode() + f', "{first}": {json.dumps(entry)}}}'.encode(), body),
        "nested": (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", body),
        "nan": (b'{"a": NaN}', body),
        "surrogate": (header | {"\ud800": entry}, body),
        "no-object": (b"[1, 2, 3]", body),
        "length": (header, body, 2**63),
        "big-length": (header, body, 2**26),
    }


HEADERS = ["overlap", "beyond", "negative", "huge-shape", "bool-shape", "float-shape", "type", "integers", "list",
           "extra-byte", "cut", "twice", "nested", "nan", "surrogate", "no-object", "length", "big-length"]  # fmt: skip


@pytest.mark.parametrize("how", HEADERS)
def test_broken_headers_are_refused(how, tmp_path):
    folder = make_adapter(tmp_path / "a")
    broken = break_header(*split_file(folder / WEIGHTS))[how]
    join_file(folder / WEIGHTS, *broken)
    with pytest.raises(AdapterError) as refused:
        read_adapter(folder, accept_plain=True)
    str(refused.value).encode("utf-8")  # printable whatever was in the file


def test_links_and_pickles_are_refused(tmp_path):
    folder = make_adapter(tmp_path / "a")
    (tmp_path / "real").write_bytes((folder / WEIGHTS).read_bytes())
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(tmp_path / "real")
    with pytest.raises(AdapterError, match="links"):
        read_adapter(folder, accept_plain=True)
    (folder / WEIGHTS).unlink()
    (folder / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(AdapterError, match="housebrain convert"):
        read_adapter(folder, accept_plain=True)


def test_a_manifest_cannot_point_outside_the_folder(tmp_path):
    folder = make_adapter(tmp_path / "a")
    files = {name: {"size": 1, "sha256": ""} for name in (WEIGHTS, CONFIG, "run.json", "../../etc/passwd")}
    (folder / "manifest.json").write_text(json.dumps({"kind": "adapter", "files": files}))
    (folder / "run.json").write_text("{}")
    with pytest.raises(AdapterError, match="lists ../../etc/passwd without a size, or outside its folder"):
        read_adapter(folder)


def test_our_writer_gives_the_bytes_of_the_library(tmp_path):
    values = tensors()
    save_file(values, tmp_path / "theirs", metadata={"format": "pt"})
    infos = {name: TensorInfo("F32", tuple(value.shape)) for name, value in reversed(values.items())}
    write_tensors(tmp_path / "ours", infos, lambda name: values[name].numpy())
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert list(read_header(tmp_path / "ours")) == sorted(values)
