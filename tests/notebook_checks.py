"""What every rendered notebook has to keep: one function per promise, each giving the problems that it finds."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from conftest import read_pins

from build_notebooks import COLLAPSED, build, find_closure

ROOT = Path(__file__).parents[1]
CLOUD = ("kaggle", "colab")
MODULE = re.compile(r"%%writefile \{code_folder\}/housebrain_core/(\w+)\.py\n")
MARKERS = {
    "kaggle": ("google.colab", "Colab", "/content", "drive.mount", "Runtime >", "My Drive", "drive_folder ="),
    "colab": ("kaggle_secrets", "Kaggle", "/kaggle", "Save Version", "Add Input"),
    "local": ("google.colab", "/content", "/kaggle", "Runtime >", "Save Version", "@param"),
}
"""What only the other platforms have; embedded modules serve all of them."""
FIRST_CELLS = ("check_machine(", "install(platform)", "cloud.find_bundle(", "HouseBrainFineTuner(")


def train_notebook(platform: str) -> nbformat.NotebookNode:
    """The train notebook as it would be built now."""
    return nbformat.reads(build("02_train", platform), as_version=4)


def embedded(notebook) -> dict[str, nbformat.NotebookNode]:
    """The cells that write modules, by module."""
    return {found[1]: cell for cell in notebook.cells if (found := MODULE.match(cell.source))}


def code_cells(notebook) -> Iterator:
    """Code cells without those that write modules."""
    return (cell for cell in notebook.cells if cell.cell_type == "code" and not MODULE.match(cell.source))


def check_syntax(notebook, platform: str) -> list[str]:
    """Every code cell is Python, and no cell has shell commands or magics."""
    problems = []
    for cell in notebook.cells:
        try:
            ast.parse(MODULE.sub("", cell.source) if cell.cell_type == "code" else "")
        except SyntaxError as error:
            problems.append(f"{cell.source[:40]!r}: {error}")
    return problems


def check_names(notebook, platform: str) -> list[str]:
    """Every name that live code reads is bound by live code."""
    source = "\n".join(cell.source for cell in code_cells(notebook))
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821,F823", "--quiet", "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return [done.stdout] if done.returncode else []


def check_markers(notebook, platform: str) -> list[str]:
    """Nothing of another platform is left."""
    texts = [cell.source for cell in notebook.cells if not MODULE.match(cell.source)]
    return [f"{marker} in {text[:40]!r}" for text in texts for marker in MARKERS[platform] if marker in text]


def check_pins(notebook, platform: str) -> list[str]:
    """Versions that a cell names are those of the lock file."""
    pins = read_pins()
    named = [found for cell in notebook.cells for found in re.findall(r"([\w-]+)==([\d.]+\d)", cell.source)]
    for cell in notebook.cells:
        block = re.search(r"^PINS = (\{.*?\})", cell.source, re.MULTILINE | re.DOTALL)
        named += ast.literal_eval(block[1]).items() if block else []
    return [f"{name}=={version}" for name, version in named if pins.get(name) != version]


def check_installs(notebook, platform: str) -> list[str]:
    """No cell moves what the platform has loaded: no torch or numpy to install, no upgrades or forced installs."""
    pattern = r"--force-reinstall|\"--upgrade\"|\"-U\"|pip install|git\+https|\"(?:torch|numpy)\": \"\d"
    return [found for cell in notebook.cells for found in re.findall(pattern, cell.source)]


def check_tokens(notebook, platform: str) -> list[str]:
    """Nothing looks like a token."""
    pattern = r"hf_[A-Za-z0-9]{20,}|gh[po]_\w{20,}|\"key\": *\"[0-9a-f]{32}|KGAT_\w+|AIza[\w-]{30,}"
    return [found for cell in notebook.cells for found in re.findall(pattern, str(cell))]


def check_ids(notebook, platform: str) -> list[str]:
    """Ids are there, valid and unique."""
    ids = [cell.get("id", "") for cell in notebook.cells]
    bad = [one for one in ids if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", one)]
    return bad + [one for one in set(ids) if ids.count(one) > 1]


def check_outputs(notebook, platform: str) -> list[str]:
    """Nothing was executed."""
    return [cell.source[:40] for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]


def check_ascii(notebook, platform: str) -> list[str]:
    """No character that a client's locale could change."""
    return [cell.source[:40] for cell in notebook.cells if not cell.source.isascii()]


def check_banner(notebook, platform: str) -> list[str]:
    """The first cell says what built the notebook."""
    first = notebook.cells[0]
    built = first.cell_type == "markdown" and re.match(r"\*Built from `notebooks/\w+\.py` for \w+ by", first.source)
    return [] if built else [first.source[:60]]


def check_parameters(notebook, platform: str) -> list[str]:
    """One parameters cell: literals, one `name = value` a line; it is the first code cell."""
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        return [f"{len(tagged)} parameters cells"]
    lines = [line for line in tagged[0].source.splitlines() if not line.startswith("#")]
    problems = [line for line in lines if not re.fullmatch(r"\w+ = [^=]+?(  # @param \{[^=]*\})?", line)]
    for node in ast.parse(tagged[0].source).body:
        try:
            ast.literal_eval(node.value)
        except (ValueError, AttributeError):
            problems.append(ast.unparse(node))
    return problems + ([] if tagged[0] is next(code_cells(notebook)) else ["it is not the first code cell"])


def check_tags(notebook, platform: str) -> list[str]:
    """No tag of the build is left."""
    return [tag for cell in notebook.cells for tag in cell.metadata.get("tags", []) if tag != "parameters"]


def check_embedded(notebook, platform: str) -> list[str]:
    """Cloud notebooks carry just the modules that their cells need, in order, once, collapsed; local ones none."""
    found = [(match[1], cell) for cell in notebook.cells if (match := MODULE.match(cell.source))]
    names = [name for name, _ in found]
    wanted = find_closure([cell.source for cell in code_cells(notebook)]) if platform != "local" else []
    problems = [] if names == wanted else [f"{names} instead of {wanted}"]
    return problems + [f"{name} is not collapsed" for name, cell in found if cell.metadata != COLLAPSED]


def check_order(notebook, platform: str) -> list[str]:
    """Settings, their check, the code, doctor, install, data, training: in this order."""
    if platform == "local":
        return []
    live = list(code_cells(notebook))
    places = [next((n for n, cell in enumerate(live) if text in cell.source), -1) for text in FIRST_CELLS]
    problems = [] if places == sorted(places) and places[0] > 0 else [f"{FIRST_CELLS} are the cells {places}"]
    return problems + ([] if "EXPECTED" in live[1].source else ["the second code cell does not check the settings"])


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]
