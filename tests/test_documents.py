"""The pages beside the code: what they name exists, and every module's tests are found by its name."""

import re
import subprocess
from pathlib import Path

import pytest
from test_rooms import ORDER, PACKAGE, ROOT, modules, room_of

from housebrain_core import __version__

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "benchmarks").glob("*.md"), *(ROOT / "docs").glob("*.md")])
TESTED_ELSEWHERE = {
    "codec": "test_public_names.py: it only re-exports",
    "commands.stages": "test_cli.py: the table that the command line reads",
}
"""Modules without a test file of their name -> where their tests are."""


ACROSS = {
    "train": {"test_distributed", "test_survival", "test_untrusted_bases"},
    "splits": {"test_untrusted_bundles"},
    "adapters": {"test_untrusted", "test_fuzzed_adapters"},
    "serve": {"test_page"},
    "export": {"test_full_weights"},
}
"""Test files of a promise that several modules of a room keep together."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    named = re.findall(r"`(?:python |pytest )?((?:housebrain_core|tests|notebooks|benchmarks)/[\w/.]+?)/?[ `]",
                       page.read_text(encoding="utf-8") + " ")  # fmt: skip
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_code_that_contributing_shows_stands_in_a_file_that_it_names():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    named = re.findall(r"`(housebrain_core/[\w/]+\.py)`", page)
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in named]
    assert len(blocks) == 4
    assert [block for block in blocks if not any(block in text for text in texts)] == []
    assert len(page.splitlines()) < 85, "one page"


def test_the_readme_shows_the_rooms_as_they_are_and_what_each_says_of_itself():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = re.findall(r"^ {4}( *)(\w+)/ +(.+)$", page[page.index("## Where everything lives") :], re.MULTILINE)
    rooms = [(name, text) for indent, name, text in tree if indent]
    assert [name for name, _ in rooms] == [room for room in ORDER if room not in ("top", "entrances")]
    for name, text in rooms:
        first_line = (PACKAGE / name / "__init__.py").read_text(encoding="utf-8").splitlines()[0].strip('".')
        assert first_line.lower() == text.lower(), f"{name} is described in two ways"
    assert {name for indent, name, _ in tree if not indent} == top_folders()


def test_the_readme_is_short():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```|<!--.*?-->|^ {4}.*?$", "", page, flags=re.DOTALL | re.MULTILINE)
    assert 300 < len(prose.split()) <= 1200, "details belong into docs/"


def top_folders() -> set[str]:
    """The repository's folders, without hidden ones and those that git ignores."""
    command = ["git", "-C", str(ROOT), "ls-files", "*/*"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name.partition("/")[0] for name in done.stdout.splitlines() if not name.startswith(".")}


def test_the_changelog_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## ([\d.]+)", text, re.MULTILINE)[1] == __version__


@pytest.mark.parametrize("module", modules())
def test_a_modules_tests_are_found_by_its_name(module):
    path = path_of_tests(module)
    if module in TESTED_ELSEWHERE:
        assert not path.exists()
        assert (ROOT / "tests" / TESTED_ELSEWHERE[module].partition(":")[0]).exists()
    else:
        assert path.is_file()


def path_of_tests(module: str) -> Path:
    """tests/<room>/test_<module>.py, or test_<room>_<module>.py where another room has a module of that name."""
    room, _, name = module.rpartition(".")
    shared = [other for other in modules() if other.rpartition(".")[2] == name and other not in TESTED_ELSEWHERE]
    return ROOT / "tests" / room / (f"test_{room}_{name}.py" if room and len(shared) > 1 else f"test_{name}.py")


@pytest.mark.parametrize("room", [room for room in ORDER if room not in ("top", "entrances")])
def test_a_rooms_tests_lie_in_its_folder(room):
    files = {path.stem for path in (ROOT / "tests" / room).glob("test_*.py")}
    assert files
    names = {path_of_tests(module).stem for module in modules() if room_of(module) == room}
    assert files - names - {f"test_{room}"} <= ACROSS.get(room, set()), "a test file without a module"
