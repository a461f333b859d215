"""The audit as text, figures and a page; what it says is tested in test_audit.py."""

import pytest

from housebrain_core.config import AuditConfig
from housebrain_core.data.audit import audit_dataset
from housebrain_core.data.audit_page import describe, entropy_bars, length_histogram, rules_broken, write_page
from housebrain_core.data.audit_result import RuleCount
from housebrain_core.outputs import check_file


@pytest.fixture(scope="module")
def result(dataset, tmp_path_factory):
    """The audit of the generated dataset."""
    output = tmp_path_factory.mktemp("audit") / "audit.html"
    return audit_dataset(AuditConfig(source=dataset, output=output), report=lambda line: None)


def test_the_text_is_short_and_counts_every_field(result):
    lines = describe(result).splitlines()
    assert lines[0].startswith("48 train, 16 validation; all can be used; 0 repeat another") and len(lines) <= 25
    kinds = lines[next(index for index, line in enumerate(lines) if "how many" in line) + 1 :]
    counts = {kind: sum(field.kind == kind for field in result.fields) for kind in {f.kind for f in result.fields}}
    for kind, count in counts.items():
        assert any(line.startswith(kind) and line.removeprefix(kind).split()[0] == str(count) for line in kinds)


def test_only_broken_rules_are_named_the_worst_first(result):
    rules = {"one": (0, 4), "two_words": (1, 4), "three": (3, 4)}
    counts = {name: RuleCount(broken=broken, applicable=of) for name, (broken, of) in rules.items()}
    broken = result.model_copy(update={"rules": counts})
    assert list(rules_broken(broken)) == ["three", "two_words"]
    assert "Rules that references break (2), most often: three 75.0%, two words 25.0%." in describe(broken)


def test_figures_have_a_bar_for_each_free_field_and_a_histogram_for_each_form(result):
    bars = entropy_bars(result).axes[0]
    assert len(bars.patches) == len([field for field in result.fields if field.free])
    histogram = length_histogram(result).axes[0]
    assert {text.get_text() for text in histogram.get_legend().get_texts()} == {"original", "ours"}


def test_the_page_opens_offline(result, tmp_path):
    page = write_page(result, tmp_path / "new" / "audit.html")
    before = page.stat().st_ino
    assert write_page(result, page).stat().st_ino != before, "by rename, so that a full disk leaves it whole"
    check_file(page)  # the next audit may write it anew
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 2 == text.count('alt="') and 'alt=""' not in text
    assert text.index("48 train") < text.index("<table") and "prefers-color-scheme: dark" in text
    assert "http://" not in text and "<script src" not in text
    assert all(field.short_name in text for field in result.fields)
