r"""Text from elsewhere is shown with its hidden characters written out, and is no markup where it stands."""

import ast
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jinja2
import pytest

from housebrain_core import texts
from housebrain_core.display import plots, results
from housebrain_core.errors import DataError
from housebrain_core.texts import as_code, in_line, in_markdown, is_file_name, render, say, shorten_names, visible, wrap

ROOT = Path(__file__).parents[1]
HOSTILE = "\x1b[2J\x07\u202edesrever\u2066\u200b\ud800\x9b1m\rok"
"""Clears a terminal, rings, reorders what follows, hides, breaks UTF-8, and overwrites its line."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\rb", r"a\rb"),
        ("lines\r\nand\ttabs\nstay", "lines\r\nand\ttabs\nstay"),
        ("\u202eabc\u2069", r"\u202eabc\u2069"),
        ("\ud800", r"\ud800"),
        ("\x9b1m\x85", r"\x9b1m\x85"),
        ("\U000e0041", r"\U000e0041"),
        ("प्लॉट می‌خواهم 🏠‍ é \\x1b", "प्लॉट می‌خواهم 🏠‍ é \\x1b"),
    ],
)
def test_hidden_characters_are_written_out_and_writing_stays(text, shown):
    assert visible(text) == shown
    assert visible(shown) == shown


def test_a_line_stays_one():
    assert in_line("a\nb\r\nc\td\u2028e") == r"a\nb\r\nc\td\u2028e"


@pytest.mark.parametrize("text", ["a|b", "<b>", "[x](http://y)", "![x](y)", "*x*", "_x_", "`x`", "# x", "$x$", "~~x~~"])
def test_nothing_is_markup_in_markdown(text):
    markdown = in_markdown(text)
    assert markdown.replace("\\", "") == text
    assert not re.search(r"(?<!\\)[|<\[*`#$~]", markdown)


def test_ordinary_names_read_in_markdown_as_they_are():
    assert in_markdown("Qwen/Qwen2.5-Coder-1.5B hb_kaggle-04 50.0%") == "Qwen/Qwen2.5-Coder-1.5B hb_kaggle-04 50.0%"
    assert in_markdown("a & b &lt;") == "a &amp; b &amp;lt;"


@pytest.mark.parametrize(
    ("text", "code"), [("x", "`x`"), ("a`b", "`` a`b ``"), ("``", "``` `` ```"), ("a\nb", r"`a\nb`")]
)
def test_code_in_markdown_ends_where_it_should(text, code):
    assert as_code(text) == code


@pytest.mark.parametrize(
    "name",
    ["CON", "nul", "com1", "LPT9.txt", "aux.json", "COM\u00b9", "a.", "a ", " a", ".a", "a:b", "a?", "a/b", "a\\b", "",
     "a\nb", "\u202ea", "\ud800", "x" * 201, ".."],
)  # fmt: skip
def test_names_that_some_system_refuses(name):
    assert not is_file_name(name)


@pytest.mark.parametrize("name", ["console", "com10", "nulls", "Haus 1", "घर", "a.b", "hb-kaggle-04", "x" * 200])
def test_names_that_every_system_takes(name):
    assert is_file_name(name)


def test_every_error_names_what_is_hidden_in_a_name():
    assert str(DataError(f"{HOSTILE} does not exist")) == f"{visible(HOSTILE)} does not exist"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_stream_that_cannot_show_a_character_gets_its_number(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    say(f"é घर {HOSTILE}", stream)
    shown = stream.buffer.getvalue().decode(encoding)  # pyright: ignore[reportAttributeAccessIssue] - a BytesIO
    assert "\x1b" not in shown and r"\x1b[2J" in shown and (r"\u0918" in shown) == (encoding != "utf-8")


def test_nothing_but_say_prints():
    """A print of its own would show hidden characters as they are."""
    files = [path for path in (ROOT / "housebrain_core").rglob("*.py") if path.name != "texts.py"]
    names = {path.name: {node.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                         if isinstance(node, ast.Name)} for path in files}  # fmt: skip
    assert [name for name, used in names.items() if "print" in used] == []


def test_tables_show_what_is_hidden_and_keep_to_a_line():
    table = results.Table(("name", "x"), [(f"<b>{HOSTILE}\nok", "1")], [f"note {HOSTILE}"])
    shown = table._repr_mimebundle_()
    assert len(str(table).splitlines()) == 3
    assert not any(texts.HIDDEN.search(text) for text in shown.values())
    assert "<b>" not in shown["text/html"] and r"\nok" in shown["text/plain"]
    assert not texts.HIDDEN.search(results.Page(HOSTILE)._repr_mimebundle_()["text/markdown"])


@pytest.mark.slow
@pytest.mark.parametrize("name", [HOSTILE, "min_$_to_max_$", "price_$^$", "$x^{$", r"\frac{", "घर", "a\nb"])
def test_figures_draw_any_name_as_text(name):
    figures = [
        plots.loss_bars({name: 0.5}),
        plots.loss_curves({name: [(1, 1.0), (2, 0.5)]}),
        plots.cosine_map([name, "b"], [[1, 0], [0, 1]]),
        plots.spectrum({name: [1.0, 0.5]}),
        plots.text_picture(name),
    ]
    for figure in figures:
        data, about = figure._repr_mimebundle_()
        assert data["image/png"].startswith(b"\x89PNG")
        assert not texts.HIDDEN.search(data["text/plain"] + about["image/png"]["alt"])


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_no_command_ends_for_a_character_that_its_output_cannot_show(encoding, tmp_path):
    named = HOSTILE.replace("\ud800", "")  # which is no JSON
    row = {"input": f"प्लॉट {named}", "output": {"\u202e\x1b[31m|<script>$x^{$": "घर"}}
    lines = [json.dumps(row | {"id": f"{named}{number}"}) for number in range(30)]
    (tmp_path / "घर.jsonl").write_text("\n".join([*lines, '{"\\u001b[2J": 1}']), encoding="utf-8")
    command = [sys.executable, "-m", "housebrain_core.cli", "audit", "--source", "घर.jsonl", "--output", "a.html"]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, env=environment)
    assert ran.returncode == 0, ran.stderr
    assert b"\x1b" not in ran.stdout + ran.stderr and rb"\x1b[31m" in ran.stdout
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert not texts.HIDDEN.search(page) and "<script>$" not in page and "&lt;script&gt;$" in page


TEXTS = {
    "page.html": "<b>{{ title }}</b>{{ share | percent }}\n",
    "card.md.jinja": "**{{ title }}** {{ title | text }} {{ title | code }}\n",
}


@pytest.fixture
def loader(monkeypatch):
    monkeypatch.setattr(jinja2, "PackageLoader", lambda *place: jinja2.DictLoader(TEXTS))


@pytest.mark.usefixtures("loader")
def test_pages_escape_what_they_are_given_and_cards_do_where_they_are_told():
    assert render("data", "page.html", title="<script>", share=0.1234) == "<b>&lt;script&gt;</b>12.3%"
    assert render("data", "card.md.jinja", title="<a|b>") == "**<a|b>** \\<a\\|b\\> `<a|b>`\n"


@pytest.mark.usefixtures("loader")
def test_hidden_characters_are_written_out_in_both():
    assert render("data", "page.html", title="\x1b[2J\ud800", share=None) == r"<b>\x1b[2J\ud800</b>"
    assert render("data", "card.md.jinja", title="\u202e").startswith(r"**\u202e** \\u202e")


@pytest.mark.usefixtures("loader")
def test_no_share_is_nothing():
    assert render("data", "page.html", title="x", share=None) == "<b>x</b>"


@pytest.mark.usefixtures("loader")
def test_a_name_that_is_missing_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="title"):
        render("data", "card.md.jinja")


LONG = "housebrain-qwen2.5-coder-1.5b-instruct-r16-lr2e-4-split-{:02d}-of-20"


def test_long_names_lose_what_all_have_in_common():
    assert shorten_names([LONG.format(1), LONG.format(2)])[LONG.format(2)] == "02-of-20"
    assert shorten_names(["hb-colab-01", "hb-colab-02"]) == {"hb-colab-01": "hb-colab-01", "hb-colab-02": "hb-colab-02"}
    alike = [f"a{'b' * 30}{number:02d}{'c' * 30}" for number in range(3)]
    for length in (24, 32):
        short = shorten_names(alike, length)
        assert len(set(short.values())) == 3 and max(map(len, short.values())) <= length
    assert len(shorten_names(["x" * 50])["x" * 50]) <= 24


def test_figures_call_twenty_models_by_short_names():
    losses = {LONG.format(number): 1 / number for number in range(1, 21)}
    curves = plots.loss_curves({name: [(1, 2.0), (9, loss)] for name, loss in losses.items()}, floor=0.01)
    spectrum = plots.spectrum({name: [1.0, loss] for name, loss in losses.items()}, rank=2)
    short = [f"{number:02d}-of-20" for number in range(1, 21)]
    for figure in (curves, spectrum):
        [legend] = figure.legends  # beside the lines, not over them
        assert [text.get_text() for text in legend.get_texts()][:20] == short
    bars, cosines = plots.loss_bars(losses).axes[0], plots.cosine_map(list(losses), [[0.5] * 20] * 20).axes[0]
    assert [label.get_text() for label in bars.get_yticklabels()] == short[::-1]
    assert [label.get_text() for label in cosines.get_yticklabels()] == short


def test_a_notebook_gets_lines_that_are_broken_between_words(monkeypatch, capsys):
    sentence = "  It says a word after another. " + "word " * 40
    monkeypatch.setattr(texts, "in_notebook", lambda: True)
    say(sentence)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(line.startswith("  ") and len(line) <= 100 for line in lines)
    assert " ".join(lines).split() == sentence.split()
    command, row = "  housebrain merge --models " + "models/hb-kaggle-01 " * 9, "a row  of a table  " + "word " * 30
    for whole in ("x" * 200, command, f"{row}\n\n{row}\n"):
        assert wrap(whole) == whole
    monkeypatch.setattr(texts, "in_notebook", lambda: False)
    say(sentence)
    assert capsys.readouterr().out == sentence + "\n", "a terminal wraps by itself"
