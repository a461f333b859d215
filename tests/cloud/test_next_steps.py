"""The end of a cloud session: what to download, or how to go on."""

import zipfile
from pathlib import Path

import pytest

from housebrain_core.cloud.next_steps import what_next, zip_adapter
from housebrain_core.legs import Place, TrainingPlan, plan_rounds
from housebrain_core.manifests import seal, sha256_of


@pytest.mark.parametrize("platform", ["kaggle", "colab"])
def test_a_finished_adapter_is_named_with_where_to_download_it(platform):
    text = what_next(4, Path("hb-kaggle-04.zip"), platform, None)
    assert "hb-kaggle-04.zip" in text and "Download" in text


def test_on_kaggle_the_next_session_is_told_click_by_click_and_as_a_second_push():
    text = what_next(4, None, "kaggle", None)
    assert "Add Input > Your Work > Notebooks" in text and text.count("Save Version > Save & Run All") == 2
    assert "`kaggle/split_04`" in text and "    kaggle kernels push -p kernel_resume" in text


def test_checkpoints_are_said_to_be_on_drive_only_when_they_are():
    assert "lie on your Drive" in what_next(4, None, "colab", Path("drive"))
    refused = what_next(4, None, "colab", None)
    assert "Drive was not used" in refused and "on your Drive" not in refused


def test_who_stopped_it_is_told_that_and_to_run_it_again():
    text = what_next(4, None, "kaggle", None, why="stopped by you")
    assert text.startswith("**You stopped it.**") and "Save Version" not in text
    assert "not finished yet: the time budget ended" in what_next(4, None, "kaggle", None).lower()


@pytest.mark.parametrize(
    ("platform", "edit"),
    [("kaggle", "Save Version > Save & Run All**. It needs no edit"), ("colab", "set `rehearsal = False`")],
)
def test_a_rehearsal_ends_with_what_starts_the_real_run(platform, edit):
    text = what_next(4, Path("hb.zip"), platform, None, rehearsal=True)
    assert "rehearsal went well" in text and edit in text


def test_an_adapter_is_zipped_to_the_same_bytes_without_its_checkpoints(tmp_path):
    output = tmp_path / "hb-kaggle-04"
    (output / "checkpoint-7").mkdir(parents=True)
    (output / "checkpoint-7" / "optimizer.pt").write_text("large")
    (output / "adapter_model.safetensors").write_text("weights")
    seal(output, "adapter")
    said: list[str] = []
    archive = zip_adapter(output, said.append)
    first = archive.read_bytes()
    assert zip_adapter(output, said.append).read_bytes() == first
    assert said[0] == said[1] and said[0].endswith(f"MB, sha256 {sha256_of(archive)}")
    assert zipfile.ZipFile(archive).namelist() == [
        "hb-kaggle-04/manifest.json",
        "hb-kaggle-04/adapter_model.safetensors",
    ]


@pytest.mark.parametrize(
    ("platform", "clicks"),
    [("kaggle", "**Add Input > Upload > New Dataset**"), ("colab", "drag `leg_3.zip` into the list")],
)
def test_after_a_leg_it_is_said_what_comes_and_what_to_do_with_it_and_after_the_last_nothing(platform, clicks):
    plan = TrainingPlan(splits=6, legs=plan_rounds(6, 3))
    archive = Path("hb-kaggle-04-leg-2.zip")
    text = what_next(4, archive, platform, None, place=Place(plan=plan, leg=2))
    assert text.startswith("**Leg 2 of 3 is done.** Download `hb-kaggle-04-leg-2.zip`")
    assert "you will be sent `leg_3.zip`" in text and clicks in text and text.endswith("No setting changes.")
    last = what_next(4, archive, platform, None, place=Place(plan=plan, leg=3))
    assert last.startswith("**Leg 3 of 3 is done.**") and "Next" not in last
