"""The stages of the command line: each command's function, settings, example and short flags."""

from collections.abc import Callable
from typing import Any, NamedTuple

from housebrain_core.outputs import check_folder
from housebrain_core.texts import say

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
    """A command; the first line of `run` is its help."""

    run: Callable[[Any], Any]
    settings: str
    """Module and name of its settings, such as config.SplitConfig; text, so that `housebrain --help` loads none."""
    example: str
    more: str = ""
    """What its help says below the example."""
    has_json: bool = False
    """Whether `--json` prints its result for programs."""
    show: Callable[[Any], None] = lambda result: None
    """Prints its result for people; what `run` itself prints is progress."""
    is_usable: Callable[[Any], bool] = lambda result: True
    """Whether there is something to go on with; a script stops where there is not."""

    @property
    def help(self) -> str:
        """What the command does, in a sentence."""
        return " ".join((self.run.__doc__ or "").split())


def run_audit(settings: Any) -> Any:
    """Look at a dataset before spending a GPU hour: what is in it, and what a model can learn from it."""
    from housebrain_core.data.audit import audit_dataset

    return audit_dataset(settings)


def run_split(settings: Any) -> None:
    """Cut a dataset into one split per person: for each a bundle and notebook to upload, and a page that says how."""
    from housebrain_core.splits.split import split_dataset

    split_dataset(settings)


def run_plan(settings: Any) -> Any:
    """Say how long training takes, and put one merge, rounds, a relay and a rented GPU side by side."""
    from housebrain_core.rounds.choices import compare_choices

    return compare_choices(settings)


def run_train(settings: Any) -> None:
    """Train one split into one LoRA adapter; start it again to go on where it was."""
    from housebrain_core.adapters.run import STOPPED_BY_YOU
    from housebrain_core.project import find_project
    from housebrain_core.splits.leg_file import find_inputs
    from housebrain_core.train.tuner import HouseBrainFineTuner

    check_folder(settings.output_dir)
    if settings.init_adapter is None:
        leg_files = (find_project() / "rounds").glob("leg_*.zip")
        settings = settings.model_copy(update={"init_adapter": find_inputs(settings.dataset_path, leg_files).leg_file})
    run = HouseBrainFineTuner(settings).train()
    if run.why_it_ended == STOPPED_BY_YOU:  # it was saved in good order; a script must not take it for done
        raise KeyboardInterrupt


def run_inspect(settings: Any) -> Any:
    """Look at the adapters that came back, as folders or zips: a table with a verdict for each, and two figures."""
    from housebrain_core.adapters.inspection import inspect_adapters

    return inspect_adapters(settings)


def run_convert(settings: Any) -> None:
    """Make an adapter_model.bin (a pickle) of somebody you trust into safetensors, in a process with limits."""
    from housebrain_core.adapters.convert import convert_adapters

    convert_adapters(settings)


def run_merge(settings: Any) -> Any:
    """Merge adapters into one, exactly, straight from their files."""
    if settings.into_base:
        from housebrain_core.export.into_base import merge_into_base

        return merge_into_base(settings)
    from housebrain_core.merge.merge import merge_adapters

    return merge_adapters(settings)


def run_round(settings: Any) -> None:
    """End a leg of a plan when all of its adapters are there: merge, judge, and write what everybody trains on next."""
    from housebrain_core.display.results import show
    from housebrain_core.rounds.round import run_round

    show(run_round(settings))


def run_evaluate(settings: Any) -> Any:
    """Judge models on validation samples: loss, parse rates, rule checks."""
    from housebrain_core.evaluate.evaluate import evaluate_models

    return evaluate_models(settings)


def show_evaluation(result: Any) -> None:
    """Prints the tables of an evaluation."""
    from housebrain_core.evaluate.tables import show_evaluation

    show_evaluation(result)


