"""The command line: `housebrain STAGE --flags`; a stage's flags are the fields of its settings."""

import argparse
import importlib
import io
import sys
from typing import Any

from housebrain_core import __version__
from housebrain_core.errors import ConfigError, HouseBrainError
from housebrain_core.stages import ALIASES, POSITIONAL, STAGES, Stage
from housebrain_core.texts import say

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def main() -> None:
    """Runs the command line; what a person can act on is one paragraph and exit code 2, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what others print must not end a run on Windows, or in a log file
            stream.reconfigure(errors="backslashreplace")
    try:
        run_command(sys.argv[1:])
    except HouseBrainError as error:
        say(f"{type(error).__name__}: {error}", sys.stderr)
        sys.exit(2)
    except OSError as error:  # no space left, no permission, a folder where a file should be
        say(f"{error.strerror or error}: {error.filename or 'see the lines above'}", sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        say("Interrupted. Nothing half-written counts: give the same command again.", sys.stderr)
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
        arguments = [name, POSITIONAL[name], *arguments[1:]]
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

            add_flags(command, find_settings(stage), ALIASES.get(name, {}))
    return parser


def find_settings(stage: Stage) -> type[Any]:
    """The class of a stage's settings."""
    module, _, name = stage.settings.rpartition(".")
    return getattr(importlib.import_module(f"housebrain_core.{module}"), name)


def _read_settings(name: str, stage: Stage, values: dict[str, Any]) -> Any:
    """The settings of a stage; ConfigError names all problems in the words of flags."""
    try:
        return find_settings(stage)(**values)
    except ConfigError as error:
        from housebrain_core.flags import in_flags

        raise ConfigError(in_flags(str(error), ALIASES.get(name, {}))) from None


def _with_base_folder(settings: Any) -> Any:
    """The base model `tiny` is the demo's, made on first use."""
    named = [name for name in ("base_model", "into_base") if getattr(settings, name, None) == "tiny"]
    if not named:
        return settings
    from housebrain_core.train.tiny import tiny_base

    return settings.model_copy(update=dict.fromkeys(named, str(tiny_base())))


if __name__ == "__main__":
    main()
