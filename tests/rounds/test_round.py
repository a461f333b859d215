"""The whole road of a plan: legs, people who are missing and come back, every refusal, kills, and calls in vain."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from adapter_files import WEIGHTS, make_adapter, make_trained, reseal, tensors
from plans import Project, assert_same, mean_of, updates_in, updates_of

from housebrain_core import cli
from housebrain_core.adapters.inspection import inspect_adapters
from housebrain_core.config import FineTuningConfig, InspectConfig, RoundConfig, SplitConfig
from housebrain_core.errors import AdapterError, ConfigError
from housebrain_core.legs import Leg, plan_relay, plan_rounds
from housebrain_core.manifests import sha256_of
from housebrain_core.rounds import leg_end
from housebrain_core.rounds import round as round_module
from housebrain_core.rounds.round import run_round
from housebrain_core.rounds.state import leg_file
from housebrain_core.splits.split import split_dataset
from housebrain_core.train.tuner import HouseBrainFineTuner

pytestmark = pytest.mark.slow
EVERYBODY = (1, 2, 3)


def test_three_legs_become_one_model_each_from_the_state_before(project):
    sent = []
    for leg in (1, 2):
        folders = project.train_all(leg)
        sent += folders
        result = project.round(sent)
        assert result.ended == leg
        assert_same(updates_of(project.rounds / f"leg_{leg}"), mean_of(folders))
        assert "NOT A FINISHED MODEL" in (project.rounds / f"leg_{leg}" / "README.md").read_text()
        weights, parent = project.start(leg + 1)
        assert project.state.current.parent_sha256 == parent
        for name, update in mean_of(folders).items():
            u, values, v = torch.linalg.svd(update, full_matrices=False)
            best = (u[:, :2] * values[:2]) @ v[:2]
            assert torch.linalg.norm(updates_in(weights)[name] - best) < 1e-5 * values[0]
            a, b = weights[f"{name}.lora_A.weight"], weights[f"{name}.lora_B.weight"]
            assert torch.allclose(torch.linalg.svdvals(a), torch.linalg.svdvals(b), rtol=1e-4), "balanced"
        assert not project.merged.exists()
    folders = project.train_all(3)
    result = project.round([*sent, *folders])
    assert result.next_step().startswith("DONE: leg 3 of 3 has ended")
    assert result.model == result.merged
    assert_same(updates_of(project.merged), mean_of(folders))
    assert not (project.rounds / "leg_3").exists() and not (project.rounds / "leg_4.zip").exists()
    assert "NOT A FINISHED MODEL" not in (project.merged / "README.md").read_text()
    state = json.loads((project.rounds / "rounds.json").read_text())
    assert state["format"] == 1 and state["plan"]["id"] == project.plan.id
    assert [[row["split_id"] for row in leg["sent"]] for leg in state["legs"]] == [[1, 2, 3]] * 3
    assert state["legs"][2]["sent"][0] == {
        "split_id": 1,
        "name": "hb-kaggle-01-leg-3",
        "sha256": sha256_of(folders[0] / WEIGHTS),
        "steps": 6,
        "validation_loss": 0.51,
    }
    assert state["legs"][2]["merged_sha256"] == sha256_of(project.merged / WEIGHTS)


def test_the_outer_rate_goes_beyond_the_mean_but_not_in_the_last_leg(tmp_path):
    project = Project(tmp_path, outer_rate=1.5)
    first = project.train_all(1)
    project.round(first)
    assert_same(updates_of(project.rounds / "leg_1"), {name: 1.5 * mean for name, mean in mean_of(first).items()})
    start = updates_in(project.start(2)[0])
    second = project.train_all(2)
    project.round(second)
    moved = {name: start[name] + 1.5 * (mean - start[name]) for name, mean in mean_of(second).items()}
    assert_same(updates_of(project.rounds / "leg_2"), moved)
    assert json.loads((project.rounds / "leg_2" / "merge.json").read_text())["outer_rate"] == 1.5
    third = project.train_all(3)
    project.round(third)
    assert_same(updates_of(project.merged), mean_of(third))


def test_who_is_missing_is_said_and_kept_until_all_are_there(project):
    one, two, three = project.train_all(1)
    result = project.round([one, three])
    assert result.ended is None and result.next_step().startswith("WAITING in leg 1 of 3 for split 2.")
    assert result.model is None
    assert [sent.name for sent in project.state.current.sent] == [one.name, three.name]
    assert project.state.current.missing == (2,)
    assert sorted(path.name for path in project.rounds.iterdir()) == ["rounds.json"]
    assert "missing" in str(result) and one.name in str(result)
    assert project.round([one, two, three]).ended == 1


def test_a_missing_person_is_left_out_of_one_mean_and_comes_back_in_the_next(project):
    one, two, three = project.train_all(1)
    result = project.round([one, two], accept_missing=True)
    assert result.ended == 1 and project.state.legs[0].missing == (3,)
    assert_same(updates_of(project.rounds / "leg_1"), mean_of([one, two]))
    before = project.files()
    late = project.round([one, two, three])
    assert late.left_out[0] == f"merged already in leg 1: {one.name}, {two.name}"
    assert late.left_out[1].startswith("too late for leg 1, which was merged without it, and left out: " + three.name)
    assert project.files() == before
    second = project.train_all(2)
    assert project.round([one, two, three, *second]).ended == 2
    assert_same(updates_of(project.rounds / "leg_2"), mean_of(second))


def test_nothing_is_merged_without_an_adapter_of_the_leg(project):
    first = project.train_all(1)
    project.round(first, accept_missing=True)
    before = project.files()
    result = project.round(first, accept_missing=True)
    assert result.ended is None and result.next_step().startswith("NEXT: leg 2 of 3, trained by split 1, 2, 3.")
    assert result.model == project.rounds / "leg_1"
    assert f"{project.rounds}/leg_2.zip" in result.next_step() and "is not a finished model" in result.next_step()
    assert project.files() == before


def test_a_second_call_with_the_same_files_changes_nothing(project):
    sent = []
    for leg in (1, 2, 3):
        sent += project.train_all(leg)
        shown = [str(project.round(sent)), str(project.round(sent))]
        before = {path: path.stat().st_mtime_ns for path in project.rounds.rglob("*")}
        hashes = project.files()
        assert str(project.round(sent)) == shown[1]
        assert {path: path.stat().st_mtime_ns for path in project.rounds.rglob("*")} == before
        assert project.files() == hashes


def with_problem(project: Project, kind: str) -> Path:
    """An adapter that comes in the second leg and cannot be used."""
    if kind == "plain":
        return make_adapter(project.folder / "models" / "hb-odd")
    if kind == "no plan":
        return make_trained(project.folder / "models" / "hb-odd", 3)
    changes = {
        "future": {"leg": 3},
        "parent": {"parent_sha256": "e" * 64},
        "fresh": {"parent_sha256": None},
        "plan": {"plan": "0123456789ab"},
        "unfinished": {"finished": False, "why_it_ended": "time budget"},
        "legs": {"legs": 6},
    }
    folder = project.train(9 if kind == "stranger" else 3, 2, "hb-odd", **changes.get(kind, {}))
    if kind == "half-written":
        (folder / "manifest.json").unlink()
    elif kind == "cut":
        (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9])
    elif kind == "merge":
        run = json.loads((folder / "run.json").read_text())
        run["data"]["split_id"] = None
        (folder / "run.json").write_text(json.dumps(run))
        reseal(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("future", "hb-odd is of leg 3, and leg 2 has not ended"),
        ("parent", "hb-odd started from eeeeeeee; leg 2 starts from"),
        ("fresh", "hb-odd started from a fresh LoRA initialisation; leg 2 starts from"),
        ("plan", "hb-odd was trained for the plan 0123456789ab; this is plan"),
        ("no plan", "hb-odd was trained without a plan"),
        ("unfinished", "hb-odd is not finished: time budget"),
        ("legs", "hb-odd was trained as leg 2 of 6"),
        ("stranger", "hb-odd is of split 9; in leg 2 the splits that train are 1, 2, 3"),
        ("half-written", "hb-odd has no manifest.json: it is unfinished"),
        ("plain", "hb-odd has no manifest.json"),
        ("cut", "hb-odd is damaged: adapter_model.safetensors has changed"),
        ("merge", "hb-odd is of no single split"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason_and_nothing_is_lost(kind, said, project):
    project.round(project.train_all(1))
    good = [project.train(split_id, 2) for split_id in (1, 2)]
    project.round(good)
    before = project.files()
    odd = with_problem(project, kind)
    with pytest.raises(AdapterError) as refused:
        project.round([*good, odd], accept_missing=True)
    assert said in str(refused.value) and "Nothing was changed" in str(refused.value)
    assert project.files() == before
    assert project.round([*good, odd], exclude=[odd], accept_missing=True).ended == 2


def test_one_person_twice_is_refused_but_the_same_file_twice_counts_once(project):
    sent = project.train_all(1)
    again = shutil.copytree(sent[0], project.folder / "models" / "copy")
    result = project.round([*sent[:2], again])
    assert any("copy is hb-kaggle-01-leg-1 once more" in line for line in result.left_out)
    other = make_trained(
        project.folder / "models" / "other", 1, tensors(77), plan=project.plan.id, leg=1, legs=3, parent_sha256=None
    )
    with pytest.raises(AdapterError, match="the same split twice: hb-kaggle-01-leg-1 and other"):
        project.round([*sent, other])


def test_all_reasons_are_told_at_once(project):
    project.round(project.train_all(1))
    odd = [project.train(1, 2, "one", leg=3), project.train(2, 2, "two", plan="x")]
    with pytest.raises(AdapterError, match="(?s)one is of leg 3.*two was trained for the plan x"):
        project.round(odd)


def test_zips_are_read_as_folders_are(project):
    paths = []
    for folder in project.train_all(1):
        paths.append(folder.with_suffix(".zip"))
        with zipfile.ZipFile(paths[-1], "w") as archive:
            for file in folder.iterdir():
                archive.write(file, f"{folder.name}/{file.name}")
    assert project.round(paths).ended == 1
    assert project.state.legs[0].sent[0].name == "hb-kaggle-01-leg-1"


def test_a_common_start_is_one_persons_adapter_and_no_merge(tmp_path):
    project = Project(tmp_path, plan_rounds(3, 2, common_start=0.1), outer_rate=1.5)
    start = project.train(1, 1)
    with pytest.raises(AdapterError, match="hb-kaggle-02-leg-1 is of split 2; in leg 1 the splits that train are 1"):
        project.round([start, project.train(2, 1)])
    assert project.round([start]).ended == 1
    assert_same(updates_of(project.rounds / "leg_1"), updates_of(start))
    assert_same(updates_in(project.start(2)[0]), updates_of(start))
    assert project.state.people == EVERYBODY


def test_a_relay_hands_on_one_adapter_after_another(tmp_path):
    project = Project(tmp_path, plan_relay(3), outer_rate=1.5)
    sent = []
    for leg in (1, 2, 3):
        sent.append(project.train(leg, leg))
        assert project.round(sent).ended == leg
    assert_same(updates_of(project.merged), updates_of(sent[-1]))


def test_a_first_leg_may_start_from_an_adapter_in_the_bundle(tmp_path):
    init = make_adapter(tmp_path / "init", tensors(5))
    project = Project(tmp_path / "project", outer_rate=1.5, init=init)
    fresh = project.train(3, 1, "fresh", parent_sha256=None)
    with pytest.raises(AdapterError, match="fresh started from a fresh LoRA initialisation"):
        project.round([fresh])
    sent = project.train_all(1)
    project.round(sent)
    start = updates_of(init)
    moved = {name: start[name] + 1.5 * (mean - start[name]) for name, mean in mean_of(sent).items()}
    assert_same(updates_of(project.rounds / "leg_1"), moved)


def test_a_plan_that_ends_early_gets_one_short_last_leg(project):
    first = project.train_all(1)
    project.round(first)
    started_before = project.train(1, 2, "of-three", legs=3)
    lines = []
    result = project.round(first, lines, finish=True)
    assert result.next_step().startswith("NEXT: leg 2 of 2, trained by split 1, 2, 3.")
    assert project.state.plan.id == project.plan.id and project.state.place.is_last
    assert project.state.plan.legs[1].share == pytest.approx(0.1 / 3)
    assert any("the plan ends with leg 2" in line for line in lines)
    before = project.files()
    project.round(first, lines, finish=True)
    assert "leg 2 is the last already" in lines[-1] and project.files() == before
    with pytest.raises(AdapterError, match="of-three was trained as leg 2 of 3. The plan now ends with leg 2"):
        project.round([started_before])
    last = project.train_all(2)
    assert project.round([*first, *last]).ended == 2
    assert_same(updates_of(project.merged), mean_of(last))


def test_a_leg_that_has_begun_ends_before_the_plan_does(tmp_path):
    project = Project(tmp_path, plan_rounds(3, 6))
    project.round(project.train_all(1))
    one = project.train(1, 2)
    lines = []
    result = project.round([one], lines, finish=True)
    assert result.next_step().startswith("WAITING in leg 2 of 6") and "leg 2 ends first" in lines[-1]
    result = project.round([one], lines, finish=True, accept_missing=True)
    assert result.ended == 2 and result.next_step().startswith("NEXT: leg 3 of 3")
    assert project.state.plan.legs[2].share == pytest.approx(0.1 * 2 / 6)


def kill_in(project: Project, models: list[Path], module, function: str) -> None:
    """Runs a round in a process that dies where a function would begin."""
    pid = os.fork()
    if not pid:
        try:
            setattr(module, function, lambda *_, **__: os._exit(9))
            project.round(models)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("module", "function"),
    [
        (leg_end, "write_merge"),
        (leg_end, "read_adapter"),
        (leg_end, "write_leg_file"),
        (leg_end, "sync_folder"),
        (round_module, "_draw"),
        (round_module, "write_state"),
    ],
)
def test_a_call_that_is_killed_anywhere_is_made_up_for_by_the_next(module, function, tmp_path):
    disturbed, calm = Project(tmp_path / "disturbed"), Project(tmp_path / "calm")
    sent = {project: [] for project in (disturbed, calm)}
    for leg in (1, 2, 3):
        for project, models in sent.items():
            models += project.train_all(leg)
        if leg == 2 or (leg == 3 and function in ("write_merge", "read_adapter", "write_state")):
            kill_in(disturbed, sent[disturbed], module, function)
        for project, models in sent.items():
            assert project.round(models).ended == leg
        assert disturbed.files() == calm.files()
    leftovers = [path.name for path in disturbed.rounds.iterdir() if path.name.startswith(".")]
    assert leftovers == []


def test_a_model_that_is_in_the_way_stays_unless_it_may_be_replaced(tmp_path):
    project = Project(tmp_path, plan_rounds(3, 1))
    sent = project.train_all(1)
    make_trained(project.merged, 1)
    with pytest.raises(ConfigError, match="exists already"):
        project.round(sent)
    shutil.rmtree(project.merged)
    project.round(sent)
    assert_same(updates_of(project.merged), mean_of(sent))


def test_a_model_that_is_in_the_way_of_the_last_leg_is_said_in_the_first(tmp_path):
    project = Project(tmp_path, plan_rounds(3, 2))
    sent = project.train_all(1)
    project.merged.parent.mkdir(parents=True, exist_ok=True)
    project.merged.write_text("a file")
    with pytest.raises(ConfigError, match="^merged = .*: that is a file; name a folder"):
        project.round(sent)
    assert not project.rounds.exists(), "and nothing is left, not even an empty folder"


def test_splits_without_a_plan_are_for_merge(project):
    manifest = project.splits / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"plan": None}))
    with pytest.raises(ConfigError, match="has no plan of legs.*housebrain merge"):
        project.round(project.train_all(1))


def test_the_state_of_another_plan_is_refused(project, tmp_path):
    project.round(project.train_all(1))
    other = Project(tmp_path / "other", (Leg(people=EVERYBODY, share=1.0),))
    with pytest.raises(ConfigError, match=f"of the plan {project.plan.id}, .* of the plan {other.plan.id}"):
        other.round(other.train_all(1), output=project.rounds)


def test_the_command_shows_the_table_and_what_is_next(project, capsys):
    models = [str(path) for path in project.train_all(1)[:2]]
    places = ["--splits", str(project.splits), "--output", str(project.rounds), "--merged", str(project.merged)]
    cli.run_command(["round", "--models", *models, *places, "--no-validate"])
    text = capsys.readouterr().out
    assert "1 of 3" in text and "WAITING in leg 1 of 3 for split 3." in text
    cli.run_command(["round", "--models", *models, *places, "--no-validate", "--accept-missing"])
    assert "NEXT: leg 2 of 3" in capsys.readouterr().out


def test_two_rounds_are_really_trained_merged_and_judged(dataset, base, tmp_path, monkeypatch):
    splits, rounds, models = tmp_path / "housebrain_splits", tmp_path / "rounds", []
    split_dataset(SplitConfig(source=dataset, output=splits, splits=2, validation_samples=12, rounds=2, common_start=0))
    places = {"splits": splits, "output": rounds, "merged": tmp_path / "merged", "base_model": str(base)}
    for leg in (1, 2):
        for split_id in (1, 2):
            models.append(tmp_path / f"hb-{split_id}-leg-{leg}")
            settings = FineTuningConfig(
                dataset_path=splits / f"split_{split_id:02d}.zip",
                output_dir=models[-1],
                init_adapter=leg_file(rounds, leg) if leg > 1 else None,
                base_model=str(base),
                max_steps=12,
                gradient_accumulation_steps=1,
                row_length=512,
                learning_rate=5e-3,
            )
            HouseBrainFineTuner(settings, report=lambda line: None).train()
        result = run_round(RoundConfig(models=models, **places), report=lambda line: None)
        assert result.ended == leg
    first, second = result.state.legs
    assert [sent.steps for sent in (*first.sent, *second.sent)] == [6] * 4
    assert first.losses.base == second.losses.base > first.losses.merged > second.losses.merged
    inspected = inspect_adapters(InspectConfig(models=models[2:]), report=lambda table: None)
    assert [row.verdict for row in inspected.rows] == [(), ()]
    assert {row.start for row in inspected.rows} == {second.parent_sha256[:8]}
    assert json.loads((tmp_path / "merged" / "manifest.json").read_text())["plan"] == result.state.plan.id
    assert (rounds / "legs.png").is_file() and result.next_step().startswith("DONE")
