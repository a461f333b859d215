"""Flags from settings: names, words for types, help, and problems in the words of the command line."""

import argparse
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from housebrain_core.commands.flags import add_flags, in_flags


class Sample(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    source: str
    """Where it comes from."""
    max_bad: Annotated[float, Field(le=1)] = 0.01
    """Share that may be bad, such as 50%."""
    rank: int | Literal["auto", "full"] = "auto"
    """Rank of it."""
    models: list[int] = []
    """Some of them."""
    overwrite: bool = False
    """Replace what is there."""


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="x")
    add_flags(made, Sample, {"source": "--from"})
    return made


def test_flags_have_the_fields_names_and_their_second_ones(parser):
    for name in ("--from", "--source"):
        assert vars(parser.parse_args([name, "here"])) == {"source": "here"}
    assert vars(parser.parse_args(["--max-bad", "7"])) == {"max_bad": "7"}, "the settings check, not the parser"


def test_what_nobody_gives_is_absent_and_switches_have_two_sides(parser):
    assert vars(parser.parse_args([])) == {}
    assert parser.parse_args(["--overwrite"]).overwrite is True
    assert parser.parse_args(["--no-overwrite"]).overwrite is False


def test_lists_may_be_given_in_one_flag_or_several(parser):
    assert parser.parse_args(["--models", "1", "2", "--models", "3"]).models == ["1", "2", "3"]


def test_help_says_text_values_defaults_and_what_is_required(parser):
    text = " ".join(parser.format_help().split())
    assert "Where it comes from. [required]" in text
    assert "such as 50%. [default: 0.01]" in text
    assert "--rank int|auto|full" in text
    assert "--models int" in text


def test_problems_are_told_in_flags():
    lines = ["source: needed", "max_bad = '7': at most 1", "a_b: no", "say which: a or b"]
    problems = "\n  ".join(["Sample: these settings cannot be used:", *lines])
    assert in_flags(problems, {"source": "--from"}).splitlines() == [
        "these flags cannot be used:",
        "  --from: needed",
        "  --max-bad 7: at most 1",
        "  --a-b: no",
        "  say which: a or b",
    ]
