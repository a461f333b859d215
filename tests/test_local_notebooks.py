"""The notebooks on this computer: they find the project, refuse wrong settings early, and say what is missing."""

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from notebook_outputs import count_pictures, find_problems, outputs_of, text_of
from plans import Project

from build_notebooks import build
from housebrain_core.config import EvaluateConfig
from housebrain_core.evaluate.evaluate import evaluate_models
from housebrain_core.splits.bundle import read_bundle

pytestmark = pytest.mark.slow

PROBE = "import sys\nprint(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
NAMES = ("01_split", "02_train", "03_merge", "04_evaluate", "05_next_round", "06_deploy")


def first_cells(name: str, **parameters) -> nbformat.NotebookNode:
    """A local notebook up to the cell that checks the settings, with the parameters that papermill would put in."""
    notebook = nbformat.reads(build(name, "local"), as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    last = next(place for place, cell in enumerate(code) if "check_settings(" in cell.source)
    lines = [f"{key} = {value!r}" for key, value in parameters.items()]
    given = nbformat.v4.new_code_cell("\n".join(["# Parameters", *lines]))
    path = nbformat.v4.new_code_cell(f"import sys\nsys.path[:] = {json.dumps(sys.path)}")
    notebook.cells = [path, code[0], given, *code[1 : last + 1], nbformat.v4.new_code_cell(PROBE)]
    return notebook


def run(notebook: nbformat.NotebookNode, folder: Path) -> list[str]:
    """The texts of all outputs of a notebook whose kernel starts in a folder; cells after an error run too."""
    NotebookClient(notebook, allow_errors=True, resources={"metadata": {"path": str(folder)}}).execute()
    return [text_of(output) for output in outputs_of(notebook)]


@pytest.fixture
def kernel_folder(tmp_path, monkeypatch) -> Path:
    """Where Jupyter starts the kernel of a notebook that is opened from the project."""
    monkeypatch.delenv("HOUSEBRAIN_PROJECT", raising=False)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "housebrain"\n')
    folder = tmp_path / "notebooks" / "rendered" / "local"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("01_split", {"splitz": 3}, "splitz: there is no such setting. Did you mean splits?"),
        ("01_split", {"splits": "3", "max_bad": 2.0}, "splits = '3': this has to be int, not str"),
        ("01_split", {"splits": 3, "max_bad": 2.0}, "max_bad = 2.0: "),
        ("02_train", {"splitid": 2}, "splitid: there is no such setting. Did you mean split_id?"),
        ("02_train", {"split_id": "1"}, "split_id = '1': this has to be int, not str"),
        ("02_train", {"split_id": True}, "split_id = True: this has to be int, not bool"),
        ("02_train", {"epochs": 0}, "epochs = 0: "),
        ("03_merge", {"strategy": "best-of"}, "strategy = 'best-of': "),
        ("03_merge", {"finish": True, "rank": 8}, "rank: each leg of a plan is merged in one way"),
        ("03_merge", {"overwrite": "true"}, "overwrite = 'true': this has to be bool, not str"),
        ("04_evaluate", {"models": 3}, "models = 3: this has to be"),
        ("04_evaluate", {"sample": 3}, "sample: there is no such setting. Did you mean samples?"),
        ("05_next_round", {"clean_rules": ["parkinq"]}, "there is no rule parkinq, did you mean parking?"),
        ("05_next_round", {"clean_rules": []}, "without a condition all samples are ordinary"),
        ("05_next_round", {"difficulty": "hard"}, "difficulty = 'hard': "),
        ("06_deploy", {"format": "onnx"}, "format = 'onnx': "),
        ("06_deploy", {"format": "full", "quantise": "q4_k_m"}, "quantise = q4_k_m: it would do nothing"),
    ],
)
def test_a_wrong_setting_is_refused_before_torch_is_imported(name, parameters, said, kernel_folder):
    refused, loaded = run(first_cells(name, **parameters), kernel_folder)
    assert refused.startswith("These settings cannot be used") and said in refused
    assert "Traceback" not in refused and "--" not in refused
    assert loaded == "[]\n"


def test_all_wrong_settings_are_named_at_once(kernel_folder):
    refused, _ = run(first_cells("01_split", splits="3", max_bad=2.0, sed=1), kernel_folder)
    assert [line.split(" ")[1].strip(":") for line in refused.splitlines()[1:]] == ["sed", "splits", "max_bad"]


@pytest.mark.parametrize(
    ("name", "missing", "first"),
    [
        ("01_split", "housebrain_dataset_v5_350k", "your dataset"),
        ("02_train", "housebrain_splits", "notebook 1"),
        ("03_merge", "models", "notebook 2"),
        ("04_evaluate", "models/housebrain-merged", "notebook 3"),
        ("05_next_round", "housebrain_dataset_v5_350k", "notebook 1"),
        ("06_deploy", "models/housebrain-merged", "notebook 3"),
    ],
)
def test_what_is_missing_is_named_by_its_absolute_path_with_what_to_run_first(name, missing, first, kernel_folder):
    project, refused, loaded = run(first_cells(name), kernel_folder)
    root = kernel_folder.parents[2]
    assert project.startswith(f"project: {os.path.relpath(root, kernel_folder)} ")
    assert str(root / missing) in refused and first in refused and "Traceback" not in refused
    assert loaded == "[]\n", "nothing heavy was imported to find that out"


