"""Times the merge at the real shapes of DeepSeek-Coder-6.7B against PEFT, side by side, each in its own process.

    python benchmarks/merge.py                  7 adapters of rank 8, 224 modules, 560 MB: ours, PEFT cat and linear;
                                                PEFT svd, one module of each shape, extrapolated (minutes);
                                                100 adapters beside 7, 21 modules
    python benchmarks/merge.py --quick          without svd and without the 100 adapters
    python benchmarks/merge.py --ours-only      without PEFT
    python benchmarks/merge.py --into-base 4    the full weights of a 4-layer base, against merge_and_unload

Synthetic: B ~ T A' + 50 % noise, one A per adapter close to a common one. CPU seconds and memory count everything that
a process does after importing torch; memory is the peak resident one, beyond what importing torch took. Every file is
dropped from the page cache before each run. All take turns, three times, and each shows its fastest. The floor reads
all inputs and writes as much as one adapter has.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from merge_inputs import HIDDEN, INNER, LAYERS, MODULES, drop_cache, make_adapters, make_base, shapes

ROUNDS = 3
WEIGHTS = "adapter_model.safetensors"


def memory(name: str) -> float:
    """Resident memory of this process in MB: VmHWM is its peak, VmRSS what it has now (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1000


def floor(paths: list[Path], output: Path) -> None:
    """Reads every input once and writes as many bytes as one adapter has: what no merge can be faster than."""
    for path in paths:
        with (path / WEIGHTS).open("rb", buffering=0) as file:
            while data := file.read(2**20):
                pass
    output.mkdir()
    with (output / WEIGHTS).open("wb") as file:
        for _ in range((paths[0] / WEIGHTS).stat().st_size // 2**20):
            file.write(bytes(2**20))
        os.fsync(file.fileno())
    del data


def ours(paths: list[Path], output: Path, rank: str | int) -> None:
    from housebrain_core.config import MergeConfig
    from housebrain_core.merge.merge import merge_adapters

    config = MergeConfig(models=paths, output=output, rank=rank, accept_plain=True)
    merge_adapters(config, report=lambda line: None)


def full(base: Path, adapter: Path, output: Path, view: str) -> None:
    from housebrain_core.adapters.adapter import read_adapter
    from housebrain_core.export.streaming import stream
    from housebrain_core.merge.compute import Recipe, compute_merge

    output.mkdir()
    merge = compute_merge([read_adapter(adapter, accept_plain=True)], Recipe("average", [1.0]), "full")
    stream(base, merge, view, "float16", output, report=lambda line: None)


def peft_model(layers: int):
    """A Llama whose weights take no memory, so that PEFT can be timed without its base model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=layers, vocab_size=1,
                         num_attention_heads=32)  # fmt: skip
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    for module in model.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            empty = torch.zeros(1).expand(value.shape)
            setattr(module, name, torch.nn.Parameter(empty, requires_grad=False))
    return model


def peft_merge(paths: list[Path], output: Path, layers: int, how: str) -> None:
    from peft import PeftModel

    model = PeftModel.from_pretrained(peft_model(layers), paths[0], adapter_name="a0")
    for number, path in enumerate(paths[1:], 1):
        model.load_adapter(path, adapter_name=f"a{number}")
    names = [f"a{number}" for number in range(len(paths))]
    model.add_weighted_adapter(names, [1 / len(names)] * len(names), "merged", combination_type=how)
    model.save_pretrained(output, selected_adapters=["merged"])


def peft_svd(count: int) -> dict[str, float]:
    """CPU seconds of PEFT's svd for one module of each shape."""
    import torch
    from peft import LoraConfig, get_peft_model

    seconds = {}
    for out, inner in {size for group in MODULES.values() for size in group.values()}:
        model = torch.nn.Sequential(torch.nn.Linear(inner, out, bias=False))
        config = LoraConfig(r=8, lora_alpha=16, target_modules=["0"], init_lora_weights=False)
        model = get_peft_model(model, config, adapter_name="a0")
        for number in range(1, count):
            model.add_adapter(f"a{number}", config)
        started = time.process_time()
        names = [f"a{number}" for number in range(count)]
        model.add_weighted_adapter(names, [1 / count] * count, "merged", combination_type="svd", svd_rank=8)
        seconds[f"{out}x{inner}"] = time.process_time() - started
    return seconds


def peft_full(base: Path, adapter: Path, output: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float16)
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(output)


def run_one(options: argparse.Namespace) -> None:
    """In a process of its own: torch and PEFT, then the clock, then the work."""
    import torch

    torch.set_num_threads(1)
    before = memory("VmRSS")
    root = Path(options.folder)
    paths = sorted(root.glob("a[0-9][0-9][0-9]"))
    output = root / f"out-{options.one}"
    work = {
        "floor": lambda: floor(paths, output),
        "ours-8": lambda: ours(paths, output, 8),
        "ours-auto": lambda: ours(paths, output, "auto"),
        "ours-full": lambda: ours(paths, output, "full"),
        "cat": lambda: peft_merge(paths, output, options.layers, "cat"),
        "linear": lambda: peft_merge(paths, output, options.layers, "linear"),
        "svd": lambda: peft_svd(options.adapters),
        "full": lambda: full(root / "base", paths[0], output, "fp16"),
        "full-nf4": lambda: full(root / "base", paths[0], output, "nf4-dequant"),
        "peft-full": lambda: peft_full(root / "base", paths[0], output),
    }[options.one]
    wall, cpu = time.monotonic(), time.process_time()
    returned = work()
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": memory("VmHWM") - before, "torch": before, "value": returned}))


def measure(options: argparse.Namespace, folder: Path, names: list[str]) -> dict[str, dict]:
    """Everything in turn, a few times; of each the fastest run by wall time, with the largest memory of any."""
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)
    runs: dict[str, list[dict]] = {name: [] for name in names}
    for _ in range(1 if names == ["svd"] else ROUNDS):
        for name in names:
            shutil.rmtree(folder / f"out-{name}", ignore_errors=True)
            drop_cache([folder])
            command = [sys.executable, "-W", "ignore", __file__, "--one", name, "--folder", str(folder)]
            command += ["--adapters", str(options.adapters), "--layers", str(options.layers)]
            quiet = os.environ | {"TRANSFORMERS_VERBOSITY": "error"}
            ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=quiet)
            runs[name].append(json.loads(ran.stdout.splitlines()[-1]))
    fastest = {}
    for name, results in runs.items():
        best = min(results, key=lambda result: result["wall"])
        fastest[name] = best = best | {"peak": max(result["peak"] for result in results)}
        print(f"{name:10} {best['wall']:8.2f} s wall {best['cpu']:8.2f} s CPU {best['peak']:8.0f} MB", flush=True)
    return fastest


