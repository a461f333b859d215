r"""Text from data, file names, other people's files or a model, as it is safe to show in each place.

Raw, such text can clear a terminal, reorder the line around it, or be markup of the page it stands in. Here a hidden
character becomes visible as Python writes it: `\x1b`, `\u202e`, `\ud800`.
"""

import json
import re
import sys
import textwrap
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from pydantic import ValidationError

HIDDEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"  # control characters, but tab and line feed
    r"|\r(?!\n)"
    r"|[\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"  # text direction, and no width
    r"|[\ud800-\udfff]"  # halves of a character: no file can hold them
    r"|[\U000e0000-\U000e007f]"  # tags, which are letters that nobody sees
)
MARKUP = re.compile(r"[\\`*\[\]<>|~#$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""What can be markup inside a line of Markdown; an underscore inside a word is none."""
RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices, whatever their ending."""
SHORT = 24
"""Characters of a name that need no shortening."""
NOTEBOOK = 100
"""Columns of a notebook's output. JupyterLab breaks a longer line anywhere, in the middle of words too."""
FORBIDDEN = re.compile(r"""[<>:"/\\|?*]""")
"""Characters that Windows allows in no file name."""


def visible(text: str) -> str:
    """A text with its hidden characters written out; lines and tabs stay, and so does any language's writing."""
    return HIDDEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def in_line(text: str) -> str:
    r"""A text with its hidden characters written out, on one line: a line feed becomes `\n`."""
    return visible(text).replace("\r\n", r"\r\n").replace("\n", r"\n").replace("\t", r"\t")


def in_markdown(text: str) -> str:
    """A text as it reads in a line or a table's cell of Markdown, where nothing of it is markup."""
    return MARKUP.sub(r"\\\g<0>", in_line(text).replace("&", "&amp;"))


def as_code(text: str) -> str:
    """A text as code in a line of Markdown, whatever backticks it has."""
    shown = in_line(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    space = " " if "`" in shown else ""
    return f"{fence}{space}{shown}{space}{fence}"


def as_shown(text: str, stream: TextIO) -> str:
    """A text as a stream gets it: hidden characters written out, and those that its encoding does not have."""
    encoding = getattr(stream, "encoding", None) or "utf-8"  # a StringIO has none
    return visible(text).encode(encoding, "backslashreplace").decode(encoding)


def say(text: object, stream: TextIO | None = None) -> None:
    """Prints a text `as_shown`, to standard output by default; in a notebook in lines that it shows whole."""
    target: Any = stream or sys.stdout
    text = str(text) if stream or not in_notebook() else wrap(str(text))
    print(as_shown(str(text), target), file=target, flush=True)


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook, be it shown by Jupyter, VS Code, Colab, Kaggle or papermill."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def wrap(text: str, width: int = NOTEBOOK) -> str:
    """A text whose long lines are broken between words; a command to copy and a table's row stay whole."""
    lines = []
    for line in text.split("\n"):
        begin = line.lstrip()
        if len(line) <= width or begin.startswith("housebrain ") or "  " in begin:
            lines.append(line)
            continue
        indent = line[: len(line) - len(begin)]
        kept: dict[str, Any] = {"replace_whitespace": False, "break_long_words": False, "break_on_hyphens": False}
        lines += textwrap.wrap(line, width, subsequent_indent=indent, **kept)
    return "\n".join(lines)


def first_problem(error: "ValidationError") -> str:
    """The first thing that is wrong with contents which were read into records: where, and what.

    Args:
        error: of pydantic.
    """
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))[:100]
    return f"{where or 'the file'}: {first['msg'].removeprefix('Value error, ')}"


def as_given(value: Any) -> str:
    """A setting's value in a message, on one line of bearable length: text in quotes, a list by its words, no repr."""
    if isinstance(value, list | tuple | set):
        return clip(", ".join(map(str, value))) or "nothing"
    if isinstance(value, dict):
        return clip(json.dumps(value, ensure_ascii=False, default=str))
    return "nothing" if value is None else f"'{clip(value)}'" if isinstance(value, str) else clip(str(value))


def clip(text: str, length: int = 200) -> str:
    """A text on one line, without its middle where it has more characters than `length`."""
    half = length // 2
    return in_line(text if len(text) <= length else f"{text[:half]} ... {text[-half:]}")


def shorten_names(names: Iterable[str], length: int = SHORT) -> dict[str, str]:
    """Short names for long ones: without what all have in common, and without their middle where that is not enough.

    Args:
        names: all different.
        length: characters of a name that need no shortening.

    Returns:
        Name -> short name; all different, and as they are where none is long.
    """
    names = list(names)
    if max(map(len, names), default=0) <= length:
        return {name: name for name in names}
    parts = {name: re.findall(r"[^-_/ ]+[-_/ ]*", name) for name in names}
    places = enumerate(zip(*parts.values(), strict=False))
    start = next((place for place, each in places if len(set(each)) > 1), 0)
    short = {name: "".join(parts[name][start:]) or name for name in names}
    half = length // 2
    short = {
        name: text if len(text) <= length else f"{text[: half - 1]}…{text[-half:]}" for name, text in short.items()
    }
    if len(set(short.values())) == len(names):
        return short
    return {name: f"{text[: length - 6]} #{number}" for number, (name, text) in enumerate(short.items(), 1)}


def is_file_name(name: str) -> bool:
    """Whether a text can be the name of a file on any system."""
    if not name or HIDDEN.search(name) or FORBIDDEN.search(name) or "\n" in name or "\t" in name:
        return False
    return not RESERVED.fullmatch(name) and name == name.strip(" .") and len(name.encode()) <= 200


def fold_name(name: str) -> str:
    """What file names have in common that are one and the same file on some system."""
    return unicodedata.normalize("NFC", name).casefold()


def render(room: str, name: str, **values: Any) -> str:
    """Fills in a page or card from a jinja template, which lies beside the module that uses it.

    page.html is what all pages have in common: their look in light and dark, on a phone, and the verdict at their top.

    Args:
        room: name of the sub-package, such as data.
        name: file name, such as audit.html or run.md.jinja; in .html files all values are escaped, in others those
            that the filters `text` and `code` write as Markdown; hidden characters are written out in all.
        values: what the template uses; a name that it uses and is not given is an error.

    Returns:
        The text. The filter `percent` writes a share in [0, 1] as 12.3%, and nothing for None; `yaml` writes a text as
        YAML reads it.
    """
    import jinja2  # slow to import, and messages need none

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader("housebrain_core", place) for place in (room, "")]),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        keep_trailing_newline=name.endswith(".md.jinja"),
    )
    environment.filters["yaml"] = to_yaml
    environment.filters["text"] = lambda value: in_markdown(str(value))
    environment.filters["code"] = as_code
    environment.filters["percent"] = lambda share: "" if share is None else f"{share:.1%}"
    return environment.get_template(name).render(values)


def to_yaml(text: str) -> str:
    """Writes a text as a value in YAML: as it is where that is safe, else in quotes, which YAML reads as JSON does."""
    return text if re.fullmatch(r"[A-Za-z][\w./-]*", text) else json.dumps(text)
