"""The layers of housebrain_core: who may import whom, and that the first half of them needs no torch."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import skip_without_index

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "housebrain_core"
LIGHT = [
    "errors",
    "settings",
    "config",
    "schema",
    "parsing",
    "manifests",
    "outputs",
    "archives",
    "base_models",
    "datafiles",
    "data",
    "jsontext",
    "codec_brief",
    "codec_design",
    "codec_usual",
    "codec",
    "bundles",
    "bundle_writer",
    "tables",
    "pages",
    "codec_form",
    "codec_text",
    "workers",
    "progress",
    "conditions",
    "encoding",
    "columns",
    "entropies",
    "findings",
    "trees",
    "writing",
    "platforms",
    "gpus",
    "costs",
    "notebook_copies",
    "assignments",
    "kaggle_folders",
    "handouts",
    "deliverables",
    "splits",
    "checkpoints",
    "cards",
    "launch",
    "gpu_trial",
    "doctor",
    "install",
    "cloud",
    "next_steps",
    "limits",
    "geometry",
    "room_rules",
    "rules",
    "briefs",
    "merge_cards",
    "plan_reader",
    "sites",
    "floor_plans",
    "plots",
    "plan",
    "audit_report",
    "audit",
    "synthetic",
]
TORCH = [
    "tiny",
    "model",
    "packing",
    "memory",
    "stopping",
    "trainer",
    "train",
    "worker",
    "parallel",
    "tensorfiles",
    "adapter_config",
    "adapters",
    "compatibility",
    "constrained",
    "decoding",
    "llm",
    "shelf",
    "algebra",
    "stacks",
    "strategies",
    "inspection",
    "planning",
    "validation",
    "nf4",
    "base_weights",
    "into_base",
    "merge",
    "judging",
    "report",
    "convert",
    "evaluate",
    "generate",
    "demo",
    "flags",
    "cli",
]
ORDER = ["__init__", *LIGHT, *TORCH]
"""Each module imports only from modules before it."""
HEAVY = {"torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets", "safetensors", "tokenizers"}
DISTRIBUTIONS = {"json_repair": "json-repair", "huggingface_hub": "huggingface-hub", "httpx": "huggingface-hub",
                 "filelock": "huggingface-hub"}  # fmt: skip
"""Import name -> name of the distribution that brings it, where they differ."""


def read_imports(path: Path) -> list[tuple[str, bool]]:
    """(dotted name of each import of a module, whether it runs when the module is imported)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    names = []
    for node in ast.walk(tree):
        top = id(node) not in inside
        if isinstance(node, ast.Import):
            names += [(alias.name, top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            if node.module == "housebrain_core":
                names += [(f"housebrain_core.{alias.name}", top) for alias in node.names]
            else:
                names.append((node.module, top))
    return names


def own_imports(module: str) -> list[str]:
    """Modules of the package that a module imports anywhere."""
    names = [name for name, _ in read_imports(PACKAGE / f"{module}.py")]
    return [name.split(".")[1] for name in names if name.startswith("housebrain_core.")]


def pins() -> dict[str, str]:
    """Distribution -> `name==version` of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    return {line.split("==")[0]: line for line in lines}


def test_every_module_has_its_place_in_the_order():
    assert sorted(path.stem for path in PACKAGE.glob("*.py")) == sorted(ORDER)


@pytest.mark.parametrize("module", ORDER)
def test_a_module_imports_only_from_modules_before_it(module):
    later = set(ORDER[ORDER.index(module) :])
    assert not later & set(own_imports(module))


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_imports_nothing_heavy_when_it_is_imported(module):
    loaded = {name.split(".")[0] for name, top in read_imports(PACKAGE / f"{module}.py") if top}
    assert not loaded & HEAVY


def test_every_dependency_is_pinned_exactly_and_once():
    lines = list(pins().values())
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9.]+", line) for line in lines)
    for name in ("environment.yml", "Makefile"):
        assert not re.search(r"==\s*[0-9]", (ROOT / name).read_text()), f"{name} repeats a pin"


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_light_modules_import_in_a_fresh_environment_without_torch(version, tmp_path):
    python = find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} found")
    third_party = {n.split(".")[0] for module in LIGHT for n, top in read_imports(PACKAGE / f"{module}.py") if top}
    third_party -= set(sys.stdlib_module_names) | HEAVY | {"housebrain_core"}
    wanted = [pins()[DISTRIBUTIONS.get(name, name)] for name in sorted(third_party)]
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "--python", python, tmp_path / "env"], check=True)
    fresh = tmp_path / "env" / "bin" / "python"
    installed = subprocess.run(
        [*uv, "pip", "install", "-q", "--python", fresh, *wanted], capture_output=True, text=True
    )
    skip_without_index(installed)
    names = ", ".join(f"housebrain_core.{module}" for module in LIGHT)
    code = f"import sys, {names}; assert not set(sys.modules) & {HEAVY}; print(sys.version_info[:2])"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run([fresh, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert ran.stdout.strip() == f"({version.replace('.', ', ')})", ran.stderr


def find_python(version: str) -> str | None:
    """An interpreter of this version: on the path, or one that pyenv has made."""
    made = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    candidates = [shutil.which(f"python{version}"), *map(str, made)]
    for candidate in filter(None, candidates):
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        ran = subprocess.run([candidate, "-c", code], capture_output=True, text=True)
        if ran.stdout.strip() == version:
            return candidate
    return None


@pytest.mark.xdist_group("probe")
def test_tests_of_one_group_stay_in_one_process(request):
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("not run with --dist loadgroup")
    assert request.node.nodeid.endswith("@probe")
