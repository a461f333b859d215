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
from housebrain_core.merge.merge import merge_adapters
from housebrain_core.splits.assignments import account_mapping
from housebrain_core.splits.bundle import read_bundle
from housebrain_core.train.model import load_tokenizer, resolve_base
from housebrain_core.train.packing import pack, tokenise
from housebrain_core.train.tiny import tiny_base
from housebrain_core.train.tuner import HouseBrainFineTuner

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks" / "rendered" / "local"
TRAINING = {"epochs": 3, "learning_rate": 6e-3, "gradient_accumulation_steps": 1, "row_length": 512}
"""Settings for a model of half a million parameters; a real one takes the defaults."""
VALIDATION = 96
MARK = "demo.json"
"""Written first into a demo's folder: only such a folder is ever replaced."""


def run_demo(config: DemoConfig) -> dict[str, Any]:
    """Runs notebooks 01 to 04 and the comparisons, and prints the table.

    Returns:
        Validation loss, parse rate and rule score by model; `problems` says what did not come out as it should.

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
    adapters = [f"hb-{platform}-{split:02d}" for split, platform in account_mapping(config.splits).items()]
    _train_all(root, base, adapters)
    run_notebook(root, "03_merge", "03_merge", {})
    compared = MergeConfig(
        models=[root / "models" / name for name in adapters],
        output=root / "models" / "ab-average",
        strategy="ab-average",
    )
    merge_adapters(compared, report=lambda line: None)
    names = [*adapters, "ab-average", "housebrain-merged", "trained-on-everything"]
    models = [str(base), *(f"models/{name}" for name in names)]
    run_notebook(
        root,
        "04_evaluate",
        "04_evaluate",
        {"models": models, "samples": config.designs, "load_in_4bit": True},
    )
    summary = summarise(root, base.name, adapters)
    draw(root, adapters)
    print(describe(summary, config, time.time() - started), flush=True)
    return summary


def run_notebook(root: Path, name: str, output: str, parameters: dict[str, Any]) -> None:
    """Runs a rendered notebook through papermill, with one line of progress now and then.

    Raises:
        HouseBrainError: the notebook failed.
    """
    started = shown = time.time()
    print(f"{output} ...", flush=True)
    (root / "notebooks").mkdir(exist_ok=True)
    settings = root / "notebooks" / f"{output}.json"
    settings.write_text(json.dumps(parameters))
    target = root / "notebooks" / f"{output}.ipynb"
    command = [sys.executable, "-m", "papermill", NOTEBOOKS / f"{name}.ipynb", target, "-f", settings, "--log-output"]
    command += ["--no-progress-bar", "--cwd", root]
    # One thread: on a model this small a second gains little, and on a busy machine it made this 15 times slower.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    last = ""
    for line in process.stdout:
        last = line.strip() or last
        if re.match(r"step \d+ of|.*: \d+ of \d+ designs", line) and time.time() - shown > 10:
            print(f"  {output}: {line.strip()}", flush=True)
            shown = time.time()
    if process.wait() != 0:
        raise HouseBrainError(f"the notebook {name} failed: {last}\nIts output, with the whole error, is in {target}.")
    print(f"{output} done in {time.time() - started:.0f} s", flush=True)


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
    """Trains each split in notebook 02 and, beside them, one adapter on everything for the same steps in all."""
    bundles = [root / "housebrain_splits" / f"split_{number:02d}.zip" for number, _ in enumerate(adapters, 1)]
    everything = FineTuningConfig(
        dataset_path=root / "dataset",
        output_dir=root / "models" / "trained-on-everything",
        base_model=str(base),
        max_steps=sum(count_steps(bundle, base) for bundle in bundles),
        **TRAINING,
    )
    torch.set_num_threads(1)
    with ThreadPoolExecutor(1) as beside:
        job = beside.submit(HouseBrainFineTuner(everything, report=lambda line: None).train)
        for split in range(1, len(adapters) + 1):
            parameters = {"split_id": split, "base_model": str(base), **TRAINING}
            run_notebook(root, "02_train", f"02_train_{split:02d}", parameters)
        print("one adapter on everything, for comparison ...", flush=True)
        job.result()


def count_steps(bundle: Path, base: Path) -> int:
    """Optimizer steps that the demo's settings make of a bundle."""
    config = FineTuningConfig(dataset_path=bundle, output_dir=bundle, **TRAINING)
    samples = tokenise(read_bundle(bundle).train, load_tokenizer(resolve_base(str(base))), "auto").samples
    rows = len(pack(samples["length"][:], config.row_length))
    return -(-rows // config.rows_per_step) * config.epochs


def summarise(root: Path, base: str, adapters: list[str]) -> dict[str, Any]:
    """The demo's table, and what did not come out as it should."""
    evaluation = json.loads((root / "evaluation.json").read_text())
    models = evaluation["models"]
    names = {base: "base model"} | {name: name for name in adapters}
    names |= {"ab-average": "average of A and B apart", "housebrain-merged": "exact average"}
    names |= {"trained-on-everything": "trained on everything"}
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
        problems.append(f"no design of the merged model parses: {models['housebrain-merged']['kinds']}")
    return {"models": rows, "reference": evaluation["reference"]["rule_score"], "problems": problems}


def draw(root: Path, adapters: list[str]) -> None:
    """The loss figure, and the floor plan of the first design of the merged model that parses."""
    names = [*adapters, "trained-on-everything"]
    curves = {name: json.loads((root / "models" / name / "run.json").read_text())["curve"] for name in names}
    plots.save(plots.loss_curves(curves), root / "losses.png")
    for line in (root / "evaluation.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["model"] == "housebrain-merged":
            try:
                design = read_answer(row["brief"], Answered(row["text"], row["tokens"], row["complete"]))
            except DesignError:
                continue
            plots.save(drawing.floor_plan(design, "generated by the merged model (demo data)"), root / "floor_plan.png")
            (root / "design.json").write_text(codec.dumps(design))
            return


def describe(summary: dict[str, Any], config: DemoConfig, seconds: float) -> str:
    """What the demo prints at its end."""
    lines = ["", f"{'':28} {'validation loss':>16} {'designs parse':>14} {'rules kept':>11}"]
    lines.append(f"{'reference designs':28} {'':>16} {'':>14} {summary['reference']:>11.1%}")
    for name, row in summary["models"].items():
        score = "-" if row["rule_score"] is None else f"{row['rule_score']:.1%}"
        lines.append(f"{name:28} {row['loss']:>16.4f} {row['strict_parse']:>14.0%} {score:>11}")
    lines += ["", f"Losses are in nats per token; the data's own entropy is {entropy_nats():.1f} nats per sample."]
    lines += [f"Parse rates and rules are those of {config.designs} designs each: too few to rank models by."]
    lines += [f"NOTE: {problem}" for problem in summary["problems"]]
    for name, what in {
        "losses.png": "loss of every run",
        "floor_plan.png": "a design of the merged model",
        "evaluation.json": "all figures",
        "models/housebrain-merged": "the merged adapter",
        "notebooks": "the executed notebooks",
    }.items():
        lines.append(f"{what:29} {config.output / name}")
    lines += [f"The demo took {seconds:.0f} s.", "Next, on your own data: source .venv/bin/activate; housebrain --help"]
    return "\n".join(lines)
