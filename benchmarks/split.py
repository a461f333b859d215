"""What splitting costs beside the plain way: a copy of the files and `zip -qr` of each split.

    python benchmarks/split.py --source housebrain_dataset_v5_350k --work scratch    # a real dataset
    python benchmarks/split.py --samples 20000 --work scratch                        # a generated one

Both ways cut the same samples, on the file system of --work, after one pass over the source, so that both find it in
the page cache. The plain way copies with shutil.copyfile, of which `cp` takes about six tenths. ext4 makes new files
up to twice as slowly for a minute after many were deleted, which the copy shows: wait that long between runs. Peak
memory is that of all processes together, sampled twice a second, with what they share counted once (PSS; Linux only),
and that of the main process and of the largest that it started. CPU seconds (user and system, of all processes of a
way, and of the sampling) hold on a machine that does other things too, where seconds mean little.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OURS = """
import json, resource, sys
from pathlib import Path
from housebrain_core.config import SplitConfig
from housebrain_core.splits.split import split_dataset
split_dataset(SplitConfig(source=Path(sys.argv[1]), output=Path(sys.argv[2]), splits=int(sys.argv[3])))
peaks = [resource.getrusage(who).ru_maxrss / 1000 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
Path(sys.argv[2], "peaks.json").write_text(json.dumps(peaks))
"""
"""A split in a fresh process, which notes its peak memory and that of the largest process that it started, in MB."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="dataset folder with train/ and validation/ of .json files")
    parser.add_argument("--samples", type=int, default=20_000, help="training samples to generate without --source")
    parser.add_argument("--splits", type=int, default=6)
    parser.add_argument("--work", type=Path, default=Path("."), help="existing folder for everything that is written")
    parser.add_argument("--output", type=Path, help="file for the figures, as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        source = options.source or generate(Path(folder) / "source", options.samples)
        files = read_all(source)
        mine = run_ours(source, Path(folder) / "splits", options.splits)
        plain = run_plain(Path(folder) / "splits", Path(folder) / "plain", source)
    figures = {"machine": describe_machine(), "files": files, "splits": options.splits, "ours": mine, "plain": plain}
    print_table(figures)
    if options.output:
        options.output.write_text(json.dumps(figures, indent=1) + "\n")


def generate(folder: Path, samples: int) -> Path:
    """A dataset of generated samples; a ninth as many for validation, as in the real one."""
    from housebrain_core.house import synthetic

    synthetic.write_dataset(folder, samples, samples // 9)
    return folder


def read_all(source: Path) -> int:
    """Reads every file once; returns how many there are."""
    count = 0
    for folder, _, names in os.walk(source):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                file.read()
        count += len(names)
    os.sync()
    return count


def run_ours(source: Path, output: Path, splits: int) -> dict:
    """`housebrain split` in its own process: seconds, peak MB and the bytes of the bundles."""
    start, before = time.perf_counter(), cpu_seconds()
    command = [sys.executable, "-c", OURS, str(source), str(output), str(splits)]
    together = 0.0
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            together = max(together, measure_memory(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - before
    os.sync()
    peaks = json.loads((output / "peaks.json").read_text())
    sizes = [path.stat().st_size for path in sorted(output.glob("split_*.zip"))]
    memory = {"peak_mb": peaks[0], "other_peak_mb": peaks[1], "together_mb": together}
    return {"seconds": seconds, "cpu": cpu, "bytes": sum(sizes), **memory}


def measure_memory(process: int) -> float:
    """Proportional memory of a process and all that it started, in MB; 0 where the system does not tell."""
    try:
        used = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{process}/smaps_rollup").read_text(), re.MULTILINE)
        tasks = list(Path(f"/proc/{process}/task").iterdir())
        children = {int(child) for task in tasks for child in (task / "children").read_text().split()}
    except OSError:  # another system, or it has ended
        return 0.0
    return int(used[1]) / 1000 + sum(map(measure_memory, children))


def run_plain(splits: Path, output: Path, source: Path) -> dict:
    """Copies the files of each split and zips them: seconds of both, and the bytes of the zips."""
    chosen = {
        folder.relative_to(splits): sorted(os.listdir(folder))
        for folder in sorted(splits.glob("split_*/*"))
        if folder.is_dir()
    }
    start, before = time.perf_counter(), cpu_seconds()
    for folder, names in chosen.items():
        (output / folder).mkdir(parents=True)
        for name in names:
            shutil.copyfile(source / folder.name / name, output / folder / name)
    copied = time.perf_counter()
    names = sorted({folder.parts[0] for folder in chosen})
    for name in names:
        subprocess.run(["zip", "-qr", f"{name}.zip", name], cwd=output, check=True)
    zipped, cpu = time.perf_counter(), cpu_seconds() - before
    sizes = [(output / f"{name}.zip").stat().st_size for name in names]
    return {"seconds": zipped - start, "cpu": cpu, "copy": copied - start, "zip": zipped - copied, "bytes": sum(sizes)}


def cpu_seconds() -> float:
    """User and system time of this process and of its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def describe_machine() -> str:
    """Processor, cores and memory."""
    name = platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GB, {platform.system()}, Python {platform.python_version()}"


def print_table(figures: dict) -> None:
    mine, plain, files = figures["ours"], figures["plain"], figures["files"]
    print(f"{figures['machine']}; {files:,} files into {figures['splits']} splits")
    print("| | seconds | CPU seconds | MB of zips | bytes per sample |\n|---|---|---|---|---|")
    for name, row in (("copy and zip -qr", plain), ("housebrain split", mine)):
        size = f"{row['bytes'] / 1e6:.1f} | {row['bytes'] / files:.0f}"
        print(f"| {name} | {row['seconds']:.1f} | {row['cpu']:.1f} | {size} |")
    ratios = [plain[name] / mine[name] for name in ("seconds", "cpu", "bytes")]
    print(f"| ratio | {' | '.join(f'{ratio:.1f}' for ratio in ratios)} | |")
    print(f"copy {plain['copy']:.1f} s, zip {plain['zip']:.1f} s; ", end="")
    print(f"peak memory {mine['together_mb']:.0f} MB together, ", end="")
    print(f"main process {mine['peak_mb']:.0f} MB, each other up to {mine['other_peak_mb']:.0f} MB")


if __name__ == "__main__":
    main()
