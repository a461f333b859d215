"""What the rendered notebooks promise before anybody runs them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from notebook_checks import CHECKS, CLOUD, ROOT, find_cell, train_notebook

import build_notebooks
from housebrain_core.splits import bundle, notebooks


@pytest.fixture(scope="module")
def built() -> dict[Path, nbformat.NotebookNode]:
    """Every notebook as it would be built now."""
    return {path: nbformat.reads(text, as_version=4) for path, text in build_notebooks.build_all().items()}


def test_what_is_committed_is_what_the_sources_say():
    assert build_notebooks.compare(build_notebooks.build_all()) == []


def test_a_change_of_one_module_shows_as_a_diff_of_the_cloud_notebooks(monkeypatch):
    changed = bundle.read_source()
    changed["housebrain_core/errors.py"] += "# changed"
    monkeypatch.setattr(notebooks, "read_source", lambda: changed)
    problems = build_notebooks.compare(build_notebooks.build_all())
    assert problems[0].startswith("--- notebooks/rendered/kaggle/02_train.ipynb")
    assert sum(line.startswith("+") and bundle.hash_source(changed) in line for line in problems) == len(CLOUD)


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["0", "7"])
def test_a_fresh_process_with_another_hash_seed_and_folder_builds_the_same_bytes(seed, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import build_notebooks as b, json;"
        "print(json.dumps({p.name + p.parent.name: t for p, t in b.build_all().items()}, sort_keys=True));"
        "assert 'torch' not in sys.modules"
    )
    environment = os.environ | {"PYTHONHASHSEED": seed}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {p.name + p.parent.name: t for p, t in build_notebooks.build_all().items()}


def test_every_notebook_is_valid_ascii(built):
    for path, notebook in built.items():
        nbformat.validate(notebook)
        assert path.read_bytes().isascii()
        assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)


@pytest.mark.parametrize("check", CHECKS)
def test_every_notebook_keeps_the_checklist(check, built):
    assert len(built) >= 6
    for path, notebook in built.items():
        assert check(notebook, path.parent.name) == [], path


def set_source(number: int, text: str):
    """A way of breaking a notebook: the code cell of this number gets a line more."""

    def change(notebook):
        code(notebook, number).source += f"\n{text}"

    return change


def code(notebook, number: int):
    """The code cell of this number."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"][number]


BREAKS = {
    "check_syntax": [set_source(0, "!nvidia-smi &"), set_source(-1, "print(")],
    "check_names": [set_source(-1, "print(never_bound)"), lambda n: n.cells.remove(code(n, 3))],
    "check_markers": [set_source(-1, "from google.colab import drive"), set_source(-1, "# Runtime > Run all")],
    "check_pins": [set_source(-1, "# peft==0.1.0"), set_source(5, "# accelerate==0.1.0")],
    "check_installs": [set_source(-1, '["--force-reinstall"]'), set_source(-1, '{"torch": "2.0"}')],
    "check_tokens": [set_source(-1, "hf_" + "a1" * 12), set_source(0, "ghp_" + "a1" * 12)],
    "check_ids": [lambda n: n.cells[3].update(id=n.cells[4].id), lambda n: n.cells[3].update(id="not valid!")],
    "check_outputs": [lambda n: n.cells[-1].update(execution_count=3)],
    "check_ascii": [set_source(1, "# \u00e9")],
    "check_note": [lambda n: n.cells.pop()],
    "check_headings": [lambda n: n.cells.pop(next(i for i, c in enumerate(n.cells) if "## Install" in c.source))],
    "check_parameters": [
        set_source(0, "output = str(split_id)"),
        set_source(0, 'page = "https://example.org/?a=b"'),
        lambda n: code(n, -1).metadata.update(tags=["parameters"]),
    ],
    "check_tags": [lambda n: n.cells[4].metadata.update(tags=["embed"])],
    "check_settings_cell": [
        lambda n: code(n, 0).update(source=code(n, 0).source.replace("epochs = 2", "epochs = 3")),
        lambda n: code(n, 2).update(source="settings = None"),
    ],
    "check_code_hash": [
        lambda n: find_cell(n).update(source=re.sub(r'= "\w{64}"', '= "' + 64 * "0" + '"', find_cell(n).source)),
        lambda n: find_cell(n).update(source=find_cell(n).source + 5 * "\n# more"),
        lambda n: find_cell(n).metadata.clear(),
    ],
    "check_size": [
        set_source(1, "\n".join(f"x{number} = {number}" for number in range(60))),
        set_source(-1, "first = 1; second = 2"),
        set_source(-1, "if first: second = 2"),
        set_source(-1, 'exec("print()")'),
        lambda n: n.cells.extend(nbformat.v4.new_code_cell("1") for _ in range(5)),
    ],
    "check_order": [
        lambda n: n.cells.append(
            n.cells.pop(next(i for i, c in enumerate(n.cells) if "platform = check_machine(" in c.source))
        )
    ],
}
"""What each check has to find, by its name: ways of breaking the notebook for Kaggle."""


@pytest.mark.parametrize("check", CHECKS)
def test_each_check_finds_what_it_is_for(check):
    for change in BREAKS[check.__name__]:
        notebook = train_notebook("kaggle")
        change(notebook)
        assert check(notebook, "kaggle"), f"{check.__name__} did not see it"


def test_one_persons_copy_has_one_settings_cell_with_its_split_and_names_its_files(tmp_path):
    command = ["--platform", "kaggle", "--split-id", "4", "--output", str(tmp_path)]
    assert build_notebooks.main(command) == 0
    text = (tmp_path / "train_split_04.ipynb").read_text()
    assert build_notebooks.main(command) == 0 and (tmp_path / "train_split_04.ipynb").read_text() == text
    copied, shared = nbformat.reads(text, as_version=4), train_notebook("kaggle")
    assert copied.metadata == shared.metadata and len(copied.cells) == len(shared.cells)
    assert [len(cell.source.splitlines()) for cell in copied.cells] == [
        len(c.source.splitlines()) for c in shared.cells
    ]
    assert [line for line in code(copied, 0).source.splitlines() if "split_id" in line][-1].startswith("split_id = 4")
    first = copied.cells[0].source
    assert first.startswith("# HouseBrain: train split 4 on Kaggle") and "`split_04.zip`" in first
    assert "split_NN" not in text and "your `split_id`" not in text and "`split_id = 4` is filled in already" in first
