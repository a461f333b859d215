"""Cuts training runs off in every way, and counts those that end with the adapter of the uninterrupted run.

    nohup python benchmarks/survival.py > survival.log &      all cases, about half an hour on an idle core
    python benchmarks/survival.py --most 5                    five of each kind
    python benchmarks/survival.py --kinds operations damage

A case passes when the next run starts at the newest sealed step, as its own log says, does no more than one save
interval again, and ends with the same adapter by sha256. Starting over is a failure. Every run is forked from one
process that has torch loaded, so that a kill and its resume take seconds. SIGKILL shows the order of writes, not what a
power cut does to the page cache; for that every file is fsynced before its rename.
"""

import argparse
import json
import os
import platform
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from housebrain_core import synthetic
from housebrain_core.config import FineTuningConfig, SplitConfig
from housebrain_core.errors import HouseBrainError
from housebrain_core.manifests import sha256_of
from housebrain_core.splits import split_dataset
from housebrain_core.tiny import TinyRecipe, tiny_base
from housebrain_core.train import HouseBrainFineTuner

WEIGHTS = "adapter_model.safetensors"
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}
STEPS, SAVE_STEPS, CUT = 8, 2, 4
KILLS = 100
"""SIGKILLs at random times."""


class Outcome(NamedTuple):
    """What became of one case."""

    case: str
    sealed: int
    """The newest sealed and whole step when the run was cut off; STEPS when its adapter was finished."""
    resumed: int
    """The step that the next run started at, from its log."""
    reached: int
    """The last step that the run had done when it was cut off, from its log."""
    identical: bool
    problem: str = ""
    """What else was not as promised."""

    @property
    def passed(self) -> bool:
        return (
            self.identical
            and not self.problem
            and self.resumed == self.sealed
            and self.reached - self.resumed <= SAVE_STEPS
        )


class Whole(NamedTuple):
    """The uninterrupted run, which all others are compared with."""

    config: FineTuningConfig
    expected: str
    """sha256 of its adapter."""
    operations: int
    """File operations in its folder."""
    seconds: float
    """Of one optimizer step, saves included."""
    dice: random.Random


def prepare(folder: Path) -> Whole:
    """A generated dataset, its split, a tiny base model, and the run that nothing interrupts."""
    synthetic.write_dataset(folder / "dataset", 48, 16)
    split_dataset(SplitConfig(source=folder / "dataset", output=folder / "splits", splits=3), lambda line: None)
    config = FineTuningConfig(
        dataset_path=folder / "splits" / "split_01.zip",
        output_dir=folder / "uninterrupted",
        base_model=str(tiny_base(TinyRecipe(samples=120, intermediate_size=64))),
        max_steps=STEPS,
        save_steps=SAVE_STEPS,
        logging_steps=1,
        gradient_accumulation_steps=1,
        row_length=512,
        learning_rate=5e-3,
    )
    child = start(config)
    wait_for(config, "step 1 of")
    started = time.monotonic()
    if finish(child):
        sys.exit("the uninterrupted run failed:\n" + "\n".join(lines_of(config)))
    seconds = (time.monotonic() - started) / STEPS
    operations = int(config.output_dir.with_suffix(".operations").read_text())
    print(f"uninterrupted: {STEPS} steps, {operations} file operations", flush=True)
    return Whole(config, sha256_of(config.output_dir / WEIGHTS), operations, seconds, random.Random(1))


def start(
    config: FineTuningConfig, kill_at: int | None = None, on_line: Callable[[str], None] = lambda line: None
) -> int:
    """Trains in a forked process, its lines in a file beside the folder; the process's id.

    Args:
        config: the run's settings.
        kill_at: SIGKILL itself before this many file operations in its folder; the count is left in a file beside it.
        on_line: called in that process with each line.
    """
    config.output_dir.with_suffix(".lines").unlink(missing_ok=True)
    child = os.fork()
    if child:
        return child
    done = 0

    def count(event: str, arguments: tuple) -> None:
        nonlocal done
        if event in EVENTS and any(str(config.output_dir) + "/" in f"{argument}/" for argument in arguments[:2]):
            done += 1
            if done == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        with config.output_dir.with_suffix(".lines").open("w", buffering=1) as lines:
            sys.addaudithook(count)

            def report(line: str) -> None:
                print(line, file=lines)
                on_line(line)

            try:
                HouseBrainFineTuner(config, report=report).train()
                code = 0
            except HouseBrainError as error:
                print(f"{type(error).__name__}: {error}", file=lines)
        config.output_dir.with_suffix(".operations").write_text(str(done))
    finally:
        os._exit(code)


