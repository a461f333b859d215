"""The gallery: what is committed shows results and pictures, nothing of a machine, and is small; how it is made so."""

import json
import re

import nbformat
import pytest
from notebook_outputs import count_pictures, find_problems

import build_gallery
from build_gallery import GALLERY, KEPT, LARGEST, clean_outputs, code_of, hide, move_values, page_path

PAGES = sorted(GALLERY.glob("*.ipynb"))
TRACES = r"/home/|/root|/tmp|/Users|/private/|[A-Z]:\\|/work\b|0x[0-9a-f]{6}|pytest-of"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_its_pictures_and_nothing_of_a_machine(page):
    notebook = nbformat.reads(page.read_text(encoding="utf-8"), as_version=4)
    nbformat.validate(notebook)
    assert page.stat().st_size < LARGEST
    assert find_problems(notebook) == [] and count_pictures(notebook) >= 1
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = json.dumps([{**output, "data": dict(output.get("data", {}), **{"image/png": ""})} for output in outputs])
    assert re.findall(TRACES, texts + json.dumps([cell.source for cell in notebook.cells])) == []
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert not [cell for cell in notebook.cells if set(cell.metadata) - set(KEPT)]
    assert notebook.cells[1].source.startswith("*Executed on the demo's generated houses")
    assert len([cell for cell in notebook.cells if "parameters" in "".join(cell.metadata.get("tags", []))]) == 1


def test_the_gallery_has_the_train_notebook_as_a_session_on_kaggle_shows_it():
    assert page_path("02_train", "kaggle") in PAGES
    session = nbformat.reads(page_path("02_train", "kaggle").read_text(encoding="utf-8"), as_version=4)
    collapsed = [cell.source for cell in session.cells if cell.metadata.get("jupyter", {}).get("source_hidden")]
    assert len(collapsed) == 1 and "Find the bundle" in collapsed[0]
    assert set(PAGES) <= {page_path(*key) for key in build_gallery.NOTEBOOKS}, "pages of notebooks that exist"


def test_what_an_execution_adds_is_taken_out():
    text = "saved to /tmp/x1/models in 3.2 s, base /home/ann/.cache/base, <Figure at 0x7f3a>"
    assert hide(text, {"/tmp/x1": ".", "/home/ann": "~"}) == "saved to ./models, base ~/.cache/base, <Figure>"
    printed = [nbformat.v4.new_output("stream", text=line) for line in ("a\n", "/tmp/x1/b\n")]
    cell = nbformat.v4.new_code_cell("1", outputs=printed, metadata={"papermill": {"duration": 3}, "tags": []})
    notebook = nbformat.v4.new_notebook(cells=[cell])
    clean_outputs(notebook, {"/tmp/x1": "."})
    assert [output.text for output in notebook.cells[0].outputs] == ["a\n./b\n"] and notebook.cells[0].metadata == {}


def test_values_that_papermill_put_into_a_cell_of_its_own_move_into_the_settings():
    settings = nbformat.v4.new_code_cell("a = 1  # first\nb = 2", metadata={"tags": ["parameters"]})
    given = nbformat.v4.new_code_cell('# Parameters\nb = "x"\n', metadata={"tags": ["injected-parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[settings, given])
    move_values(notebook)
    assert [cell.source for cell in notebook.cells] == ['a = 1  # first\nb = "x"']


def test_code_is_compared_without_settings_and_the_hash_of_a_bundle():
    cells = [nbformat.v4.new_code_cell(f'code_sha256 = "{letter * 64}"') for letter in "ab"]
    assert code_of(cells[0]) == code_of(cells[1]) == 'code_sha256 = ""'
    assert code_of(nbformat.v4.new_code_cell("a = 1", metadata={"tags": ["parameters"]})) == ""
    assert code_of(nbformat.v4.new_markdown_cell("text")) == ""
