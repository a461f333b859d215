"""What the settings of all notebooks share: literals of the right type, and fields that a config has too.

Such a field takes default and text from the config, and is checked there for its range.
"""

from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator

from housebrain_core.errors import ConfigError
from housebrain_core.settings import Settings

TYPE_NAMES = {"int_type": "int", "float_type": "float", "bool_type": "bool", "string_type": "str", "list_type": "list"}
"""Pydantic's kinds of wrong types, as the words of Python."""


def same_as(config: type[Settings], name: str, note: str = "", **given: Any) -> Any:
    """A field with the default and the text of a config's field, as a notebook holds it: a literal.

    Args:
        config: settings of a stage.
        name: of its field.
        note: is added to the text.
        given: `default`, where the notebook has another.
    """
    field = config.model_fields[name]
    default = given.get("default", field.default)
    text = " ".join((field.description or "").split()).removesuffix(".")
    return Field(str(default) if isinstance(default, Path) else default, description=f"{text}{note}.")


class NotebookSettings(Settings):
    """Base of a notebook's settings: literals of just the right type, since nothing reads them from text.

    A text in the place of a list of texts is a list of one.
    """

    model_config = ConfigDict(strict=True)

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, values: dict[str, Any], handler: ModelWrapValidatorHandler[Self]) -> Self:
        lists = [name for name, field in cls.model_fields.items() if field.annotation == list[str]]
        one = {name: [text] * bool(text) for name in lists if isinstance(text := values.get(name), str)}
        try:
            return handler(values | one)
        except ValidationError as error:
            problems = [describe_problem(problem) for problem in error.errors()]
        raise ConfigError("\n".join(join_choices(problems)))

    def check_ranges(self) -> None:
        """Makes the config that these settings lead to, with any place.

        Raises:
            ConfigError: it cannot be used.
        """
        raise NotImplementedError

    def shared_with(self, config: type[Settings]) -> dict[str, Any]:
        """Takes the settings that a config has too.

        Args:
            config: settings of a stage.

        Returns:
            Their values by name; None for 0 and empty where the config has None by default.
        """
        fields = config.model_fields
        values = {name: getattr(self, name) for name in type(self).model_fields if name in fields}
        return {name: (value or None) if fields[name].default is None else value for name, value in values.items()}


def describe_problem(problem: Any) -> str:
    """One of pydantic's problems as a line."""
    name, value = problem["loc"][0], problem["input"]
    if problem["type"] in TYPE_NAMES:
        return f"{name} = {value!r}: this has to be {TYPE_NAMES[problem['type']]}, not {type(value).__name__}"
    text = problem["msg"].removeprefix("Value error, ")
    return f"{name} = {value!r}: {text[0].lower()}{text[1:]}"


def join_choices(problems: list[str]) -> list[str]:
    """Problems with one line for each setting: a value that may be of several types has a problem with each."""
    lines: dict[str, str] = {}
    for problem in problems:
        value, _, text = problem.partition(": ")
        lines[value] = f"{lines[value]}, or {text}" if value in lines else problem
    return list(lines.values())
