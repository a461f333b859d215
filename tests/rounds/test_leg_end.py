"""The end of a leg: judged on the common validation sample, and a leg file that is made once."""

import json
import shutil

import pytest
from adapter_files import make_adapter, reseal, tensors
from plans import Project

from housebrain_core.config import RoundConfig
from housebrain_core.errors import AdapterError, DataError
from housebrain_core.legs import TrainingPlan, plan_rounds
from housebrain_core.manifests import seal
from housebrain_core.merge import validation
from housebrain_core.rounds import leg_end
from housebrain_core.rounds.round import run_round
from housebrain_core.rounds.state import read_state


def test_a_leg_file_that_was_lost_is_made_again_from_the_leg_before(project):
    first = project.train_all(1)
    project.round(first)
    path = project.rounds / "leg_2.zip"
    before = path.read_bytes()
    path.unlink()
    project.round(first)
    assert path.read_bytes() == before


def test_a_leg_file_that_cannot_be_the_one_of_before_is_not_made(project):
    first = project.train_all(1)
    project.round(first)
    path = project.rounds / "leg_2.zip"
    path.unlink()
    shutil.rmtree(project.rounds / "leg_1")
    shutil.copytree(first[0], project.rounds / "leg_1")
    with pytest.raises(DataError, match="leg_2.zip is missing .* and cannot be made again"):
        project.round(first)
    assert sorted(file.name for file in project.rounds.iterdir()) == ["leg_1", "rounds.json"]


def test_what_truncation_loses_is_said(project):
    lines = []
    project.round(project.train_all(1), lines)
    (line,) = [line for line in lines if "leg_2.zip" in line]
    share = float(line.rpartition("loses ")[2].partition("%")[0])
    assert "at rank 2" in line and 0 < share < 50


def test_adapters_of_other_modules_than_their_start_are_refused(tmp_path):
    half = {name: value for name, value in tensors(5).items() if ".0." in name}
    project = Project(tmp_path / "project", init=make_adapter(tmp_path / "init", half))
    values = tensors()
    project.start = lambda leg: (values, project.first_parent)
    with pytest.raises(AdapterError, match="adapts other modules than what it started from"):
        project.round(project.train_all(1))
    assert not project.files()


@pytest.fixture
def of_a_plan(adapters, splits, tmp_path):
    """Trained adapters, as if they were the first leg of a plan of two, and their splits folder with the plan."""
    folder = shutil.copytree(splits, tmp_path / "splits")
    manifest = json.loads((folder / "manifest.json").read_text())
    plan = TrainingPlan(dataset=manifest["dataset"], splits=3, legs=plan_rounds(3, 2))
    manifest |= {"plan": plan.model_dump(mode="json")}
    (folder / "manifest.json").unlink()
    seal(folder, "splits", [], **{key: manifest[key] for key in manifest if key not in ("kind", "files")})
    copies = []
    for adapter in adapters:
        copy = shutil.copytree(adapter, tmp_path / adapter.name)
        run = json.loads((copy / "run.json").read_text()) | {"plan": plan.id, "leg": 1, "legs": 2, "floor": 0.25}
        (copy / "run.json").write_text(json.dumps(run))
        reseal(copy)
        copies.append(copy)
    return folder, copies


def judge(of_a_plan, base, tmp_path, **settings):
    folder, models = of_a_plan
    places = {"splits": folder, "output": tmp_path / "rounds", "merged": tmp_path / "merged", "base_model": str(base)}
    return run_round(RoundConfig(models=models, **places | settings), report=lambda line: None)


def test_a_leg_is_judged_on_the_validation_sample_that_all_share(of_a_plan, base, tmp_path, monkeypatch):
    result = judge(of_a_plan, base, tmp_path)
    losses = result.state.legs[0].losses
    assert set(losses.splits) == {path.name for path in of_a_plan[1]}
    assert losses.merged < losses.base and losses.splits[losses.best_split] == min(losses.splits.values())
    merge = json.loads((tmp_path / "rounds" / "leg_1" / "merge.json").read_text())
    assert merge["validation"]["losses"]["merged"] == losses.merged
    assert set(losses.exact) == {*losses.splits, "merged"} and all(0 <= share <= 1 for share in losses.exact.values())
    assert result.state.floor == 0.25
    assert (tmp_path / "rounds" / "legs.png").read_bytes().startswith(b"\x89PNG")
    before = (tmp_path / "rounds" / "legs.png").stat().st_mtime_ns
    assert judge(of_a_plan, base, tmp_path).state == result.state == read_state(tmp_path / "rounds")
    assert (tmp_path / "rounds" / "legs.png").stat().st_mtime_ns == before


def test_a_worse_merge_says_so_in_the_first_line_of_the_round_and_of_its_page(of_a_plan, base, tmp_path, monkeypatch):
    measured = validation.Bench._measure_folder

    def worse(self, name, folder):
        """The merge's losses, made worse by half a nat a token."""
        found = measured(self, name, folder)
        return found._replace(nats=[nats + 0.5 * count for nats, count in zip(found.nats, found.tokens, strict=True)])

    monkeypatch.setattr(validation.Bench, "_measure_folder", worse)
    result = judge(of_a_plan, base, tmp_path)
    assert str(result).startswith("WARNING: THE MERGE IS WORSE than the best split")
    assert "Go on with the plan" in str(result).splitlines()[0]
    page = (tmp_path / "rounds" / "leg_1" / "README.md").read_text().partition("\n---\n")[2]
    assert page.startswith("\n**WARNING: THE MERGE IS WORSE")
    assert str(judge(of_a_plan, base, tmp_path)).startswith("WARNING: THE MERGE IS WORSE"), "also when called again"
    assert leg_end.first_parent(of_a_plan[0]) is None
