"""The whole chain on one computer: generated data, a tiny base model, the rendered local notebooks.

Nothing here is special to the demo but the data and the size of the model: the notebooks and the code are those that
a team uses, 4-bit training included. One person's notebooks run every leg of a plan of three rounds; the other splits,
and what the rounds are compared with, train in this process, beside the notebooks. Each has one thread.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from housebrain_core.adapters.run import FILE, read_run
from housebrain_core.commands.demo_results import (
    AB_AVERAGE,
    APART,
    EVERYTHING,
    HOUSES,
    ONE_MERGE,
    ROUNDS,
    DemoResult,
    draw_houses,
    read_result,
)
from housebrain_core.config import DemoConfig, FineTuningConfig, MergeConfig, RoundConfig, SplitConfig
from housebrain_core.display.progress import LINES
from housebrain_core.errors import ConfigError, HouseBrainError
from housebrain_core.house.synthetic import write_dataset
from housebrain_core.merge.merge import merge_adapters
from housebrain_core.project import VARIABLE, find_adapters
from housebrain_core.rounds.round import run_round
from housebrain_core.splits.notebooks import RENDERED
from housebrain_core.splits.parts import read_splits
from housebrain_core.splits.split import split_dataset
from housebrain_core.texts import say
from housebrain_core.train.tiny import tiny_base
from housebrain_core.train.tuner import HouseBrainFineTuner

NOTEBOOKS = RENDERED / "local"
TRAINING: dict[str, Any] = {"epochs": 20, "learning_rate": 8e-3, "gradient_accumulation_steps": 1, "row_length": 900}
"""Settings for a model of half a million parameters, 16 samples a step; a real one takes the defaults."""
LEGS = 3
VALIDATION = 200
MARK = "demo.json"
"""Written first into a demo's folder: only such a folder is ever replaced, one that did not come to its end unasked."""
PROGRESS = re.compile(r"step \d+ of|.*: \d+ of \d+ designs")
"""Lines of a notebook's output that say how far it is."""
PROGRESS_SECONDS = 10


def run_demo(config: DemoConfig) -> DemoResult:
    """Runs notebooks 01 to 04 and the comparisons, and prints the table.

    Args:
        config: where, and how much data.

    Returns:
        What became of the base model, the splits alone, and the ways to put them together.

    Raises:
        ConfigError: the output folder is in the way, or the notebooks are not there.
        HouseBrainError: a notebook failed; the message names its output notebook.
    """
    started = time.time()
    torch.set_num_threads(1)
    demo = Demo(_make_folder(config).absolute(), config)
    demo.prepare()
    beside = ThreadPoolExecutor(1)
    try:
        demo.train(beside)
    finally:
        beside.shutdown(cancel_futures=True)  # after Ctrl-C what waits for its turn is not trained any more
    demo.merge_apart()
    demo.evaluate()
    name = Path(demo.base).name
    draw_houses(demo.root, name)
    result = read_result(demo.root, name)
    say(f"\n{result}\n\n{describe_files(config.output)}")
    say(f"The demo took {time.time() - started:.0f} s.")
    say("Next, on your own data: source .venv/bin/activate; housebrain --help")
    return result


