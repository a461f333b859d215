"""The command line: `housebrain STAGE --flags`; a stage's flags are the fields of its settings."""

import inspect
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import typer

from housebrain_core.errors import ConfigError, HouseBrainError
from housebrain_core.flags import flags_of, in_flags, is_given, repeat_flags
from housebrain_core.outputs import check_folder

ALIASES = {
    "train": {"dataset_path": "--split", "output_dir": "--output"},
    "merge": {"run_validation": "--validate"},
    "evaluate": {"models": "--model"},
}
"""Flags that are not the field's own name: the guide's, and short ones."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""


class Stage(NamedTuple):
    """A command: its settings by name, so that `housebrain --help` need not load them."""

    settings: str
    help: str
    example: str
    run: Callable[[Any], None]


def build_app(requested: str | None = None) -> typer.Typer:
    """The command line; only the requested command gets its flags, which keeps `--help` fast."""
    app = typer.Typer(
        help="Fine-tune a language model together, on free notebooks: split, train, merge, evaluate.\n\n"
        "Start with:  housebrain demo",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for name, stage in STAGES.items():
        app.command(name, short_help=stage.help, help=f"{stage.help}\n\nExample:\n\n    {stage.example}")(
            _command(name, stage) if name == requested else lambda: None
        )
    return app


def _command(name: str, stage: Stage) -> Callable:
    """A function whose parameters are the fields of the stage's settings."""
    from housebrain_core import config

    settings = getattr(config, stage.settings)
    aliases = ALIASES.get(name, {})

    def command(context: typer.Context, **values: Any) -> None:
        given = {name: value for name, value in values.items() if is_given(context, name)}
        try:
            chosen = settings(**given)
        except ConfigError as error:
            raise ConfigError(in_flags(str(error), aliases)) from None
        stage.run(_with_base_folder(chosen))

    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    command.__signature__ = inspect.Signature([context, *flags_of(settings, aliases)])
    return command


def run_audit(settings: Any) -> None:
    from housebrain_core.data.audit import audit_dataset

    audit_dataset(settings)


def run_split(settings: Any) -> None:
    from housebrain_core.splits.split import split_dataset

    split_dataset(settings)


def run_plan(settings: Any) -> None:
    from housebrain_core.splits.hours import describe_plan, make_plan

    print(describe_plan(make_plan(settings)))


def run_train(settings: Any) -> None:
    from housebrain_core.train.tuner import HouseBrainFineTuner

    check_folder(settings.output_dir)
    run = HouseBrainFineTuner(settings).train()
    if "SIGINT" in run.why_it_ended:
        sys.exit(INTERRUPTED)  # a script must not take it for done


def run_merge(settings: Any) -> None:
    from housebrain_core.merge.merge import merge_adapters

    merge_adapters(settings)


def run_inspect(settings: Any) -> None:
    from housebrain_core.adapters.inspection import inspect_adapters

    if not inspect_adapters(settings)["names"]:
        sys.exit(1)  # a script must not go on with nothing


def run_convert(settings: Any) -> None:
    from housebrain_core.adapters.convert import convert_adapters

    convert_adapters(settings)


def run_evaluate(settings: Any) -> None:
    from housebrain_core.evaluate.evaluate import evaluate_models

    evaluate_models(settings)


def run_generate(settings: Any) -> None:
    from housebrain_core.llm.generate import generate_designs

    generate_designs(settings)


def run_demo(settings: Any) -> None:
    from housebrain_core.demo import run_demo

    run_demo(settings)


STAGES = {
    "audit": Stage(
        "AuditConfig",
        "Look at a dataset before spending a GPU hour: what is in it, and what a model can learn from it.",
        "housebrain audit --source housebrain_dataset_v5_350k --tokenizer Qwen/Qwen2.5-Coder-1.5B",
        run_audit,
    ),
    "split": Stage(
        "SplitConfig",
        "Cut a dataset into one split per person: for each a bundle and notebook to upload, and a page that says how.",
        "housebrain split --source housebrain_dataset_v5_350k --output housebrain_splits --splits 6 --owner 4=alice",
        run_split,
    ),
    "plan": Stage(
        "PlanConfig",
        "Say how long training will take: tokens, hours, sessions, weeks, and what would fit better.",
        "housebrain plan --splits housebrain_splits --gpu t4 --base-model Qwen/Qwen2.5-Coder-1.5B",
        run_plan,
    ),
    "train": Stage(
        "FineTuningConfig",
        "Train one split into one LoRA adapter; start it again to go on where it was.",
        "housebrain train --split housebrain_splits/split_01.zip --output models/hb-colab-01",
        run_train,
    ),
    "inspect": Stage(
        "InspectConfig",
        "Look at the adapters that came back, as folders or zips: a table with a verdict for each, and two figures.",
        "housebrain inspect models/hb-* --output inspection",
        run_inspect,
    ),
    "convert": Stage(
        "ConvertConfig",
        "Make an adapter_model.bin (a pickle) of somebody you trust into safetensors, in a process with limits.",
        "housebrain convert models/hb-colab-01",
        run_convert,
    ),
    "merge": Stage(
        "MergeConfig",
        "Merge adapters into one, exactly, straight from their files.",
        "housebrain merge --models models/hb-* --output models/housebrain-merged --strategy average --validate",
        run_merge,
    ),
    "evaluate": Stage(
        "EvaluateConfig",
        "Judge models on validation samples: loss, parse rates, rule checks.",
        "housebrain evaluate --model models/housebrain-merged --data housebrain_splits --samples 100",
        run_evaluate,
    ),
    "generate": Stage(
        "GenerateConfig",
        "Design houses: one brief gives a design as JSON, a file of briefs gives a file of designs.",
        "housebrain generate --model models/housebrain-merged --brief brief.json --plot design.png",
        run_generate,
    ),
    "demo": Stage(
        "DemoConfig",
        "Run everything on this computer, on generated data and a tiny base model: no GPU, network or account.",
        "housebrain demo --output housebrain_demo",
        run_demo,
    ),
}


def _with_base_folder(settings: Any) -> Any:
    """The base model `tiny` is the demo's, made on first use."""
    named = [name for name in ("base_model", "into_base") if getattr(settings, name, None) == "tiny"]
    if not named:
        return settings
    from housebrain_core.train.tiny import tiny_base

    return settings.model_copy(update=dict.fromkeys(named, str(tiny_base())))


def main() -> None:
    """Runs the command line; what a person can act on is one paragraph and exit code 2, not a traceback."""
    try:
        requested = sys.argv[1] if len(sys.argv) > 1 else None
        build_app(requested)(args=repeat_flags(sys.argv[1:]), prog_name="housebrain")
    except HouseBrainError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # no space left, no permission, a folder where a file should be
        print(f"{error.strerror or error}: {error.filename or 'see the lines above'}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        print("Interrupted. Nothing half-written counts: give the same command again.", file=sys.stderr)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