@pytest.mark.parametrize("name", NAMES)
def test_the_project_is_found_from_where_jupyter_starts_the_kernel(name, kernel_folder, splits, adapters, dataset):
    root = kernel_folder.parents[2]
    (root / "pyproject.toml").unlink()
    (root / "housebrain_splits").symlink_to(splits)
    (root / "models").mkdir()
    (root / "models" / "hb-colab-01").symlink_to(adapters[0])
    (root / "models" / "housebrain-merged").symlink_to(adapters[1])
    (root / "housebrain_dataset_v5_350k").symlink_to(dataset)
    (root / "evaluation.json").write_text("{}")
    texts = run(first_cells(name), kernel_folder)
    assert texts[0].startswith(f"project: {os.path.relpath(root, kernel_folder)} ") and not any(
        "does not" in text for text in texts
    )
    assert len(texts) == 2 or "housebrain_splits exists already" in texts[1], texts


def test_notebook_2_trains_the_leg_whose_file_lies_in_rounds(kernel_folder, two_rounds, leg_file):
    root = kernel_folder.parents[2]
    (root / "housebrain_splits").symlink_to(two_rounds)
    notebook = nbformat.reads(build("02_train", "local"), as_version=4)
    end = next(place for place, cell in enumerate(notebook.cells) if "find_inputs(" in cell.source)
    path = nbformat.v4.new_code_cell(f"import sys\nsys.path[:] = {json.dumps(sys.path)}")
    show = nbformat.v4.new_code_cell("print(config.output_dir, config.init_adapter)")
    notebook.cells = [path, *notebook.cells[: end + 1], show]
    assert run(notebook, kernel_folder)[-1] == "models/hb-colab-01-leg-1 None\n"
    (root / "rounds").mkdir()
    (root / "rounds" / "leg_2.zip").symlink_to(leg_file)
    assert run(notebook, kernel_folder)[-1] == "models/hb-colab-01-leg-2 rounds/leg_2.zip\n"


def test_notebook_3_ends_a_leg_where_the_splits_have_a_plan_and_shows_the_legs(kernel_folder):
    project = Project(kernel_folder.parents[2])
    project.train(1, 1)
    notebook = nbformat.reads(build("03_merge", "local"), as_version=4)
    settings = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    settings.source += "\nrun_validation = False"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(f"import sys\nsys.path[:] = {json.dumps(sys.path)}"))
    texts = run(notebook, kernel_folder)
    assert texts[-1].startswith("WAITING in leg 1 of 3 for split 2, 3.")
    project.train(2, 1)
    project.train(3, 1)
    texts = run(notebook, kernel_folder)
    assert texts[-1].startswith("NEXT: leg 2 of 3, trained by split 1, 2, 3. Each of them gets rounds/leg_2.zip")
    assert any("1 of 3" in text and "came" in text for text in texts)
    assert project.state.legs[0].merged_sha256


def test_notebook_5_goes_from_an_evaluation_to_the_bundles_of_a_second_round(kernel_folder, dataset, adapters, base):
    root = kernel_folder.parents[2]
    (root / "models").mkdir()
    (root / "models" / "housebrain-merged").symlink_to(adapters[0])
    (root / "houses").symlink_to(dataset)
    config = EvaluateConfig(
        models=[adapters[0]], data=dataset, base_model=str(base), samples=2, max_new_tokens=20, sampled=0,
        output=root / "evaluation.json",
    )  # fmt: skip
    evaluate_models(config, report=lambda line: None)
    notebook = nbformat.reads(build("05_next_round", "local"), as_version=4)
    settings = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    settings.source += '\nsource = "houses"\ndifficulty = "hardest"\nat_least = 10\nsplits = 2'
    notebook.cells.insert(0, nbformat.v4.new_code_cell(f"import sys\nsys.path[:] = {json.dumps(sys.path)}"))
    texts = run(notebook, kernel_folder)
    assert find_problems(notebook) == [] and count_pictures(notebook) == 3  # no rule is broken
    assert any(text.startswith("2 of 2 answers of") for text in texts)
    assert sum("training samples (" in text and "are chosen" in text for text in texts) == 2
    manifest = read_bundle(root / "housebrain_second" / "split_01.zip").manifest
    assert manifest["selection"].startswith("second round on chosen data:") and manifest["parent_sha256"]
    assert "# split_01: yours to train" in texts[-1]


@pytest.mark.slow
def test_notebook_6_ends_with_a_question_to_the_exported_model_and_its_answer(kernel_folder, adapters, base):
    root = kernel_folder.parents[2]
    (root / "models").mkdir()
    (root / "models" / "housebrain-merged").symlink_to(adapters[0])
    notebook = nbformat.reads(build("06_deploy", "local"), as_version=4)
    settings = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    settings.source += f'\nformat = "adapter"\nbase_model = "{base}"'
    notebook.cells.insert(0, nbformat.v4.new_code_cell(f"import sys\nsys.path[:] = {json.dumps(sys.path)}"))
    texts = run(notebook, kernel_folder)
    assert find_problems(notebook) == [] and (root / "models" / "housebrain-merged-adapter" / "README.md").is_file()
    question, answer = texts[-2:]
    assert "the question:" in question and '"floors"' in question
    assert "drawn to scale" in answer or "the answer is no design" in answer  # it has seen too little
