"""The whole chain on one computer: generated data, a tiny base model, the rendered local notebooks.

Nothing here is special to the demo but the data and the size of the model: the notebooks and the code are
those that a team uses, 4-bit training included. While the splits train one after another, the adapter that
they are compared with trains beside them; each has one thread.
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

from housebrain_core import plots
from housebrain_core.config import DemoConfig, FineTuningConfig, MergeConfig
from housebrain_core.errors import ConfigError, HouseBrainError
from housebrain_core.house import codec, drawing
from housebrain_core.house.codec import DesignError
from housebrain_core.house.synthetic import entropy_nats, write_dataset
from housebrain_core.llm.llm import Answered, read_answer
from housebrain_core.manifests import read_manifest
from housebrain_core.merge.merge import merge_adapters
from housebrain_core.progress import LINES
from housebrain_core.project import VARIABLE
from housebrain_core.results import Table
from housebrain_core.train.tiny import tiny_base
from housebrain_core.train.tuner import HouseBrainFineTuner

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks" / "rendered" / "local"
TRAINING = {"epochs": 3, "learning_rate": 6e-3, "gradient_accumulation_steps": 1, "row_length": 512}
"""Settings for a model of half a million parameters; a real one takes the defaults."""
VALIDATION = 96
MARK = "demo.json"
"""Written first into a demo's folder: only such a folder is ever replaced."""
PROGRESS = re.compile(r"step \d+ of|.*: \d+ of \d+ designs")
"""Lines of a notebook's output that say how far it is."""
PROGRESS_SECONDS = 10
MERGED = "housebrain-merged"
EVERYTHING = "trained-on-everything"
NAMES = {"ab-average": "average of A and B apart", MERGED: "exact average", EVERYTHING: "trained on everything"}
"""Adapter -> what the demo's table calls it."""


def run_demo(config: DemoConfig) -> dict[str, Any]:
    """Runs notebooks 01 to 04 and the comparisons, and prints the table.

    Args:
        config: where, and how much data.

    Returns:
        `models`: name -> loss in nats per token, strict_parse and rule_score in [0, 1]; `reference`: the rule score of
        the reference designs; `problems`: what did not come out as it should, a sentence each.

    Raises:
        ConfigError: the output folder is in the way, or the notebooks are not there.
        HouseBrainError: a notebook failed; the message names its output notebook.
    """
    started = time.time()
    root = _make_folder(config).absolute()
    write_dataset(root / "dataset", config.samples, VALIDATION)
    print(f"{config.samples} generated samples in {config.output}/dataset", flush=True)
    base = tiny_base(report=lambda line: print(line, flush=True))
    splits = {"source": "dataset", "splits": config.splits, "validation_samples": VALIDATION}
    run_notebook(root, "01_split", "01_split", splits)
    adapters = [part["adapter"] for part in read_manifest(root / "housebrain_splits", "splits")["parts"]]
    _train_all(root, base, adapters)
    run_notebook(root, "03_merge", "03_merge", {})
    _merge_factors_apart(root, adapters)
    models = [str(base), *(f"models/{name}" for name in (*adapters, *NAMES))]
    run_notebook(
        root, "04_evaluate", "04_evaluate", {"models": models, "samples": config.designs, "load_in_4bit": True}
    )
    summary = summarise(json.loads((root / "evaluation.json").read_text()), base.name, adapters)
    draw(root, adapters)
    print(describe(summary, config, time.time() - started), flush=True)
    return summary


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
    print(f"{output} ...", flush=True)
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
    print(f"{output} done in {time.time() - started:.0f} s", flush=True)


def _show_progress(lines: Any, output: str) -> str:
    """Prints a line that says how far a notebook is, every few seconds; returns the last line of all."""
    last = ""
    shown = time.time()
    for line in lines:
        last = line.strip() or last
        if PROGRESS.match(line) and time.time() - shown > PROGRESS_SECONDS:
            print(f"  {output}: {line.strip()}", flush=True)
            shown = time.time()
    return last


def _make_folder(config: DemoConfig) -> Path:
    if not (NOTEBOOKS / "01_split.ipynb").exists():
        raise ConfigError(f"{NOTEBOOKS} has no notebooks. Run the demo from a checkout: python build_notebooks.py")
    if config.output.exists():
        if not (config.output / MARK).exists() or not config.overwrite:
            raise ConfigError(
                f"{config.output} exists already. Choose another --output, or --overwrite an earlier demo."
            )
        shutil.rmtree(config.output)
    config.output.mkdir(parents=True)
    (config.output / MARK).write_text(config.model_dump_json())
    return config.output


