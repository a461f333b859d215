"""Builds the gallery: every notebook executed on the demo's data, with its outputs -> docs/gallery/*.ipynb.

    python build_gallery.py                 run the demo and a simulated session on Kaggle: ten minutes
    python build_gallery.py --demo FOLDER   take the notebooks that `housebrain demo` has executed there
    python build_gallery.py --check         name the pages whose notebook has other code now

The session is that of the tests, so a package index is needed. What is left out of what was executed is this machine's:
folders, names, and how long things took.
"""

import argparse
import ast
import os
import re
import socket
import sys
import tempfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from build_notebooks import METADATA, ROOT, build
from housebrain_core.commands.demo import run_demo, run_notebook
from housebrain_core.config import DemoConfig, SplitConfig
from housebrain_core.parameters.settings import NOTEBOOKS
from housebrain_core.splits.notebooks import set_ids, set_values, to_text
from housebrain_core.splits.split import split_dataset

GALLERY = ROOT / "docs" / "gallery"
EXECUTED = {"02_train": "02_train_apart"}
"""Notebook -> how the demo calls the run of it that is shown, where that is another name."""
KEPT = ("tags", "jupyter", "cellView", "_kg_hide-input")
"""What a cell says of itself: what it is, and whether it is collapsed."""
LARGEST = 1_000_000
"""Bytes of a notebook; the largest that GitHub shows well."""
NOTE = (
    "*Executed on the demo's generated houses with a base model of half a million parameters, on a computer without a "
    "GPU{where}. The code and the steps are those of a real run.*"
)
SETTINGS = {"05_next_round": {"source": "dataset", "splits": 3, "validation_samples": 50}}
"""What a notebook that the demo leaves out is told of the demo's data."""


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line, and executes and writes the gallery; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, help="folder of a demo that has been run")
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 where a page is missing or outdated")
    options = parser.parse_args(arguments)
    if options.check:
        stale = find_stale()
        print("\n".join([*stale, "make gallery"]) if stale else "the gallery is as the notebooks are")
        return int(bool(stale))
    with tempfile.TemporaryDirectory() as scratch:
        demo = (options.demo or Path(scratch, "demo")).absolute()
        if not options.demo:
            run_demo(DemoConfig(output=demo))
        GALLERY.mkdir(exist_ok=True)
        executed, machine = run_session(demo, Path(scratch))
        write_page("02_train", "kaggle", executed, {str(machine): ""})
        for name, platform in NOTEBOOKS:
            if platform == "local":
                write_page(name, platform, find_executed(demo, name), {str(demo): "."})
    return 0


def find_executed(demo: Path, name: str) -> Path:
    """A local notebook as the demo has executed it, or as it is executed now where the demo leaves it out."""
    path = demo / "notebooks" / f"{EXECUTED.get(name, name)}.ipynb"
    if not path.exists():
        run_notebook(demo, name, name, SETTINGS.get(name, {}))
    return path


def run_session(demo: Path, scratch: Path) -> tuple[Path, Path]:
    """The train notebook in a simulated session on Kaggle that somebody watches: the rehearsal of split 2.

    Returns:
        The executed notebook, and the folder that was the session's machine.
    """
    sys.path.insert(0, str(ROOT / "tests"))
    from cloud_sessions import Kaggle, make_python

    from housebrain_core.train.tiny import tiny_base

    base = tiny_base(report=lambda line: None)
    os.environ["OMP_NUM_THREADS"] = "1"
    session = Kaggle(scratch / "machine", base, make_python(scratch / "python", "kaggle"))
    session.marks = {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}
    splits = SplitConfig(source=demo / "dataset", output=scratch / "splits", splits=3, validation_samples=50)
    split_dataset(splits)  # a bundle carries the code of now, which the notebook asks for
    session.add_bundle(splits.output / "split_02.zip")
    fine, _, last = session.run(rehearsal="auto", row_length=900, max_steps=0)
    if not fine:
        raise SystemExit(f"the session on Kaggle failed: {last}")
    return session.executed, session.root


