"""The fields of settings as flags of the command line, and problems with settings in the words of flags."""

import inspect
import re
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

LIST_FLAGS = ("--models", "--model", "--exclude", "--weights", "--where", "--platform", "--owner", "--training")
POSITIONAL = ("inspect", "convert")
"""Commands whose first arguments are models, without a flag."""


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


def in_flags(problems: str, aliases: dict[str, str]) -> str:
    """The problems of settings in the words of the command line: max_bad = '7' becomes --max-bad 7."""

    def flag(found: re.Match) -> str:
        name, value = found.groups()
        return f"  {aliases.get(name, '--' + name.replace('_', '-'))}" + (f" {value}" if value else "")

    _, *lines = problems.splitlines()
    return "\n".join(
        ["these flags cannot be used:", *(re.sub(r"^  (\w+)(?: = '?(.*?)'?(?=: ))?", flag, line) for line in lines)]
    )


def is_given(context: typer.Context, name: str) -> bool:
    """Whether a person gave a flag; the others keep the default of their setting."""
    return context.get_parameter_source(name).name != "DEFAULT"


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
