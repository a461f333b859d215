"""Flags from settings: one flag per field, read as text, so that the settings check all of them at once."""

import argparse
import re
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from argcomplete.completers import ChoicesCompleter
from pydantic import BaseModel
from pydantic.fields import FieldInfo

WORDS = {"str": "text", "float": "number"}
"""What help calls a type."""


def add_flags(parser: argparse.ArgumentParser, settings: type[BaseModel], aliases: dict[str, str]) -> None:
    """Gives a parser one flag per field of settings, with the field's text as help.

    A flag that nobody gives is absent from what the parser returns, and so keeps the setting's default.

    Args:
        parser: of one command.
        settings: its settings.
        aliases: field -> a second name of its flag.
    """
    for name, field in settings.model_fields.items():
        kind: dict[str, Any] = {"metavar": _values_of(field.annotation)}
        if field.annotation is bool:
            kind = {"action": argparse.BooleanOptionalAction}
        elif any(get_origin(member) is list for member in _members_of(field.annotation)):
            kind |= {"action": "extend", "nargs": "+"}
        text = _help_of(field, settings, aliases)
        flag = parser.add_argument(*names_of(name, aliases), dest=name, help=text, default=argparse.SUPPRESS, **kind)
        if words := _words_of(field.annotation):
            flag.completer = ChoicesCompleter(dict.fromkeys(words, ""))  # pyright: ignore[reportAttributeAccessIssue]


def names_of(field: str, aliases: dict[str, str]) -> list[str]:
    """The flags of a field: its second name, if it has one, and its own."""
    return [*([aliases[field]] if field in aliases else []), f"--{field.replace('_', '-')}"]


def _help_of(field: FieldInfo, settings: type[BaseModel], aliases: dict[str, str]) -> str:
    """The field's text, where other settings are called by their flags, and its default, if it has one worth saying."""
    text = " ".join((field.description or "").split())
    for name in settings.model_fields:
        if "_" in name and name not in _words_of(field.annotation):
            text = re.sub(rf"\b{name}\b", names_of(name, aliases)[0], text)
    if field.is_required():
        text += " [required]"
    elif field.default not in (None, []) and field.default is not False:
        text += f" [default: {field.default}]"
    return text.replace("%", "%%")  # argparse fills in what stands behind a single one


def _values_of(annotation: Any) -> str:
    """What may stand behind a flag: path, int, "int|auto", or the words to choose from."""
    names: list[str] = []
    for member in _members_of(annotation):
        if get_origin(member) is list:
            names.append(_values_of(get_args(member)[0]))
        elif get_origin(member) is not Literal:
            names.append(member.__name__.lower())
    return "|".join(WORDS.get(name, name) for name in [*names, *_words_of(annotation)])


def _words_of(annotation: Any) -> list[str]:
    """The words that a flag lets choose from."""
    literals = [member for member in _members_of(annotation) if get_origin(member) is Literal]
    return [word for literal in literals for word in get_args(literal)]


def _members_of(annotation: Any) -> list[Any]:
    """The types of a union, without None and without what Annotated adds."""
    if get_origin(annotation) is Annotated:
        return _members_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for member in get_args(annotation) for inner in _members_of(member)]
    return [] if annotation is types.NoneType else [annotation]


def in_flags(problems: str, aliases: dict[str, str]) -> str:
    """The problems of settings in the words of the command line.

    Args:
        problems: as settings report them: a heading, and a line `  max_bad = '7': why` for each.
        aliases: field -> the flag that is used for it.

    Returns:
        The same with lines `  --max-bad 7: why`.
    """

    def flag(match: re.Match[str]) -> str:
        name, value = match.groups()
        return f"  {aliases.get(name, '--' + name.replace('_', '-'))}" + (f" {value}" if value else "")

    _, *lines = problems.splitlines()
    lines = [re.sub(r"^  (\w+)(?: = '?(.*?)'?)?(?=: )", flag, line) for line in lines]
    return "\n".join(["these flags cannot be used:", *lines])
