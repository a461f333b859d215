"""Templates: values are escaped in pages, and a name that is missing is an error."""

import pytest
from jinja2 import DictLoader, UndefinedError

from housebrain_core import templates
from housebrain_core.templates import render

TEXTS = {
    "page.html": "<b>{{ title }}</b>{{ share | percent }}\n",
    "card.md.jinja": "**{{ title }}** {{ title | text }} {{ title | code }}\n",
}


@pytest.fixture(autouse=True)
def loader(monkeypatch):
    monkeypatch.setattr(templates, "PackageLoader", lambda *place: DictLoader(TEXTS))


def test_pages_escape_what_they_are_given_and_cards_do_where_they_are_told():
    assert render("data", "page.html", title="<script>", share=0.1234) == "<b>&lt;script&gt;</b>12.3%"
    assert render("data", "card.md.jinja", title="<a|b>") == "**<a|b>** \\<a\\|b\\> `<a|b>`\n"


def test_hidden_characters_are_written_out_in_both():
    assert render("data", "page.html", title="\x1b[2J\ud800", share=None) == r"<b>\x1b[2J\ud800</b>-"
    assert render("data", "card.md.jinja", title="\u202e").startswith(r"**\u202e** \\u202e")


def test_no_share_is_a_dash():
    assert render("data", "page.html", title="x", share=None) == "<b>x</b>-"


def test_a_name_that_is_missing_is_an_error():
    with pytest.raises(UndefinedError, match="title"):
        render("data", "card.md.jinja")
