"""housebrain run: leg after leg, with the merges between them; nothing is trained here."""

import signal
import sys
from concurrent.futures import Future
from pathlib import Path

import pytest
from adapter_files import make_trained
from plans import Project

from housebrain_core import cli
from housebrain_core.cloud import own_machines as cloud_run
from housebrain_core.cloud.notebook_run import NOW, Outcome
from housebrain_core.cloud.own_machines import run_splits
from housebrain_core.cloud.settings import RunConfig, choose_splits
from housebrain_core.config import RoundConfig
from housebrain_core.errors import CheckpointError, ConfigError, HouseBrainError
from housebrain_core.legs import Leg, TrainingPlan
from housebrain_core.manifests import read_manifest, seal
from housebrain_core.outputs import lock_output
from housebrain_core.rounds.round import run_round
from housebrain_core.splits.parts import SplitPart


class CrashError(Exception):
    """A worker died for good."""


class FakeSlots:
    """Ends every job at once, as `train` says."""

    dies = (CrashError,)
    count = 2

    def __init__(self, train):
        self.train = train
        self.jobs = []
        self.closed = False

    def submit(self, job):
        self.jobs.append(job)
        future = Future()
        try:
            future.set_result(self.train(job))
        except CrashError as error:
            future.set_exception(error)
        return future

    def close(self):
        self.closed = True


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    """A plan of three people and three legs; the current folder is its project."""
    monkeypatch.setenv("HOUSEBRAIN_PROJECT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path)
    about = read_manifest(made.splits, "splits")
    parts = [SplitPart.model_validate(about["parts"][0] | {"split_id": number}) for number in (1, 2, 3)]
    seal(made.splits, "splits", [], plan=about["plan"], parts=[part.model_dump(mode="json") for part in parts])
    return made


@pytest.fixture
def slots(project, monkeypatch):
    """Slots that train as `Project` does."""

    def train(job):
        legs = job.name.rpartition("-leg-")[2]
        project.train(job.split_id, int(legs))
        return Outcome(job.name, "finished")

    made = FakeSlots(train)
    monkeypatch.setattr(cloud_run, "LocalSlots", lambda at_once: made)
    return made


@pytest.fixture
def commands(monkeypatch) -> list[tuple[str, ...]]:
    """The commands between two legs; `round` is really done, in this process."""
    given: list[tuple[str, ...]] = []

    def call(*arguments):
        given.append(arguments)
        if arguments[0] == "round":
            names = list(arguments[2 : arguments.index("--splits")])
            accept = "--accept-missing" in arguments
            config = RoundConfig(models=names, run_validation=False, accept_missing=accept)
            run_round(config, report=lambda line: None)

    monkeypatch.setattr(cloud_run, "call", call)
    return given


def names(slots) -> list[str]:
    return [job.name for job in slots.jobs]


def test_all_legs_follow_one_another_with_what_there_is_to_do_between_them(project, slots, commands):
    run_splits(RunConfig(max_steps=4))
    assert names(slots) == [f"hb-kaggle-0{split}-leg-{leg}" for leg in (1, 2, 3) for split in (1, 2, 3)]
    assert [command[0] for command in commands] == ["inspect", "round"] * 3 + ["evaluate"]
    assert project.state.is_finished and (project.merged / "adapter_config.json").is_file()
    assert slots.closed
    job = slots.jobs[4]
    assert job.parameters == {"split_id": 2, "splits_folder": "housebrain_splits", "models_folder": "models",
                              "max_steps": 4}  # fmt: skip
    assert job.output == project.folder / "models" / job.name and job.folder == project.folder / "runs" / job.name


def test_the_same_command_goes_on_and_a_third_one_does_nothing(project, slots, commands, capsys):
    run_splits(RunConfig(rounds=2))
    assert len(slots.jobs) == 6 and project.state.current.number == 3
    run_splits(RunConfig(rounds=2))
    assert len(slots.jobs) == 6
    run_splits(RunConfig())
    assert len(slots.jobs) == 9 and project.state.is_finished
    before = len(commands)
    run_splits(RunConfig())
    assert len(slots.jobs) == 9 and len(commands) == before
    assert "The legs of the plan are done." in capsys.readouterr().out


def test_rounds_do_not_count_a_common_start_and_legs_do_where_nothing_is_merged():
    one, all_three = Leg(people=(1,), share=0.25), Leg(people=(1, 2, 3), share=0.375)
    assert TrainingPlan(splits=3, legs=(one, all_three, all_three)).ends == [2, 3]
    relay = (one, Leg(people=(2,), share=0.25), Leg(people=(3,), share=0.5))
    assert TrainingPlan(splits=3, legs=relay).ends == [1, 2, 3]


def test_a_split_that_failed_for_good_is_named_and_left_out_of_its_leg_only(project, slots, commands, capsys):
    train = slots.train

    def fail_once(job):
        if job.name == "hb-kaggle-02-leg-1":
            raise CrashError("the worker died three times\nand more")
        return train(job)

    slots.train = fail_once
    run_splits(RunConfig(rounds=2, judge=False))
    assert "hb-kaggle-02-leg-1: failed: the worker died three times\n" in capsys.readouterr().out
    assert "--accept-missing" in commands[1] and "--accept-missing" not in commands[3]
    assert "--no-validate" in commands[1]
    first, second, _ = project.state.legs
    assert first.missing == (2,) and not second.missing


def test_when_nothing_comes_of_a_leg_its_errors_are_told(project, slots, commands):
    slots.train = lambda job: Outcome(job.name, "failed", "no memory")
    with pytest.raises(HouseBrainError, match=r"no run came to its end:\n  hb-kaggle-01-leg-1: no memory"):
        run_splits(RunConfig())
    assert not commands and slots.closed


def test_others_who_train_elsewhere_are_waited_for(project, slots, commands):
    run_splits(RunConfig(splits="1,3"))
    assert names(slots) == ["hb-kaggle-01-leg-1", "hb-kaggle-03-leg-1"]
    assert project.state.current.number == 1 and project.state.current.missing == (2,)
    project.train(2, 1)
    run_splits(RunConfig(splits="1,3", rounds=1))
    assert len(slots.jobs) == 2 and project.state.current.number == 2


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_runs_to_stop_and_merges_nothing(sign, project, slots, commands, monkeypatch):
    waits = iter([sign, sign])
    before = signal.getsignal(sign)
    real = cloud_run.wait
    seen = []

    def wait(*arguments, **settings):
        seen.append(Path("runs/stop").read_text() if Path("runs/stop").exists() else None)
        if number := next(waits, None):
            signal.raise_signal(number)
        return real(*arguments, **settings)

    monkeypatch.setattr(cloud_run, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        run_splits(RunConfig())
    assert seen == [None, "", NOW] and not commands and slots.closed
    assert signal.getsignal(sign) is before
    run_splits(RunConfig(rounds=1))
    assert project.state.current.number == 2, "the same command goes on"


def test_an_adapter_of_other_settings_is_not_taken_for_this_runs(project, slots, commands):
    run_splits(RunConfig(splits="1"))
    folder = project.folder / "models" / "hb-kaggle-01-leg-1"
    seal(folder, "adapter", finished=True, fingerprint={"max_steps": 4})
    with pytest.raises(CheckpointError, match="max_steps was 4 and is now 8"):
        run_splits(RunConfig(splits="1", max_steps=8))


def test_two_commands_never_run_the_same_splits(project, slots, commands):
    with (
        lock_output(Path("runs/stop")),
        pytest.raises(ConfigError, match="another housebrain run is training"),
    ):
        run_splits(RunConfig())
    assert not slots.jobs and not Path("runs").exists(), "an empty folder is not left"


def test_rounds_of_another_plan_are_refused_before_anything_is_trained(project, slots, commands):
    run_splits(RunConfig(rounds=1))
    seal(project.splits, "splits", [], plan=project.plan.model_dump(mode="json") | {"id": "other"},
         parts=read_manifest(project.splits, "splits")["parts"])  # fmt: skip
    with pytest.raises(ConfigError, match="is of the plan"):
        run_splits(RunConfig())
    assert len(slots.jobs) == 3


def test_a_model_where_the_last_merge_would_lie_is_refused_before_anything_is_trained(project, slots, commands):
    project.merged.mkdir(parents=True)
    with pytest.raises(ConfigError, match="housebrain-merged exists already, .* Move it away"):
        run_splits(RunConfig())
    assert not slots.jobs


@pytest.fixture
def apart(project, slots):
    """Without a plan, each split is trained once."""
    parts = read_manifest(project.splits, "splits")["parts"]
    seal(project.splits, "splits", [], plan=None, parts=parts)

    def train(job):
        make_trained(job.output, job.split_id)
        return Outcome(job.name, "finished")

    slots.train = train
    return slots


def test_without_a_plan_everything_is_merged_once(apart, commands):
    run_splits(RunConfig(base_model="some/base"))
    assert names(apart) == ["hb-kaggle-01", "hb-kaggle-02", "hb-kaggle-03"]
    assert [command[0] for command in commands] == ["inspect", "merge", "evaluate"]
    assert commands[1][-5:] == ("--validate", "--data", "housebrain_splits", "--base-model", "some/base")


def test_without_a_plan_nothing_is_merged_while_splits_are_missing(apart, commands, capsys):
    run_splits(RunConfig(splits="1-2"))
    assert not commands and "Not merged yet: hb-kaggle-03 are missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "chosen"), [("all", {1, 2, 3, 5}), ("1-3", {1, 2, 3}), ("5,1-2", {1, 2, 5}), ("2", {2})]
)
def test_splits_are_named_by_numbers_and_ranges(text, chosen):
    assert choose_splits(text, [1, 2, 3, 5]) == chosen


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--splits", "1-4"], "there is no split 4; there are 1, 2, 3"),
        (["--splits", "3-1"], "there is no split in it"),
        (["--rounds", "9"], "was cut for 3"),
        (["--splits-folder", "nowhere"], "nothing is at"),
        (["--at-once", "2", "--on", "ray"], "--at-once 2: it would do nothing"),
        (["--lora-r", "many"], "--lora-r many: "),
    ],
)
def test_a_wrong_command_is_one_paragraph(arguments, said, project, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["housebrain", "run", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    error = capsys.readouterr().err
    assert ended.value.code == 2 and said in error and len(error.splitlines()) < 4


def test_a_command_that_fails_stops_the_run_and_says_which(capfd):
    with pytest.raises(HouseBrainError, match="housebrain inspect failed; what it said stands above"):
        cloud_run.call("inspect", "nowhere")
    printed = capfd.readouterr()
    assert "$ housebrain inspect nowhere" in printed.out and "refused: nowhere" in printed.out
