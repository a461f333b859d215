"""What training apart loses and what legs bring back, through the product's own training, merges and rounds.

    python benchmarks/quality.py --regime small --figure docs/rounds.png
    python benchmarks/quality.py --quick --json          one seed, small splits; ends with a line of JSON

Six people hold a sixth of generated houses each. Every way takes the same optimizer steps on the same samples; only
everything at 6 times the batch takes a sixth of the steps, with all samples in each. Learning rates are chosen of three
by the loss on validation samples, with the first seed only; all plans with merges take that of the common start with 3
rounds. All figures are of other samples.

The networks are tiny and learn tables. The order of the ways should carry over to real models, the percentages may not.
What is measured is kept in the work folder, and a benchmark that was stopped goes on from there.
"""

import argparse
import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import mean

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["MPLBACKEND"] = "Agg"

import torch
from matplotlib import pyplot
from quality_runs import (
    APART,
    EVERYTHING,
    REGIMES,
    ROW_NAMES,
    SYNCHRONOUS,
    WAYS,
    Measured,
    World,
    make_world,
    run,
)

from housebrain_core.manifests import write_atomically
from housebrain_core.train.tiny import TinyRecipe, tiny_base

QUICK = (APART, "common start, 3 rounds", "common start, 6 rounds", "relay", EVERYTHING)
"""What --quick trains: what its line of JSON names."""
SHORT = {"1": "one merge", "3": "common start, 3 rounds", "6": "common start, 6 rounds", "relay": "relay"}
"""Name in the line of JSON -> row of the table: 3 and 6 are what `housebrain split --rounds` makes by itself."""
MERGING = "common start, 3 rounds"
"""The plan with merges that learning rates are tried with."""
Job = tuple[int, str, float]
"""Seed, way, learning rate."""
Rows = dict[str, dict[int, Measured]]
"""Row of the table -> seed -> what it is worth."""


@dataclass
class Results:
    """All that was measured: seed, way and rate -> row of the table -> what it is worth."""

    file: Path
    runs: dict[Job, dict[str, Measured]] = field(default_factory=dict)
    seconds: dict[Job, float] = field(default_factory=dict)
    """Of CPU, that each run took."""

    def read(self) -> None:
        """Reads what an earlier call measured."""
        if self.file.exists():
            for *job, seconds, rows in json.loads(self.file.read_text()):
                self.seconds[tuple(job)] = seconds
                self.runs[tuple(job)] = {name: Measured(*values) for name, values in rows.items()}

    def add(self, job: Job, seconds: float, rows: dict[str, Measured]) -> None:
        """Keeps what a run gave."""
        self.runs[job], self.seconds[job] = rows, seconds
        write_atomically(self.file, json.dumps([[*job, self.seconds[job], rows] for job, rows in self.runs.items()]))

    def best_rate(self, row: str) -> float:
        """The learning rate of the lowest validation loss, with the first seed."""
        row = tuned_as(row)
        tried = {rate: rows[row] for (seed, _, rate), rows in self.runs.items() if seed == 0 and row in rows}
        return min(tried, key=lambda rate: tried[rate].validation)

    def best_rates(self, way: str) -> set[float]:
        """Those of all rows that come of a way."""
        names = {row for (_, name, _), rows in self.runs.items() if name == tuned_as(way) for row in rows}
        return {self.best_rate(row) for row in names}

    def rows(self) -> Rows:
        """What is measured of each row at its best rate."""
        found: Rows = {}
        for seed, way, rate in sorted(self.runs):
            for name, measured in self.runs[seed, way, rate].items():
                if rate == self.best_rate(name):
                    found.setdefault(name, {})[seed] = measured
        return {name: found[name] for name in ROW_NAMES if name in found}


def tuned_as(way: str) -> str:
    """The way whose learning rate another one takes; itself where it is tuned alone."""
    return MERGING if way in WAYS and way != "relay" else way


def gaps(rows: Rows) -> dict[str, list[float]]:
    """Row -> share of the way from the mean split to everything that it has gone, seed by seed."""

    def share(seed: int, one: Measured) -> float:
        worst, best = (rows[name][seed].above_floor for name in ("mean split", EVERYTHING))
        return (worst - one.above_floor) / (worst - best)

    return {name: [share(*item) for item in of.items()] for name, of in rows.items()}


def measure_all(worlds: list[World], ways: list[str], rates: Sequence[float], results: Results, processes: int) -> None:
    """Runs what is not measured yet: rates with the first seed, then everything at the best ones with all seeds."""
    tuned = list(dict.fromkeys(map(tuned_as, ways)))
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        run_jobs(pool, worlds, [(0, way, rate) for way in tuned for rate in rates[:2]], results)
        undecided = [way for way in tuned if rates[0] in results.best_rates(way)]
        run_jobs(pool, worlds, [(0, way, rate) for way in undecided for rate in rates[2:]], results)
        chosen = [(way, rate) for way in ways for rate in sorted(results.best_rates(way))]
        run_jobs(pool, worlds, [(seed, *job) for seed in range(len(worlds)) for job in chosen], results)


def run_jobs(pool: ProcessPoolExecutor, worlds: list[World], jobs: list[Job], results: Results) -> None:
    """Runs those that have no result yet, and says so as they end."""
    left = [job for job in jobs if job not in results.runs]
    futures = {pool.submit(run, worlds[job[0]], job[1], job[2]): job for job in left}
    for number, future in enumerate(as_completed(futures), 1):
        seed, way, rate = futures[future]
        seconds, rows = future.result()
        results.add(futures[future], seconds, rows)
        losses = ", ".join(f"{name} {one.above_floor:.3f}" for name, one in rows.items())
        print(f"{number} of {len(left)}: seed {seed}, {way} at {rate:g}, {seconds:.0f} s: {losses}", flush=True)


