"""A merge's figures show its spectrum, and the losses where they were measured."""

from types import SimpleNamespace

import pytest

from housebrain_core.merge import figures


@pytest.fixture
def shown(monkeypatch) -> list:
    parts = []
    monkeypatch.setattr(figures, "show", lambda *figures: parts.extend(figures))
    return parts


def test_without_validation_there_is_the_spectrum_and_the_rank(shown):
    figures.show_merge(SimpleNamespace(spectrum=[1.0, 0.5, 0.25], rank=2, validation=None))
    (figure,) = shown
    curve, rank = figure.axes[0].lines
    assert curve.get_ydata().tolist() == [1.0, 0.5, 0.25] and list(rank.get_xdata()) == [2, 2]


def test_with_validation_there_are_the_losses_too(shown):
    validation = SimpleNamespace(losses={"base": 0.75, "merged": 0.5})
    figures.show_merge(SimpleNamespace(spectrum=[1.0], rank=1, validation=validation))
    assert [bar.get_width() for bar in shown[1].axes[0].patches] == [0.5, 0.75]
    assert shown[1].alt == "Validation loss in nats per token: base 0.7500, merged 0.5000."
