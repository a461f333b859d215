"""Cuts training runs off in every way, and counts those that end with the adapter of the uninterrupted run.

    nohup python benchmarks/survival.py > survival.log &      all cases, about half an hour on an idle core
    python benchmarks/survival.py --most 5                    five of each kind, spread over all
    python benchmarks/survival.py --kinds operations damage

A case passes when the next run starts at the newest sealed step, as its own log says, does no more than one save
interval again, and ends with the same adapter by sha256. Starting over is a failure. Every run is forked from one
process that has torch loaded, so that a kill and its resume take seconds. SIGKILL shows the order of writes, not what a
power cut does to the page cache; for that every file is fsynced before its rename.
"""

import argparse
import os
import platform
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch
from survival_runs import (
    CUT,
    SAVE_STEPS,
    STEPS,
    WEIGHTS,
    Outcome,
    Whole,
    cut_run,
    finish,
    folder_for,
    go_on,
    lines_of,
    newest_sealed,
    prepare,
    start,
    start_of,
    wait_for,
)

KILLS = 100
"""SIGKILLs at random times."""


def spread(cases: list, most: int | None) -> list:
    """At most so many of the cases, evenly over all of them."""
    if most is None or most >= len(cases):
        return cases
    return [cases[(2 * number + 1) * len(cases) // (2 * most)] for number in range(most)]


def kill_before_operations(whole: Whole, most: int | None) -> Iterator[Outcome]:
    """A save, a seal, a prune and the last folder are all file operations of a run."""
    config = folder_for(whole, "killed")
    for at in spread(list(range(1, whole.operations + 1)), most):
        killed = finish(start(config, at)) == -signal.SIGKILL
        yield go_on(whole, config, f"before operation {at}", "" if killed else "the kill never came")


def kill_at_random_times(whole: Whole, most: int | None) -> Iterator[Outcome]:
    """From the moment when training begins; a run that was over before its kill came is not counted."""
    config, hits = folder_for(whole, "killed"), 0
    while hits < min(KILLS, most or KILLS):
        step, wait = whole.dice.randrange(STEPS), whole.dice.uniform(0, whole.seconds)
        child = start(config)
        wait_for(config, f"step {step} of" if step else "rows of")
        time.sleep(wait)
        os.kill(child, signal.SIGKILL)
        if finish(child) == -signal.SIGKILL:
            hits += 1
            yield go_on(whole, config, f"{wait:.3f} s after step {step}")
        else:
            shutil.rmtree(config.output_dir)


DAMAGE = {
    "truncated": lambda data: data[: len(data) // 2],
    "zeroed": lambda data: bytes(len(data)),
    "deleted": lambda data: None,
    "one bit flipped": lambda data: bytes(byte ^ (at == len(data) // 2) for at, byte in enumerate(data)),
    "empty": lambda data: b"",
}  # fmt: skip


def damage(path: Path, how: str) -> None:
    """Damages a file in one of the ways of `DAMAGE`."""
    damaged = DAMAGE[how](path.read_bytes())
    path.unlink() if damaged is None else path.write_bytes(damaged)


def damage_every_file(whole: Whole, most: int | None) -> Iterator[Outcome]:
    """The newest checkpoint is damaged, so the one before is the newest that is whole; then both are."""
    config, copy = cut_run(whole)
    names = sorted(path.name for path in (copy / f"checkpoint-{CUT}").iterdir())
    for name, how in spread(list(product(names, DAMAGE)), most):
        shutil.copytree(copy, config.output_dir)
        damage(config.output_dir / f"checkpoint-{CUT}" / name, how)
        yield go_on(whole, config, f"{name} {how}", sealed=CUT - SAVE_STEPS)
    for how in spread(list(DAMAGE), most and most // 10):
        shutil.copytree(copy, config.output_dir)
        for path in list(config.output_dir.glob(f"checkpoint-*/{WEIGHTS}")):
            damage(path, how)
        stopped = finish(start(config)) == 1 and "nothing was deleted" in lines_of(config)[-1]
        for step in (CUT - SAVE_STEPS, CUT):  # a person restores them
            shutil.rmtree(*config.output_dir.glob(f"invalid/checkpoint-{step}.*"))
            shutil.copytree(copy / f"checkpoint-{step}", config.output_dir / f"checkpoint-{step}")
        yield go_on(whole, config, f"all {how}", "" if stopped else "it did not stop", sealed=CUT)


def fill_the_disk(whole: Whole, most: int | None) -> Iterator[Outcome]:
    """No file may grow past a limit from checkpoint-2 on: for one save, for two, and for three, which stop the run."""
    config = folder_for(whole, "full")
    lifted = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit, failures in spread(list(product((9_000, 16_000, 30_000, 60_000, 90_000), (1, 2, 3))), most):
        left = failures

        def fill(line: str, limit: int = limit) -> None:
            nonlocal left
            if line == f"saved checkpoint-{SAVE_STEPS}":
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, lifted[1]))
            elif "training goes on" in line:
                left -= 1
                if not left:
                    resource.setrlimit(resource.RLIMIT_FSIZE, lifted)

        code, lines = finish(start(config, on_line=fill)), lines_of(config)
        failed = sum("training goes on" in line for line in lines)
        as_told = code == 0 and failed == failures if failures < 3 else code == 1 and "third in a row" in lines[-1]
        ended = go_on(whole, config, f"{limit} bytes, {failures} saves", "" if as_told else f"{code}: {lines[-1]}")
        yield ended._replace(allowed=failures * SAVE_STEPS)  # none of those saves is there to go on from


def end_the_budget(whole: Whole, most: int | None) -> Iterator[Outcome]:
    """Sessions follow one another until all steps are done; 30 s before its end a session saves and stops."""
    for seconds in spread([2, 3, 5, *(30 + whole.seconds * steps for steps in range(1, STEPS))], most):
        config = folder_for(whole, "budget", time_budget_hours=seconds / 3600)
        problem, sealed = "", 0
        for session in range(STEPS + 1):
            code, lines = finish(start(config)), lines_of(config)
            resumed = start_of(lines)
            if code or resumed != sealed or not (session == STEPS or "To go on" in lines[-1] or "done" in lines[-1]):
                problem = f"session {session}: code {code}, started at {resumed}, sealed was {sealed}, {lines[-1]}"
            sealed = newest_sealed(config.output_dir)
            if sealed == STEPS:
                break
        yield go_on(whole, config, f"{seconds:.1f} s, {session + 1} sessions", problem)


def ask_to_stop(whole: Whole, most: int | None) -> Iterator[Outcome]:
    """SIGTERM and SIGINT at random times: exit code 0, saved at the end of the step, and how to go on."""
    config = folder_for(whole, "asked")
    for number in ([signal.SIGTERM, signal.SIGINT] * 10)[:most]:
        step, wait = whole.dice.randrange(1, STEPS - 1), whole.dice.uniform(0, whole.seconds / 2)
        child = start(config)
        wait_for(config, f"step {step} of")
        time.sleep(wait)
        os.kill(child, number)
        code, lines = finish(child), lines_of(config)
        reached = max(int(line.split()[1]) for line in lines if line.startswith("step "))
        as_told = code == 0 and "To go on" in lines[-1] and newest_sealed(config.output_dir) == reached
        yield go_on(whole, config, f"{number.name} after step {step}", "" if as_told else f"{code}: {lines[-1]}")


def start_twice(whole: Whole, most: int | None) -> Iterator[Outcome]:
    """A second trainer of one folder ends at once and disturbs nothing; when the first is killed, it goes on."""
    config = folder_for(whole, "twice")
    for step in spread(list(range(STEPS)), most):
        child = start(config)
        wait_for(config, f"step {step} of" if step else "rows of")
        os.kill(child, signal.SIGSTOP)  # on a busy machine it might have ended before the second looks
        config.output_dir.with_suffix(".lines").rename(config.output_dir.with_suffix(".first"))
        code, lines = finish(start(config)), lines_of(config)
        os.kill(child, signal.SIGCONT)
        as_told = code == 1 and "another process is writing" in lines[-1]
        if step % 2:
            os.kill(child, signal.SIGKILL)
        finish(child)
        config.output_dir.with_suffix(".first").rename(config.output_dir.with_suffix(".lines"))
        yield go_on(whole, config, f"second at step {step}", "" if as_told else f"{code}: {lines[-1:]}")


KINDS = {
    "operations": ("SIGKILL before a file operation", kill_before_operations),
    "times": ("SIGKILL at a random time", kill_at_random_times),
    "damage": ("damaged file of the newest checkpoint", damage_every_file),
    "disk": ("full disk in a save", fill_the_disk),
    "budget": ("time budget", end_the_budget),
    "signals": ("SIGTERM, SIGINT", ask_to_stop),
    "twice": ("two trainers at once", start_twice),
}


def table(outcomes: dict[str, list[Outcome]]) -> str:
    """The results as a Markdown table."""
    lines = ["| kind | cases | resumed at the newest sealed step | most steps repeated | same sha256 | passed |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for name, of_kind in outcomes.items():
        right = sum(outcome.resumed == outcome.sealed for outcome in of_kind)
        repeated = max((max(0, outcome.reached - outcome.resumed) for outcome in of_kind), default=0)
        same, passed = (sum(getattr(outcome, what) for outcome in of_kind) for what in ("identical", "passed"))
        lines.append(f"| {KINDS[name][0]} | {len(of_kind)} | {right} | {repeated} | {same} | {passed} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--most", type=int, help="cases of each kind at most; all when not given")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started, outcomes = time.monotonic(), {}
    with tempfile.TemporaryDirectory() as scratch:
        whole = prepare(Path(scratch).resolve())
        for kind in options.kinds:
            outcomes[kind] = []
            for outcome in KINDS[kind][1](whole, options.most):
                outcomes[kind].append(outcome)
                if not outcome.passed or len(outcomes[kind]) % 10 == 0:
                    print(f"{kind} {len(outcomes[kind])}: {outcome}", flush=True)
            shutil.rmtree(whole.config.output_dir.with_name("killed"), ignore_errors=True)
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, ")
    print(f"torch {torch.__version__}; {time.monotonic() - started:.0f} s in all\n\n{table(outcomes)}")
    return 0 if all(outcome.passed for of_kind in outcomes.values() for outcome in of_kind) else 1


if __name__ == "__main__":
    sys.exit(main())
