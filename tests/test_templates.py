"""Templates: values are escaped in pages, and a name that is missing is an error."""

import pytest
from jinja2 import DictLoader, UndefinedError

from housebrain_core import templates
from housebrain_core.templates import render

TEXTS = {"page.html": "<b>{{ title }}</b>{{ share | percent }}\n", "card.md.jinja": "**{{ title }}**\n"}


@pytest.fixture(autouse=True)
def loader(monkeypatch):
    monkeypatch.setattr(templates, "PackageLoader", lambda *place: DictLoader(TEXTS))


def test_pages_escape_what_they_are_given_and_cards_do_not():
    assert render("data", "page.html", title="<script>", share=0.1234) == "<b>&lt;script&gt;</b>12.3%"
    assert render("data", "card.md.jinja", title="<a>") == "**<a>**\n"


def test_no_share_is_nothing():
    assert render("data", "page.html", title="x", share=None) == "<b>x</b>"


def test_a_name_that_is_missing_is_an_error():
    with pytest.raises(UndefinedError, match="title"):
        render("data", "card.md.jinja")