def _train_all(root: Path, base: Path, adapters: list[str]) -> None:
    """Trains each split in notebook 02 and, beside them, one adapter on everything for as many epochs."""
    everything = FineTuningConfig(
        dataset_path=root / "dataset", output_dir=root / "models" / EVERYTHING, base_model=str(base), **TRAINING
    )
    torch.set_num_threads(1)
    with ThreadPoolExecutor(1) as beside:
        job = beside.submit(HouseBrainFineTuner(everything, report=lambda line: None).train)
        for split_id in range(1, len(adapters) + 1):
            parameters = {"split_id": split_id, "base_model": str(base), **TRAINING}
            run_notebook(root, "02_train", f"02_train_{split_id:02d}", parameters)
        print("one adapter on everything, for comparison ...", flush=True)
        job.result()


def _merge_factors_apart(root: Path, adapters: list[str]) -> None:
    """Merges by the mean of A and the mean of B, which is not the mean of the updates, to compare with."""
    models = [root / "models" / name for name in adapters]
    config = MergeConfig(models=models, output=root / "models" / "ab-average", strategy="ab-average")
    merge_adapters(config, report=lambda line: None)


def summarise(evaluation: dict[str, Any], base: str, adapters: list[str]) -> dict[str, Any]:
    """The demo's table, and what did not come out as it should.

    Args:
        evaluation: the contents of evaluation.json.
        base: name of the base model in it.
        adapters: names of those that were trained on a split.
    """
    models = evaluation["models"]
    names = {base: "base model", **{name: name for name in adapters}, **NAMES}
    rows = {
        shown: {
            "loss": models[name]["loss_nats_per_token"],
            "strict_parse": models[name]["rates"]["strict_parse"],
            "rule_score": models[name]["rule_score"],
        }
        for name, shown in names.items()
    }
    best = min(adapters, key=lambda name: rows[name]["loss"])
    order = ["base model", best, "exact average", "trained on everything"]
    problems = [
        f"{low} ({rows[low]['loss']:.4f}) is not below {high} ({rows[high]['loss']:.4f}): "
        "so small a model, trained so briefly, is noisy; more samples or steps even it out"
        for high, low in zip(order, order[1:], strict=False)
        if rows[low]["loss"] > rows[high]["loss"]
    ]
    if not rows["exact average"]["strict_parse"]:
        problems.append(f"no design of the merged model parses: {models[MERGED]['kinds']}")
    return {"models": rows, "reference": evaluation["reference"]["rule_score"], "problems": problems}


def draw(root: Path, adapters: list[str]) -> None:
    """Draws the loss of every run, and the first design of the merged model that parses.

    Args:
        root: the demo's folder; losses.png, floor_plan.png and design.json are written there.
        adapters: names of those that were trained on a split.
    """
    runs = {name: root / "models" / name / "run.json" for name in (*adapters, EVERYTHING)}
    curves = {name: json.loads(run.read_text())["curve"] for name, run in runs.items()}
    plots.save(plots.loss_curves(curves), root / "losses.png")
    for line in (root / "evaluation.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["model"] != MERGED:
            continue
        try:
            design = read_answer(row["brief"], Answered(row["text"], row["tokens"], row["complete"]))
        except DesignError:
            continue
        plots.save(drawing.floor_plan(design, "generated by the merged model (demo data)"), root / "floor_plan.png")
        (root / "design.json").write_text(codec.dumps(design))
        return


def describe(summary: dict[str, Any], config: DemoConfig, seconds: float) -> str:
    """What the demo prints at its end."""
    rows = [("reference designs", "", "", f"{summary['reference']:.1%}")]
    for name, row in summary["models"].items():
        score = "-" if row["rule_score"] is None else f"{row['rule_score']:.1%}"
        rows.append((name, f"{row['loss']:.4f}", f"{row['strict_parse']:.0%}", score))
    lines = ["", str(Table(("model", "validation loss", "designs parse", "rules kept"), rows))]
    lines += ["", f"Losses are in nats per token; the data's own entropy is {entropy_nats():.1f} nats per sample."]
    lines += [f"Parse rates and rules are those of {config.designs} designs each: too few to rank models by."]
    lines += [f"NOTE: {problem}" for problem in summary["problems"]]
    files = {
        "loss of every run": "losses.png",
        "a design of the merged model": "floor_plan.png",
        "all figures": "evaluation.json",
        "the merged adapter": f"models/{MERGED}",
        "the executed notebooks": "notebooks",
    }
    lines += [f"{what:29} {config.output / name}" for what, name in files.items()]
    lines += [f"The demo took {seconds:.0f} s.", "Next, on your own data: source .venv/bin/activate; housebrain --help"]
    return "\n".join(lines)
