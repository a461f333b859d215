"""What tests take from outside: the real dataset where it is at hand, the package index, and the lock file."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("HOUSEBRAIN_SHARED") or ROOT.parent / "shared")


def skip_without_index(done: subprocess.CompletedProcess) -> None:
    """Skips a test whose uv could not reach the package index; any other failure is one."""
    if done.returncode and re.search("dns error|error sending request|Could not connect|timed out", done.stderr):
        pytest.skip(f"no package index can be reached: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr


def read_pins() -> dict[str, str]:
    """Version of each distribution in the lock file, by name."""
    text = (ROOT / "housebrain_core" / "constraints.txt").read_text(encoding="utf-8")
    return dict(line.split("==") for line in text.splitlines() if line and not line.startswith("#"))


def real_samples(shared: Path, part: str, count: int) -> Iterator[dict]:
    """The first samples of a part of the real dataset."""
    command = ["zstd", "-dcq", str(shared / "data" / f"hbv5_350k_{part}.jsonl.zst")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        yield from map(json.loads, islice(process.stdout, count))
        process.kill()
