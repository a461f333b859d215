"""The command line: `housebrain STAGE --flags`; a stage's flags are the fields of its settings."""

import inspect
import json
import re
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import typer

from housebrain_core.errors import ConfigError, HouseBrainError

ALIASES = {
    "train": {"dataset_path": "--split", "output_dir": "--output"},
    "merge": {"run_validation": "--validate"},
    "evaluate": {"models": "--model"},
}
"""Flags that are not the field's own name: the guide's, and short ones."""
LIST_FLAGS = ("--models", "--model", "--exclude", "--weights", "--where", "--platform", "--owner", "--training")
INTERRUPTED = 130
"""Exit code after Ctrl-C."""
POSITIONAL = ("inspect", "convert")
"""Commands whose first arguments are models, without a flag."""


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

    def command(**values: Any) -> None:
        try:
            chosen = settings(**values)
        except ConfigError as error:
            raise ConfigError(_in_flags(str(error), aliases)) from None
        stage.run(_with_base_folder(chosen))

    command.__signature__ = inspect.Signature(flags_of(settings, aliases))
    return command


def _in_flags(problems: str, aliases: dict[str, str]) -> str:
    """The problems of settings in the words of the command line: max_bad = '7' becomes --max-bad 7."""

    def flag(found: re.Match) -> str:
        name, value = found.groups()
        return f"  {aliases.get(name, '--' + name.replace('_', '-'))}" + (f" {value}" if value else "")

    _, *lines = problems.splitlines()
    return "\n".join(
        ["these flags cannot be used:", *(re.sub(r"^  (\w+)(?: = '?(.*?)'?(?=: ))?", flag, line) for line in lines)]
    )


def flags_of(settings: Any, aliases: dict[str, str]) -> list[inspect.Parameter]:
    """One flag per field, with the field's text as help."""
    parameters = []
    for name, field in settings.model_fields.items():
        own = f"--{name.replace('_', '-')}"
        names = [aliases[name]] if name in aliases else []
        kind, values = _flag_type(field.annotation), _values_of(field.annotation)
        names += [f"{own}/--no-{name.replace('_', '-')}"] if kind is bool else [own]
        default = ... if field.is_required() else field.default
        if kind is str and not isinstance(default, str | None | types.EllipsisType):
            default = str(default)
        text = " ".join((field.description or "").split())
        option = typer.Option(
            *names, help=text, show_default=default not in (None, []), metavar=None if kind is bool else values
        )
        annotation = Annotated[kind, option]
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=annotation,
                default=inspect.Parameter.empty if default is ... else default,
            )
        )
    return parameters


def _flag_type(annotation: Any) -> type:
    """The type that the command line reads. Numbers are read as text: pydantic checks them, all flags at once."""
    kinds = {bool: bool, list: list[str], Path: Path}
    members = {get_origin(member) or member for member in _members_of(annotation)}
    return next((kind for member, kind in kinds.items() if member in members), str)


def _values_of(annotation: Any) -> str:
    """What may stand behind a flag, for its help: path, int, "int|auto", or the words to choose from."""
    names = []
    for member in _members_of(annotation):
        if get_origin(member) is list:
            names.append(f"{_values_of(get_args(member)[0])} ...")
        else:
            names += get_args(member) if get_origin(member) is Literal else [member.__name__.lower()]
    return "|".join({"str": "text", "float": "number"}.get(name, name) for name in names)


def _members_of(annotation: Any) -> list[Any]:
    """The types of a union, without None and without what Annotated adds."""
    if get_origin(annotation) is Annotated:
        return _members_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for member in get_args(annotation) for inner in _members_of(member)]
    return [] if annotation is types.NoneType else [annotation]


def run_audit(settings: Any) -> None:
    from housebrain_core.audit import audit

    audit(settings)


def run_split(settings: Any) -> None:
    from housebrain_core.splits import split_dataset

    split_dataset(settings)


def run_plan(settings: Any) -> None:
    from housebrain_core.plan import describe_plan, make_plan

    print(describe_plan(make_plan(settings)))


def run_train(settings: Any) -> None:
    if settings.gpus > 1:  # torch is needed in the processes only
        from housebrain_core.launch import train_in_processes

        train_in_processes(settings, print, time.time())
        ended = json.loads((settings.output_dir / "run.json").read_text(encoding="utf-8"))["why_it_ended"]
    else:
        from housebrain_core.train import HouseBrainFineTuner

        ended = HouseBrainFineTuner(settings).train().why_it_ended
    if "SIGINT" in ended:
        sys.exit(INTERRUPTED)  # a script must not take it for done


def run_merge(settings: Any) -> None:
    from housebrain_core.merge import merge_adapters

    merge_adapters(settings)


def run_inspect(settings: Any) -> None:
    from housebrain_core.inspection import inspect_adapters

    inspect_adapters(settings)


def run_convert(settings: Any) -> None:
    from housebrain_core.convert import convert_adapters

    convert_adapters(settings)


def run_evaluate(settings: Any) -> None:
    from housebrain_core.evaluate import evaluate

    evaluate(settings)


def run_generate(settings: Any) -> None:
    from housebrain_core.generate import generate

    generate(settings)


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
    from housebrain_core.tiny import tiny_base

    return settings.model_copy(update=dict.fromkeys(named, str(tiny_base())))


def repeat_flags(arguments: list[str]) -> list[str]:
    """Turns `--models A B C` into `--models A --models B --models C`, which is what click reads."""
    result: list[str] = []
    flag = ""
    if len(arguments) > 1 and arguments[0] in POSITIONAL and not arguments[1].startswith("-"):
        arguments = [arguments[0], "--models", *arguments[1:]]
    for argument in arguments:
        if argument.startswith("-"):
            flag = argument if argument in LIST_FLAGS else ""
            result.append(argument)
        elif flag and result[-1] != flag:
            result += [flag, argument]
        else:
            result.append(argument)
    return result


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
        print("Interrupted. Nothing half-written counts: the same command again goes on, or anew.", file=sys.stderr)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
