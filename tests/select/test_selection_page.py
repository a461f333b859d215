"""The page about a selection: verdict first, why each sample was chosen, nothing from outside."""

import re

from housebrain_core.select.selection import Selection, Step
from housebrain_core.select.selection_page import draw_sample, write_page
from housebrain_core.select.settings import SelectConfig


def test_a_sample_says_what_of_it_meets_the_conditions(samples):
    config = SelectConfig(source="x", where=["metadata.region=Demo"], clean_rules=["parking,height"])
    drawn = draw_sample(samples[0], config)
    assert drawn.why[:2] == ['metadata.region is "Demo"', "its design breaks none of parking, height_limit"]
    assert re.fullmatch(r"difficulty 0\.\d\d: floors .*, shape .*, setbacks .*, area .*", drawn.why[2])
    assert drawn.figure and drawn.figure.src.startswith("data:image/png") and not drawn.text
    every = draw_sample(samples[0], SelectConfig(source="x", clean_rules=["all"]))
    assert every.why[0] == "its design breaks none of 20 rules"


def test_an_answer_that_is_no_house_is_shown_as_text(samples):
    config = SelectConfig(source="x", where=["id=1"])
    text = draw_sample({"id": "1", "input": "why?", "output": "<b>because</b>" * 900, "metadata": {}}, config)
    assert not text.figure and len(text.text) == 1000 and text.why == ['id is "1"']
    assert draw_sample({"id": "1", "input": {"a": 1}, "output": [1], "metadata": {}}, config).text == "[\n 1\n]"


def test_the_page_begins_with_the_verdict_and_loads_nothing(tmp_path, samples):
    steps = [Step(text="training samples", left=9), Step(text="<b>&", left=3)]
    selection = Selection(
        source="houses", source_sha256="0", source_train=9, conditions=[], steps=steps, notes=["a note"], chosen=3,
        ordinary=1, validation=2, seed=5,
    )  # fmt: skip
    config = SelectConfig(source="x", where=["id=1"])
    drawn = [draw_sample({"id": "<i>", "input": "?", "output": "<script>", "metadata": {}}, config)]
    write_page(selection, drawn, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert re.search(r"<h1>3 of 9 training samples \(33\.3%\) are chosen; with 1 ordinary", page)
    assert "<script>" not in page and "&lt;script&gt;" in page and "&lt;b&gt;&amp;" in page and "a note" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
