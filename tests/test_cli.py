"""The command line: its help teaches, and a wrong value is one paragraph and exit code 2."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from adapter_files import make_adapter, tensors

from housebrain_core import __version__, cli


def run(monkeypatch, capsys, *arguments) -> tuple[int, str]:
    """Exit code and everything printed of one command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["housebrain", *map(str, arguments)])
    try:
        cli.main()
        code = 0
    except SystemExit as error:
        code = error.code or 0
    printed = capsys.readouterr()
    return code, printed.out + printed.err


@pytest.mark.parametrize("command", [("audit", "--source", "."), ("evaluate", "--model", "m")])
@pytest.mark.parametrize("output", [".", "/", ".."])
def test_a_file_to_write_that_has_no_name_is_told_to_be_a_folder(command, output, monkeypatch, capsys):
    code, said = run(monkeypatch, capsys, *command, "--output", output)
    assert code == 2 and "that is a folder; name a file" in said


def test_help_loads_neither_torch_nor_settings():
    code = (
        "import sys; sys.argv = ['housebrain', '--help']\n"
        "from housebrain_core import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'pydantic', 'pyarrow', 'matplotlib', 'rich.progress'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip().endswith("[]")
    assert all(stage in ran.stdout for stage in cli.STAGES)


@pytest.mark.parametrize("stage", list(cli.STAGES))
def test_every_command_shows_an_example_and_a_text_for_each_flag(stage, monkeypatch, capsys):
    code, text = run(monkeypatch, capsys, stage, "--help")
    assert code == 0
    assert f"housebrain {stage}" in " ".join(text.split()).split("Example:")[1]
    assert callable(cli.find(cli.STAGES[stage].run)) and callable(cli.find(cli.STAGES[stage].show or "texts.say"))
    fields = cli.find(cli.STAGES[stage].settings).model_fields
    assert all(field.description for field in fields.values())
    flags = [f"--{name.replace('_', '-')}" for name in fields]
    assert all(re.search(f"{flag}[ ,\n]", text) for flag in flags), "no flag is cut off"


def test_a_flag_with_a_choice_names_what_there_is_to_choose(monkeypatch, capsys):
    assert "--gpu t4|t4x2|l4|a100|h100\n" in run(monkeypatch, capsys, "plan", "--help")[1]
    assert "--max-length int|auto" in run(monkeypatch, capsys, "train", "--help")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["split", "--source", "nowhere"], "nowhere"),
        (["split", "--source", ".", "--splits", "0"], "--splits 0: "),
        (["split", "--source", ".", "--max-bad", "3"], "--max-bad 3: "),
        (["split", "--source", ".", "--splitz", "3"], "--splitz: Did you mean --splits?"),
        (["merge", "--modles=a", "--jsno"], "--modles: Did you mean --models?\n  --jsno: Did you mean --json?"),
        (["plan", "--nothing-like-it"], "--nothing-like-it: housebrain plan --help names all"),
        (["plan", "housebrain_splits"], "  housebrain_splits: "),
        (["split", "--source", ".", "--splits", "many"], "--splits"),
        (["split"], "--source"),
        (["split", "--source", ".", "--owner", "0=x", "9=alice", "--training", "epoch=1"], "there is no split 9"),
        (["train", "--split", "nowhere.zip", "--output", "models/x"], "nowhere.zip"),
        (["train", "--split", "x", "--output", "y", "--max-length", "long"], "--max-length long: "),
        (["train", "--split", "x", "--output", "y", "--epochs", "0", "--lora-r", "0"], "--lora-r 0: "),
        (["train", "--split", "x", "--output", "."], "output = .: name a folder of its own, such as result."),
        (["train", "--split", "x", "--output", str(Path(__file__).parent)], "in it is of no training run, and could"),
        (
            ["train", "--split", "x", "--output", "y", "--seed", "-1"],
            "--seed -1: input should be greater than or equal",
        ),
        (["train", "--split", "x", "--output", "y", "--lora-seed", "9" * 31], "input should be less than 4294967296"),
        (["train", "--split", "x", "--output", "y", "--epochs", "9" * 31], "input should be less than or equal to 100"),
        (["split", "--source", ".", "--seed", "-1"], "--seed -1: input should be greater than or equal to 0"),
        (["run", "--seed", "-1"], "--seed -1: input should be greater than or equal to 0"),
        (["merge", "--models", "nowhere"], "nowhere"),
        (["select", "--source", ".", "--where", "id=1", "--output", ".", "--overwrite"], "output = .: name a folder"),
        (["merge", "--models", "a", "b", "--strategy", "best-of"], "--strategy best-of: "),
        (["evaluate", "--model", "nowhere", "--data", "nowhere-else"], "nowhere"),
        (["evaluate", "--model", "."], ". lacks adapter_config.json"),
        (["evaluate", "--model", "a.zip"], "a.zip: there is no such folder."),
        (["evaluate", "--model", __file__], ".py: that is a file. Give the folder of a model"),
        (["evaluate", "--model", "a.zip", "--base-model", "b"], "a.zip: there is no such folder."),
        (["demo", "--splits", "1"], "--splits 1: "),
        (["demo", "--output", ""], "--output: it is empty; give a value, or leave it out"),
        (["demo", "--output", " \t"], "it is empty"),
        (["demo", "--output", "https://x.org/demo"], "that is an address; name a file or folder of this computer"),
        (["demo", "--output", "a\udcffb"], "a\\udcffb: it has bytes that are no UTF-8"),
        (["demo", "--samples", "9" * 5000], "exceeded maximum size"),
        (["demo", "--samples", "4\n0"], r"--samples 4\n0: input should be a valid integer"),
        (["demo", "--samples", "'4\"0"], "--samples '4\"0: input should be a valid integer"),
        (["demo", "--output"], "these flags cannot be used:\n  --output: a value is missing behind it"),
        (["demo", "--output", str(Path(__file__).parent)], "exists already. Choose another --output"),
        (["run", "--splits", "1,x"], "--splits 1,x: expected all, or numbers such as 1-6 or 1,4-6"),
        (["serve", "--model", "a", "--allow-host", "b", "http://c:80"], "http://c:80 is no name of a machine; give it"),
        (["serve", "--model", "a", "--timeout-seconds", "inf"], "--timeout-seconds inf: input should be less than"),
        (["kaggle", "status", "--split", "3", "--models", "a"], "--models a: it would do nothing; it is for fetch"),
        (["kaggle", "fetch", "--split", "3", "--rounds", "r"], "--rounds r: it would do nothing; there is no such"),
        (["round", "--models", "a", "--splits", __file__], "has no manifest.json: unfinished, or no splits. Make it"),
        (["demo", "--overwrite=yes"], "these flags cannot be used:\n  --overwrite: it takes no value; write it alone"),
        (["demo", "--overwrite", "false"], "false: no flag before it takes it. A switch has no value: --no-NAME turns"),
        (["select", "--source", ".", "--clean-rules", "a\udcffb"], "it has bytes that are no UTF-8"),
        (["select", "--source", ".", "--clean-rules", ","], "--clean-rules ,: it names no rule; name some, or all"),
        (["spilt"], "housebrain has no spilt. Did you mean split?"),
        (["--verison"], "housebrain has no --verison. Did you mean --version?"),
    ],
)
def test_a_wrong_value_is_named_in_one_paragraph_and_exits_with_2(arguments, said, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, text = run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert said in text
    assert "Traceback" not in text
    assert len(text.splitlines()) < 12 and len(text) < 2000
    assert not list(tmp_path.iterdir()), "a refused command leaves nothing behind"


MERGE = ["merge", "--models", "a", "b"]
INTO = [*MERGE, "--into-base", "c"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*MERGE, "--density", "0.5"], "--density 0.5: it would do nothing; it is for --strategy ties"),
        ([*MERGE, "--compare"], "--compare: it would do nothing; it is for --validate"),
        ([*INTO, "--validate", "--compare"], "--compare: it would do nothing; it is for --validate without"),
        ([*MERGE, "--base-view", "fp16"], "--base-view fp16: it would do nothing; it is for --into-base"),
        ([*MERGE, "--weigh-by", "samples"], "--weigh-by samples: it would do nothing; it is for --strategy weighted"),
        ([*MERGE, "--strategy", "weighted", "--weights", "1", "2", "--weigh-by", "tokens"], "--weigh-by tokens: "),
        ([*MERGE, "--data", "d"], "--data d: it would do nothing; it is for the validation"),
        ([*INTO, "--validate", "--base-model", "m"], "--base-model m: it would do nothing; "),
        (["plan", "--tokens-per-second", "9", "--row-length", "512"], "--row-length 512: it would do nothing; "),
        (["evaluate", "--model", "a", "--sampled", "0", "--seed", "1"], "--seed 1: it would do nothing; "),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused_in_one_sentence(arguments, said, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, text = run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert text.splitlines()[0] == "ConfigError: these flags cannot be used:"
    assert said in text and len(text.splitlines()) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        MERGE,
        [*MERGE, "--no-compare"],
        [*MERGE, "--strategy", "ties", "--density", "0.2"],
        [*MERGE, "--validate", "--compare", "--density", "0.2", "--data", "d", "--base-model", "m"],
        [*MERGE, "--strategy", "greedy", "--compare", "--data", "d"],
        [*MERGE, "--scale", "auto", "--base-model", "m"],
        [*MERGE, "--strategy", "weighted", "--weigh-by", "samples"],
        [*INTO, "--base-view", "fp16", "--validate", "--data", "d"],
    ],
)
def test_a_setting_that_does_something_is_taken(arguments, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, text = run(monkeypatch, capsys, *arguments)
    assert code == 2 and text.startswith("AdapterError: a does not exist"), "the adapters are what is missing"


def run_json(monkeypatch, capsys, *arguments) -> tuple[int, Any, str]:
    """Exit code, the JSON of standard output, and standard error of one command with --json."""
    monkeypatch.setattr(sys, "argv", ["housebrain", *map(str, arguments), "--json"])
    code = 0
    try:
        cli.main()
    except SystemExit as error:
        code = error.code
    printed = capsys.readouterr()
    return code, json.loads(printed.out), printed.err


def test_json_stands_alone_on_standard_output_and_progress_on_the_other(monkeypatch, capsys, splits, dataset, tmp_path):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("hb-colab-01", "hb-colab-02")):
        make_adapter(tmp_path / name, tensors(number))
    models = ["hb-colab-01", "hb-colab-02"]
    code, audit, progress = run_json(monkeypatch, capsys, "audit", "--source", dataset)
    assert (code, audit["samples"]) == (0, {"train": 48, "validation": 16}) and "wrote audit.html" in progress
    code, plan, _ = run_json(monkeypatch, capsys, "plan", "--splits", splits)
    assert (code, len(plan["splits"])) == (0, 3)
    code, inspection, progress = run_json(monkeypatch, capsys, "inspect", *models)
    assert (code, inspection["names"]) == (0, models) and "norm: the length" in progress
    code, merge, progress = run_json(monkeypatch, capsys, "merge", "--models", *models, "--accept-plain")
    assert code == 0 and merge["strategy"] == "average" and len(merge["inputs"]) == 2
    assert "done: models/housebrain-merged" in progress


