"""The stages of the command line: for each command what it calls, its settings, an example and its short flags."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

ALIASES = {
    "train": {"dataset_path": "--split", "output_dir": "--output"},
    "merge": {"run_validation": "--validate"},
    "round": {"run_validation": "--validate"},
    "evaluate": {"models": "--model"},
    "export": {"format": "--as", "run_validation": "--validate"},
}
"""Flags that are not the field's own name: the guide's, and short ones."""
POSITIONAL = {"inspect": "--models", "convert": "--models", "kaggle": "--action"}
"""Commands whose first arguments need no flag -> the flag that they are for."""


class Stage(NamedTuple):
    """A command. Functions are named by module and name in the package, so that `housebrain --help` loads none."""

    help: str
    """What it does, in a sentence."""
    run: str
    """What it calls with its settings."""
    settings: str
    example: str
    more: str = ""
    """What its help says below the example."""
    show: str = ""
    """What prints its result for people, where there is one; what `run` itself prints is progress."""
    has_json: bool = False
    """Whether `--json` prints its result for programs."""
    is_usable: Callable[[Any], bool] = lambda result: True
    """Whether there is something to go on with; a script stops where there is not."""


def find(name: str) -> Any:
    """What a name such as config.SplitConfig stands for in the package."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(f"housebrain_core.{module}"), attribute)


def train_split(settings: Any) -> None:
    """Trains from the leg file that has come into rounds/, where none is named."""
    from housebrain_core.adapters.run import STOPPED_BY_YOU
    from housebrain_core.project import find_project
    from housebrain_core.splits.leg_file import find_inputs
    from housebrain_core.train.checkpoints import check_run_folder
    from housebrain_core.train.tuner import HouseBrainFineTuner

    check_run_folder(settings.output_dir)
    if settings.init_adapter is None:
        leg_files = (find_project() / "rounds").glob("leg_*.zip")
        settings = settings.model_copy(update={"init_adapter": find_inputs(settings.dataset_path, leg_files).leg_file})
    run = HouseBrainFineTuner(settings).train()
    if run.why_it_ended == STOPPED_BY_YOU:  # it was saved in good order; a script must not take it for done
        raise KeyboardInterrupt


def merge(settings: Any) -> Any:
    """Merges adapters into one, or into their base model."""
    return find("export.into_base.merge_into_base" if settings.into_base else "merge.merge.merge_adapters")(settings)