def table(results: Results) -> str:
    """All rows: means over the seeds, and the spread between the lowest and the highest of them."""
    rows = results.rows()
    shares = gaps(rows)
    columns = ("way", "loss above the floor", "gap closed", "designs exactly right", "hard rules kept")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, seeds in rows.items():
        of = seeds.values()
        losses = spread([one.above_floor for one in of], "{:.3f}")
        cells = [name, losses, spread([100 * share for share in shares[name]], "{:.0f}") + " %"]
        cells.append(spread([100 * one.exact for one in of], "{:.0f}") + " %")
        kept = [100 * one.rules_kept for one in of]
        cells.append("-" if any(map(math.isnan, kept)) else spread(kept, "{:.0f}") + " %")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: list[float], form: str) -> str:
    """The mean, and the lowest and highest where there are several."""
    if len(values) == 1:
        return form.format(values[0])
    return f"{form.format(mean(values))} ({form.format(min(values))} to {form.format(max(values))})"


def line_of_json(rows: Rows) -> str:
    """Shares in [0, 1]: of the gap, and of designs."""
    shares = gaps(rows)
    exact = {"split": "mean split", **SHORT, EVERYTHING: EVERYTHING}
    return json.dumps({
        "gap_closed": {short: round(mean(shares[name]), 4) for short, name in SHORT.items()},
        "exact": {short: round(mean(one.exact for one in rows[name].values()), 4) for short, name in exact.items()},
    })  # fmt: skip


def draw(results: Results, title: str, path: Path) -> None:
    """A bar for the gap that each row closes, and a dot for the designs that are exactly right."""
    rows = {name: of for name, of in results.rows().items() if name not in ("base", "A and B apart")}
    shares = gaps(rows)
    places = range(len(rows))
    figure, axes = pyplot.subplots(figsize=(7, 0.34 * len(rows) + 1.2), dpi=100)
    axes.barh(places, [max(-100, 100 * mean(shares[name])) for name in rows], color="#9ecae1",
              label="gap closed between an average split and everything")  # fmt: skip
    axes.plot([100 * mean(one.exact for one in of.values()) for of in rows.values()], places, "o", color="#08519c",
              label="designs exactly right")  # fmt: skip
    axes.set_yticks(places, list(rows))
    axes.invert_yaxis()
    axes.set(xlabel="%", title=title)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.4, -0.14), ncols=1)
    figure.savefig(path, bbox_inches="tight", metadata={"Software": None})
    pyplot.close(figure)


def make_worlds(options: argparse.Namespace, folder: Path, ways: list[str]) -> Iterator[World]:
    """What the runs of each seed share, written where it is not there yet."""
    recipe = TinyRecipe(
        hidden_size=options.width, intermediate_size=options.width * 11 // 4, many=options.regime == "large"
    )
    base = tiny_base(recipe)
    for seed in range(options.seeds):
        world = World(folder / f"seed-{seed}", base, REGIMES[options.regime], seed, options.designs, options.in_4bit)
        make_world(world, [way for way in ways if way in WAYS])
        yield world


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regime", choices=REGIMES, default="small")
    parser.add_argument("--width", type=int, default=128, help="of the base model; 128 with small splits is shipped")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=[*WAYS, SYNCHRONOUS], default=[*WAYS, SYNCHRONOUS],
                        help="beside one merge and everything")  # fmt: skip
    parser.add_argument("--rates", nargs="+", type=float, help="peak learning rates to try; three when not given")
    parser.add_argument("--in-4bit", action="store_true", help="train and measure on the base in 4-bit")
    parser.add_argument("--designs", type=int, default=16, help="generated for the rules, by each model")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--work", type=Path, help="folder for the results; a temporary one when not given")
    parser.add_argument("--figure", type=Path, help="PNG to write")
    parser.add_argument("--quick", action="store_true", help="one seed, few ways, small splits, the shipped base")
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    options = parser.parse_args()
    ways = list(dict.fromkeys([APART, *map(tuned_as, options.ways), *options.ways, EVERYTHING]))
    rates = options.rates or REGIMES[options.regime].rates
    if options.quick:
        options.regime, options.width, options.seeds, options.designs = "small", 128, 1, 0
        ways, rates = list(QUICK), REGIMES["small"].rates
    started = time.time()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.work or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{options.regime}-{options.width}" + "-4bit" * options.in_4bit
        results = Results(folder / f"quality-{name}.json")
        results.read()
        worlds = list(make_worlds(options, folder / name, ways))
        measure_all(worlds, ways, rates, results, options.processes)
    regime = REGIMES[options.regime]
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {options.processes} processes; "
          f"{time.time() - started:,.0f} s; CPU of all runs {sum(results.seconds.values()):,.0f} s")  # fmt: skip
    print(f"{regime.name}: 6 splits of {regime.samples:,} samples, {regime.steps} steps of 16 samples each; width "
          f"{options.width}, {options.seeds} seeds\n\n{table(results)}\n")  # fmt: skip
    print("learning rates:", ", ".join(f"{row} {results.best_rate(row):g}" for row in results.rows()))
    if options.figure:
        draw(results, f"{regime.name}, width {options.width}", options.figure)
    if options.json:
        print(line_of_json(results.rows()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
