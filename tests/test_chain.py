"""The main job from end to end: on generated data through the notebooks, on real data through the commands."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from notebook_outputs import count_pictures, find_problems, outputs_of
from test_cli import run

from housebrain_core.config import DemoConfig
from housebrain_core.demo import run_demo


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
    assert tables["04_evaluate"] == ["model", "rule"]


@pytest.mark.xdist_group("demo")
def test_demo_does_not_replace_a_folder_that_is_not_a_demos(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    command = [sys.executable, "-m", "housebrain_core.cli", "demo", "--output", str(tmp_path), "--overwrite"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 2 and "Choose another --output" in ran.stderr
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.xdist_group("real")
def test_the_whole_chain_runs_on_600_real_samples(shared, base, tmp_path, monkeypatch, capsys):
    unpack = [sys.executable, shared / "data" / "unpack.py", tmp_path / "real", "--train", "600", "--validation", "40"]
    subprocess.run(unpack, check=True, capture_output=True)
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        code, text = run(monkeypatch, capsys, *arguments)
        assert code == 0, text
        return text

    command("split", "--source", "real", "--splits", "6", "--validation-samples", "24")
    names = []
    for number in range(1, 7):
        names.append(f"models/hb-{'colab' if number <= 3 else 'kaggle'}-{number:02d}")
        bundle = f"housebrain_splits/split_{number:02d}.zip"
        small = ["--max-steps", "8", "--gradient-accumulation-steps", "2", "--learning-rate", "0.005"]
        command("train", "--split", bundle, "--output", names[-1], "--base-model", base, *small)
    command("merge", "--models", *names, "--validate")
    command("evaluate", "--model", base, "--model", "models/housebrain-merged", "--samples", "4")
    models = json.loads(Path("evaluation.json").read_text())["models"]
    assert models["housebrain-merged"]["loss_nats_per_token"] < models[base.name]["loss_nats_per_token"]
    samples = sum(json.loads((Path(name) / "run.json").read_text())["samples"] for name in names)
    assert samples == 600