DATASET = "--source housebrain_dataset_v5_350k"
ROUND = """

Three legs, planned with housebrain split --splits 6 --rounds 3 --common-start 0:
  leg 1  everybody trains a bundle, as without a plan; then round writes rounds/leg_2.zip
  leg 2  everybody attaches that beside the bundle, and runs the same again; then it writes rounds/leg_3.zip
  leg 3  the same with rounds/leg_3.zip; then it writes models/housebrain-merged
It may be run at any time: it says who is missing, and writes nothing twice."""
KAGGLE = """
  housebrain kaggle status --split 4
  housebrain kaggle fetch --split 4

push again goes on with a run whose time was over, or with the leg whose leg_N.zip has come."""
RUN = """
  RAY_ADDRESS=ray-head:6379 housebrain run --on ray

Ctrl-C lets every run save; the same command goes on. Logs and executed notebooks are in runs/."""
STAGES = {
    "audit": Stage(
        "Look at a dataset before spending a GPU hour: what is in it, and what a model can learn from it.",
        "data.audit.audit_dataset",
        "config.AuditConfig",
        f"audit {DATASET} --tokenizer Qwen/Qwen2.5-Coder-1.5B",
        has_json=True,
    ),
    "split": Stage(
        "Cut a dataset into one split per person: for each a bundle and notebook to upload, and a page that says how.",
        "splits.split.split_dataset",
        "config.SplitConfig",
        f"split {DATASET} --output housebrain_splits --splits 6 --owner 4=alice",
    ),
    "plan": Stage(
        "Say how long training takes, and put one merge, rounds, a relay and a rented GPU side by side.",
        "rounds.choices.compare_choices",
        "config.PlanConfig",
        "plan --splits housebrain_splits --gpu t4 --price-per-hour 1.50",
        show="texts.say",
        has_json=True,
    ),
    "train": Stage(
        "Train one split into one LoRA adapter; start it again to go on where it was.",
        "commands.stages.train_split",
        "config.FineTuningConfig",
        "train --split housebrain_splits/split_01.zip --output models/hb-colab-01",
    ),
    "inspect": Stage(
        "Look at the adapters that came back, as folders or zips: a table with a verdict for each, and two figures.",
        "adapters.inspection.inspect_adapters",
        "config.InspectConfig",
        "inspect models/hb-* --output inspection",
        has_json=True,
        is_usable=lambda inspection: bool(inspection.names),
    ),
    "convert": Stage(
        "Make an adapter_model.bin (a pickle) of somebody you trust into safetensors, in a process with limits.",
        "adapters.convert.convert_adapters",
        "config.ConvertConfig",
        "convert models/hb-colab-01",
    ),
    "merge": Stage(
        "Merge adapters into one, exactly, straight from their files.",
        "commands.stages.merge",
        "config.MergeConfig",
        "merge --models models/hb-* --output models/housebrain-merged --validate",
        has_json=True,
    ),
    "round": Stage(
        "End a leg of a plan when all its adapters are there: merge, judge, and write what everybody trains on next.",
        "rounds.round.run_round",
        "config.RoundConfig",
        "round --models models/hb-*",
        ROUND,
        show="display.results.show",
    ),
    "evaluate": Stage(
        "Judge models on validation samples: loss, parse rates, rule checks.",
        "evaluate.evaluate.evaluate_models",
        "config.EvaluateConfig",
        "evaluate --model models/housebrain-merged --samples 100",
        show="evaluate.tables.show_evaluation",
        has_json=True,
    ),
    "select": Stage(
        "Choose samples for a second round, by values, rules, failures or difficulty: a dataset to split and train on.",
        "select.select.select_samples",
        "select.settings.SelectConfig",
        f"select {DATASET} --clean-rules parking,height --output chosen",
    ),
    "generate": Stage(
        "Design houses: one brief gives a design as JSON, a file of briefs gives a file of designs.",
        "llm.generate.generate_designs",
        "config.GenerateConfig",
        "generate --model models/housebrain-merged --brief brief.json --plot design.png",
    ),
    "serve": Stage(
        "Answer on a page: a person fills in plot, rooms and style, and gets a floor plan, rule checks and the JSON.",
        "serve.serving.serve_model",
        "serve.settings.ServeConfig",
        "serve --model models/housebrain-merged --port 8000",
    ),
    "run": Stage(
        "Train all splits on your own GPUs or a Ray cluster, leg after leg, and merge and judge what comes of it.",
        "cloud.own_machines.run_splits",
        "cloud.settings.RunConfig",
        "run --splits 1-6 --base-model Qwen/Qwen2.5-Coder-1.5B",
        RUN,
    ),
    "export": Stage(
        "Make a folder of a model that other programs load and that is verified: for PEFT, transformers, llama.cpp.",
        "export.export.export_model",
        "export.settings.ExportConfig",
        "export --model models/housebrain-merged --as full --output models/hb-full",
    ),
    "kaggle": Stage(
        "Push a split to your own Kaggle account, say how it is doing there, or fetch its adapter.",
        "cloud.kaggle_split.run_kaggle",
        "cloud.settings.KaggleConfig",
        "kaggle push --split 4",
        KAGGLE,
    ),
    "demo": Stage(
        "Run everything on this computer, on generated data and a tiny base model: no GPU, network or account.",
        "commands.demo.run_demo",
        "config.DemoConfig",
        "demo --output housebrain_demo",
    ),
}
