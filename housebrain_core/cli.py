"""The command line: `housebrain STAGE --flags`; a stage's flags are the fields of its settings."""

# PYTHON_ARGCOMPLETE_OK
import argparse
import difflib
import errno
import io
import json
import os
import sys
from contextlib import redirect_stdout
from typing import Any, NoReturn

from housebrain_core import __version__
from housebrain_core.commands.stages import ALIASES, POSITIONAL, STAGES, Stage, find
from housebrain_core.errors import ConfigError, HouseBrainError
from housebrain_core.texts import clip, say

INTERRUPTED = 130
"""Exit code after Ctrl-C."""
WITHOUT_STAGE = ("-h", "--help", "--version")
JSON = "--json"
FREE = "Free some space, or name a place on another disk, and give the same command again: nothing half-written counts."
DISK_ADVICE = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), FREE) | dict.fromkeys(
    (errno.EACCES, errno.EPERM, errno.EROFS), "Name a place that this account may read and write."
)
"""What to do about an error of the system."""
FIELD_FLAGS = ("--input-field", "--output-field")
"""Which fields of a dataset count; bundles have what was chosen."""


def main() -> None:
    """Runs the command line; what a person can act on is one paragraph and exit code 2, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what others print must not end a run on Windows, or in a log file
            stream.reconfigure(errors="backslashreplace")
    if "_ARGCOMPLETE" in os.environ:
        complete_words(os.environ["COMP_LINE"].split())
    try:
        run_command(sys.argv[1:])
    except HouseBrainError as error:
        say(f"{type(error).__name__}: {error}", sys.stderr)
        sys.exit(2)
    except OSError as error:  # no space left, no permission, a folder where a file should be
        named = f": {clip(str(error.filename))}" if error.filename else ""
        say(f"{error.strerror or error}{named}. {DISK_ADVICE.get(error.errno or 0, '')}".strip(), sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        say("Interrupted. Nothing half-written counts: give the same command again.", sys.stderr)
        sys.exit(INTERRUPTED)


def run_command(arguments: list[str]) -> None:
    """Reads the flags of one command, makes its settings, and runs it.

    Args:
        arguments: those behind `housebrain`, the command's name first.

    Raises:
        ConfigError: a command, flags or settings that cannot be used, all of them at once, in the words of flags.
        SystemExit: after help, or with code 1 where a result is of no use.
    """
    if not arguments:
        arguments = ["--help"]
    name = arguments[0]
    if name in POSITIONAL and arguments[1:] and not arguments[1].startswith("-"):
        arguments = [name, POSITIONAL[name], *arguments[1:]]
    values = read_flags(name, arguments)
    stage = STAGES[values.pop("stage")]
    as_json = values.pop("as_json", False)
    settings = _read_settings(name, stage, values)
    if as_json:
        with redirect_stdout(sys.stderr):  # what it prints meanwhile is for people
            result = find(stage.run)(settings)
        say(to_json(result))
    else:
        result = find(stage.run)(settings)
        if stage.show:
            find(stage.show)(result)
    if not stage.is_usable(result):
        sys.exit(1)


def read_flags(name: str, arguments: list[str]) -> dict[str, Any]:
    """The values of the flags that were given, as text.

    Args:
        name: of the command.
        arguments: with the name first.

    Raises:
        ConfigError: there is no such command, or it has no such flags; with the nearest that there are.
    """
    if name not in (*STAGES, *WITHOUT_STAGE):
        raise ConfigError(f"housebrain has no {name}. {suggest(name, [*STAGES, *WITHOUT_STAGE], 'housebrain --help')}")
    values, unknown = build_parser(name).parse_known_args(arguments)
    if unknown:
        from housebrain_core.commands.flags import names_of

        stage = STAGES[name]
        aliases = ALIASES.get(name, {})
        flags = [flag for field in find(stage.settings).model_fields for flag in names_of(field, aliases)]
        flags += [JSON] if stage.has_json else []
        wrong = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        lines = [f"  {word}: {suggest(word, flags, f'housebrain {name} --help')}" for word in wrong]
        hint = f"no flag before it takes it. A switch has no value: --no-NAME turns it off. housebrain {name} --help"
        lines = lines or [f"  {clip(word)}: {hint}" for word in unknown]
        raise ConfigError("\n".join([f"housebrain {name} has no such flags:", *lines]))
    return vars(values)


def suggest(word: str, words: list[str], where: str) -> str:
    """What a person may have meant.

    Args:
        word: that does not exist.
        words: that do.
        where: the command that names them all.
    """
    if word in FIELD_FLAGS and word not in words:
        return (
            "fields are chosen when a dataset is split, for one person too: housebrain split --source DATA --splits 1 "
            "--input-field NAME --output-field NAME; then give housebrain_splits/split_01.zip."
        )
    nearest = difflib.get_close_matches(word, words, 1)
    return f"Did you mean {nearest[0]}?" if nearest else f"{where} names all that there are."


class Parser(argparse.ArgumentParser):
    """Tells what is wrong with a flag as settings do."""

    def error(self, message: str) -> NoReturn:
        """Raises ConfigError for a message of argparse, such as "argument --split/--dataset-path: expected one ..."."""
        flag, _, text = message.removeprefix("argument ").partition(": ")
        missing = "a value is missing behind it (one that begins with a dash: --flag=-value)"
        need = missing if "expected" in text else "it takes no value; write it alone"
        raise ConfigError(f"these flags cannot be used:\n  {flag.partition('/')[0]}: {need}")


def build_parser(requested: str) -> argparse.ArgumentParser:
    """The command line's parser; only the requested command gets its flags, which keeps `--help` fast."""
    parser = Parser(
        prog="housebrain",
        usage="housebrain STAGE [flags]",
        description="Fine-tune a language model together, on free notebooks: split, train, merge, evaluate.",
        epilog="`housebrain demo` runs everything on generated data; `housebrain split --help` shows a stage's flags.",
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
            from housebrain_core.commands.flags import add_flags

            add_flags(command, find(stage.settings), ALIASES.get(name, {}))
            if stage.has_json:
                text = "print the result as JSON for programs; all else goes to standard error"
                command.add_argument(JSON, dest="as_json", action="store_true", default=argparse.SUPPRESS, help=text)
    return parser


def complete_words(words: list[str]) -> None:
    """Tells the shell what can follow, for `register-python-argcomplete`, and ends the process.

    Args:
        words: of the command line so far.
    """
    import argcomplete

    argcomplete.autocomplete(build_parser(words[1] if words[1:] else ""))


def to_json(result: Any) -> str:
    """A stage's result as JSON; what is no number there (NaN) is null."""
    from pydantic import TypeAdapter

    contents = result.to_dict() if hasattr(result, "to_dict") else result
    return json.dumps(json.loads(TypeAdapter(Any).dump_json(contents)), indent=1)


def _read_settings(name: str, stage: Stage, values: dict[str, Any]) -> Any:
    """The settings of a stage; ConfigError names all problems in the words of flags."""
    try:
        return find(stage.settings)(**values)
    except ConfigError as error:
        from housebrain_core.commands.flags import in_flags

        raise ConfigError(in_flags(str(error), ALIASES.get(name, {}))) from None


if __name__ == "__main__":
    main()
