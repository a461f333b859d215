"""The rooms of housebrain_core: who may import whom, how large they may be, and which of them need no torch."""

import ast
import functools
import graphlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

import pytest
from outside import read_pins, skip_without_index

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "housebrain_core"
ENTRANCES = ("cli", "codec")
"""Modules at the top that no room imports: the way in, and a name of the old guide."""
ORDER = (
    "top", "display", "house", "data", "adapters", "splits", "train", "llm", "merge", "evaluate", "rounds", "select",
    "export", "serve", "cloud", "parameters", "commands", "entrances",
)  # fmt: skip
"""Each room imports from itself and from rooms before it. `top` and `entrances` are the files beside the rooms."""
MODULES_PER_ROOM = 12
LINES_PER_FILE = 300
LIGHT_ROOMS = ("top", "display", "house", "data", "splits", "adapters", "rounds", "cloud")
LIGHT_MODULES = (
    "cli", "codec", "commands.stages", "train.base_models", "train.checkpoints", "train.processes", "train.tuner",
    "llm.losses", "merge.compute", "merge.merge", "merge.merged_files", "merge.result", "merge.strategies",
    "select.choice", "select.dataset", "select.difficulty", "select.reading", "select.select", "select.selection",
    "select.selection_page", "select.settings",
)  # fmt: skip
"""Modules of other rooms that have to be importable without torch as well."""
HEAVY = {"torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets", "safetensors", "tokenizers"}


class Import(NamedTuple):
    """One import statement of a module: the dotted name, and whether it runs when the module is imported."""

    name: str
    at_once: bool


@functools.cache
def modules() -> list[str]:
    """Dotted names below housebrain_core of all its modules, without the `__init__` of packages."""
    files = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    return sorted(".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in files)


def path_of(module: str) -> Path:
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


def room_of(module: str) -> str:
    """The room of a module, given without the package's name."""
    first, _, rest = module.partition(".")
    if rest:
        return first
    return "entrances" if first in ENTRANCES else "top"


@functools.cache
def read_imports(path: Path) -> list[Import]:
    """All imports of a module; those inside functions do not run when it is imported."""
    imports: list[Import] = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    delayed = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        at_once = id(node) not in delayed
        if isinstance(node, ast.Import):
            imports += [Import(alias.name, at_once) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)} has a relative import"
            imports += [Import(f"{node.module}.{alias.name}", at_once) for alias in node.names]
    return imports


def package_imports(module: str) -> dict[str, bool]:
    """Modules of the package that a module imports -> whether at once."""
    names = set(modules())
    imported: dict[str, bool] = {}
    for name, at_once in read_imports(path_of(module)):
        if not name.startswith("housebrain_core."):
            continue
        inside = name.removeprefix("housebrain_core.")
        target = next((part for part in (inside, inside.rpartition(".")[0]) if part in names), None)
        if target:
            imported[target] = imported.get(target, False) or at_once
        else:
            assert inside == "__version__", f"{module} imports {name}: name the module, not its room"
    return imported


def light_modules() -> list[str]:
    """Modules that have to be importable where torch is not installed."""
    return [module for module in modules() if room_of(module) in LIGHT_ROOMS or module in LIGHT_MODULES]


def test_every_room_is_in_the_order():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(ORDER) - {"top", "entrances"}
    assert {path.stem for path in PACKAGE.glob("*.py")} >= set(ENTRANCES)
    assert not [module for module in modules() if module.count(".") > 1], "rooms have no rooms inside"


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_from_its_room_and_rooms_before_it(module):
    place = ORDER.index(room_of(module))
    assert [name for name in package_imports(module) if ORDER.index(room_of(name)) > place] == []


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: set(package_imports(module)) for module in modules()}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(graph)


@pytest.mark.parametrize("room", ORDER)
def test_a_room_has_at_most_a_dozen_modules(room):
    inside = [module for module in modules() if room_of(module) == room]
    inside += [module for module in ENTRANCES if room == "top"]
    assert 1 <= len(inside) <= MODULES_PER_ROOM, f"{len(inside)} modules in {room}: {', '.join(inside)}"


def test_no_file_has_more_than_300_lines():
    files = [*PACKAGE.rglob("*.py"), *ROOT.glob("*.py"), *(ROOT / "notebooks").glob("*.py")]
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > LINES_PER_FILE} == {}


@pytest.mark.parametrize("room", [room for room in ORDER if room not in ("top", "entrances")])
def test_a_room_says_in_its_first_line_what_it_is_for_and_loads_nothing(room):
    source = (PACKAGE / room / "__init__.py").read_text(encoding="utf-8")
    assert len(ast.get_docstring(ast.parse(source)) or "") > 20
    assert {name for name, _ in read_imports(PACKAGE / room / "__init__.py")} == {"lazy_loader"}


@pytest.mark.parametrize("module", light_modules())
def test_a_light_module_imports_nothing_heavy_when_it_is_imported(module):
    at_once = {item.name.split(".")[0] for item in read_imports(path_of(module)) if item.at_once}
    assert not at_once & HEAVY
    followed = {name for name, at_once in package_imports(module).items() if at_once}
    assert followed <= set(light_modules()), "imports a module that needs torch"


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_light_modules_import_in_a_fresh_environment_without_torch(version, tmp_path):
    python = find_python(version)
    if python is None:
        pytest.skip(f"no Python {version} found")
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "--python", python, tmp_path / "env"], check=True)
    fresh = tmp_path / "env" / "bin" / "python"
    command = [*uv, "pip", "install", "-q", "--python", fresh, *third_party(light_modules())]
    skip_without_index(subprocess.run(command, capture_output=True, text=True))
    names = ", ".join(f"housebrain_core.{module}" for module in light_modules())
    code = f"import sys, {names}; assert not set(sys.modules) & {HEAVY}; print(sys.version_info[:2])"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run([fresh, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert ran.stdout.strip() == f"({version.replace('.', ', ')})", ran.stderr


def third_party(names: list[str]) -> list[str]:
    """`name==version` of every distribution that modules import at once, lazy-loader of the rooms included."""
    imported = {item.name.split(".")[0] for name in names for item in read_imports(path_of(name)) if item.at_once}
    imported -= set(sys.stdlib_module_names) | HEAVY | {"housebrain_core"}
    brought_by = packages_distributions()
    distributions = {brought_by[name][0].lower().replace("_", "-") for name in imported | {"lazy_loader"}}
    return [f"{name}=={read_pins()[name]}" for name in sorted(distributions)]


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