class Demo:
    """A run of the demo.

    Args:
        root: its folder, which is the notebooks' project.
        config: how much data.
    """

    def __init__(self, root: Path, config: DemoConfig) -> None:
        self.root = root
        self.config = config
        self.base = str(tiny_base(report=say))

    def prepare(self) -> None:
        """Writes the dataset and cuts it twice alike: for three rounds in notebook 01, and for one merge."""
        write_dataset(self.root / "dataset", self.config.samples, VALIDATION)
        say(f"{self.config.samples} generated samples in {self.config.output}/dataset")
        splits: dict[str, Any] = {"splits": self.config.splits, "validation_samples": VALIDATION}
        rounds = {"source": "dataset", "rounds": LEGS, "common_start": 0}
        run_notebook(self.root, "01_split", "01_split", splits | rounds)
        output = self.root / APART / "housebrain_splits"
        split_dataset(SplitConfig(source=self.root / "dataset", output=output, **splits), report=_say_nothing)

    def train(self, beside: ThreadPoolExecutor) -> None:
        """Trains the legs of the plan, one after another, and beside their notebooks what they are compared with."""
        for leg in range(1, LEGS + 1):
            jobs = [beside.submit(_train, config) for config in self._leg_of_others(leg)]
            jobs += [beside.submit(_train, config) for config in self._comparisons(leg)]
            self._run_notebook_2(f"02_train_leg_{leg}", {})
            if leg == 1:
                folders = {"splits_folder": f"{APART}/housebrain_splits", "models_folder": f"{APART}/models"}
                self._run_notebook_2("02_train_apart", folders)
            for job in jobs:
                job.result()
            if leg < LEGS:
                self._end_leg()
        run_notebook(self.root, "03_merge", "03_merge", {"base_model": "tiny"})

    def merge_apart(self) -> None:
        """Merges what was trained apart: exactly, and by the mean of A and the mean of B, to compare with."""
        folder = self.root / APART / "models"
        models = find_adapters(folder)
        exact = MergeConfig(models=models, output=folder / ONE_MERGE)
        factors = MergeConfig(models=models, output=folder / AB_AVERAGE, strategy="ab-average")
        for config in (exact, factors):
            merge_adapters(config, report=_say_nothing)

    def evaluate(self) -> None:
        """Judges all of them in notebook 04."""
        apart = [f"{APART}/models/{part.adapter}" for part in read_splits(self.root / APART / "housebrain_splits")]
        compared = [f"{APART}/models/{name}" for name in (AB_AVERAGE, ONE_MERGE, EVERYTHING)]
        models = [self.base, *apart, *compared, f"models/{ROUNDS}"]
        settings = {"models": models, "samples": self.config.designs, "sampled": 0, "load_in_4bit": True}
        run_notebook(self.root, "04_evaluate", "04_evaluate", settings)

    def _run_notebook_2(self, output: str, folders: dict[str, str]) -> None:
        """Trains split 1 as its person does."""
        run_notebook(self.root, "02_train", output, {"split_id": 1, "base_model": "tiny", **folders, **TRAINING})

    def _config(self, data: Path, output: Path, **settings: Any) -> FineTuningConfig:
        """Training in this process, with the notebooks' settings."""
        values: dict[str, Any] = TRAINING | {"base_model": self.base} | settings
        return FineTuningConfig(dataset_path=data, output_dir=output, **values)

    def _leg_of_others(self, leg: int) -> list[FineTuningConfig]:
        """A leg of all splits but the first."""
        start: dict[str, Any] = {"init_adapter": self.root / "rounds" / f"leg_{leg}.zip"} if leg > 1 else {}
        folder = self.root / "housebrain_splits"
        return [
            self._config(folder / part.bundle, self.root / "models" / f"{part.adapter}-leg-{leg}", **start)
            for part in read_splits(folder)[1:]
        ]

    def _comparisons(self, leg: int) -> list[FineTuningConfig]:
        """What is trained beside a leg: the splits once and apart; in the last, all data in one place."""
        folder = self.root / APART
        first, *others = read_splits(folder / "housebrain_splits")
        if leg < LEGS:
            return [
                self._config(folder / "housebrain_splits" / part.bundle, folder / "models" / part.adapter)
                for part in others[leg - 1 :: LEGS - 1]
            ]
        steps = read_run(folder / "models" / first.adapter / FILE).steps
        output = folder / "models" / EVERYTHING
        return [self._config(self.root / "dataset", output, max_steps=steps * self.config.splits)]

    def _end_leg(self) -> None:
        """Merges a leg, and writes what everybody gets next."""
        models = find_adapters(self.root / "models")
        splits = self.root / "housebrain_splits"
        run_round(RoundConfig(models=models, splits=splits, output=self.root / "rounds"), report=_say_nothing)


def describe_files(output: Path) -> str:
    """Where to find what the demo made."""
    files = {
        "one house, drawn by four": HOUSES,
        "loss of the legs": "rounds/legs.png",
        "all figures": "report.html",
        "the merged adapter": f"models/{ROUNDS}",
        "the executed notebooks": "notebooks",
    }
    return "\n".join(f"{what:29} {output / name}" for what, name in files.items())


def _train(config: FineTuningConfig) -> None:
    HouseBrainFineTuner(config, report=_say_nothing).train()


def _say_nothing(line: str) -> None:
    """Takes a line of progress of what runs beside the notebooks."""


def run_notebook(root: Path, name: str, output: str, parameters: dict[str, Any]) -> None:
    """Runs a rendered notebook through papermill, with one line of progress now and then.

    Args:
        root: the demo's folder, which is the notebook's project.
        name: of the rendered notebook, such as 02_train.
        output: name of the executed notebook, below notebooks/.
        parameters: settings that are not the notebook's own.

    Raises:
        HouseBrainError: the notebook failed.
    """
    started = time.time()
    say(f"{output} ...")
    settings = root / "notebooks" / f"{output}.json"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text(json.dumps(parameters))
    target = settings.with_suffix(".ipynb")
    command = [sys.executable, "-m", "papermill", NOTEBOOKS / f"{name}.ipynb", target, "-f", settings, "--log-output"]
    command += ["--no-progress-bar", "--cwd", root]
    # One thread: on a model this small a second gains little, and on a busy machine it made this 15 times slower.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1", VARIABLE: str(root)}
    environment[LINES] = "lines"  # nobody sees the picture of a run update
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        last = _show_progress(process.stdout, output)
    if process.returncode != 0:
        raise HouseBrainError(f"the notebook {name} failed: {last}\nIts output, with the whole error, is in {target}.")
    say(f"{output} done in {time.time() - started:.0f} s")


def _show_progress(lines: Any, output: str) -> str:
    """Prints a line that says how far a notebook is, every few seconds; returns the last line of all."""
    last = ""
    shown = time.time()
    for line in lines:
        last = line.strip() or last
        if PROGRESS.match(line) and time.time() - shown > PROGRESS_SECONDS:
            say(f"  {output}: {line.strip()}")
            shown = time.time()
    return last


def _make_folder(config: DemoConfig) -> Path:
    if not (NOTEBOOKS / "01_split.ipynb").exists():
        raise ConfigError(f"{NOTEBOOKS} has no notebooks. Run the demo from a checkout: python build_notebooks.py")
    if config.output.exists():
        ended = (config.output / HOUSES).exists()
        if not (config.output / MARK).exists() or (ended and not config.overwrite):
            raise ConfigError(
                f"{config.output} exists already. Choose another --output, or --overwrite an earlier demo."
            )
        shutil.rmtree(config.output)
    config.output.mkdir(parents=True)
    (config.output / MARK).write_text(config.model_dump_json(), encoding="utf-8")
    return config.output
