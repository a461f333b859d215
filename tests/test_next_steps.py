"""The end of a cloud session: what to download, or how to go on."""

import json
import re
from pathlib import Path

import pytest

from housebrain_core import next_steps
from housebrain_core.next_steps import what_next, write_second_push


@pytest.mark.parametrize("platform", ["kaggle", "colab"])
def test_a_finished_adapter_is_named_with_where_to_download_it(platform):
    text = what_next(Path("hb-kaggle-04.zip"), platform, None)
    assert "hb-kaggle-04.zip" in text and "Download" in text


def test_checkpoints_are_said_to_be_on_drive_only_when_they_are():
    assert "lie on your Drive" in what_next(None, "colab", Path("drive"))
    refused = what_next(None, "colab", None)
    assert "Drive was not used" in refused and "on your Drive" not in refused


@pytest.fixture
def mounts(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(next_steps, "ROOT", tmp_path)
    (tmp_path / "kaggle/working").mkdir(parents=True)
    return tmp_path / "kaggle/input"


def test_the_second_push_has_its_own_address_and_the_first_ones_output(mounts, tmp_path):
    dataset = mounts / "datasets/alice/housebrain-split-04/split_04"
    push = write_second_push(tmp_path / "kaggle/working", 4, dataset, None)
    written = tmp_path / "kaggle/working/second_push/kernel-metadata.json"
    assert json.loads(written.read_text()) == push and written.read_bytes().isascii()
    assert push["id"] == "alice/housebrain-split-04-session-2"
    assert push["kernel_sources"] == ["alice/housebrain-split-04"]
    assert push["dataset_sources"] == ["alice/housebrain-split-04"]
    assert push["machine_shape"] == "NvidiaTeslaT4" and push["docker_image_pinning_type"] == "latest"
    assert [push[name] for name in ("is_private", "enable_gpu", "enable_tpu", "enable_internet")] == [
        True, True, False, True,
    ]  # fmt: skip
    assert re.sub(r"[^a-z0-9]+", "-", push["title"].lower()) == push["id"].split("/")[1], "Kaggle makes it of the title"
    text = what_next(None, "kaggle", None, push=push)
    assert "Add Input > Your Work > Notebooks" in text and text.count("Save Version > Save & Run All") == 2
    assert "kaggle kernels pull alice/housebrain-split-04 -p next/second_push" in text


def test_each_session_names_the_one_before_it(mounts, tmp_path):
    dataset = mounts / "datasets/alice/housebrain-split-04/split_04"
    for slug, this in (("housebrain-split-04", 2), ("housebrain-split-04-session-2", 3), ("my-notebook", 2)):
        earlier = mounts / "notebooks/alice" / slug / "hb-kaggle-04"
        push = write_second_push(tmp_path / "kaggle/working", 4, dataset, earlier)
        assert push["kernel_sources"] == [f"alice/housebrain-split-04-session-{this}"]
        assert push["id"] == f"alice/housebrain-split-04-session-{this + 1}"


def test_an_owner_that_the_mount_does_not_tell_is_to_be_filled_in(mounts, tmp_path):
    push = write_second_push(tmp_path / "kaggle/working", 4, mounts / "housebrain/split_04", None)
    assert push["dataset_sources"] == ["OWNER/housebrain"] and push["kernel_sources"] == ["OWNER/housebrain-split-04"]
    assert "look into its kernel-metadata.json first" in what_next(None, "kaggle", None, push=push)
