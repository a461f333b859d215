"""Builds the notebooks: notebooks/*.py -> notebooks/rendered/{kaggle,colab,local}/*.ipynb.

Sources are plain Python in jupytext's percent format. A build is a short list of `notebook -> notebook`
functions over tagged cells; the same sources always give the same bytes, and the result is committed.

    python build_notebooks.py            write all notebooks
    python build_notebooks.py --check    compare with what is committed
"""

import argparse
import difflib
import hashlib
import json
import sys
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "notebooks"
RENDERED = SOURCES / "rendered"
TARGETS = {
    "01_split": ("local",),
    "02_train": ("local",),
    "03_merge": ("local",),
    "04_evaluate": ("local",),
}
"""Notebook -> the platforms it is built for."""
PLATFORMS = ("kaggle", "colab", "local")
METADATA = {
    "local": {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    },
}


def build(name: str, platform: str) -> str:
    """One notebook for one platform, as the text of its .ipynb file."""
    notebook = read_source(SOURCES / f"{name}.py")
    for transform in (keep_platform, add_banner, set_metadata, set_ids):
        notebook = transform(notebook, name, platform)
    nbformat.validate(notebook)
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


def read_source(path: Path) -> NotebookNode:
    """A percent-format source as a notebook; comments that look like magics stay comments."""
    text = path.read_text(encoding="utf-8")
    return jupytext.reads(text, {"extension": ".py", "format_name": "percent", "comment_magics": False})


def keep_platform(notebook: NotebookNode, name: str, platform: str) -> NotebookNode:
    """Keeps cells without a platform tag and those with this platform's; removes the platform tags."""
    kept = []
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        own = [tag for tag in tags if tag in PLATFORMS]
        if own and platform not in own:
            continue
        rest = [tag for tag in tags if tag not in PLATFORMS]
        cell.metadata.pop("tags", None)
        if rest:
            cell.metadata["tags"] = rest
        cell.metadata.pop("lines_to_next_cell", None)
        kept.append(cell)
    notebook.cells = kept
    return notebook


def add_banner(notebook: NotebookNode, name: str, platform: str) -> NotebookNode:
    """A first cell that says what generated the notebook."""
    text = f"*Built from `notebooks/{name}.py` for {platform} by `build_notebooks.py`. Edit that file, not this one.*"
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell(text))
    return notebook


def set_metadata(notebook: NotebookNode, name: str, platform: str) -> NotebookNode:
    """The metadata that the platform reads, and nothing else."""
    notebook.metadata = nbformat.from_dict(METADATA[platform])
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def set_ids(notebook: NotebookNode, name: str, platform: str) -> NotebookNode:
    """Cell ids from content, so that every build has the same; repeated content gets a number."""
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\0{cell.source}".encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    return notebook


def build_all() -> dict[Path, str]:
    """All notebooks: path below notebooks/rendered -> text."""
    return {
        RENDERED / platform / f"{name}.ipynb": build(name, platform)
        for name, platforms in TARGETS.items()
        for platform in platforms
    }


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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 and print a diff when they differ")
    options = parser.parse_args(arguments)
    built = build_all()
    if options.check:
        problems = compare(built)
        if problems:
            print("\n".join(problems[:200]))
            print("\nThe rendered notebooks differ from their sources. Run: python build_notebooks.py")
            return 1
        print(f"{len(built)} notebooks are as their sources say")
        return 0
    for path, text in built.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"wrote {len(built)} notebooks to {RENDERED.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
