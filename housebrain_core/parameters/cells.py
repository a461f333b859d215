"""The parameters cell of a notebook: written by the build, checked by the notebook's next cell before any work."""

import ast
import difflib
import json
import textwrap
from collections.abc import Iterable
from typing import Any, Literal, TypeVar, get_args, get_origin

from housebrain_core.errors import OFFERED, ConfigError
from housebrain_core.parameters.fields import NotebookSettings
from housebrain_core.settings import write_literal

FORM_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
"""What Colab's forms call a type; anything else is `raw`."""
WIDTH = 116
"""Columns of a line of the parameters cell."""
S = TypeVar("S", bound=NotebookSettings)


def write_parameters_cell(settings: type[NotebookSettings], platform: str) -> str:
    """The source of a parameters cell: a literal for each setting, with its text as a comment.

    Colab shows a form: there a setting has a hint behind it, and its text, which the form shows too, above it.

    Args:
        settings: of the notebook.
        platform: kaggle, colab or local.
    """
    lines = ["# @title 1. Settings"] if platform != "local" else []
    for name, field in settings.model_fields.items():
        line, text = f"{name} = {write_literal(field.default)}", field.description or ""
        if platform == "colab":
            lines += [f"# @markdown {text}", f"{line}  # @param {form_hint(field.annotation)}"]
        elif len(f"{line}  # {text}") <= WIDTH:
            lines.append(f"{line}  # {text}")
        else:
            lines += [*(f"# {part}" for part in textwrap.wrap(text, WIDTH - 2, break_on_hyphens=False)), line]
    return "\n".join(lines)


def form_hint(annotation: Any) -> str:
    """What tells Colab's form how to ask for a value."""
    if get_origin(annotation) is Literal:
        return json.dumps(get_args(annotation))
    if annotation == bool | Literal["auto"]:  # a list of Python's own words
        choices = json.dumps(['"auto"', "True", "False"])
        return f'{choices} {{type:"raw"}}'
    return f'{{type:"{FORM_TYPES.get(annotation, "raw")}"}}'


def check_settings(settings: type[S], namespace: dict[str, Any]) -> S:
    """Checks what the cells above gave; the notebook's cell after the parameters calls it.

    Args:
        settings: of this notebook.
        namespace: the notebook's `globals()`.

    Returns:
        The settings.

    Raises:
        ConfigError: some cannot be used; one line for each.
    """
    OFFERED.update(settings.model_fields)
    given = {name: namespace[name] for name in settings.model_fields if name in namespace}
    problems = find_unknown(settings, read_history())
    right: dict[str, Any] = {}
    for name, value in given.items():
        try:
            settings(**{name: value})
        except ConfigError as error:
            problems.append(str(error))
        else:
            right[name] = value
    made = settings(**right)
    try:
        made.check_ranges()
    except ConfigError as error:
        problems += [line.strip() for line in str(error).splitlines()[1:]]
    if problems:
        lines = "\n- ".join(problems)
        raise ConfigError(f"These settings cannot be used; change them and run all again:\n- {lines}")
    return made


def find_unknown(settings: type[NotebookSettings], cells: list[str]) -> list[str]:
    """Names in parameters cells that are no settings, as lines with the nearest right name.

    papermill puts any name that it is given into a cell below the notebook's own parameters cell.

    Args:
        settings: of the notebook.
        cells: sources in the order in which they ran.
    """
    problems = []
    for name in dict.fromkeys(last_assignments(cells, settings.model_fields)):
        if name not in settings.model_fields:
            near = difflib.get_close_matches(name, settings.model_fields, 1, 0.5) or [", ".join(settings.model_fields)]
            problems.append(f"{name}: there is no such setting. Did you mean {near[0]}?")
    return problems


def last_assignments(cells: list[str], settings: Iterable[str]) -> list[str]:
    """Names that get a literal in the newest parameters cells: those in a row that do nothing else."""
    names: list[str] = []
    for source in reversed(cells):
        assigned = read_assignments(source)
        if assigned and (set(assigned) & set(settings) or source.startswith("# Parameters")):
            names += assigned
        elif names:
            break
    return names


def read_assignments(source: str) -> list[str]:
    """The names to which a cell gives literals; none if it does anything else."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # a magic
        return []
    names = []
    for statement in statements:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            return []
        try:
            ast.literal_eval(statement.value)
        except ValueError:
            return []
        names.append(statement.targets[0].id)
    return names


def read_history() -> list[str]:
    """The sources of the cells that ran in this notebook so far; none outside of one."""
    import IPython

    shell = IPython.get_ipython()
    return list(shell.user_ns.get("In", [])) if shell else []
