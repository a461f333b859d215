"""One person's copy of the train notebook: its settings filled in, its code named, the same bytes each time."""

import ast
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


def settings_of(text: str) -> dict:
    """Values of the parameters after all cells that set them have run."""
    cells = [cell for cell in nbformat.reads(text, 4).cells if "arameters" in " ".join(cell.metadata.get("tags", []))]
    nodes = [node for cell in cells for node in ast.parse(cell.source).body if isinstance(node, ast.Assign)]
    return {node.targets[0].id: ast.literal_eval(node.value) for node in nodes}


def test_given_settings_replace_the_notebooks_own_and_the_others_stay(notebook):
    before, defaults = json.dumps(notebook), default_settings(notebook)
    after = settings_of(fill_in(notebook, {"split_id": 7, "epochs": 3}))
    assert after == defaults | {"split_id": 7, "epochs": 3}
    assert json.dumps(notebook) == before, "the original is not changed"


def test_a_copy_is_a_valid_notebook_in_ascii_and_the_same_each_time(notebook):
    text = fill_in(notebook, {"split_id": 4})
    assert text == fill_in(notebook, {"split_id": 4}) and text.isascii()
    nbformat.validate(nbformat.reads(text, 4))
    assert "papermill" not in json.loads(text)["metadata"]


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
