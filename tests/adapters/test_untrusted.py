"""Adapters as attacks: whatever is in a folder or zip is refused with an AdapterError, or merges to finite numbers."""

import json
import os
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
from housebrain_core.adapters.convert import convert_adapters
from housebrain_core.adapters.tensors import read_header, write_matrices
from housebrain_core.config import ConvertConfig
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
        ({f"other/{CONFIG}": b"{}"}, (), "2 folders"),
        ({CONFIG: None}, (), "0 folders"),
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


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"bias": "all"}, {"init_lora_weights": "pissa_niter_4"},
        {"init_lora_weights": ["x"]}, {"auto_mapping": {"base_model_class": "os.system"}}, {"new_in_2030": 1},
        {"rank_pattern": {"((a+)+)+$": 2}}, {"alpha_pattern": {"a.*b.*c.*d.*": 2}}, {"r": True}, {"r": 1e300},
        {"lora_alpha": float("inf")}, {"rank_pattern": [1]}, {"base_model_name_or_path": "x\nlicense: evil"},
        {"revision": {"a": 1}}, {"peft_type": ["LORA"]}, {"task_type": {}}, {"use_rslora": "yes"},
    ],
)  # fmt: skip
def test_configurations_that_lie_or_change_the_meaning_are_refused(settings, tmp_path):
    with pytest.raises(AdapterError):
        read_adapter(make_adapter(tmp_path / "a", **settings), accept_plain=True)


def test_patterns_and_rslora_are_honoured_as_peft_does(tmp_path):
    """alpha 8 in layer 1 only; rslora divides by the root of the rank."""
    scaled = make_adapter(
        tmp_path / "a", alpha_pattern={r"layers\.1\.self_attn\.q_proj": 8}, rank_pattern={"q_proj": 2}, r=4
    )
    adapter = read_adapter(scaled, accept_plain=True)
    assert list(adapter.scaling.values()) == [2.0, 4.0]
    rooted = read_adapter(make_adapter(tmp_path / "b", use_rslora=True), accept_plain=True)
    assert list(rooted.scaling.values()) == [pytest.approx(4 / 2**0.5)] * 2


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
    with pytest.raises(AdapterError, match="expected plain files"):
        read_adapter(folder)


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_convert_makes_safetensors_and_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = make_adapter(tmp_path / "a")
    (folder / WEIGHTS).unlink()
    torch.save(tensors(), folder / "adapter_model.bin")
    convert_adapters(ConvertConfig(models=[folder]), report=lambda line: None)
    assert torch.allclose(merged_update(folder, tmp_path / "out"), EXPECTED, atol=1e-5)
    (folder / WEIGHTS).unlink()
    torch.save({"x": Evil()}, folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match="not converted"):
        convert_adapters(ConvertConfig(models=[folder]), report=lambda line: None)
    assert not (tmp_path / "pwned").exists() and not (folder / WEIGHTS).exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"extra": torch.ones(3)}, "its tensors: 'extra' is no LoRA weight"),
        ({NAME.format(0, "A"): None}, "has only lora_B"),
        ({NAME.format(1, "B"): torch.full((6, 2), float("nan"))}, "holds NaN"),
        ({NAME.format(1, "A"): torch.ones(3, 5)}, "A has rank 3, B has rank 2"),
    ],
)
def test_what_converts_to_no_adapter_is_refused_and_leaves_nothing(changes, said, tmp_path):
    folder = make_adapter(tmp_path / "a")
    (folder / WEIGHTS).unlink()
    kept = {name: tensor for name, tensor in (tensors() | changes).items() if tensor is not None}
    torch.save(kept, folder / "adapter_model.bin")
    before, lines = sorted(folder.iterdir()), []
    with pytest.raises(AdapterError, match="adapter_model.bin is not converted: .*" + said) as refused:
        convert_adapters(ConvertConfig(models=[folder]), report=lines.append)
    assert sorted(folder.iterdir()) == before and not lines and ".converting" not in str(refused.value)


def test_a_pickle_without_its_configuration_is_not_converted(tmp_path):
    folder = make_adapter(tmp_path / "a")
    (folder / WEIGHTS).unlink()
    (folder / CONFIG).unlink()
    torch.save(tensors(), folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match="lacks adapter_config.json"):
        convert_adapters(ConvertConfig(models=[folder]), report=lambda line: None)
    assert [path.name for path in folder.iterdir()] == ["adapter_model.bin"]


def test_what_cannot_be_converted_is_said_in_one_sentence(tmp_path):
    (tmp_path / "cut").mkdir()
    torch.save({"a": torch.ones(3)}, tmp_path / "cut" / "adapter_model.bin")
    os.truncate(tmp_path / "cut" / "adapter_model.bin", 300)
    for name, said in (("gone", "gone does not exist"), ("cut", r"not converted: \w+Error: [^.]+\. Ask")):
        with pytest.raises(AdapterError, match=said):
            convert_adapters(ConvertConfig(models=[tmp_path / name]), report=lambda line: None)


def test_our_writer_gives_the_bytes_of_the_library(tmp_path):
    values = tensors()
    save_file(values, tmp_path / "theirs", metadata={"format": "pt"})
    write_matrices(tmp_path / "ours", {name: value.numpy() for name, value in reversed(values.items())})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert list(read_header(tmp_path / "ours")) == sorted(values)