def error_of(folder: Path, paths: list[Path]) -> float:
    """Relative Frobenius distance of a merged adapter from the float64 mean, in one module of each shape."""
    from safetensors import safe_open

    def update(path: Path, module: str):
        config = json.loads((path / "adapter_config.json").read_text())
        with safe_open(path / WEIGHTS, "pt") as file:
            b, a = (file.get_tensor(f"base_model.model.{module}.lora_{side}.weight").double() for side in "BA")
        return config["lora_alpha"] / config["r"] * b @ a

    distance = norm = 0.0
    for name in ("self_attn.q_proj", "mlp.up_proj"):
        module = f"model.layers.0.{name}"
        mean = sum(update(path, module) for path in paths) / len(paths)
        distance += float((update(folder, module) - mean).square().sum())
        norm += float(mean.square().sum())
    return (distance / norm) ** 0.5


def compare_adapters(options: argparse.Namespace, folder: Path) -> None:
    paths = make_adapters(folder, options.adapters, options.layers)
    print(f"{options.adapters} adapters of rank 8, {len(shapes(options.layers))} modules", flush=True)
    names = ["ours-8", "ours-auto", "ours-full", *([] if options.ours_only else ["cat", "linear"])]
    results = measure(options, folder, ["floor", *names])
    for name in names:
        output = folder / f"out-{name}"
        output = output if (output / "adapter_config.json").exists() else output / "merged"
        times = results[name]["wall"] / results["floor"]["wall"]
        print(f"{name:10} {times:.2f} times the floor's wall time; error {error_of(output, paths):.3g}", flush=True)
    if not options.quick and not options.ours_only:
        seconds = measure(options, folder, ["svd"])["svd"]["value"]
        total = sum(seconds[f"{out}x{inner}"] for out, inner in shapes(LAYERS).values())
        print(f"PEFT svd: {seconds}; extrapolated to {len(shapes(LAYERS))} modules: {total:,.0f} s CPU")


def compare_counts(options: argparse.Namespace, folder: Path) -> None:
    """100 adapters beside 7 of them: what grows with their number."""
    options.layers, peaks = 3, {}
    made = make_adapters(folder, 100, options.layers)
    few = folder / "seven"
    few.mkdir()
    for path in made[:7]:
        shutil.copytree(path, few / path.name)
    for count, place in ((7, few), (100, folder)):
        print(f"{count} adapters of rank 8, {len(shapes(options.layers))} modules", flush=True)
        result = measure(options, place, ["ours-8"])["ours-8"]
        peaks[count] = result["peak"] + result["torch"]
    print(f"memory of 100 adapters: {peaks[100] / peaks[7]:.2f} times that of 7, torch included")


def difference(one: Path, other: Path) -> tuple[float, float]:
    """Largest difference between two float16 models, in spacings of float16, and the share of values that differ."""
    import torch
    from safetensors.torch import load_file

    tensors = {name: value for path in other.glob("*.safetensors") for name, value in load_file(path).items()}
    largest, differing, count = 0.0, 0, 0
    for path in one.glob("*.safetensors"):
        for name, value in load_file(path).items():
            a, b = value.float(), tensors[name].float()
            spacing = torch.ldexp(torch.ones_like(b), torch.frexp(b.abs().clamp(min=2**-14))[1] - 11)
            largest = max(largest, float(((a - b).abs() / spacing).max()))
            differing, count = differing + int((a != b).sum()), count + a.numel()
    return largest, differing / count


def compare_full(options: argparse.Namespace, folder: Path) -> None:
    options.layers = options.into_base
    make_adapters(folder, 1, options.layers)
    make_base(folder / "base", options.layers)
    print(f"a base of {sum(p.stat().st_size for p in folder.glob('base/*.safetensors')) / 1e9:.2f} GB", flush=True)
    measure(options, folder, ["full", "full-nf4", *([] if options.ours_only else ["peft-full"])])
    if not options.ours_only:
        largest, share = difference(folder / "out-full", folder / "out-peft-full")
        print(f"full: {share:.1e} of values differ from PEFT's, at most {largest:g} spacings")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapters", type=int, default=7)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--counts-only", action="store_true", help="only 100 adapters beside 7")
    parser.add_argument("--into-base", type=int, metavar="LAYERS")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_one(options)
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    counts = options.counts_only or not (options.into_base or options.quick or options.ours_only)
    for compare, wanted in (
        (compare_full, options.into_base),
        (compare_adapters, not (options.into_base or options.counts_only)),
        (compare_counts, counts),
    ):
        if wanted:
            with tempfile.TemporaryDirectory(prefix="housebrain-bench-") as folder:
                compare(options, Path(folder))


if __name__ == "__main__":
    main()
