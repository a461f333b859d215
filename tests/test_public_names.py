"""What is public: listed once, documented, and all that README and notebooks import."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from test_rooms import ORDER

import housebrain_core

ROOT = Path(__file__).parents[1]
ROOMS = [room for room in ORDER if room not in ("top", "entrances")]
GUIDE = [
    ("housebrain_core.config", "FineTuningConfig"),
    ("housebrain_core.train", "HouseBrainFineTuner"),
    ("housebrain_core.llm", "HouseBrainLLM"),
    ("housebrain_core.llm", "strict_json_parse"),
    ("housebrain_core.codec", "encode"),
    ("housebrain_core.codec", "decode"),
    ("housebrain_core.codec", "strict_json_parse"),
]
"""Where the old guide, and the README of 0.1.0, import from."""


def imports_in(source: str) -> Iterator[tuple[str, str]]:
    """(module, name) of each import from the package."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "housebrain_core":
            yield from ((node.module, alias.name) for alias in node.names)
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.startswith("housebrain_core."))


def imports_of_pages() -> Iterator[tuple[str, str, str]]:
    """(file, module, name) of each import from the package in notebooks and Markdown pages."""
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        yield from ((path.name, module, name) for module, name in imports_in(path.read_text(encoding="utf-8")))
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]):
        lines = re.findall(r"from (housebrain_core[\w.]*) import ([\w, ]+)", path.read_text(encoding="utf-8"))
        yield from ((path.name, module, name.strip()) for module, names in lines for name in names.split(","))


def documented_parts() -> Iterator[tuple[str, Any]]:
    """(name, function) of each public function, and of each public method of a public class that the project wrote."""
    for name in housebrain_core.__all__:
        value = getattr(housebrain_core, name)
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value):
            members = [(part, member) for part, member in vars(value).items() if inspect.isfunction(member)]
            constructor = [] if issubclass(value, BaseModel | Exception) else ["__init__"]
            yield from (
                (f"{name}.{part}", value if part == "__init__" else member)
                for part, member in members
                if not part.startswith("_") or part in constructor
            )


PARTS = dict(documented_parts())


def test_the_package_lists_what_its_rooms_list():
    by_room = {room: importlib.import_module(f"housebrain_core.{room}").__all__ for room in ROOMS}
    listed = {room: sorted(names) for room, names in housebrain_core.PUBLIC.items() if room in ROOMS}
    assert listed == {room: sorted(names) for room, names in by_room.items() if names}
    assert sorted(housebrain_core.__all__) == sorted(sum(housebrain_core.PUBLIC.values(), []))


@pytest.mark.parametrize("name", housebrain_core.__all__)
def test_a_public_name_can_be_imported_and_says_what_it_is(name):
    value = getattr(housebrain_core, name)
    assert callable(value)
    assert (inspect.getdoc(value) or "").strip().endswith((".", ":", ")")) or len(inspect.getdoc(value) or "") > 20


@pytest.mark.parametrize(("module", "name"), GUIDE)
def test_the_places_of_the_guide_import(module, name):
    assert callable(getattr(importlib.import_module(module), name))


def test_notebooks_and_pages_import_only_what_is_public():
    imported = list(imports_of_pages())
    assert len(imported) > 10
    private = []
    for file, module, name in imported:
        room = module.removeprefix("housebrain_core").removeprefix(".")
        public = housebrain_core.PUBLIC.get(room, []) if room else housebrain_core.__all__
        if name not in public and (module, name) not in GUIDE:
            private.append(f"{file}: from {module} import {name}")
    assert private == []


@pytest.mark.parametrize("name", PARTS)
def test_a_public_function_documents_its_arguments_results_and_errors(name):
    function = PARTS[name]
    text = inspect.getdoc(function) or ""
    signature = inspect.signature(function)
    parameters = [one for one in signature.parameters if one not in ("self", "cls")]
    for parameter in parameters:
        assert re.search(rf"^    \*{{0,2}}{parameter}(, \w+)*:", text, re.MULTILINE), f"{parameter} is not under Args:"
        assert signature.parameters[parameter].annotation is not inspect.Parameter.empty
    assert ("Args:" in text) == bool(parameters)
    if inspect.isfunction(function):
        assert signature.return_annotation is not inspect.Signature.empty
        assert ("Returns:" in text) == (signature.return_annotation is not None)
        nodes = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function))))
        assert "Raises:" in text or not any(isinstance(node, ast.Raise) for node in nodes)


@pytest.mark.parametrize("name", housebrain_core.PUBLIC["config"])
def test_every_setting_says_what_it_means(name):
    fields = getattr(housebrain_core, name).model_fields
    assert fields
    assert [field for field, info in fields.items() if len(info.description or "") < 10] == []


@pytest.mark.parametrize("arguments", [("-c", "import housebrain_core"), ("-m", "housebrain_core.cli", "--help")])
def test_import_and_help_load_no_torch_and_take_under_half_a_second_of_cpu(arguments):
    imports = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True)
    assert imports.returncode == 0, imports.stderr
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in imports.stderr.splitlines()}
    assert "housebrain_core" in loaded
    assert not loaded & {"torch", "transformers", "peft", "numpy", "pyarrow", "matplotlib"}
    before = os.times()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    after = os.times()  # of CPU, since other processes share the machine
    assert after.children_user + after.children_system - before.children_user - before.children_system < 0.5
