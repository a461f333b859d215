"""Where the code runs, its GPUs as the driver names them, times as a person says them, and signals."""

import os
import signal
import sys
import time
from types import SimpleNamespace

import pytest

from housebrain_core import platforms
from housebrain_core.platforms import (
    Gpu,
    catch_signals,
    detect_platform,
    estimate_finish,
    format_duration,
    is_watched,
    list_gpus,
    session_start,
)


@pytest.fixture(autouse=True)
def no_platform(monkeypatch):
    for name in ("KAGGLE_KERNEL_RUN_TYPE", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(name, raising=False)


def test_kaggle_needs_its_folder_and_its_variable_and_colab_either_sign(monkeypatch, tmp_path):
    assert detect_platform() == "local"
    monkeypatch.setitem(platforms.WORKING, "kaggle", tmp_path)
    assert detect_platform() == "local"
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    assert detect_platform() == "kaggle"
    monkeypatch.setitem(platforms.WORKING, "kaggle", tmp_path / "missing")
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    assert detect_platform() == "colab"
    monkeypatch.delenv("COLAB_RELEASE_TAG")
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    assert detect_platform() == "colab"


def test_a_person_watches_colab_and_kaggle_s_own_editor(monkeypatch, tmp_path):
    assert not is_watched()
    monkeypatch.setitem(platforms.WORKING, "kaggle", tmp_path)
    for kind, watched in (("Interactive", True), ("Batch", False)):
        monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", kind)
        assert is_watched() is watched
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE")
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    assert is_watched()


def answer(monkeypatch, text: str, code: int = 0) -> None:
    monkeypatch.setattr(platforms.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(platforms.subprocess, "run", lambda *a, **k: SimpleNamespace(stdout=text, returncode=code))


def test_gpus_are_read_from_the_drivers_table(monkeypatch):
    answer(monkeypatch, "Tesla T4, 7.5, 15360, 15102\nTesla T4, 7.5, 15360, 14000\n")
    assert list_gpus() == [Gpu("Tesla T4", (7, 5), 15360, 15102), Gpu("Tesla T4", (7, 5), 15360, 14000)]


def test_no_driver_or_one_that_fails_means_no_gpu(monkeypatch):
    answer(monkeypatch, "NVIDIA-SMI has failed", 9)
    assert list_gpus() == []
    monkeypatch.setattr(platforms.shutil, "which", lambda name: None)
    assert list_gpus() == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (36000, "10.0 h")]
)
def test_durations_are_said_as_a_person_says_them(seconds, text):
    assert format_duration(seconds) == text


def test_an_end_beyond_the_session_is_said_in_sessions():
    now = time.mktime((2026, 11, 28, 12, 0, 0, 0, 0, -1))
    assert estimate_finish(7200, 8.5, now) == "2.0 h left, done Sat 14:00 in this session"
    assert estimate_finish(9 * 3600, 8.5, now) == "9.0 h left, 2 sessions with this one"
    assert estimate_finish(100 * 3600, None, now).startswith("100.0 h left, done ")


def test_a_local_session_begins_now():
    assert abs(session_start() - time.time()) < 5


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send")
def test_signals_are_caught_until_the_block_ends():
    before, caught = signal.getsignal(signal.SIGTERM), []
    with catch_signals(lambda number, frame: caught.append(number)):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    assert caught == [signal.SIGTERM, signal.SIGINT]
    assert signal.getsignal(signal.SIGTERM) is before
