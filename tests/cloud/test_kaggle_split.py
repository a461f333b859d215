"""housebrain kaggle push, status and fetch: the real client and its checks, with a stand-in for the network."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from adapter_files import WEIGHTS, make_trained, zip_of
from kaggle_server import CANARY, refusal

from housebrain_core import cli
from housebrain_core.adapters.run import DataRecord
from housebrain_core.config import SplitConfig
from housebrain_core.manifests import sha256_of
from housebrain_core.splits.split import split_dataset


@pytest.fixture(scope="module")
def made(dataset, tmp_path_factory) -> Path:
    """Three splits for alice's account in two rounds after a common start."""
    folder = tmp_path_factory.mktemp("made") / "housebrain_splits"
    config = SplitConfig(
        source=dataset, output=folder, splits=3, platform=["kaggle"], rounds=2, common_start=0.1,
        owner=["1=alice", "2=alice", "3=bob"], training=["max_steps=60"],
    )  # fmt: skip
    split_dataset(config, report=lambda line: None)
    return folder


@pytest.fixture
def project(made, client, tmp_path, monkeypatch) -> Path:
    """A project's folder with those splits, in which alice is logged in."""
    import kaggle

    shutil.copytree(made, tmp_path / "housebrain_splits")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kaggle, "api", client)
    return tmp_path


