"""Builds the notebooks: notebooks/*.py -> notebooks/rendered/{kaggle,colab,local}/*.ipynb.

Sources are plain Python in jupytext's percent format. A build is a short list of `notebook -> notebook`
functions over tagged cells; the same sources always give the same bytes, and the result is committed.

    python build_notebooks.py            write all notebooks
    python build_notebooks.py --check    compare with what is committed
    python build_notebooks.py --platform kaggle --split-id 4 --output DIR    one person's copy

A notebook for Kaggle or Colab takes the package from the bundle that is uploaded with it. It names the sha256 of the
code that it was built with, so that it runs no other.
"""

import argparse
import difflib
import json
import sys
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from housebrain_core.parameters.cells import write_parameters_cell
from housebrain_core.parameters.settings import NOTEBOOKS
from housebrain_core.splits.notebooks import fill_in, name_code, set_ids, to_text

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "notebooks"
RENDERED = SOURCES / "rendered"
PLATFORMS = ("kaggle", "colab", "local")
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CLOUD = KERNEL | {
    "accelerator": "GPU",
    "colab": {"provenance": [], "gpuType": "T4", "toc_visible": True},
    "kaggle": {
        "accelerator": "nvidiaTeslaT4",
        "dataSources": [],
        "isGpuEnabled": True,
        "isInternetEnabled": True,
        "language": "python",
        "sourceType": "notebook",
    },
}
METADATA = {"kaggle": CLOUD, "colab": CLOUD, "local": KERNEL}
CONTINUES = "continues"
"""Tag of a cell that is appended to the one above, whose beginning differs between platforms."""


def build(name: str, platform: str) -> str:
    """One notebook for one platform, as the text of its .ipynb file."""
    notebook = read_source(SOURCES / f"{name}.py")
    for transform in (keep_platform, join_cells, write_parameters, add_note, set_metadata):
        notebook = transform(notebook, name, platform)
    name_code(notebook)
    set_ids(notebook)
    nbformat.validate(notebook)
    return to_text(notebook)


def read_source(path: Path) -> NotebookNode:
    """A percent-format source as a notebook; comments that look like magics stay comments."""
    text = path.read_text(encoding="utf-8")
    return jupytext.reads(text, {"extension": ".py", "format_name": "percent", "comment_magics": False})


def keep_platform(notebook: NotebookNode, name: str, platform: str) -> NotebookNode:
    """Keeps cells without a platform tag and those with this platform's; removes the platform tags."""
    kept = []
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        platforms = [tag for tag in tags if tag in PLATFORMS]
        if platforms and platform not in platforms:
            continue
        other_tags = [tag for tag in tags if tag not in PLATFORMS]
        cell.metadata.pop("tags", None)
        if other_tags:
            cell.metadata["tags"] = other_tags
        cell.metadata.pop("lines_to_next_cell", None)
        kept.append(cell)
    notebook.cells = kept
    return notebook


def join_cells(notebook: NotebookNode, name: str, platform: str) -> NotebookNode:
    """Appends each cell tagged `continues` to the cell above it."""
    joined: list[NotebookNode] = []
    for cell in notebook.cells:
        if CONTINUES in cell.metadata.get("tags", []):
            joined[-1].source += f"\n{cell.source}"
        else:
            joined.append(cell)
    notebook.cells = joined
    return notebook


def write_parameters(notebook: NotebookNode, name: str, platform: str) -> NotebookNode:
    """Fills the parameters cell from the notebook's typed settings."""
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = write_parameters_cell(NOTEBOOKS[name, platform], platform)
    return notebook


def add_note(notebook: NotebookNode, name: str, platform: str) -> NotebookNode:
    """A last cell that says what generated the notebook."""
    text = (
        f"*Built from `notebooks/{name}.py` for {platform} by `build_notebooks.py`. Change settings here as you like; "
        "code that you change here is lost when it is built again.*"
    )
    notebook.cells.append(nbformat.v4.new_markdown_cell(text))
    return notebook


def set_metadata(notebook: NotebookNode, name: str, platform: str) -> NotebookNode:
    """The metadata that the platform reads, and nothing else."""
    notebook.metadata = nbformat.from_dict(METADATA[platform])
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def build_all() -> dict[Path, str]:
    """All notebooks: path below notebooks/rendered -> text."""
    return {RENDERED / platform / f"{name}.ipynb": build(name, platform) for name, platform in NOTEBOOKS}


def compare(built: dict[Path, str]) -> list[str]:
    """Unified diffs between what is committed and what would be built, and files that no target builds."""
    problems = []
    for path, text in built.items():
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if old != text:
            names = str(path.relative_to(ROOT)), "built now"
            problems += difflib.unified_diff(old.splitlines(), text.splitlines(), *names, lineterm="", n=1)
    stray = set(RENDERED.glob("*/*.ipynb")) - set(built)
    return problems + [f"{path.relative_to(ROOT)} is built from nothing; delete it" for path in sorted(stray)]


def write_copy(platform: str, split_id: int, output: Path) -> Path:
    """The train notebook of one split, train_split_NN.ipynb, built now; `housebrain split` takes the committed one.

    Args:
        platform: kaggle, colab or local.
        split_id: from 1.
        output: its folder.

    Returns:
        The notebook.
    """
    text = fill_in(json.loads(build("02_train", platform)), {"split_id": split_id})
    nbformat.validate(nbformat.reads(text, as_version=4))
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"train_split_{split_id:02d}.ipynb"
    path.write_text(text, encoding="utf-8")
    return path


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line, and does what it says; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 and print a diff when they differ")
    parser.add_argument("--platform", choices=PLATFORMS, help="write the train notebook of one split for this platform")
    parser.add_argument("--split-id", type=int, help="its split, from 1")
    parser.add_argument("--output", type=Path, help="its folder")
    options = parser.parse_args(arguments)
    asked = options.platform, options.split_id, options.output
    if any(asked):
        if None in asked or not 1 <= options.split_id <= 99:
            parser.error("one person's copy needs --platform, --split-id (1 to 99) and --output")
        print(f"wrote {write_copy(*asked)}")
        return 0
    return check() if options.check else write()


def check() -> int:
    """Prints how what is committed differs from what would be built; 1 when it does."""
    built = build_all()
    problems = compare(built)
    if problems:
        print("\n".join(problems[:200]))
        print("\nThe rendered notebooks differ from their sources. Run: python build_notebooks.py")
        return 1
    print(f"{len(built)} notebooks are as their sources say")
    return 0


def write() -> int:
    """Writes all notebooks."""
    built = build_all()
    for path, text in built.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"wrote {len(built)} notebooks to {RENDERED.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
