"""Figures show the numbers they were given."""

import errno
import itertools
import os

import pytest

from housebrain_core.display import plots


def test_loss_bars_are_as_long_as_the_losses_and_show_the_floor():
    axes = plots.loss_bars({"one": 0.5, "two": 0.25}, floor=0.1).axes[0]
    assert sorted(bar.get_width() for bar in axes.patches) == [0.25, 0.5]
    assert [list(line.get_xdata()) for line in axes.lines] == [[0.1, 0.1]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["two", "one"]  # drawn from below


def test_loss_curves_hold_every_point():
    axes = plots.loss_curves({"run": [(1, 2.0), (5, 1.0)]}, floor=0.5).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[1, 2.0], [5, 1.0]] and len(axes.lines) == 2


def test_numbers_at_a_logarithmic_axis_do_not_run_into_each_other():
    for low in (0.9, 0.1, 0.004):
        figure = plots.loss_curves({"run": [(1, 1.0), (5, low)]})
        figure.draw_without_rendering()
        axes = figure.axes[0]
        boxes = [label.get_window_extent() for label in axes.get_yticklabels(which="both") if label.get_text()]
        shown = sorted((box for box in boxes if axes.bbox.y0 <= box.y0 <= axes.bbox.y1), key=lambda box: box.y0)
        assert len(shown) >= 2
        assert all(one.y1 <= other.y0 for one, other in itertools.pairwise(shown))


def test_rate_bars_show_every_rate_with_its_interval():
    names = ("strict_parse", "repaired_parse", "schema_valid", "schema_valid_repaired")
    rates = {name: 0.2 * number for number, name in enumerate(names, 1)}
    rates["intervals"] = {name: (rates[name] - 0.05, rates[name] + 0.1) for name in names}
    axes = plots.rate_bars({"model": rates}).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    ends = [line.get_segments()[0][:, 0].tolist() for line in axes.collections]
    assert ends == [pytest.approx([rates[name] - 0.05, rates[name] + 0.1]) for name in names]


def test_saved_figures_are_the_same_bytes_every_time(tmp_path):
    one, two = (plots.save(plots.loss_bars({"a": 1.0}), tmp_path / name / "x.png") for name in "ab")
    assert one.read_bytes() == two.read_bytes()


def test_a_figure_shows_itself_as_png_and_in_words():
    figure = plots.loss_bars({"one": 0.5, "two": 0.25})
    data, metadata = figure._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    assert data["text/plain"] == "Validation loss in nats per token: one 0.5000, two 0.2500." == repr(figure)
    assert metadata["image/png"]["alt"] == data["text/plain"]
    embedded = plots.embed(figure)
    assert embedded.src.startswith("data:image/png;base64,iVBOR") and embedded.alt == figure.alt


def test_dollar_signs_in_names_are_no_mathematics():
    picture = plots.loss_bars({"min_$_to_max_$": 1.0, r"a$\frac{$b": 2.0})
    assert picture.png().startswith(b"\x89PNG")
    assert plots.text_picture("$ and $").png().startswith(b"\x89PNG")


def test_a_figure_that_cannot_be_written_whole_leaves_the_one_before(tmp_path, monkeypatch):
    path = plots.save(plots.loss_bars({"one": 0.5}), tmp_path / "losses.png")
    before = path.read_bytes()

    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        plots.save(plots.loss_bars({"two": 0.25}), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