@pytest.fixture
def say(project, monkeypatch, capsys):
    """Runs `housebrain kaggle ...`; gives exit code and everything printed, in which no secret may be."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["housebrain", "kaggle", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as error:
            code = error.code or 0
        printed = capsys.readouterr()
        text = printed.out + printed.err
        assert CANARY not in text and "Traceback" not in text
        return code, text

    return run


def read_id(project: Path, name: str, split_id: int = 1) -> str:
    path = project / "housebrain_splits" / "kaggle" / f"split_0{split_id}" / f"{name}-metadata.json"
    return json.loads(path.read_text())["id"]


def kernels_of(client) -> list[tuple]:
    """(datasets, notebooks attached) of each notebook that was pushed."""
    pushed = [request for request in client.server.requests if hasattr(request, "dataset_data_sources")]
    return [(len(one.dataset_data_sources), len(one.kernel_data_sources)) for one in pushed]


def put_output(client, project: Path, name: str, split_id: int = 1, **run) -> Path:
    """Puts an invented adapter into the output of the notebook: its run, and its zip where it is finished."""
    data = DataRecord(dataset="d" * 64, split_id=split_id, splits=3)
    folder = make_trained(project / "made" / name, split_id, **{"data": data} | run)
    client.server.outputs[f"{name}/run.json"] = (folder / "run.json").read_bytes()
    if run.get("finished", True):
        members = {f"{name}/{path.name}": path.read_bytes() for path in folder.iterdir()}
        client.server.outputs[f"{name}.zip"] = zip_of(project / "x.zip", members).read_bytes()
    client.server.states[read_id(project, "kernel/kernel", split_id)] = "complete"
    return folder


def write_leg_file(project: Path, split_id: int = 1, leg: int = 2) -> Path:
    from housebrain_core.legs import Place
    from housebrain_core.splits import leg_file
    from housebrain_core.splits.parts import read_plan

    plan = read_plan(project / "housebrain_splits")
    adapter = make_trained(project / f"parent_{leg}", 1)
    folder = project / "housebrain_splits" / "kaggle" / f"split_0{split_id}" / "leg"
    return leg_file.write_leg_file(folder, Place(plan=plan, leg=leg), adapter)


def test_the_first_push_uploads_waits_and_runs(say, client, project):
    code, text = say("push", "--split", "1")
    assert code == 0, text
    assert [path.name for path in client.server.files] == ["split_01.zip"]
    assert kernels_of(client) == [(1, 0)]
    assert "GPU quota: 24.0 of 30 hours left" in text and "is ready" in text and "It runs: https://" in text
    assert "housebrain kaggle status --split 1" in text


def test_a_second_push_while_it_runs_changes_nothing(say, client):
    say("push", "--split", "1")
    before = len(client.server.requests)
    code, text = say("push", "--split", "1")
    assert code == 2 and "is running already" in text
    assert len(client.server.requests) == before


def test_a_run_whose_time_was_over_goes_on_from_its_own_output(say, client, project):
    say("push", "--split", "1")
    put_output(client, project, "hb-kaggle-01-leg-1", finished=False, why_it_ended="the time budget ended")
    assert "it goes on: the time budget ended" in say("status", "--split", "1")[1]
    assert say("push", "--split", "1")[0] == 0
    assert kernels_of(client) == [(1, 0), (1, 1)]
    assert [path.name for path in client.server.files] == ["split_01.zip"], "nothing is uploaded twice"


def test_no_run_saves_only_and_says_how_to_rehearse(say, client):
    from kagglesdk.kernels.types.kernels_enums import KernelExecutionType

    code, text = say("push", "--split", "1", "--no-run")
    assert code == 0 and "Run All for the rehearsal" in text
    assert client.server.requests[-1].kernel_execution_type == KernelExecutionType.QUICK_SAVE


def test_a_finished_adapter_is_not_pushed_again_but_fetched_and_checked(say, client, project):
    say("push", "--split", "1")
    folder = put_output(client, project, "hb-kaggle-01-leg-1")
    assert "Take it home: housebrain kaggle fetch --split 1" in say("push", "--split", "1")[1]
    assert "Next: housebrain kaggle fetch --split 1" in say("status", "--split", "1")[1]
    code, text = say("fetch", "--split", "1")
    assert code == 0 and "sha256" in text, text
    fetched = project / "models" / "hb-kaggle-01-leg-1"
    assert sha256_of(fetched / WEIGHTS) == sha256_of(folder / WEIGHTS)
    assert "holds this very adapter already" in say("fetch", "--split", "1")[1]


def test_an_adapter_that_was_changed_on_the_way_is_refused_and_nothing_is_written(say, client, project):
    say("push", "--split", "1")
    folder = put_output(client, project, "hb-kaggle-01-leg-1")
    weights = bytearray((folder / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (folder / WEIGHTS).write_bytes(weights)
    members = {f"hb-kaggle-01-leg-1/{path.name}": path.read_bytes() for path in folder.iterdir()}
    client.server.outputs["hb-kaggle-01-leg-1.zip"] = zip_of(project / "x.zip", members).read_bytes()
    code, text = say("fetch", "--split", "1")
    assert code == 2 and "has changed" in text
    assert not (project / "models" / "hb-kaggle-01-leg-1").exists()


def test_another_splits_adapter_is_refused(say, client, project):
    say("push", "--split", "1")
    put_output(client, project, "hb-kaggle-01-leg-1", data=DataRecord(dataset="d" * 64, split_id=2, splits=3))
    code, text = say("fetch", "--split", "1")
    assert code == 2 and "is not the finished adapter of split 1: its record says split 2" in text


def test_an_unfinished_adapter_is_not_fetched(say, client, project):
    code, text = say("fetch", "--split", "1")
    assert code == 2 and "Next: housebrain kaggle push --split 1" in text
    say("push", "--split", "1")
    put_output(client, project, "hb-kaggle-01-leg-1", finished=False, why_it_ended="the time budget ended")
    code, text = say("fetch", "--split", "1")
    assert code == 2 and "hb-kaggle-01-leg-1 is not finished" in text


def test_who_waits_for_a_leg_is_told_so_before_anything_is_uploaded(say, client):
    code, text = say("push", "--split", "2")
    assert code == 2 and "is not trained in leg 1 of 3" in text and "leg_2.zip" in text
    assert not client.server.requests


def test_a_leg_file_that_came_is_uploaded_once_and_the_leg_starts_from_it(say, client, project):
    say("push", "--split", "1")
    put_output(client, project, "hb-kaggle-01-leg-1")
    write_leg_file(project)
    assert say("push", "--split", "1")[0] == 0
    assert [path.name for path in client.server.files] == ["split_01.zip", "leg_2.zip"]
    assert kernels_of(client) == [(1, 0), (2, 1)]
    put_output(client, project, "hb-kaggle-01-leg-2", finished=False, why_it_ended="the time budget ended")
    assert say("push", "--split", "1")[0] == 0
    assert len(client.server.files) == 2 and kernels_of(client)[-1] == (2, 1)
    client.server.outputs.clear()
    shutil.rmtree(project / "parent_2")
    write_leg_file(project, leg=3)
    client.server.states[read_id(project, "kernel/kernel")] = "complete"
    assert say("push", "--split", "1")[0] == 0
    assert "leg_3.zip" in [path.name for path in client.server.files]


def test_who_waited_begins_with_the_leg_file(say, client, project):
    write_leg_file(project, split_id=2)
    code, text = say("push", "--split", "2")
    assert code == 0, text
    assert kernels_of(client) == [(2, 0)]


def test_a_leg_file_in_rounds_is_taken_too(say, client, project):
    path = write_leg_file(project)
    (project / "rounds").mkdir()
    path.rename(project / "rounds" / path.name)
    assert say("push", "--split", "1")[0] == 0
    assert [path.name for path in client.server.files] == ["split_01.zip", "leg_2.zip"]


def test_somebody_elses_split_is_refused(say, client):
    code, text = say("push", "--split", "3")
    assert code == 2 and "is for the Kaggle user bob, and you are logged in as alice" in text
    assert not client.server.requests


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["push"], "--split: this setting is needed"),
        (["shove", "--split", "1"], "--action shove: "),
        (["push", "--split", "7"], "housebrain split --owner 7=NAME"),
        (["push", "--split", "1", "--splits", "nowhere"], "is not there"),
    ],
)
def test_a_wrong_command_is_one_paragraph(say, client, arguments, said):
    code, text = say(*arguments)
    assert code == 2 and said in text and len(text.splitlines()) < 5
    assert not client.server.requests


@pytest.mark.parametrize("call", ["create_dataset", "save_kernel", "get_kernel_session_status"])
def test_a_refusal_anywhere_is_one_sentence(say, client, call):
    client.server.failing[call] = refusal(500)
    code, text = say("push", "--split", "1")
    assert code == 2 and "Kaggle answers 500" in text.splitlines()[-1]


def test_what_kaggle_says_in_its_answer_is_passed_on(say, client):
    client.server.answer = {"error": "Maximum batch GPU session count of 2 reached.", "status": "error"}
    client.server.states["alice/x"] = "ready"
    code, text = say("push", "--split", "1")
    assert code == 2 and "Kaggle refuses it: Maximum batch GPU session count of 2 reached." in text


def test_the_folder_that_a_person_was_sent_is_enough(say, client, project):
    shutil.move(project / "housebrain_splits" / "kaggle" / "split_01", project / "mine")
    shutil.rmtree(project / "housebrain_splits")
    code, text = say("push", "--split", "1", "--splits", "mine")
    assert code == 0, text
