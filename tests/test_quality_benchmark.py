"""The quality benchmark: its arithmetic by hand, and every way through the product on a few samples."""

import importlib
import json
import math
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Imports a benchmark by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def results(load, tmp_path):
    """Two rates and two seeds of everything, and of splits with their merges; validation prefers the second rate."""
    quality = load("quality")

    def worth(above_floor: float, validation: float, exact: float = 0.5):
        return quality.Measured(above_floor, exact, math.nan, validation)

    made = quality.Results(tmp_path / "results.json")
    tried = ((0, 1e-3, 0.9, 0.8, 0.3), (0, 2e-3, 0.8, 0.9, 0.2), (1, 2e-3, 0.6, 0.9, 0.1))
    for seed, rate, split, merge, best in tried:
        rows = {"mean split": worth(split, split), "one merge": worth(merge, merge)}
        made.add((seed, quality.APART, rate), 2.0, rows)
        made.add((seed, quality.EVERYTHING, rate), 2.0, {quality.EVERYTHING: worth(best, best, exact=1.0)})
        for name in ("common start, 3 rounds", "relay"):
            made.add((seed, name, rate), 2.0, {name: worth((split + best) / 2, best)})
        if rate == 2e-3:
            name = "common start, 6 rounds"
            made.add((seed, name, rate), 2.0, {name: worth((split + best) / 2, best)})
    made.add((1, quality.APART, 1e-3), 2.0, {"mean split": worth(0.7, 0.7), "one merge": worth(0.7, 0.7)})
    made.add((0, quality.SYNCHRONOUS, 2e-3), 2.0, {quality.SYNCHRONOUS: worth(0.5, 0.5)})
    return made


def test_every_row_is_at_its_own_best_rate_of_the_first_seed(results):
    assert results.best_rate("mean split") == 2e-3 and results.best_rate("one merge") == 1e-3
    assert results.best_rates("apart") == {1e-3, 2e-3} and results.best_rates("relay") == {2e-3}
    assert results.best_rates("common start, 6 rounds") == {2e-3}, "it takes that of 3 rounds"
    rows = results.rows()
    assert [one.above_floor for one in rows["mean split"].values()] == [0.8, 0.6]
    assert [one.above_floor for one in rows["one merge"].values()] == [0.8, 0.7]


def test_the_gap_is_that_between_the_mean_split_and_everything_of_the_same_seed(load, results):
    shares = load("quality").gaps(results.rows())
    assert shares["mean split"] == [0, 0] and shares["everything"] == [1, 1]
    assert shares["one merge"] == pytest.approx([0, -0.2])
    assert shares["relay"] == pytest.approx([0.5, 0.5])
    assert shares["everything at 6 times the batch"] == pytest.approx([0.5]), "a way that was run with one seed only"


def test_the_line_of_json_names_shares_of_the_gap_and_of_designs(load, results):
    quality = load("quality")
    rows = results.rows()
    line = json.loads(quality.line_of_json(rows))
    assert line["gap_closed"] == {"1": -0.1, "3": 0.5, "6": 0.5, "relay": 0.5}
    assert line["exact"] == {"split": 0.5, "1": 0.5, "3": 0.5, "6": 0.5, "relay": 0.5, "everything": 1}


def test_what_was_measured_is_read_again_and_not_run_again(load, results):
    quality = load("quality")
    again = quality.Results(results.file)
    again.read()
    assert repr(again.rows()) == repr(results.rows()) and again.seconds == results.seconds  # NaN is not equal to NaN
    assert sum(again.seconds.values()) == 2.0 * len(again.runs)

    class NoPool:
        def submit(self, *job):
            raise AssertionError(job)

    quality.run_jobs(NoPool(), [None], list(again.runs), again)


def test_a_third_rate_is_tried_only_where_the_second_was_worse_and_other_plans_and_seeds_take_the_best(
    load, monkeypatch, tmp_path
):
    quality = load("quality")
    asked = []

    def run_jobs(pool, worlds, jobs, results):
        asked.append(jobs)
        for job in jobs:
            loss = {1: 0.5, 2: 0.4 if job[1] == "relay" else 0.6, 3: 0.7}[job[2]]
            results.add(job, 1.0, {job[1]: quality.Measured(loss, 0, 0, loss)})

    monkeypatch.setattr(quality, "run_jobs", run_jobs)
    rounds = "common start, 3 rounds"
    ways = ["relay", rounds, "2 rounds"]
    quality.measure_all([None, None], ways, (1, 2, 3), quality.Results(tmp_path / "results.json"), 1)
    assert asked[:2] == [[(0, way, rate) for way in ("relay", rounds) for rate in (1, 2)], [(0, rounds, 3)]]
    best = [("relay", 2), (rounds, 1), ("2 rounds", 1)]
    assert asked[2] == [(seed, *job) for seed in (0, 1) for job in best]


def test_table_and_figure_have_every_row(load, results, tmp_path):
    quality = load("quality")
    text = quality.table(results)
    assert "| one merge | 0.750 (0.700 to 0.800) | -10 (-20 to 0) % | 50 (50 to 50) % | - |" in text
    quality.draw(results, "by hand", tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("way", ["apart", "common start, 2 rounds", "relay in 2 legs", "everything"])
def test_every_kind_of_way_trains_and_is_measured_through_the_product(load, monkeypatch, base, tmp_path, way):
    runs = load("quality_runs")
    monkeypatch.setattr(runs, "SPLITS", 3)
    monkeypatch.setattr(runs, "VALIDATION", 4)
    monkeypatch.setattr(runs, "TEST", 4)
    monkeypatch.setitem(runs.WAYS, "relay in 2 legs", {"relay": True, "relay_legs": 2})
    few = runs.Regime("few", 6, 4, many=False, rates=())
    world = runs.World(tmp_path, Path(base), few, 0, designs=1, in_4bit=way == "everything")
    runs.make_world(world, [way] if way in runs.WAYS else [])
    seconds, rows = runs.run(world, way, 1e-3)
    assert seconds > 0
    for measured in rows.values():
        assert 0 < measured.above_floor < 10 and 0 <= measured.exact <= 1 and 0 <= measured.rules_kept <= 1
    assert len(rows) == (7 if way == "apart" else 1)
    assert not (tmp_path / way / "0.001").exists(), "adapters of runs that were measured take no room"
