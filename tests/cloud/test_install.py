"""The install cell's decisions; tests/test_cloud_sessions.py lets it run pip in an image as it is."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from housebrain_core.cloud import install as installing
from housebrain_core.cloud.doctor import CLICKS
from housebrain_core.cloud.install import KEPT, PINS, find_stale, install_libraries
from housebrain_core.errors import MachineError

IMAGE = {**PINS, "transformers": "5.0.0", "numpy": "2.0.2", "torch": "2.10.0+cu128", "torchao": "0.10.0"}


@pytest.fixture
def pip(monkeypatch, tmp_path) -> list[list[str]]:
    """The image's versions, and the commands that pip is given; it fails on `fails`."""
    calls: list[list[str]] = []

    def answer(command, **options):
        calls.append(command[2:])
        return SimpleNamespace(returncode=0, stdout="pip chatters\n" * 50)

    monkeypatch.setattr(installing, "installed_versions", lambda: dict(IMAGE))
    monkeypatch.setattr(installing, "find_stale", list)
    monkeypatch.setattr(installing.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(subprocess, "run", answer)
    return calls


def test_only_what_differs_is_installed_under_constraints_of_the_live_image(pip, tmp_path, capsys):
    install_libraries("kaggle")
    first, second = pip
    assert first[:2] == ["pip", "--disable-pip-version-check"] and first[2] == "install"
    assert first[-1] == f"transformers=={PINS['transformers']}"
    assert not {"-U", "--upgrade", "--force-reinstall", "--no-deps"} & set(first)
    assert not any(part.startswith(("torch", "numpy")) for part in first)
    constraints = (tmp_path / "housebrain_constraints.txt").read_text().split()
    assert constraints == ["torch==2.10.0+cu128", "numpy==2.0.2"]
    assert second[2:] == ["uninstall", "-q", "-y", "torchao"]
    assert "chatters" not in capsys.readouterr().out


def test_nothing_is_installed_twice(pip, monkeypatch, capsys):
    monkeypatch.setattr(installing, "installed_versions", lambda: dict(PINS))
    install_libraries("colab")
    assert pip == [] and "nothing is installed" in capsys.readouterr().out


@pytest.mark.parametrize("platform", ["kaggle", "colab"])
def test_the_end_of_what_pip_said_is_shown_when_it_fails(platform, pip, monkeypatch):
    said = "\n".join(f"line {number}" for number in range(40))
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: SimpleNamespace(returncode=1, stdout=said))
    with pytest.raises(MachineError) as error:
        install_libraries(platform)
    assert "line 39" in str(error.value) and "line 24" not in str(error.value)
    assert CLICKS[platform]["restart"] in str(error.value)


@pytest.mark.slow
def test_a_real_pip_that_fails_is_quoted():
    with pytest.raises(MachineError, match="pip install failed:\n.*there-is-no-such-folder"):
        installing.run_pip("kaggle", "install", "--no-index", "./there-is-no-such-folder")


def test_a_library_that_was_replaced_after_it_was_loaded_is_named_with_what_to_click(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", SimpleNamespace(__version__="2.1.3"))
    monkeypatch.setattr(installing, "installed_versions", lambda: {**PINS, "numpy": "2.4.6"})
    assert "numpy is loaded as 2.1.3 and lies on disk as 2.4.6" in find_stale()
    with pytest.raises(MachineError) as error:
        install_libraries("colab", report=lambda line: None)
    assert "Runtime > Restart session, then Runtime > Run all." in str(error.value)


def test_a_build_tag_is_no_difference(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__version__="2.11.0+cu128"))
    monkeypatch.setattr(installing, "installed_versions", lambda: {"torch": "2.11.0"})
    assert find_stale() == []


def test_what_the_platform_keeps_is_never_installed():
    assert {"torch", "torchvision", "numpy", "pandas", "pyarrow", "datasets"} <= set(KEPT)
    assert not set(KEPT) & set(PINS)