def run_select(settings: Any) -> None:
    """Choose samples for a second round, by values, rules, failures or difficulty: a dataset to split and train on."""
    from housebrain_core.select.select import select_samples

    select_samples(settings)


def run_generate(settings: Any) -> None:
    """Design houses: one brief gives a design as JSON, a file of briefs gives a file of designs."""
    from housebrain_core.llm.generate import generate_designs

    generate_designs(settings)


def run_serve(settings: Any) -> None:
    """Answer on a page: a person fills in plot, rooms and style, and gets a floor plan, rule checks and the JSON."""
    from housebrain_core.serve.serving import serve_model

    serve_model(settings)


def run_run(settings: Any) -> None:
    """Train all splits on your own GPUs or a Ray cluster, leg after leg, and merge and judge what comes of it."""
    from housebrain_core.cloud.own_machines import run_splits

    run_splits(settings)


def run_export(settings: Any) -> None:
    """Make a folder of a model that other programs load and that is verified: for PEFT, transformers, llama.cpp."""
    from housebrain_core.export.export import export_model

    export_model(settings)


def run_kaggle(settings: Any) -> None:
    """Push a split to your own Kaggle account, say how it is doing there, or fetch its adapter."""
    from housebrain_core.cloud.kaggle_split import run_kaggle

    run_kaggle(settings)


def run_demo(settings: Any) -> None:
    """Run everything on this computer, on generated data and a tiny base model: no GPU, network or account."""
    from housebrain_core.commands.demo import run_demo

    run_demo(settings)


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
        run_audit, "config.AuditConfig", f"audit {DATASET} --tokenizer Qwen/Qwen2.5-Coder-1.5B", has_json=True
    ),
    "split": Stage(
        run_split, "config.SplitConfig", f"split {DATASET} --output housebrain_splits --splits 6 --owner 4=alice"
    ),
    "plan": Stage(
        run_plan,
        "config.PlanConfig",
        "plan --splits housebrain_splits --gpu t4 --price-per-hour 1.50",
        has_json=True,
        show=say,
    ),
    "train": Stage(
        run_train, "config.FineTuningConfig", "train --split housebrain_splits/split_01.zip --output models/hb-colab-01"
    ),
    "inspect": Stage(
        run_inspect,
        "config.InspectConfig",
        "inspect models/hb-* --output inspection",
        has_json=True,
        is_usable=lambda inspection: bool(inspection.names),
    ),
    "convert": Stage(run_convert, "config.ConvertConfig", "convert models/hb-colab-01"),
    "merge": Stage(
        run_merge,
        "config.MergeConfig",
        "merge --models models/hb-* --output models/housebrain-merged --validate",
        has_json=True,
    ),
    "round": Stage(run_round, "config.RoundConfig", "round --models models/hb-*", ROUND),
    "evaluate": Stage(
        run_evaluate,
        "config.EvaluateConfig",
        "evaluate --model models/housebrain-merged --samples 100",
        has_json=True,
        show=show_evaluation,
    ),
    "select": Stage(
        run_select, "select.settings.SelectConfig", f"select {DATASET} --clean-rules parking,height --output chosen"
    ),
    "generate": Stage(
        run_generate,
        "config.GenerateConfig",
        "generate --model models/housebrain-merged --brief brief.json --plot design.png",
    ),
    "serve": Stage(run_serve, "serve.settings.ServeConfig", "serve --model models/housebrain-merged --port 8000"),
    "run": Stage(run_run, "cloud.settings.RunConfig", "run --splits 1-6 --base-model Qwen/Qwen2.5-Coder-1.5B", RUN),
    "export": Stage(
        run_export,
        "export.settings.ExportConfig",
        "export --model models/housebrain-merged --as full --output models/hb-full",
    ),
    "kaggle": Stage(run_kaggle, "cloud.settings.KaggleConfig", "kaggle push --split 4", KAGGLE),
    "demo": Stage(run_demo, "config.DemoConfig", "demo --output housebrain_demo"),
}
