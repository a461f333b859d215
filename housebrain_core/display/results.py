"""Results that show themselves: each table and figure an output of its own in a notebook, text in a terminal."""

import html
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from housebrain_core.errors import in_settings
from housebrain_core.texts import in_line, in_notebook, visible, wrap
from housebrain_core.texts import say as say_shown

NUMBERS = frozenset("0123456789.,+-%/ ")
"""A column of nothing else is aligned to the right."""
HEADING = re.compile(r"^#+ ", re.MULTILINE)
NOTE = 110
"""Columns of a note below a table, in text."""


@dataclass(frozen=True)
class Table:
    """A table as text, and as HTML where that can be shown.

    Args:
        columns: the heading of each column.
        rows: their cells, as many in a row as there are columns; texts, already formatted. Hidden characters in them
            are written out, and each stays on its line.
        notes: lines below the table that say what its columns mean.
        alarms: for each row how much it calls for a look, in [0, 1]; it is coloured accordingly in HTML.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default=())
    alarms: Sequence[float] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(map(in_line, self.columns)))
        object.__setattr__(self, "rows", [tuple(map(in_line, row)) for row in self.rows])
        object.__setattr__(self, "notes", tuple(map(visible, self.notes)))

    def __str__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.columns))]
        sides = [">" if right else "<" for right in self._right_aligned()]
        texts = []
        for line in lines:
            cells = [f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)]
            texts.append("  ".join(cells).rstrip())
        return "\n".join([*texts, *(wrap(note, NOTE) for note in self.notes)])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What a notebook shows, by type of content."""
        return {"text/html": self.to_html(), "text/plain": str(self)}

    def to_html(self) -> str:
        """Writes the table as HTML.

        Returns:
            A table element without styles of its own but the alignment of numbers, and the notes, a line each.
        """
        rows = [_html_row("th", self.columns, self._right_aligned())]
        colors = [f' style="background: rgba(213, 94, 0, {0.5 * alarm:.2f})"' for alarm in self.alarms]
        colors = colors or [""] * len(self.rows)
        rows += [
            _html_row("td", row, self._right_aligned(), color) for row, color in zip(self.rows, colors, strict=True)
        ]
        notes = f"<p>{'<br>'.join(map(html.escape, self.notes))}</p>" * bool(self.notes)
        return f"<table>{''.join(rows)}</table>{notes}"

    def _right_aligned(self) -> list[bool]:
        """For each column whether it holds numbers only, and at least one."""
        columns = [[row[place] for row in self.rows] for place in range(len(self.columns))]
        return [set("".join(column)) <= NUMBERS and any(column) for column in columns]


def _html_row(tag: str, cells: Sequence[str], right: list[bool], color: str = "") -> str:
    texts = []
    for cell, is_number in zip(cells, right, strict=True):
        side = "right" if is_number else "left"
        texts.append(f'<{tag} style="text-align: {side}">{html.escape(cell)}</{tag}>')
    return f"<tr{color}>{''.join(texts)}</tr>"


class Page(str):
    """A text in Markdown: rendered in a notebook, with its headings below the notebook's; in a terminal as it is."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What a notebook shows, by type of content."""
        parts = visible(self).split("```")  # in code, # begins a comment
        parts[::2] = [HEADING.sub(r"##\g<0>", part) for part in parts[::2]]
        return {"text/markdown": "```".join(parts), "text/plain": visible(self)}


class Shown:
    """Base of results that show themselves; a subclass says in `outputs` what there is to see."""

    def outputs(self) -> Iterable[Any]:
        """Texts, tables, pages and figures, in the order in which a person reads them."""
        raise NotImplementedError

    def __str__(self) -> str:
        """The result for a terminal: its texts and tables; figures are for notebooks and files."""
        return "\n\n".join(str(part) for part in self.outputs() if isinstance(part, str | Table))

    def _ipython_display_(self) -> None:
        """Shows every part as an output of its own."""
        show(*self.outputs())


def show(*parts: Any) -> None:
    """Shows results: in a notebook each part as an output of its own, in a terminal as text.

    Args:
        parts: texts, tables, pages in Markdown, figures, or results made of these; a terminal leaves figures out.
    """
    if not in_notebook():
        texts = [str(part) for part in parts if isinstance(part, str | Table | Shown)]
        if texts:
            say_shown("\n\n".join(texts))
        return
    from IPython.display import display

    for part in parts:
        plain = isinstance(part, str) and not isinstance(part, Page)
        display({"text/plain": wrap(visible(part))} if plain else part, raw=plain)


def say(line: str) -> None:
    """Prints a line of a stage at once; in a notebook in the words of its settings.

    Args:
        line: with flags of the command line where it names settings.
    """
    say_shown(in_settings(line) if in_notebook() else line)


def link(path: Path, text: str) -> "Page":
    """A sentence about a file with a link to it, which a notebook opens from the folder that it lies in.

    Args:
        path: of the file.
        text: the sentence, without an end.

    Returns:
        The sentence with the link, in Markdown.
    """
    start = getattr(sys.modules["IPython"].get_ipython(), "starting_dir", "") if in_notebook() else ""
    return Page(f"{text}: [{path.name}]({Path(os.path.relpath(path, start or None)).as_posix()})")