def test_an_evaluation_as_json_is_the_file_that_it_writes(monkeypatch, capsys, splits, base, tmp_path):
    monkeypatch.chdir(tmp_path)
    flags = ["--model", base, "--data", splits, "--samples", "1", "--sampled", "0", "--max-new-tokens", "8"]
    code, printed, progress = run_json(monkeypatch, capsys, "evaluate", *flags)
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert code == 0 and printed == written and "results in evaluation.json" in progress


def test_json_of_what_went_wrong_is_no_success(monkeypatch, capsys):
    code, inspection, _ = run_json(monkeypatch, capsys, "inspect", "nowhere")
    assert code == 1 and "refused: nowhere does not exist" in inspection["rows"][0]["verdict"][0]
    code, text = run(monkeypatch, capsys, "merge", "--models", "nowhere", "--json")
    assert code == 2 and text.startswith("AdapterError: nowhere does not exist")


def test_what_is_no_number_is_null_in_json():
    assert json.loads(cli.to_json({"loss": float("nan"), "where": Path("a")})) == {"loss": None, "where": "a"}


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("housebrain spl", ["split"]),
        ("housebrain merge --strat", ["--strategy"]),
        ("housebrain merge --strategy t", ["ties"]),
        ("housebrain nonsense --so", []),
    ],
)
def test_a_shell_is_offered_what_can_follow(line, offered, tmp_path):
    file = tmp_path / "offered"
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(file)}
    asked |= {"COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"}
    subprocess.run([sys.executable, "-m", "housebrain_core.cli"], env=os.environ | asked, check=True)
    assert file.read_text().split() == offered


