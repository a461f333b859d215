"""The fuzzer of untrusted adapters: thousands of damaged ones are refused, or merge to finite numbers."""

import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from adapter_files import CONFIG, WEIGHTS, join_file, make_adapter, merge, split_file, zip_of
from safetensors.torch import load_file

from housebrain_core.errors import AdapterError

WORDS = ["LORA", "F64", "BOOL", "", "../x", "\u0000", "\ud800", "all", "pissa", "(a+)+$", 0, -1, 1.5, 1e308, 2**70,
         True, None, [], {}, [[]], {"q_proj": 3}, {"": 1}, float("nan"), float("inf")]  # fmt: skip


def mutate(folder: Path, rng: random.Random) -> Path:
    """Damages one thing: bytes, header, body, configuration or zip."""
    kind = rng.choice(["bytes", "header", "values", "config", "config-bytes", "zip", "zip-names"])
    weights, config = folder / WEIGHTS, folder / CONFIG
    if kind in ("bytes", "config-bytes"):
        path = weights if kind == "bytes" else config
        path.write_bytes(damage(path.read_bytes(), rng))
    elif kind == "header":
        header, body = split_file(weights)
        name = rng.choice([n for n in header if n != "__metadata__"])
        where = rng.choice(["dtype", "shape", "data_offsets", "name", "drop"])
        if where in ("name", "drop"):
            entry = header.pop(name)
            header |= (
                {rng.choice([name + ".x", "../" + name, "", "\ud800", name.replace("A", "B")]): entry}
                if where == "name"
                else {}
            )
        elif where == "dtype":
            header[name]["dtype"] = rng.choice([*WORDS, "F16", "BF16"])
        else:
            header[name][where] = rng.choice([*WORDS, [rng.choice([0, 1, 2**62, -1, 5, 2]) for _ in range(2)]])
        join_file(weights, header, body, rng.choice([None, None, None, rng.randrange(2**16)]))
    elif kind == "values":
        header, body = split_file(weights)
        special = [float("nan"), float("inf"), 3e38, 1e-45, 1e6, -1e6, 1e-38, 1e-20, 0.0, 1.0]
        word = struct.pack("<f", rng.choice(special))
        words = [word for _ in range(len(body) // 4)]
        keep = rng.random()
        join_file(
            weights,
            header,
            b"".join(w if rng.random() > keep else body[4 * i : 4 * i + 4] for i, w in enumerate(words)),
        )
    elif kind == "config":
        settings = json.loads(config.read_text())
        settings[rng.choice([*settings, "use_dora", "modules_to_save", "unknown"])] = rng.choice(WORDS)
        config.write_text(json.dumps(settings))
    else:
        members = {f"a/{path.name}": path.read_bytes() for path in folder.iterdir()}
        if kind == "zip-names":
            old = rng.choice(sorted(members))
            members[rng.choice(["../b", "/b", "a/../../b", "b" * 300, f"a/{CONFIG}/x", "a/\u202e"])] = members.pop(old)
        path = zip_of(folder.with_suffix(".zip"), members)
        if kind == "zip":
            path.write_bytes(damage(path.read_bytes(), rng))
        return path
    return folder


def damage(data: bytes, rng: random.Random) -> bytes:
    """Flips, removes, repeats or inserts a few bytes."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(max(1, len(changed)))
        how = rng.randrange(4)
        if how == 0 and changed:
            changed[min(at, len(changed) - 1)] = rng.randrange(256)
        elif how == 1:
            del changed[at : at + rng.choice([1, 8, 200])]
        elif how == 2:
            changed[at:at] = rng.randbytes(rng.choice([1, 8]))
        else:
            changed[at:at] = changed[at : at + 16]
    return bytes(changed)


def fuzz(tmp_path: Path, seeds: range) -> tuple[int, int]:
    """Merges mutated adapters; returns how many were refused and how many merged."""
    refused = merged = 0
    for seed in seeds:
        rng = random.Random(seed)
        place = tmp_path / str(seed)
        path = mutate(make_adapter(place / "a"), rng)
        before = set(place.rglob("*"))
        try:
            merge(path, place / "out")
        except AdapterError as error:
            refused += 1
            str(error).encode("utf-8")
            assert set(place.rglob("*")) == before, f"seed {seed} left something behind"
            continue
        merged += 1
        assert all(torch.isfinite(v).all() for v in load_file(place / "out" / WEIGHTS).values()), f"seed {seed}"
        assert {p for p in place.rglob("*") if place / "out" not in (p, *p.parents)} == before, f"seed {seed}"
    return refused, merged


@pytest.mark.slow
def test_mutated_adapters_are_refused_or_merge_to_finite_numbers(tmp_path):
    refused, merged = fuzz(tmp_path, range(400))
    assert refused > 100 and merged > 20, "the fuzzer reaches both ends"


LIMITED = """
import os, resource, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path[:0] = sys.argv[2].split(os.pathsep)
import test_fuzzed_adapters
test_fuzzed_adapters.fuzz(Path(sys.argv[1]) / "warm", range(0, 20))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
print(*test_fuzzed_adapters.fuzz(Path(sys.argv[1]) / "rest", range(20, 3000)), peak() - before)
"""


@pytest.mark.soak
def test_three_thousand_mutated_adapters_take_no_memory_and_no_crash(tmp_path):
    command = [
        sys.executable,
        "-c",
        LIMITED,
        str(tmp_path),
        os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])]),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert ran.returncode == 0, ran.stderr[-2000:]
    refused, merged, grown = map(int, ran.stdout.split())
    assert refused + merged == 2980 and grown < 60_000, f"{grown} kB more than after the first twenty"