def write_page(name: str, platform: str, executed: Path, folders: dict[str, str]) -> None:
    """Writes one notebook of the gallery.

    Args:
        name: of the notebook, such as 02_train.
        platform: where it ran.
        executed: as papermill wrote it.
        folders: folder of this machine -> what stands for it.
    """
    notebook = nbformat.read(executed, as_version=4)
    move_values(notebook)
    clean_outputs(notebook, folders | {str(Path.home()): "~"})
    where = (
        "" if platform == "local" else f", in a session that simulates {platform.capitalize()}'s folders and packages"
    )
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(NOTE.format(where=where)))
    notebook.metadata = nbformat.from_dict(METADATA["local"])
    set_ids(notebook)
    text = to_text(notebook)
    words = re.sub(r'"image/png": "[^"]*"', "", text)
    machine = (socket.gethostname(), str(Path.home()), tempfile.gettempdir())
    traces = [trace for trace in machine if re.search(rf"(?<!\w){re.escape(trace)}\b", words)]
    if traces or len(text) > LARGEST:
        raise SystemExit(f"{name} for {platform} has {len(text):,} bytes and names {traces or 'no machine'}")
    path = page_path(name, platform)
    path.write_text(text, encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT)}, {len(text):,} bytes", flush=True)


def page_path(name: str, platform: str) -> Path:
    """Where a notebook of the gallery lies."""
    return GALLERY / (f"{name}.ipynb" if platform == "local" else f"{name}_{platform}.ipynb")


def move_values(notebook: NotebookNode) -> None:
    """Writes what papermill put into a cell of its own into the settings cell, and takes that cell away."""
    tagged = {tag: cell for cell in notebook.cells for tag in cell.metadata.get("tags", [])}
    given = tagged.get("injected-parameters")
    if given:
        nodes = [node for node in ast.parse(given.source).body if isinstance(node, ast.Assign)]
        values = {ast.unparse(node.targets[0]): ast.literal_eval(node.value) for node in nodes}
        tagged["parameters"].source = set_values(tagged["parameters"].source, values)
        notebook.cells.remove(given)


def clean_outputs(notebook: NotebookNode, folders: dict[str, str]) -> None:
    """Leaves of an executed notebook its cells and what they showed, without times and folders of a machine.

    Args:
        notebook: as papermill wrote it; it is changed.
        folders: folder of this machine -> what stands for it.
    """
    for cell in notebook.cells:
        cell.metadata = {name: value for name, value in cell.metadata.items() if name in KEPT and value}
        cell.source = hide(cell.source, folders)
        if cell.cell_type != "code":
            continue
        cell.outputs = join_lines(cell.outputs)
        for output in cell.outputs:
            if "text" in output:
                output.text = hide(output.text, folders)
            for kind in {"text/plain", "text/markdown", "text/html"} & set(output.get("data", {})):
                output.data[kind] = hide(output.data[kind], folders)


def join_lines(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs with what was printed in a row as one text, however it was flushed."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if joined and output.get("name") and output.get("name") == joined[-1].get("name"):
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def hide(text: str, folders: dict[str, str]) -> str:
    """A text without this machine's folders and without how long things took."""
    for folder, short in folders.items():
        text = text.replace(folder, short)
    return re.sub(r" in \d[\d.]* (s|seconds)\b| at 0x[0-9a-f]+", "", text)


def find_stale() -> list[str]:
    """Notebooks that are not in the gallery with the code that they have now; settings may be others."""
    pages = {page_path(name, platform): (name, platform) for name, platform in NOTEBOOKS if platform != "colab"}
    return [path.name for path, made_from in pages.items() if not path.exists() or not has_code_of(path, *made_from)]


def has_code_of(path: Path, name: str, platform: str) -> bool:
    """Whether a notebook of the gallery runs what the source says now."""
    texts = (path.read_text(encoding="utf-8"), build(name, platform))
    executed, source = ([code_of(cell) for cell in nbformat.reads(text, as_version=4).cells] for text in texts)
    return [code for code in executed if code] == [code for code in source if code]


def code_of(cell: NotebookNode) -> str:
    """What a cell runs; nothing for the settings, and without the hash of the code in a bundle."""
    if cell.cell_type != "code" or "parameters" in cell.metadata.get("tags", []):
        return ""
    return re.sub(r"\b[0-9a-f]{64}\b", "", cell.source)


if __name__ == "__main__":
    sys.exit(main())
