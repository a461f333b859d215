"""A merge's figures: the spectrum always, the losses where they were measured."""

from types import SimpleNamespace

import pytest

from housebrain_core.merge import figures


@pytest.mark.parametrize(
    ("validation", "count"), [(None, 1), (SimpleNamespace(losses={"base": 2.0, "merged": 1.0}), 2)]
)
def test_the_spectrum_is_shown_and_the_losses_where_they_were_measured(validation, count, monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "show", lambda *parts: shown.extend(parts))
    figures.show_merge(SimpleNamespace(spectrum=[1.0, 0.5, 0.1], rank=2, validation=validation))
    assert len(shown) == count and all(hasattr(figure, "savefig") for figure in shown)
