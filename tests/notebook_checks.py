"""What every rendered notebook has to keep: one function per promise, each giving the problems that it finds."""

import ast
import functools
import gc
import io
import re
import subprocess
import sys
import tokenize
import warnings
from pathlib import Path

import nbformat
from outside import read_pins

from build_notebooks import build
from housebrain_core.parameters.cells import write_parameters_cell
from housebrain_core.parameters.settings import NOTEBOOKS
from housebrain_core.splits.bundle import hash_source, read_source

ROOT = Path(__file__).parents[1]
CLOUD = ("kaggle", "colab")
COLLAPSED = {"jupyter": {"source_hidden": True}, "cellView": "form", "_kg_hide-input": True}
"""How JupyterLab, Colab and Kaggle each are told to show a cell closed."""
MARKERS = {
    "kaggle": ("google.colab", "Colab", "/content", "drive.mount", "Runtime >", "My Drive", "drive_folder ="),
    "colab": ("kaggle_secrets", "Kaggle", "/kaggle", "Save Version", "Add Input"),
    "local": ("google.colab", "/content", "/kaggle", "Runtime >", "Save Version", "@param"),
}
"""What only the other platforms have."""
BUILT = r"\*Built from `notebooks/\w+\.py` for \w+ by"
SHARED_HEADINGS = ("Settings", "Check", "Take home")
"""What notebooks that do not train have, too."""
ORDER = (
    "code_sha256 =", "check_settings(", "check_machine(", "install_libraries(", "bring_back(", "HouseBrainFineTuner(",
    "draw_training(", "draw_first_house(", "zip_adapter(",
)  # fmt: skip
"""What the code cells of a cloud notebook do after the settings, in this order."""


def train_notebook(platform: str) -> nbformat.NotebookNode:
    """The train notebook as it would be built now."""
    return nbformat.reads(build("02_train", platform), as_version=4)


