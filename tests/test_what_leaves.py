"""What is sent to others says nothing of the machine that it was made on: no path, user, host or token."""

import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from housebrain_core.adapters.inspection import inspect_adapters
from housebrain_core.config import InspectConfig, MergeConfig
from housebrain_core.house import synthetic
from housebrain_core.merge.merge import merge_adapters

ROOT = Path(__file__).parents[1]
AT_HOME = ("dataset", ".lock")
"""What stays: the data themselves."""


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, and what is in zips and Parquet files there, with its name."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part in AT_HOME for part in path.relative_to(folder).parts):
            yield from unpack(str(path.relative_to(folder)), path)


def unpack(name: str, path: Path) -> Iterator[tuple[str, bytes]]:
    yield name, name.encode() + (b"" if path.suffix == ".zip" else path.read_bytes())
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                yield f"{name}/{member}", archive.read(member)
    if path.suffix == ".parquet":
        yield f"{name} (table)", str(pq.read_table(path).to_pylist()).encode()


def find_traces(folder: Path, words: list[str]) -> list[str]:
    return [f"{name}: {word}" for name, data in contents(folder) for word in words if word.encode() in data]


def test_the_search_finds_what_it_looks_for(tmp_path):
    (tmp_path / "inside").mkdir()
    with zipfile.ZipFile(tmp_path / "inside" / "a.zip", "w") as archive:
        archive.writestr("run.json", '{"path": "/home/canary"}')
    assert find_traces(tmp_path, ["canary"]) == ["inside/a.zip/run.json: canary"]


def test_splits_adapters_leg_files_and_merges_hold_no_path_of_this_machine(
    splits, two_rounds, adapters, leg_file, tmp_path_factory
):
    made = tmp_path_factory.mktemp("made")
    quiet = {"report": lambda line: None}
    merge_adapters(MergeConfig(models=adapters, output=made / "merged"), **quiet)
    inspect_adapters(InspectConfig(models=adapters, output=made / "inspection"), **quiet)
    words = [str(tmp_path_factory.getbasetemp()), str(Path.home() / ".cache"), os.sep + "tmp" + os.sep]
    words += [socket.gethostname()] if len(socket.gethostname()) > 5 else []
    folders = (splits, two_rounds, adapters[0].parent, leg_file.parent, made)
    assert [trace for folder in folders for trace in find_traces(folder, words)] == []
    assert sum(1 for folder in folders for _ in contents(folder)) > 100


CANARIES = {"USER": "canary-user", "LOGNAME": "canary-user", "HOSTNAME": "canary-host", "HF_TOKEN": "hf_canarytoken"}
COMMANDS = [
    "audit --source dataset",
    "split --source dataset --splits 2 --rounds 2 --common-start 0 --owner 2=alice --validation-samples 4",
    "train --split housebrain_splits/split_01.zip --output models/hb-colab-01-leg-1 --base-model tiny --max-steps 6",
    "train --split housebrain_splits/split_02.zip --output models/hb-kaggle-02-leg-1 --base-model tiny --max-steps 6",
    "inspect models/hb-colab-01-leg-1 models/hb-kaggle-02-leg-1 --output inspection",
    "round --models models/hb-colab-01-leg-1 models/hb-kaggle-02-leg-1 --no-validate",
    "merge --models models/hb-colab-01-leg-1 models/hb-kaggle-02-leg-1 --output models/housebrain-merged",
    "evaluate --model models/housebrain-merged --data {here}/housebrain_splits --samples 2 --sampled 0 --constrained",
    "train --split {here}/housebrain_splits/split_01 --output {here}/models/other --base-model tiny --max-steps 1",
]


@pytest.mark.soak
def test_a_whole_project_below_a_named_folder_says_nothing_of_it(tmp_path):
    here = tmp_path / "canary-person" / "project"
    here.mkdir(parents=True)
    synthetic.write_dataset(here / "dataset", 30, 8)
    environment = os.environ | CANARIES | {"HOUSEBRAIN_CACHE": str(tmp_path / "canary-cache"), "PYTHONPATH": str(ROOT)}
    for command in COMMANDS:
        words = [word.format(here=here) for word in command.split()]
        program = [sys.executable, "-m", "housebrain_core.cli", *words]
        ran = subprocess.run(program, cwd=here, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, f"{command}: {ran.stderr}"
    notebook = ROOT / "notebooks/rendered/local/01_split.ipynb"
    settings = ["-p", "source", "dataset", "-p", "splits", "2", "-p", "output", "other_splits"]
    program = [sys.executable, "-m", "papermill", str(notebook), "executed.ipynb", *settings]
    ran = subprocess.run(program, cwd=here, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert find_traces(here, ["canary", str(tmp_path)]) == []
    names = {name.partition("/")[0] for name, _ in contents(here)}
    assert {"audit.html", "evaluation.json", "report.html", "executed.ipynb", "rounds", "models"} <= names
