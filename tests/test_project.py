"""The project's folder is found from where a kernel starts, and what is missing is named by its absolute path."""

import os

import pytest

from housebrain_core.errors import ConfigError
from housebrain_core.project import check_inputs, enter_project, find_adapters, find_project


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv("HOUSEBRAIN_PROJECT", raising=False)


@pytest.fixture
def notebooks(tmp_path):
    """Where a kernel starts: three folders below the project."""
    folder = tmp_path / "project" / "notebooks" / "rendered" / "local"
    folder.mkdir(parents=True)
    return folder


def make_splits(folder):
    (folder / "housebrain_splits").mkdir(parents=True)
    (folder / "housebrain_splits" / "manifest.json").write_text("{}")


def test_the_nearest_folder_with_splits_is_the_project(tmp_path, notebooks):
    make_splits(tmp_path)
    make_splits(tmp_path / "project")
    assert find_project(notebooks) == tmp_path / "project"


def test_splits_without_a_manifest_are_none(tmp_path, notebooks):
    (tmp_path / "project" / "housebrain_splits").mkdir()
    make_splits(tmp_path)
    assert find_project(notebooks) == tmp_path


@pytest.mark.parametrize(
    ("text", "ours"),
    [('[project]\nname = "housebrain"', True), ('[project]\nname = "other"', False), ("[tool]", False), ("{", False)],
)
def test_our_own_pyproject_marks_the_project_and_no_other(text, ours, tmp_path, notebooks):
    (tmp_path / "project" / "pyproject.toml").write_text(text)
    assert find_project(notebooks) == (tmp_path / "project" if ours else notebooks)


def test_the_variable_comes_first(tmp_path, notebooks, monkeypatch):
    make_splits(notebooks)
    monkeypatch.setenv("HOUSEBRAIN_PROJECT", str(tmp_path))
    assert find_project(notebooks) == tmp_path


@pytest.mark.parametrize("named", ["project", "/nowhere/at/all"])
def test_a_variable_that_names_no_absolute_folder_is_refused(named, tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOUSEBRAIN_PROJECT", named)
    with pytest.raises(ConfigError, match=f"HOUSEBRAIN_PROJECT = {named}: name a folder that exists, by its absolute"):
        find_project()


def test_entering_the_project_twice_stays_there_and_says_where(tmp_path, notebooks, monkeypatch, capsys):
    make_splits(tmp_path / "project")
    monkeypatch.chdir(notebooks)
    assert enter_project() == enter_project() == tmp_path / "project"
    assert f"project: {os.path.relpath(tmp_path / 'project', notebooks)} (" in capsys.readouterr().out
    check_inputs("splits_folder", "housebrain_splits", "Run notebook 1 first.")


def test_everything_that_is_missing_is_named_by_its_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(ConfigError) as refused:
        check_inputs("models", ["here", "one", "two"], "Run notebook 3 first.")
    assert str(refused.value) == f"models: nothing is at {tmp_path}/one and {tmp_path}/two. Run notebook 3 first."


def test_adapters_are_found_as_folders_and_as_zips_in_order(tmp_path):
    for name in ("hb-kaggle-02", "hb-colab-01", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").touch()
    (tmp_path / "hb-unfinished").mkdir()
    (tmp_path / "hb-kaggle-03.zip").touch()
    assert [path.name for path in find_adapters(tmp_path)] == ["hb-colab-01", "hb-kaggle-02", "hb-kaggle-03.zip"]


def test_a_folder_without_adapters_is_named_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"^{tmp_path}/models holds no adapters.* with notebook 2 first"):
        find_adapters("models")
