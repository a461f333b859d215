"""What an executed notebook may show: pictures, tables and lines; no stderr, warning, traceback or name of a figure."""

from collections.abc import Iterable

from nbformat import NotebookNode

RICH = ("image/png", "text/html", "text/markdown", "application/vnd.jupyter.widget-view+json")
BAD_TEXTS = ("<Figure size", "Warning:", "Traceback (most recent call last)", "IProgress not found")


def outputs_of(notebook: NotebookNode) -> Iterable[NotebookNode]:
    """All outputs, in the order of the cells."""
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def text_of(output: NotebookNode) -> str:
    """What an output says where only text can be shown."""
    if output.output_type == "error":
        return "\n".join(output.traceback)
    return output.text if output.output_type == "stream" else output.data.get("text/plain", "")


def count_pictures(notebook: NotebookNode) -> int:
    """How many outputs are pictures."""
    return sum("image/png" in output.get("data", {}) for output in outputs_of(notebook))


def find_problems(notebook: NotebookNode) -> list[str]:
    """What a person should not see in an executed notebook, one line each; nothing was removed from it before."""
    problems = []
    for output in outputs_of(notebook):
        text = text_of(output)
        if output.output_type == "error" or output.get("name") == "stderr":
            problems.append(f"{output.get('name', 'error')}: {text[:300]}")
        problems += [f"{bad}: {text[:300]}" for bad in BAD_TEXTS if bad in text]
        if set(RICH) & set(output.get("data", {})) and not text:
            problems.append(f"no text beside {', '.join(output.data)}")
    return problems
