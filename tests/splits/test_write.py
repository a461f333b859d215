"""The split's tree and its options: nothing half-done, nothing of the source changed, only what was asked for."""

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from housebrain_core.config import SplitConfig
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.house import synthetic
from housebrain_core.splits import write
from housebrain_core.splits.bundle import read_bundle
from housebrain_core.splits.parts import SplitSummary
from housebrain_core.splits.split import split_dataset


def quiet(**settings) -> SplitSummary:
    return split_dataset(SplitConfig(**{"splits": 2, "validation_samples": 4, **settings}), report=lambda line: None)


def contents(folder) -> dict[str, str]:
    """Path -> sha256 of every file."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def names_in(folder: Path) -> list[str]:
    """What is in a folder but locks, which stay."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


KILLED = """
import multiprocessing, os, signal, sys
from pathlib import Path
from housebrain_core.config import SplitConfig
from housebrain_core.data import processes
from housebrain_core.splits import encode, split, write

processes.FEW = 20
processes.CHUNK = 10
name = sys.argv[3]
calls = []
module = encode if name == "note_chunk" else write
called = getattr(module, name)

def kill_at_the_second(*args, **about):
    print("processes", *(process.pid for process in multiprocessing.active_children()), flush=True)
    if calls:
        os.kill(os.getpid(), signal.SIGKILL)
    calls.append(1)
    return called(*args, **about)

setattr(module, name, kill_at_the_second)
split.split_dataset(SplitConfig(source=Path(sys.argv[1]), output=Path(sys.argv[2]), splits=2, validation_samples=4))
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", ["note_chunk", "write_tree", "write_bundle"])
def test_a_killed_split_leaves_nothing_that_looks_finished_and_the_next_run_gives_the_same_bytes(
    step, dataset, tmp_path
):
    process = subprocess.run([sys.executable, "-c", KILLED, dataset, tmp_path / "out", step], capture_output=True)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*/manifest.json"))
    lines = [line.split() for line in process.stdout.decode().splitlines() if line.startswith("processes")]
    others = [int(word) for line in lines for word in line[1:]]
    assert bool(others) == (step == "note_chunk") and wait_for_the_end_of(others), "they end with their parent"
    quiet(source=dataset, output=tmp_path / "out")
    quiet(source=dataset, output=tmp_path / "whole")
    assert names_in(tmp_path) == ["out", "whole"]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def wait_for_the_end_of(processes: list[int]) -> bool:
    """Whether all of them end by themselves in half a minute."""
    for _ in range(300):
        if not any(map(is_alive, processes)):
            return True
        time.sleep(0.1)
    return False


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat")
        return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_files_are_copied_where_they_cannot_be_linked(dataset, tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    quiet(source=dataset, output=tmp_path / "out")
    copied = next((tmp_path / "out" / "split_01" / "train").iterdir())
    original = dataset / "train" / copied.name
    assert copied.read_bytes() == original.read_bytes() and not os.path.samefile(copied, original)


def test_a_read_only_source_stays_as_it_is_to_the_last_bit(tmp_path):
    synthetic.write_dataset(tmp_path / "source", 12, 4)
    for folder in ("train", "validation"):
        for path in (tmp_path / "source" / folder).iterdir():
            path.chmod(0o444)
        (tmp_path / "source" / folder).chmod(0o555)
    looks = {path: (path.stat().st_mode, path.stat().st_mtime_ns) for path in (tmp_path / "source").rglob("*")}
    before = contents(tmp_path / "source")
    quiet(source=tmp_path / "source", output=tmp_path / "out")
    quiet(source=tmp_path / "source", output=tmp_path / "out", overwrite=True)  # what it replaces is deleted
    assert contents(tmp_path / "source") == before
    assert {path: (path.stat().st_mode, path.stat().st_mtime_ns) for path in looks} == looks


MANY = """
import resource, sys
from pathlib import Path
from housebrain_core.config import SplitConfig
from housebrain_core.splits.split import split_dataset
summary = split_dataset(SplitConfig(source=Path(sys.argv[1]), output=Path(sys.argv[2])), report=lambda line: None)
print(summary.train, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.soak
@pytest.mark.parametrize("count", [int(os.environ.get("HOUSEBRAIN_MANY", 1_000_000))])
def test_a_million_files_are_split_in_less_than_a_kilobyte_of_memory_each(count, tmp_path):
    """A fifth of the files first, so that the growth for each file is known."""
    peaks = {}
    for part, number in (("few", count // 5), ("many", count)):
        folder = tmp_path / part / "train"
        folder.mkdir(parents=True)
        for index in range(number):
            sample = {"id": f"s{index}", "input": {"n": index}, "output": {"m": index % 7}}
            (folder / f"s{index}.json").write_text(json.dumps(sample))
        command = [sys.executable, "-c", MANY, tmp_path / part, tmp_path / f"{part} out"]
        trained, peak = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
        assert 0.97 * number < trained < 0.99 * number, "2 % are held out"
        peaks[number] = peak
        shutil.rmtree(tmp_path / part)
    growth = (peaks[count] - peaks[count // 5]) / (count - count // 5)
    print(f"{count:,} files: peak {peaks[count] / 1e6:.0f} MB, {growth:.0f} bytes for each file")
    assert growth < 1000


def test_no_space_left_is_one_sentence_and_nothing_stays(dataset, tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write, "link_or_copy", full)
    with pytest.raises(DataError, match="no space left"):
        quiet(source=dataset, output=tmp_path / "out")
    assert names_in(tmp_path) == []


def test_no_space_left_for_a_bundle_leaves_nothing_either(dataset, tmp_path, monkeypatch):
    def full(*args, **about):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write, "write_bundle", full)
    with pytest.raises(DataError, match="no space left"):
        quiet(source=dataset, output=tmp_path / "out")
    assert names_in(tmp_path) == []


def test_names_with_spaces_and_unicode_and_names_that_differ_in_case_all_arrive(tmp_path):
    source = tmp_path / "my data ß"
    samples = list(synthetic.make_samples(24, seed=3))
    for number, sample in enumerate(samples):
        part = "validation" if number >= 20 else "training" if number % 2 else "train"
        (source / part).mkdir(parents=True, exist_ok=True)
        name = f"Haus ☃ {number // 2}.json" if number % 2 else f"haus ☃ {number // 2}.json"
        (source / part / name).write_text(json.dumps(sample | {"id": f"id/{number} é"}))
    before = contents(source)
    quiet(source=source, output=tmp_path / "out dir", splits=1)
    tree = [json.loads(path.read_text())["id"] for path in (tmp_path / "out dir" / "split_01" / "train").iterdir()]
    assert sorted(tree) == sorted(f"id/{number} é" for number in range(20))
    assert contents(source) == before
    assert read_bundle(tmp_path / "out dir" / "split_01.zip").train.num_rows == 20


def test_ids_that_no_file_of_windows_may_have_are_files_of_another_name(tmp_path):
    names = ["CON", "nul", "com1", "LPT9.x", "aux.", "a ", "a:b", "x?", "..", "x" * 300, "com10", "console"]
    rows = [{"id": name, "input": {"n": n}, "output": {"n": n}} for n, name in enumerate(names)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    quiet(source=tmp_path / "rows.jsonl", output=tmp_path / "out", splits=1)
    files = list((tmp_path / "out").glob("split_01/*/*.json"))
    assert sorted(json.loads(file.read_text())["id"] for file in files) == sorted(names)
    kept = {"com10.json", "console.json"}
    assert {file.name for file in files if re.fullmatch("[0-9a-f]{24}.json", file.name) is None} == kept


def test_where_and_sample_choose_and_the_summary_says_so(tmp_path):
    lines = []
    for number, sample in enumerate(synthetic.make_samples(60, seed=3)):
        region = ["Asia_India", "Europe"][number % 2]
        lines.append(json.dumps(sample | {"id": str(number), "metadata": {"region": region, "n": number % 4}}))
    (tmp_path / "train.jsonl").write_text("\n".join(lines[:48]))
    (tmp_path / "validation.jsonl").write_text("\n".join(lines[48:]))
    where = ["metadata.region=Asia_India", "metadata.n=2"]
    summary = quiet(source=tmp_path, output=tmp_path / "out", where=where)
    assert (summary.train, summary.validation, summary.where) == (12, 3, where)
    rows = read_bundle(tmp_path / "out" / "split_01.zip").train.column("metadata").to_pylist()
    assert {json.loads(row)["region"] for row in rows} == {"Asia_India"}
    assert quiet(source=tmp_path, output=tmp_path / "few", sample=10).train == 10
    with pytest.raises(DataError, match="Moon"):
        quiet(source=tmp_path, output=tmp_path / "none", where=["metadata.region=Moon"])
    with pytest.raises(ConfigError, match="PATH=VALUE"):
        quiet(source=tmp_path, output=tmp_path / "none", where=["region"])


def test_repeats_and_leaks_are_counted_and_left_out_on_request(tmp_path):
    samples = list(synthetic.make_samples(30, seed=3))
    train = [*samples[:20], samples[3], samples[25]]  # one repeat, one that is in validation
    for name, part in (("train", train), ("validation", samples[20:])):
        (tmp_path / f"{name}.jsonl").write_text(
            "\n".join(json.dumps(s | {"id": f"{name}{n}"}) for n, s in enumerate(part))
        )
    found = quiet(source=tmp_path, output=tmp_path / "all")
    assert (found.train, found.repeats, found.leaks) == (22, 1, 1)
    assert quiet(source=tmp_path, output=tmp_path / "clean", drop_duplicates=True).train == 20


INTERRUPTED = """
import sys, time
from pathlib import Path
from housebrain_core.config import SplitConfig
from housebrain_core.data import processes
from housebrain_core.splits import encode, split

processes.FEW = 20
processes.CHUNK = 1
called = encode.note_chunk

def slow(*args):
    print("reading", flush=True)
    time.sleep(0.2)
    return called(*args)

encode.note_chunk = slow
split.split_dataset(SplitConfig(source=Path(sys.argv[1]), output=Path(sys.argv[2]), splits=2, validation_samples=4))
"""


@pytest.mark.slow
def test_ctrl_c_stops_the_split_and_its_processes_and_leaves_nothing(dataset, tmp_path):
    command = [sys.executable, "-c", INTERRUPTED, dataset, tmp_path / "out"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes of the command
        _, said = process.communicate(timeout=30)
    assert process.returncode != 0 and said.count("KeyboardInterrupt") == 1
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*/manifest.json"))
