"""What the cloud notebooks tell a person at the end; the rest of cloud.py is tested by running them."""

from pathlib import Path

import pytest

from housebrain_core.cloud import what_next


@pytest.mark.parametrize("platform", ["kaggle", "colab"])
def test_a_finished_adapter_is_named_with_where_to_download_it(platform):
    text = what_next(Path("hb-kaggle-04.zip"), platform, None)
    assert "hb-kaggle-04.zip" in text and "Download" in text


def test_checkpoints_are_said_to_be_on_drive_only_when_they_are():
    assert "lies on your Drive" in what_next(None, "colab", Path("drive"))
    refused = what_next(None, "colab", None)
    assert "Drive was not used" in refused and "on your Drive" not in refused
