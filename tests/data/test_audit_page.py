"""The audit as text, figures and a page; what it says is tested in test_audit.py."""

import pytest

from housebrain_core.config import AuditConfig
from housebrain_core.data.audit import audit_dataset
from housebrain_core.data.audit_page import describe, entropy_bars, length_histogram, write_page


@pytest.fixture(scope="module")
def result(dataset, tmp_path_factory):
    """The audit of the generated dataset."""
    output = tmp_path_factory.mktemp("audit") / "audit.html"
    return audit_dataset(AuditConfig(source=dataset, output=output), report=lambda line: None)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_text_keeps_to_the_width_and_names_every_field(result, width):
    lines = describe(result, width).splitlines()
    assert lines[0].startswith("48 train, 16 validation; 0 bad, 0 duplicates by content, 0 leaks")
    for field in result.fields:
        assert any(line.startswith(field.short_name) for line in lines)
    table = lines[next(index for index, line in enumerate(lines) if "what it is" in line) + 1 :]
    rows = table[: table.index("")]
    if width >= 80:
        assert max(len(row) for row in rows if "{" not in row) <= width, "but for values without a space"


def test_without_a_tokenizer_it_says_what_is_missing(result):
    assert "Tokens, and what a max_length cuts, need the base model's --tokenizer." in describe(result, 100)


def test_figures_have_a_bar_for_each_free_field_and_a_histogram_for_each_form(result):
    bars = entropy_bars(result).axes[0]
    assert len(bars.patches) == len([field for field in result.fields if field.free])
    histogram = length_histogram(result).axes[0]
    assert {text.get_text() for text in histogram.get_legend().get_texts()} == {"original", "ours"}


def test_the_page_opens_offline(result, tmp_path):
    text = write_page(result, tmp_path / "new" / "audit.html").read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 2
    assert "http://" not in text and "<script src" not in text
    assert all(field.short_name in text for field in result.fields)
