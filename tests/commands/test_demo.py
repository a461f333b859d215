"""The demo: all notebooks by papermill on generated data, three rounds among them, and what they show."""

import errno
import json
from pathlib import Path

import nbformat
import pytest
from notebook_outputs import count_pictures, find_problems, outputs_of

from housebrain_core.commands.demo import describe_files, run_demo, run_notebook
from housebrain_core.commands.demo_results import HOUSES, ROUNDS, DemoResult
from housebrain_core.config import DemoConfig
from housebrain_core.errors import ConfigError
from housebrain_core.evaluate.first_house import BASE
from housebrain_core.evaluate.results import Evaluation

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> tuple[Path, DemoResult]:
    """The demo as `make demo` runs it: all notebooks by papermill, the default settings."""
    folder = tmp_path_factory.mktemp("demo") / "housebrain_demo"
    return folder, run_demo(DemoConfig(output=folder))


def test_demo_orders_its_models_or_says_why_not(demo):
    _, result = demo
    losses = {name: row.above for name, row in result.rows.items()}
    best = min(losses[name] for name in result.splits)
    assert losses[BASE] > 1.4 * best, "the adapters have learned"
    ordered = best >= losses["one merge"] > losses["three rounds"] > losses["everything at once"]
    assert ordered or result.problems() or best < losses["one merge"]
    assert losses["one merge"] < losses["A and B averaged apart"] + 0.01
    assert len(result.splits) == 3


def test_demo_shows_what_rounds_are_for_with_the_same_steps_for_each(demo):
    _, result = demo
    merge, rounds, everything = (result.rows[name] for name in ("one merge", "three rounds", "everything at once"))
    assert merge.steps == rounds.steps == everything.steps == result.rows["A and B averaged apart"].steps
    assert merge.exact < result.exact_of_split < rounds.exact < everything.exact
    assert everything.exact > 0.8 and rounds.above < 0.7 * merge.above
    assert rounds.rooms > merge.rooms


def test_demo_designs_parse_after_the_merge(demo):
    folder, _ = demo
    evaluation = Evaluation.model_validate_json((folder / "evaluation.json").read_text())
    assert evaluation.models[ROUNDS].rates.strict_parse > 0.5
    design = json.loads((folder / "design.json").read_text())
    assert design["levels"][0]["rooms"], "the design has geometry"


def test_demo_leaves_what_it_names(demo):
    folder, _ = demo
    for line in describe_files(folder).splitlines():
        assert Path(line.rpartition(" ")[2]).exists(), line
    for name in ("houses.png", "rounds/legs.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.html").read_text()  # notebook 04 calls what `housebrain evaluate` calls
    assert "housebrain-merged" in page and json.loads((folder / "evaluation.json").read_text())["pairs"]
    executed = {path.stem for path in (folder / "notebooks").glob("*.ipynb")}
    assert executed == set(PICTURES)


PICTURES = {
    "01_split": 3, "02_train_leg_1": 3, "02_train_apart": 3, "02_train_leg_2": 3, "02_train_leg_3": 3, "03_merge": 4,
    "04_evaluate": 3,
}  # fmt: skip
"""Audit, sample; a run twice, its houses; cosines, a spectrum, the legs and houses; losses, rates and a design."""


@pytest.mark.parametrize("name", PICTURES)
def test_every_notebook_shows_its_pictures_and_nothing_that_a_person_should_not_see(demo, name):
    notebook = nbformat.read(demo[0] / "notebooks" / f"{name}.ipynb", as_version=4)
    assert find_problems(notebook) == []
    assert count_pictures(notebook) == PICTURES[name]


def test_notebooks_show_tables_of_splits_hours_models_and_rules(demo):
    tables = {}
    for name in PICTURES:
        notebook = nbformat.read(demo[0] / "notebooks" / f"{name}.ipynb", as_version=4)
        shown = [output.data["text/html"] for output in outputs_of(notebook) if "text/html" in output.get("data", {})]
        tables[name] = [table.split("</th>")[0].rpartition(">")[2] for table in shown]
    assert tables["01_split"] == ["split", "split", "way", "figure"]
    assert tables["03_merge"] == ["adapter", "leg"]
    assert tables["04_evaluate"] == ["model", "rule"]


def test_notebook_6_exports_the_demos_model_verified_and_draws_what_the_export_answers(demo):
    folder, _ = demo
    run_notebook(folder, "06_deploy", "06_deploy", {"output": "models/exported"})
    notebook = nbformat.read(folder / "notebooks" / "06_deploy.ipynb", as_version=4)
    assert find_problems(notebook) == []
    assert count_pictures(notebook) == 1
    card = (folder / "models" / "exported" / "README.md").read_text()
    assert "- verified with transformers" in card and "8 of 8 greedy answers are the model's" in card


def test_demo_does_not_replace_a_folder_that_is_not_a_demos(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="Choose another --output"):
        run_demo(DemoConfig(output=tmp_path, overwrite=True))
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_demo_that_did_not_end_is_begun_anew_by_the_same_command_and_one_that_did_stays(tmp_path, monkeypatch):
    def fill_the_disk(root, config):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("housebrain_core.commands.demo.Demo", fill_the_disk)
    config = DemoConfig(output=tmp_path / "demo")
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            run_demo(config)
    (config.output / HOUSES).touch()
    with pytest.raises(ConfigError, match="exists already"):
        run_demo(config)