def test_all_problems_of_the_settings_are_reported_at_once(monkeypatch, capsys):
    code, text = run(monkeypatch, capsys, "train", "--split", "x", "--output", "y", "--epochs", "0", "--lora-r", "x")
    assert code == 2
    assert "--epochs 0: " in text and "--lora-r x: " in text


def test_the_guides_flags_are_aliases_of_the_settings(monkeypatch, capsys):
    for flags in (("--split", "--output"), ("--dataset-path", "--output-dir")):
        arguments = [word for flag in flags for word in (flag, "nowhere.zip")]
        code, text = run(monkeypatch, capsys, "train", *arguments)
        assert code == 2 and "nowhere.zip" in text and "No such option" not in text


def test_a_folder_that_cannot_be_written_is_one_line(monkeypatch, capsys, dataset, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    code, text = run(monkeypatch, capsys, "split", "--source", dataset, "--output", tmp_path / "file" / "splits")
    assert code == 2
    assert "Traceback" not in text and "file" in text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left", "out"), "No space left: out. Free some space, or name a place on"),
        (PermissionError(errno.EACCES, "Denied", "x"), "Denied: x. Name a place that this account may read and"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error.\n"),
    ],
)
def test_an_error_of_the_system_says_what_to_do(error, said, monkeypatch, capsys, tmp_path):
    def fail(settings):
        raise error

    monkeypatch.setattr("housebrain_core.splits.split.split_dataset", fail)
    code, text = run(monkeypatch, capsys, "split", "--source", tmp_path)
    assert code == 2 and text.startswith(said)


