"""One person's copy of the train notebook: its settings filled in, its code named, the same bytes each time."""

import json

import nbformat
import pytest

from housebrain_core.errors import ConfigError
from housebrain_core.splits import notebooks
from housebrain_core.splits.bundle import hash_source, read_source
from housebrain_core.splits.notebooks import default_settings, fill_in, name_code, read_rendered, set_ids, to_text


@pytest.fixture
def notebook() -> dict:
    return read_rendered("kaggle")


def test_given_settings_stand_in_the_settings_cell_and_the_others_stay(notebook):
    before, defaults = json.dumps(notebook), default_settings(notebook)
    given = {"split_id": 7, "epochs": 3, "base_model": "C:\\\\it's", "learning_rate": 1e-5, "max_steps": None}
    after = default_settings(json.loads(fill_in(notebook, given)))
    assert after == defaults | given
    assert json.dumps(notebook) == before, "the original is not changed"


@pytest.mark.parametrize("platform", ["kaggle", "colab"])
def test_comments_and_form_hints_of_the_settings_stay(platform):
    def rest(text: str) -> list[str]:
        cells = [cell for cell in json.loads(text)["cells"] if "parameters" in cell["metadata"].get("tags", [])]
        assert len(cells) == 1
        return ["#" + line.partition("#")[2] for line in "".join(cells[0]["source"]).splitlines() if "#" in line]

    notebook = read_rendered(platform)
    assert rest(fill_in(notebook, {"split_id": 12, "epochs": 30})) == rest(
        json.dumps(notebook).replace("split_NN", "split_12")
    )


def test_a_setting_that_the_notebook_does_not_have_is_refused(notebook):
    with pytest.raises(ConfigError, match="the train notebook has no colour; its settings are split_id, "):
        fill_in(notebook, {"split_id": 1, "colour": "red"})


def test_a_copy_is_a_valid_notebook_in_ascii_and_the_same_each_time(notebook):
    text = fill_in(notebook, {"split_id": 4})
    assert text == fill_in(notebook, {"split_id": 4}) and text.isascii()
    nbformat.validate(nbformat.reads(text, 4))
    assert "split_04.zip" in text and "split_NN" not in text


def test_a_copy_names_the_code_of_this_package(notebook):
    expected = f'code_sha256 = "{hash_source(read_source())}"'
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"]).replace(hash_source(read_source()), "0" * 64)
    copied = json.loads(fill_in(notebook, {"split_id": 1}))["cells"]
    assert any(expected in "".join(cell["source"]) for cell in copied)
    name_code(notebook)
    assert any(expected in cell["source"] for cell in notebook["cells"])


def test_ids_follow_from_content_and_repeated_content_gets_a_number():
    cells = [{"cell_type": "code", "source": source} for source in ("a", "b", "a")]
    set_ids({"cells": cells})
    first, second, third = (cell["id"] for cell in cells)
    assert third == f"{first}-2" and second != first
    assert to_text({"b": "é", "a": 1}) == '{\n "a": 1,\n "b": "\\u00e9"\n}\n'


def test_where_no_notebook_is_built_it_says_how_to_build_it(monkeypatch, tmp_path):
    monkeypatch.setattr(notebooks, "RENDERED", tmp_path)
    monkeypatch.setattr(notebooks, "INSTALLED", tmp_path)
    with pytest.raises(ConfigError, match=r"python build_notebooks\.py"):
        read_rendered("kaggle")
