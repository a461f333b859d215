"""Errors that a person can act on: one paragraph in a notebook, in the words of its settings."""

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from housebrain_core import config, errors
from housebrain_core.errors import HouseBrainError, in_settings


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ("Choose another --output, or replace it with --overwrite.",
         "Choose another output, or replace it with overwrite = True."),
        ("allow more with --max-bad.", "allow more with max_bad."),
        ("--epochs 1: 3 hours, --tokens-per-second 2.5.", "epochs = 1: 3 hours, tokens_per_second = 2.5."),
        ("it is for --validate without --into-base", "it is for run_validation = True without into_base"),
        ("look for it with: housebrain inspect --output here", "look for it with: housebrain inspect --output here"),
        ("a -- b, hb-kaggle-04", "a -- b, hb-kaggle-04"),
        ("two lines,\n  --accept-plain", "two lines,\n  accept_plain = True"),
    ],
)  # fmt: skip
def test_flags_become_settings(flags, settings):
    assert in_settings(flags) == settings


def test_every_flag_of_another_name_is_that_of_a_setting():
    from housebrain_core.commands.stages import ALIASES
    from housebrain_core.export.settings import ExportConfig

    stages = [ExportConfig, *(value for value in vars(config).values() if isinstance(value, type))]
    fields = {name for stage in stages for name in getattr(stage, "model_fields", {})}
    assert set(errors.NAMES.values()) <= fields
    aliases = {(flag.removeprefix("--"), name) for names in ALIASES.values() for name, flag in names.items()}
    assert set(errors.NAMES.items()) == aliases - {("output", "output_dir")}, "output is a setting of other stages"


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HouseBrainError)]


@pytest.mark.slow
def test_a_notebook_shows_every_kind_as_its_message_alone():
    code = "from housebrain_core import config, errors\nraise errors.{}('what --overwrite is for')"
    cells = [nbformat.v4.new_code_cell(code.format(kind.__name__)) for kind in KINDS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, allow_errors=True).execute()
    for kind, cell in zip(KINDS, notebook.cells, strict=True):
        (output,) = cell.outputs
        assert output.output_type == "error" and output.ename == kind.__name__
        assert output.traceback == ["what overwrite = True is for"]


def test_a_bug_keeps_its_traceback():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import housebrain_core.errors\n1 / 0")])
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        NotebookClient(notebook).execute()


def test_flags_that_the_running_notebook_has_no_setting_for_stay_flags(monkeypatch):
    monkeypatch.setattr(errors, "OFFERED", {"output", "overwrite"})
    said = in_settings("Replace it with --overwrite, or leave it out with --exclude.")
    first, hint = said.splitlines()
    assert first == "Replace it with overwrite = True, or leave it out with --exclude." and "housebrain --help" in hint
