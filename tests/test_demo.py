"""The demo: all four notebooks by papermill on generated data, what they show, and the table at the end."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from notebook_outputs import count_pictures, find_problems, outputs_of

from housebrain_core.config import DemoConfig
from housebrain_core.demo import MERGED, NAMES, describe, run_demo, summarise

pytestmark = pytest.mark.slow

ADAPTERS = ["hb-colab-01", "hb-kaggle-02"]


def evaluation(losses: dict[str, float]) -> dict:
    """An evaluation of these models, as far as the demo reads it."""
    row = {"rates": {"strict_parse": 0.5}, "rule_score": 0.8, "kinds": {"ok": 8}}
    models = {name: {"loss_nats_per_token": loss} | row for name, loss in losses.items()}
    return {"models": models, "reference": {"rule_score": 0.9}}


def in_order() -> dict[str, float]:
    """Losses that fall from the base to the splits, the merge, and what was trained on everything."""
    return {"base": 0.9, ADAPTERS[0]: 0.3, ADAPTERS[1]: 0.4, **dict(zip(NAMES, (0.5, 0.2, 0.1), strict=True))}


def test_models_in_order_are_no_problem():
    summary = summarise(evaluation(in_order()), "base", ADAPTERS)
    assert summary["problems"] == [] and summary["reference"] == 0.9
    assert {name: row["loss"] for name, row in summary["models"].items()} == {
        "base model": 0.9,
        "hb-colab-01": 0.3,
        "hb-kaggle-02": 0.4,
        "average of A and B apart": 0.5,
        "exact average": 0.2,
        "trained on everything": 0.1,
    }


def test_a_merge_above_the_best_split_and_one_that_does_not_parse_are_said():
    made = evaluation(in_order() | {MERGED: 0.35})
    made["models"][MERGED]["rates"] = {"strict_parse": 0.0}
    above, unparsed = summarise(made, "base", ADAPTERS)["problems"]
    assert above.startswith("exact average (0.3500) is not below hb-colab-01 (0.3000)")
    assert unparsed.startswith("no design of the merged model parses")


def test_the_end_has_a_table_the_files_and_what_is_next(tmp_path):
    made = evaluation(in_order())
    made["models"]["base"]["rule_score"] = None
    text = describe(summarise(made, "base", ADAPTERS), DemoConfig(output=tmp_path), 61.4)
    rows = [line.split() for line in text.splitlines()]
    assert ["base", "model", "0.9000", "50%", "-"] in rows and ["reference", "designs", "90.0%"] in rows
    assert str(tmp_path / "losses.png") in text and "took 61 s" in text and "NOTE" not in text


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> tuple[Path, dict]:
    """The demo as `make demo` runs it: all four notebooks by papermill, the default settings."""
    folder = tmp_path_factory.mktemp("demo") / "housebrain_demo"
    return folder, run_demo(DemoConfig(output=folder))


@pytest.mark.xdist_group("demo")
def test_demo_orders_its_models_or_says_why_not(demo):
    _, summary = demo
    losses = {name: row["loss"] for name, row in summary["models"].items()}
    best = min(loss for name, loss in losses.items() if name.startswith("hb-"))
    assert losses["base model"] > 2 * best, "the adapters have learned"
    ordered = best >= losses["exact average"] > losses["trained on everything"]
    assert ordered or any("is not below" in problem for problem in summary["problems"])
    assert losses["exact average"] < losses["average of A and B apart"] + 0.01
    assert set(summary["models"]) >= {"hb-colab-01", "hb-kaggle-02", "hb-kaggle-03"}


@pytest.mark.xdist_group("demo")
def test_demo_designs_parse_after_the_merge(demo):
    folder, summary = demo
    assert summary["models"]["exact average"]["strict_parse"] > 0.5
    design = json.loads((folder / "design.json").read_text())
    assert design["levels"][0]["rooms"], "the design has geometry"


@pytest.mark.xdist_group("demo")
def test_demo_leaves_what_it_names(demo):
    folder, _ = demo
    for name in ("losses.png", "floor_plan.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.html").read_text()  # notebook 04 calls what `housebrain evaluate` calls
    assert "housebrain-merged" in page and json.loads((folder / "evaluation.json").read_text())["pairs"]
    executed = {path.name for path in (folder / "notebooks").glob("*.ipynb")}
    assert executed == {"01_split.ipynb", *(f"02_train_0{n}.ipynb" for n in (1, 2, 3)), "03_merge.ipynb",
                        "04_evaluate.ipynb"}  # fmt: skip


PICTURES = {
    "01_split": 3, "02_train_01": 1, "02_train_02": 1, "02_train_03": 1, "03_merge": 4, "04_evaluate": 3,
}  # fmt: skip
"""Audit and a sample; a loss curve; cosines, two spectra and losses; losses, rates and a design."""


@pytest.mark.xdist_group("demo")
@pytest.mark.parametrize("name", PICTURES)
def test_every_notebook_shows_its_pictures_and_nothing_that_a_person_should_not_see(demo, name):
    notebook = nbformat.read(demo[0] / "notebooks" / f"{name}.ipynb", as_version=4)
    assert find_problems(notebook) == []
    assert count_pictures(notebook) == PICTURES[name]


@pytest.mark.xdist_group("demo")
def test_notebooks_show_tables_of_splits_hours_models_and_rules(demo):
    tables = {}
    for name in PICTURES:
        notebook = nbformat.read(demo[0] / "notebooks" / f"{name}.ipynb", as_version=4)
        shown = [output.data["text/html"] for output in outputs_of(notebook) if "text/html" in output.get("data", {})]
        tables[name] = [table.split("</th>")[0].rpartition(">")[2] for table in shown]
    assert tables["01_split"] == ["split", "split", "figure"]
    assert tables["03_merge"][0] == "adapter"
    assert tables["04_evaluate"] == ["model", "rule"]


@pytest.mark.xdist_group("demo")
def test_demo_does_not_replace_a_folder_that_is_not_a_demos(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    command = [sys.executable, "-m", "housebrain_core.cli", "demo", "--output", str(tmp_path), "--overwrite"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 2 and "Choose another --output" in ran.stderr
    assert (tmp_path / "thesis.txt").read_text() == "mine"