def finish(child: int) -> int:
    """Waits for a forked run: its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def lines_of(config: FineTuningConfig) -> list[str]:
    """What the latest run into this folder has said so far."""
    path = config.output_dir.with_suffix(".lines")
    return path.read_text().splitlines() if path.exists() else []


def wait_for(config: FineTuningConfig, text: str) -> None:
    """Waits until a running run has said something."""
    give_up = time.monotonic() + 120
    while not any(text in line for line in lines_of(config)):
        if time.monotonic() > give_up:
            sys.exit(f"no line with {text!r} in two minutes:\n" + "\n".join(lines_of(config)))
        time.sleep(0.002)


def newest_sealed(output: Path) -> int:
    """The newest step with a manifest; STEPS when the adapter itself is finished, 0 when nothing is sealed."""
    if (output / "manifest.json").exists() and json.loads((output / "manifest.json").read_bytes())["finished"]:
        return STEPS
    return max((int(path.parent.name[11:]) for path in output.glob("checkpoint-*/manifest.json")), default=0)


def go_on(whole: Whole, config: FineTuningConfig, case: str, problem: str = "", sealed: int | None = None) -> Outcome:
    """Starts a run again after it was cut off, and compares; its folder is removed.

    Args:
        whole: what it has to end like.
        config: of the run.
        case: what was done to it.
        problem: what was not as promised then.
        sealed: the step to go on from, for a copy of `cut_run`'s folder; by default the newest in the folder.
    """
    steps = [int(line.split()[1]) for line in lines_of(config) if line.startswith("step ")]
    if sealed is None:
        sealed = newest_sealed(config.output_dir)
    else:
        steps = [CUT]
    code = finish(start(config))
    lines = lines_of(config)
    resumed = sum(int(line.rpartition("-")[2]) for line in lines if line.startswith("resuming from checkpoint-"))
    if "nothing is left to do" in lines[-1]:
        resumed = STEPS
    identical = code == 0 and sha256_of(config.output_dir / WEIGHTS) == whole.expected
    shutil.rmtree(config.output_dir)
    return Outcome(case, sealed, resumed, max(steps, default=resumed), identical, problem)


def folder_for(whole: Whole, name: str, **settings) -> FineTuningConfig:
    """The settings of the uninterrupted run for another folder."""
    return whole.config.model_copy(update={"output_dir": whole.config.output_dir.with_name(name), **settings})


def cut_run(whole: Whole) -> tuple[FineTuningConfig, Path]:
    """A run that was killed right after it sealed checkpoint-4, and a copy of its folder to start cases from."""
    config = folder_for(whole, "cut")
    finish(start(config, on_line=lambda line: os.kill(os.getpid(), 9) if line == f"saved checkpoint-{CUT}" else None))
    copy = config.output_dir.with_name("cut-copy")
    shutil.rmtree(copy, ignore_errors=True)
    config.output_dir.rename(copy)
    return config, copy


def kill_before_operations(whole: Whole) -> Iterator[Outcome]:
    """A save, a seal, a prune and the last folder are all file operations of a run."""
    config = folder_for(whole, "killed")
    for at in range(1, whole.operations + 1):
        killed = finish(start(config, at)) == -signal.SIGKILL
        yield go_on(whole, config, f"before operation {at}", "" if killed else "the kill never came")


def kill_at_random_times(whole: Whole) -> Iterator[Outcome]:
    """From the moment when training begins; a run that was over before its kill came is not counted."""
    config, hits = folder_for(whole, "killed"), 0
    while hits < KILLS:
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
    "one bit flipped": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
    "empty": lambda data: b"",
}  # fmt: skip


def damage_every_file(whole: Whole) -> Iterator[Outcome]:
    """The newest checkpoint is damaged, so the one before is the newest that is whole; then both are."""
    config, copy = cut_run(whole)
    for name in sorted(path.name for path in (copy / f"checkpoint-{CUT}").iterdir()):
        for how, change in DAMAGE.items():
            shutil.copytree(copy, config.output_dir)
            path = config.output_dir / f"checkpoint-{CUT}" / name
            damaged = change(path.read_bytes())
            path.unlink() if damaged is None else path.write_bytes(damaged)
            yield go_on(whole, config, f"{name} {how}", sealed=CUT - SAVE_STEPS)
    for how, change in DAMAGE.items():
        shutil.copytree(copy, config.output_dir)
        for path in list(config.output_dir.glob(f"checkpoint-*/{WEIGHTS}")):
            damaged = change(path.read_bytes())
            path.unlink() if damaged is None else path.write_bytes(damaged)
        stopped = finish(start(config)) == 1 and "nothing was deleted" in lines_of(config)[-1]
        for step in (CUT - SAVE_STEPS, CUT):  # a person restores them
            shutil.rmtree(*config.output_dir.glob(f"invalid/checkpoint-{step}.*"))
            shutil.copytree(copy / f"checkpoint-{step}", config.output_dir / f"checkpoint-{step}")
        yield go_on(whole, config, f"all {how}", "" if stopped else "it did not stop", sealed=CUT)


def fill_the_disk(whole: Whole) -> Iterator[Outcome]:
    """No file may grow past a limit from checkpoint-2 on: for one save, for two, and for three, which stop the run."""
    config = folder_for(whole, "full")
    lifted = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (9_000, 16_000, 30_000, 60_000, 90_000):
        for failures in (1, 2, 3):
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
            yield go_on(whole, config, f"{limit} bytes, {failures} saves", "" if as_told else f"{code}: {lines[-1]}")


def end_the_budget(whole: Whole) -> Iterator[Outcome]:
    """Sessions follow one another until the plan is done; 30 s before its end a session saves and stops."""
    for seconds in [*(30 + whole.seconds * steps for steps in range(1, STEPS)), 2, 3, 5]:
        config = folder_for(whole, "budget", time_budget_hours=seconds / 3600)
        problem, sealed = "", 0
        for session in range(STEPS + 1):
            code, lines = finish(start(config)), lines_of(config)
            resumed = sum(int(line.rpartition("-")[2]) for line in lines if line.startswith("resuming from checkpoint-"))
            if code or resumed != sealed or not (session == STEPS or "To go on" in lines[-1] or "done" in lines[-1]):
                problem = f"session {session}: code {code}, started at {resumed}, sealed was {sealed}, {lines[-1]}"
            sealed = newest_sealed(config.output_dir)
            if sealed == STEPS:
                break
        yield go_on(whole, config, f"{seconds:.1f} s, {session + 1} sessions", problem)


def ask_to_stop(whole: Whole) -> Iterator[Outcome]:
    """SIGTERM and SIGINT at random times: exit code 0, saved at the end of the step, and how to go on."""
    config = folder_for(whole, "asked")
    for number in [signal.SIGTERM, signal.SIGINT] * 10:
        step, wait = whole.dice.randrange(1, STEPS - 1), whole.dice.uniform(0, whole.seconds / 2)
        child = start(config)
        wait_for(config, f"step {step} of")
        time.sleep(wait)
        os.kill(child, number)
        code, lines = finish(child), lines_of(config)
        reached = max(int(line.split()[1]) for line in lines if line.startswith("step "))
        as_told = code == 0 and "To go on" in lines[-1] and newest_sealed(config.output_dir) == reached
        yield go_on(whole, config, f"{number.name} after step {step}", "" if as_told else f"{code}: {lines[-1]}")


def start_twice(whole: Whole) -> Iterator[Outcome]:
    """A second trainer of one folder ends at once and disturbs nothing; when the first is killed, it goes on."""
    config = folder_for(whole, "twice")
    for step in range(STEPS):
        child = start(config)
        wait_for(config, f"step {step} of" if step else "rows of")
        config.output_dir.with_suffix(".lines").rename(config.output_dir.with_suffix(".first"))
        code, lines = finish(start(config)), lines_of(config)
        as_told = code == 1 and "another process is training" in lines[-1]
        if step % 2:
            os.kill(child, signal.SIGKILL)
        finish(child)
        config.output_dir.with_suffix(".first").rename(config.output_dir.with_suffix(".lines"))
        yield go_on(whole, config, f"second at step {step}", "" if as_told else f"{code}: {lines[-1:]}")


CHANGES = {"epochs": 3, "max_steps": 9, "batch_size": 8, "gradient_accumulation_steps": 3, "row_length": 256,
           "learning_rate": 1e-3, "warmup_share": 0.5, "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "seed": 7,
           "lora_seed": 7, "load_in_4bit": False, "max_length": 1000}  # fmt: skip


def change_a_setting(whole: Whole) -> Iterator[Outcome]:
    """Refused with the field, old and new, and nothing is touched; with the old settings it goes on."""
    config, copy = cut_run(whole)
    changes = [(name, config.model_copy(update={name: value})) for name, value in CHANGES.items()]
    other = config.dataset_path.with_name("split_02.zip")
    changes.append(("data", config.model_copy(update={"dataset_path": other})))
    base = str(tiny_base(TinyRecipe(samples=121, intermediate_size=64), lambda line: None))
    changes += [(name, config.model_copy(update={"base_model": base})) for name in ("base_model", "revision")]
    for name, changed in changes:
        shutil.copytree(copy, config.output_dir)
        code, lines = finish(start(changed)), lines_of(config)
        refusal = [line for line in lines if line.startswith("CheckpointError")][-1:]
        as_told = code == 1 and refusal and f"{name} was " in refusal[0]
        yield go_on(whole, config, f"{name} changed", "" if as_told else f"{code}: {lines[-1:]}", sealed=CUT)


BAD_ROWS = {
    "invalid JSON": b'{"id": "x", ',
    "missing key": b'{"id": "x", "input": {}}',
    "not an object": b'[1, 2, 3]',
    "text instead of a design": b'{"id": "x", "input": {}, "output": "a house", "metadata": {}}',
    "NUL": b"\x00" * 100,
    "invalid UTF-8": b'{"id": "\xff\xfe"}',
    "10 MB": b'{"id": "' + b"x" * 10_000_000,
    "an id twice": None,
}


def train_beside_bad_rows(whole: Whole) -> Iterator[Outcome]:
    """A dataset with a bad row is split without it, in the order of the clean one; then its run is killed and goes on."""
    folder = whole.config.output_dir.parent
    good = {
        part: [json.dumps(json.loads(path.read_bytes())).encode() for path in sorted((folder / "dataset" / part).iterdir())]
        for part in ("train", "validation")
    }
    for number, (what, row) in enumerate(BAD_ROWS.items()):
        source, output = folder / f"bad-{number}", folder / f"bad-splits-{number}"
        source.mkdir()
        rows = list(good["train"])
        rows.insert(5 * number + 1, good["train"][0] if row is None else row)
        (source / "train.jsonl").write_bytes(b"\xef\xbb\xbf"[: 3 * (number % 2)] + b"\r\n".join(rows) + b"\n\n")
        (source / "validation.jsonl").write_bytes(b"\n".join(good["validation"]))
        said: list[str] = []
        split_dataset(SplitConfig(source=source, output=output, splits=3, max_bad=0.05), said.append)
        named = any(f"train.jsonl:{5 * number + 2}" in line for line in said)
        config = folder_for(whole, "bad", dataset_path=output / "split_01.zip")
        finish(start(config, on_line=lambda line: os.kill(os.getpid(), 9) if line == "saved checkpoint-4" else None))
        yield go_on(whole, config, what, "" if named else f"not named: {said}")


KINDS = {
    "operations": ("SIGKILL before a file operation", kill_before_operations),
    "times": ("SIGKILL at a random time", kill_at_random_times),
    "damage": ("damaged file of the newest checkpoint", damage_every_file),
    "disk": ("full disk in a save", fill_the_disk),
    "budget": ("time budget", end_the_budget),
    "signals": ("SIGTERM, SIGINT", ask_to_stop),
    "twice": ("two trainers at once", start_twice),
    "settings": ("changed setting", change_a_setting),
    "rows": ("bad row in the dataset", train_beside_bad_rows),
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
            for outcome in islice(KINDS[kind][1](whole), options.most):
                outcomes[kind].append(outcome)
                if not outcome.passed or len(outcomes[kind]) % 10 == 0:
                    print(f"{kind} {len(outcomes[kind])}: {outcome}", flush=True)
            shutil.rmtree(whole.config.output_dir.with_name("killed"), ignore_errors=True)
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, ")
    print(f"torch {torch.__version__}; {time.monotonic() - started:.0f} s in all\n\n{table(outcomes)}")
    return 0 if all(outcome.passed for of_kind in outcomes.values() for outcome in of_kind) else 1


if __name__ == "__main__":
    sys.exit(main())