def test_an_interruption_is_said_and_is_no_success(monkeypatch, capsys, tmp_path):
    def interrupted(settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("housebrain_core.splits.split.split_dataset", interrupted)
    code, text = run(monkeypatch, capsys, "split", "--source", tmp_path)
    assert code == 130 and "Interrupted" in text


@pytest.mark.parametrize(("why", "code"), [("stopped by you", 130), ("the time budget ended", 0)])
def test_training_on_several_gpus_that_was_interrupted_is_no_success(why, code, monkeypatch, capsys, tmp_path):
    def train(settings, count, report, started):
        assert count == 2
        (settings.output_dir / "run.json").write_text(json.dumps({"finished": False, "why_it_ended": why}))

    monkeypatch.setattr("housebrain_core.train.tuner.train_in_processes", train)
    ended, text = run(monkeypatch, capsys, "train", "--split", tmp_path, "--output", tmp_path, "--gpus", "2")
    assert ended == code and ("Interrupted" in text) == (code == 130)


def read(monkeypatch, *arguments):
    """The settings that a command line gives to its stage."""
    seen = []
    find, stage = cli.find, cli.STAGES[arguments[0]]
    monkeypatch.setitem(cli.STAGES, arguments[0], stage._replace(show="", is_usable=str))
    monkeypatch.setattr(cli, "find", lambda name: seen.append if name == stage.run else find(name))
    cli.run_command([str(argument) for argument in arguments])
    return seen[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ("merge", "--models", "a", "b", "--output", "c"),
        ("merge", "--models", "a", "--output", "c", "--models", "b"),
        ("merge", "--models=a", "--models", "b", "--output=c"),
        ("inspect", "a", "b", "--output", "c"),
        ("inspect", "--output", "c", "--models", "a", "b"),
    ],
)
def test_a_flag_takes_several_values_and_may_be_repeated(arguments, monkeypatch):
    settings = read(monkeypatch, *arguments)
    assert settings.models == [Path("a"), Path("b")] and settings.output == Path("c")


def test_flags_that_nobody_gives_leave_their_settings_as_they_are(monkeypatch):
    settings = read(monkeypatch, "merge", "--models", "a", "--no-overwrite", "--rank", "4", "--validate")
    assert settings.model_fields_set == {"models", "overwrite", "rank", "run_validation"}
    assert (settings.overwrite, settings.rank, settings.run_validation) == (False, 4, True)


def test_a_single_dash_is_a_value(monkeypatch):
    assert read(monkeypatch, "generate", "--model", "m", "--brief", "-").brief == "-"


def test_the_example_of_every_command_is_one_that_works(monkeypatch):
    for name, stage in list(cli.STAGES.items()):
        read(monkeypatch, *stage.example.split())
        assert stage.example.split()[0] == name and stage.help


def test_nothing_to_do_prints_the_help_and_the_version_is_said(monkeypatch, capsys):
    code, text = run(monkeypatch, capsys)
    assert code == 0 and "housebrain demo" in text and all(stage in text for stage in cli.STAGES)
    assert run(monkeypatch, capsys, "--version") == (0, f"housebrain {__version__}\n")


def test_train_finds_its_leg_in_the_projects_rounds_unless_a_start_is_given(
    monkeypatch, capsys, tmp_path, two_rounds, leg_file
):
    tried = []

    class Tuner:
        def __init__(self, settings):
            tried.append(settings.init_adapter)

        def train(self):
            return SimpleNamespace(why_it_ended="done")

    monkeypatch.setattr("housebrain_core.train.tuner.HouseBrainFineTuner", Tuner)
    monkeypatch.setenv("HOUSEBRAIN_PROJECT", str(tmp_path))
    (tmp_path / "rounds").mkdir()
    flags = ["train", "--split", two_rounds / "split_01.zip", "--output", tmp_path / "hb"]
    assert run(monkeypatch, capsys, *flags) == (0, "")
    (tmp_path / "rounds" / "leg_2.zip").symlink_to(leg_file)
    assert run(monkeypatch, capsys, *flags)[0] == 0
    assert run(monkeypatch, capsys, *flags, "--init-adapter", "models/merged")[0] == 0
    assert tried == [None, tmp_path / "rounds" / "leg_2.zip", Path("models/merged")]


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_where_fields_cannot_be_chosen_it_is_said_where_they_can(command):
    with pytest.raises(
        cli.ConfigError, match=r"--input-field: fields are chosen .*housebrain split --source DATA --splits 1"
    ):
        cli.read_flags(command, [command, "--input-field", "instruction"])
