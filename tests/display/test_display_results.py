"""Results show themselves: every part an output of its own in a notebook, text in a terminal."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbclient import NotebookClient

from housebrain_core.display import results
from housebrain_core.display.plots import loss_bars
from housebrain_core.display.results import Page, Shown, Table, link, say, show

TABLE = Table(("name", "loss"), [("one & two", "0.5"), ("three", "10.25")], ("loss: in nats",))


class Result(Shown):
    def outputs(self):
        return ["two models", TABLE, loss_bars({"one": 0.5}), Page("*x*")]


def test_a_table_is_aligned_text_with_numbers_to_the_right():
    assert str(TABLE).splitlines() == ["name        loss", "one & two    0.5", "three      10.25", "loss: in nats"]


def test_a_table_is_html_that_says_the_same():
    data = TABLE._repr_mimebundle_()
    assert data["text/plain"] == str(TABLE)
    assert '<td style="text-align: left">one &amp; two</td><td style="text-align: right">0.5</td>' in data["text/html"]
    assert data["text/html"].endswith("<p>loss: in nats</p>")


def test_a_page_is_markdown_that_reads_as_text_too():
    text = "# Title\n\n## Use\n\n```python\n# a comment\n```\n## More\n"
    shown = Page(text)._repr_mimebundle_()
    assert shown["text/plain"] == text, "headings below the notebook's own, so that its table of contents stays"
    assert shown["text/markdown"] == "### Title\n\n#### Use\n\n```python\n# a comment\n```\n#### More\n"


def test_a_terminal_gets_texts_and_tables(capsys):
    show(Result(), "done", loss_bars({"one": 0.5}))
    assert capsys.readouterr().out == f"two models\n\n{TABLE}\n\n*x*\n\ndone\n"


def test_nothing_to_say_prints_nothing(capsys):
    show(loss_bars({"one": 0.5}))
    assert capsys.readouterr().out == ""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> dict[str, list]:
    """Outputs of cells that end with a table, a figure, a result, and a call of `show`, run by a kernel."""
    first = f"import sys\nsys.path[:] = {json.dumps(sys.path)}\nfrom test_display_results import *"
    ends = {
        "table": "TABLE",
        "figure": "loss_bars({'one': 0.5})",
        "result": "Result()",
        "show": "show('two models', TABLE, loss_bars({'one': 0.5}), Page('*x*'))",
    }
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in (first, *ends.values())])
    folder = tmp_path_factory.mktemp("kernel")
    NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}).execute()
    return dict(zip(ends, [cell.outputs for cell in notebook.cells[1:]], strict=True))


@pytest.mark.xdist_group("kernel")
def test_a_table_at_the_end_of_a_cell_is_html_and_text(outputs):
    (output,) = outputs["table"]
    assert output.data["text/plain"] == str(TABLE) and output.data["text/html"] == TABLE.to_html()


@pytest.mark.xdist_group("kernel")
def test_a_figure_at_the_end_of_a_cell_is_a_picture_with_a_text(outputs):
    (output,) = outputs["figure"]
    assert output.data["image/png"].startswith("iVBOR")
    assert output.data["text/plain"] == "Validation loss in nats per token: one 0.5000."
    assert output.metadata["image/png"]["alt"] == output.data["text/plain"]


@pytest.mark.xdist_group("kernel")
@pytest.mark.parametrize("cell", ["result", "show"])
def test_each_part_is_an_output_of_its_own(outputs, cell):
    assert [sorted(output.data) for output in outputs[cell]] == [
        ["text/plain"],
        ["text/html", "text/plain"],
        ["image/png", "text/plain"],
        ["text/markdown", "text/plain"],
    ]
    assert outputs[cell][0].data["text/plain"] == "two models"


def test_tables_need_neither_matplotlib_nor_ipython():
    code = "import sys, housebrain_core.display.results; print(sorted({'matplotlib', 'IPython'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_terminal_gets_a_path_and_flags_as_they_are(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert link(Path("out/audit.html"), "Every field") == "Every field: [audit.html](out/audit.html)"
    say("replace it with --overwrite")
    assert capsys.readouterr().out == "replace it with --overwrite\n"


def test_a_notebook_gets_its_own_words_and_links_from_its_own_folder(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results, "in_notebook", lambda: True)
    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace(starting_dir=str(tmp_path / "notebooks" / "local")))
    monkeypatch.setitem(sys.modules, "IPython", shell)
    assert link(Path("audit.html"), "Every field") == "Every field: [audit.html](../../audit.html)"
    say("replace it with --overwrite")
    assert capsys.readouterr().out == "replace it with overwrite = True\n"
