"""The stages of the command line: each command's function, settings, example and short flags."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from housebrain_core.outputs import check_folder

ALIASES = {
    "train": {"dataset_path": "--split", "output_dir": "--output"},
    "merge": {"run_validation": "--validate"},
    "plan": {"as_json": "--json"},
    "round": {"run_validation": "--validate"},
    "evaluate": {"models": "--model"},
}
"""Flags that are not the field's own name: the guide's, and short ones."""
POSITIONAL = ("inspect", "convert")
"""Commands whose first arguments are models, without a flag."""


class Stage(NamedTuple):
    """A command; the first line of `run` is its help."""

    run: Callable[[Any], None]
    settings: str
    """Module and name of its settings, such as config.SplitConfig; text, so that `housebrain --help` loads none."""
    example: str
    more: str = ""
    """What its help says below the example."""

    @property
    def help(self) -> str:
        """What the command does, in a sentence."""
        return " ".join((self.run.__doc__ or "").split())


def run_audit(settings: Any) -> None:
    """Look at a dataset before spending a GPU hour: what is in it, and what a model can learn from it."""
    from housebrain_core.data.audit import audit_dataset

    audit_dataset(settings)


def run_split(settings: Any) -> None:
    """Cut a dataset into one split per person: for each a bundle and notebook to upload, and a page that says how."""
    from housebrain_core.splits.split import split_dataset

    split_dataset(settings)


def run_plan(settings: Any) -> None:
    """Say how long training takes, and put one merge, rounds, a relay and a rented GPU side by side."""
    from housebrain_core.manifests import to_json
    from housebrain_core.rounds.choices import compare_choices

    if settings.as_json:
        print(to_json(compare_choices(settings, report=lambda line: None).to_dict()), end="")
    else:
        print(compare_choices(settings))


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


def run_inspect(settings: Any) -> None:
    """Look at the adapters that came back, as folders or zips: a table with a verdict for each, and two figures."""
    from housebrain_core.adapters.inspection import inspect_adapters

    if not inspect_adapters(settings).names:
        sys.exit(1)  # a script must not go on with nothing


def run_convert(settings: Any) -> None:
    """Make an adapter_model.bin (a pickle) of somebody you trust into safetensors, in a process with limits."""
    from housebrain_core.adapters.convert import convert_adapters

    convert_adapters(settings)


def run_merge(settings: Any) -> None:
    """Merge adapters into one, exactly, straight from their files."""
    if settings.into_base:
        from housebrain_core.export.into_base import merge_into_base

        merge_into_base(settings)
    else:
        from housebrain_core.merge.merge import merge_adapters

        merge_adapters(settings)


def run_round(settings: Any) -> None:
    """End a leg of a plan when all of its adapters are there: merge, judge, and write what everybody trains on next."""
    from housebrain_core.results import show
    from housebrain_core.rounds.round import run_round

    show(run_round(settings))


def run_evaluate(settings: Any) -> None:
    """Judge models on validation samples: loss, parse rates, rule checks."""
    from housebrain_core.evaluate.evaluate import evaluate_models
    from housebrain_core.evaluate.tables import show_evaluation

    show_evaluation(evaluate_models(settings))


def run_select(settings: Any) -> None:
    """Choose samples for a second round, by values, rules, failures or difficulty: a dataset to split and train on."""
    from housebrain_core.select.select import select_samples

    select_samples(settings)


def run_generate(settings: Any) -> None:
    """Design houses: one brief gives a design as JSON, a file of briefs gives a file of designs."""
    from housebrain_core.llm.generate import generate_designs

    generate_designs(settings)


def run_demo(settings: Any) -> None:
    """Run everything on this computer, on generated data and a tiny base model: no GPU, network or account."""
    from housebrain_core.demo import run_demo

    run_demo(settings)


DATASET = "--source housebrain_dataset_v5_350k"
ROUND = """

Three legs, planned with housebrain split --splits 6 --rounds 3 --common-start 0:
  leg 1  everybody trains a bundle, as without a plan; then round writes rounds/leg_2.zip
  leg 2  everybody attaches that beside the bundle, and runs the same again; then it writes rounds/leg_3.zip
  leg 3  the same with rounds/leg_3.zip; then it writes models/housebrain-merged
It may be run at any time: it says who is missing, and writes nothing twice."""
STAGES = {
    "audit": Stage(run_audit, "config.AuditConfig", f"audit {DATASET} --tokenizer Qwen/Qwen2.5-Coder-1.5B"),
    "split": Stage(
        run_split, "config.SplitConfig", f"split {DATASET} --output housebrain_splits --splits 6 --owner 4=alice"
    ),
    "plan": Stage(run_plan, "config.PlanConfig", "plan --splits housebrain_splits --gpu t4 --price-per-hour 1.50"),
    "train": Stage(
        run_train, "config.FineTuningConfig", "train --split housebrain_splits/split_01.zip --output models/hb-colab-01"
    ),
    "inspect": Stage(run_inspect, "config.InspectConfig", "inspect models/hb-* --output inspection"),
    "convert": Stage(run_convert, "config.ConvertConfig", "convert models/hb-colab-01"),
    "merge": Stage(
        run_merge, "config.MergeConfig", "merge --models models/hb-* --output models/housebrain-merged --validate"
    ),
    "round": Stage(run_round, "config.RoundConfig", "round --models models/hb-*", ROUND),
    "evaluate": Stage(run_evaluate, "config.EvaluateConfig", "evaluate --model models/housebrain-merged --samples 100"),
    "select": Stage(
        run_select, "select.settings.SelectConfig", f"select {DATASET} --clean-rules parking,height --output chosen"
    ),
    "generate": Stage(
        run_generate,
        "config.GenerateConfig",
        "generate --model models/housebrain-merged --brief brief.json --plot design.png",
    ),
    "demo": Stage(run_demo, "config.DemoConfig", "demo --output housebrain_demo"),
}