def code_cells(notebook) -> list:
    """Its code cells."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def find_cell(notebook):
    """The cell that finds the bundle and checks the code in it."""
    return next(cell for cell in code_cells(notebook) if "code_sha256 =" in cell.source)


@functools.cache
def find_source(platform: str) -> str:
    """The source of the cell that finds the bundle."""
    return find_cell(train_notebook(platform)).source


def run_find_cell(platform: str, monkeypatch, folder: Path, **settings) -> dict:
    """Runs the shipped cell that finds the bundle, in this process, as a session whose machine is a folder would.

    Args:
        platform: whose cell.
        monkeypatch: takes back what the cell does to this process.
        folder: of the machine; /kaggle/working or /content lie in it, and the code comes to lie in `home`.
        settings: `bundle`, and on Colab `drive_folder`.

    Returns:
        The cell's variables.
    """
    working = folder / {"kaggle": "kaggle/working", "colab": "content"}[platform]
    for path in (working, folder / "home", folder / "kaggle" / "input"):
        path.mkdir(parents=True, exist_ok=True)
    variables = {"bundle": "", "drive_folder": ""} | settings
    with monkeypatch.context() as session:
        session.chdir(working)
        session.setenv("HOME", str(folder / "home"))
        session.setattr(sys, "modules", dict(sys.modules))
        session.setattr(sys, "path", list(sys.path))
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ResourceWarning
            )  # the cell, short as it has to be, leaves closing to Python
            try:
                exec(find_source(platform), variables)
            finally:  # its zips are closed here, where their warning is left aside, not in some later test
                for name in ("top", "manifest"):
                    variables.pop(name, None)
                gc.collect()
        variables["modules"] = set(sys.modules)
        variables["import_path"] = list(sys.path)
    return variables


def check_syntax(notebook, platform: str) -> list[str]:
    """Every code cell is Python, and no cell has shell commands or magics."""
    problems = []
    for cell in notebook.cells:
        try:
            ast.parse(cell.source if cell.cell_type == "code" else "")
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
    texts = [cell.source for cell in notebook.cells]
    return [f"{marker} in {text[:40]!r}" for text in texts for marker in MARKERS[platform] if marker in text]


def check_pins(notebook, platform: str) -> list[str]:
    """Versions that a cell names are those of the lock file."""
    pins = read_pins()
    named = [found for cell in notebook.cells for found in re.findall(r"([\w-]+)==([\d.]+\d)", cell.source)]
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


def check_note(notebook, platform: str) -> list[str]:
    """The last cell says what built the notebook, and no other; the first is its title."""
    built = [bool(re.match(BUILT, cell.source)) for cell in notebook.cells]
    problems = [] if built == [False] * (len(built) - 1) + [True] else ["what built it is not said once, at the end"]
    return problems + ([] if notebook.cells[0].source.startswith("# ") else [notebook.cells[0].source[:60]])


def check_headings(notebook, platform: str) -> list[str]:
    """Every notebook has the headings of the table of contents, in their order; what it is about stands between."""
    train = "notebooks/02_train.py" in notebook.cells[-1].source
    wanted = ["Settings", "Check", "Install", "Data", "Train", "Look", "Take home"] if train else list(SHARED_HEADINGS)
    if platform == "local" and train:
        wanted.remove("Install")  # make has done that
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    headings = [line.removeprefix("## ") for text in texts for line in text.splitlines() if line.startswith("## ")]
    kept = [heading for heading in headings if train or heading in wanted]
    return [] if kept == wanted else [f"{headings} are not {wanted}"]


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
    return problems + ([] if tagged[0] is code_cells(notebook)[0] else ["it is not the first code cell"])


def check_tags(notebook, platform: str) -> list[str]:
    """No tag of the build is left."""
    return [tag for cell in notebook.cells for tag in cell.metadata.get("tags", []) if tag != "parameters"]


def check_settings_cell(notebook, platform: str) -> list[str]:
    """The parameters are those of the typed settings, and the next cell, or the one after the bundle, checks them."""
    cells = code_cells(notebook)
    names = [name for name, where in NOTEBOOKS if where == platform]
    written = [write_parameters_cell(NOTEBOOKS[name, platform], platform) for name in names]
    problems = [] if cells[0].source in written else ["the parameters are not as the settings say"]
    checked = cells[1 if platform == "local" else 2].source
    return problems + ([] if re.search(r"check_settings\(\w+Settings, globals\(\)\)", checked) else ["no check"])


def check_code_hash(notebook, platform: str) -> list[str]:
    """Cloud notebooks have one collapsed cell of at most 41 lines, which names the code that they were built with."""
    cells = [cell for cell in code_cells(notebook) if "code_sha256 =" in cell.source]
    if platform == "local":
        return [cell.source for cell in cells]
    problems = [] if len(cells) == 1 else [f"{len(cells)} cells name the code"]
    for cell in cells:
        if f'code_sha256 = "{hash_source(read_source())}"' not in cell.source:
            problems.append("it names other code; run: python build_notebooks.py")
        if len(cell.source.splitlines()) > 41:
            problems.append("it is too long")
        if cell.metadata != COLLAPSED:
            problems.append("it is not collapsed")
    return problems


def check_size(notebook, platform: str) -> list[str]:
    """At most 14 code cells and 150 lines of code; one statement a line, nothing embedded, no code in texts."""
    sources = [cell.source for cell in code_cells(notebook)]
    lines = [line for source in sources for line in source.splitlines()]
    problems = [f"{len(sources)} code cells"] if len(sources) > 14 else []
    problems += [f"{len(lines)} lines"] if len(lines) > 150 else []
    problems += [line for line in lines if len(line) > 120]
    for statement in (node for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)):
        first = statement.body[0].lineno if getattr(statement, "body", None) else 0
        problems += [ast.unparse(statement)] if first == statement.lineno else []
    problems += [line for line in lines if re.search(r"%%writefile|\bexec\(|\beval\(|__import__|b64decode", line)]
    for source in sources:
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        problems += [token.line for token in tokens if token.type == tokenize.OP and token.string == ";"]
    return problems


def check_order(notebook, platform: str) -> list[str]:
    """Settings, bundle, their check, doctor, install, data, training, look, take home: in this order."""
    if platform == "local":
        return []
    cells = code_cells(notebook)
    places = [next((n for n, cell in enumerate(cells) if text in cell.source), -1) for text in ORDER]
    return [] if places == sorted(places) and places[0] == 1 else [f"{ORDER} are the cells {places}"]


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_") and callable(value)]
