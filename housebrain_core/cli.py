"""The command line: `housebrain STAGE --flags`; a stage's flags are the fields of its settings."""

import argparse
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from housebrain_core import __version__
from housebrain_core.errors import ConfigError, HouseBrainError
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
INTERRUPTED = 130
"""Exit code after Ctrl-C."""


class Stage(NamedTuple):
    """A command; the first line of `run` is its help."""

    run: Callable[[Any], None]
    settings: str
    """Name of its settings in config.py, so that `housebrain --help` need not load them."""
    example: str
    more: str = ""
    """What its help says below the example."""

    @property
    def help(self) -> str:
        """What the command does, in a sentence."""
        return " ".join((self.run.__doc__ or "").split())


def main() -> None:
    """Runs the command line; what a person can act on is one paragraph and exit code 2, not a traceback."""
    try:
        run_command(sys.argv[1:])
    except HouseBrainError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # no space left, no permission, a folder where a file should be
        print(f"{error.strerror or error}: {error.filename or 'see the lines above'}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted. Nothing half-written counts: give the same command again.", file=sys.stderr)
        sys.exit(INTERRUPTED)


def run_command(arguments: list[str]) -> None:
    """Reads the flags of one command, makes its settings, and runs it.

    Args:
        arguments: those behind `housebrain`, the command's name first.

    Raises:
        ConfigError: settings that cannot be used, all of them at once, in the words of flags.
        SystemExit: after help, or with code 2 where a flag or a command does not exist.
    """
    if not arguments:
        arguments = ["--help"]
    name = arguments[0]
    if name in POSITIONAL and arguments[1:] and not arguments[1].startswith("-"):
        arguments = [name, "--models", *arguments[1:]]
    values = vars(build_parser(name).parse_args(arguments))
    stage = STAGES[values.pop("stage")]
    stage.run(_with_base_folder(_read_settings(name, stage, values)))


def build_parser(requested: str) -> argparse.ArgumentParser:
    """The command line's parser; only the requested command gets its flags, which keeps `--help` fast."""
    parser = argparse.ArgumentParser(
        prog="housebrain",
        usage="housebrain STAGE [flags]",
        description="Fine-tune a language model together, on free notebooks: split, train, merge, evaluate.",
        epilog="Start with:  housebrain demo        A stage's flags:  housebrain split --help",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"housebrain {__version__}")
    stages = parser.add_subparsers(title="stages", dest="stage", metavar="STAGE", required=True)
    for name, stage in STAGES.items():
        command = stages.add_parser(
            name,
            usage=f"housebrain {name} [flags]",
            help=stage.help,
            description=f"{stage.help}\n\nExample:\n  housebrain {stage.example}{stage.more}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if name == requested:
            from housebrain_core.flags import add_flags

            add_flags(command, _settings_of(stage), ALIASES.get(name, {}))
    return parser


def _settings_of(stage: Stage) -> type[Any]:
    from housebrain_core import config

    return getattr(config, stage.settings)


def _read_settings(name: str, stage: Stage, values: dict[str, Any]) -> Any:
    """The settings of a stage; ConfigError names all problems in the words of flags."""
    try:
        return _settings_of(stage)(**values)
    except ConfigError as error:
        from housebrain_core.flags import in_flags

        raise ConfigError(in_flags(str(error), ALIASES.get(name, {}))) from None


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
    "audit": Stage(run_audit, "AuditConfig", f"audit {DATASET} --tokenizer Qwen/Qwen2.5-Coder-1.5B"),
    "split": Stage(run_split, "SplitConfig", f"split {DATASET} --output housebrain_splits --splits 6 --owner 4=alice"),
    "plan": Stage(run_plan, "PlanConfig", "plan --splits housebrain_splits --gpu t4 --price-per-hour 1.50"),
    "train": Stage(
        run_train, "FineTuningConfig", "train --split housebrain_splits/split_01.zip --output models/hb-colab-01"
    ),
    "inspect": Stage(run_inspect, "InspectConfig", "inspect models/hb-* --output inspection"),
    "convert": Stage(run_convert, "ConvertConfig", "convert models/hb-colab-01"),
    "merge": Stage(run_merge, "MergeConfig", "merge --models models/hb-* --output models/housebrain-merged --validate"),
    "round": Stage(run_round, "RoundConfig", "round --models models/hb-*", ROUND),
    "evaluate": Stage(run_evaluate, "EvaluateConfig", "evaluate --model models/housebrain-merged --samples 100"),
    "generate": Stage(
        run_generate, "GenerateConfig", "generate --model models/housebrain-merged --brief brief.json --plot design.png"
    ),
    "demo": Stage(run_demo, "DemoConfig", "demo --output housebrain_demo"),
}


def _with_base_folder(settings: Any) -> Any:
    """The base model `tiny` is the demo's, made on first use."""
    named = [name for name in ("base_model", "into_base") if getattr(settings, name, None) == "tiny"]
    if not named:
        return settings
    from housebrain_core.train.tiny import tiny_base

    return settings.model_copy(update=dict.fromkeys(named, str(tiny_base())))


if __name__ == "__main__":
    main()
