"""What the rendered notebooks promise before anybody runs them."""

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import nbformat
import pytest
from datasets import Dataset
from IPython.core.interactiveshell import InteractiveShell
from notebook_checks import CHECKS, MODULE
from peft import LoraConfig, PeftModel
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PreTrainedModel,
    TrainingArguments,
    modeling_utils,
    tokenization_utils_base,
)

import build_notebooks
from housebrain_core.install import KEPT, PINS

ROOT = Path(__file__).parents[1]
CLOUD = ("kaggle", "colab")
BESIDE = ("diffusers", "sentence-transformers", "gradio", "timm", "torchvision", "kagglehub")
"""Packages of the images that need some of what we install, in versions of their own."""
IMAGES = {"kaggle": "kaggle_python3.12.txt", "colab": "colab_python3.13.txt"}


@pytest.fixture(scope="module")
def built() -> dict[Path, nbformat.NotebookNode]:
    """Every notebook as it would be built now."""
    return {path: nbformat.reads(text, as_version=4) for path, text in build_notebooks.build_all().items()}


def train_notebook(platform: str) -> nbformat.NotebookNode:
    return nbformat.reads(build_notebooks.build("02_train", platform), as_version=4)


def embedded(notebook) -> dict[str, nbformat.NotebookNode]:
    """The cells that write modules, by module."""
    return {found[1]: cell for cell in notebook.cells if (found := MODULE.match(cell.source))}


def test_what_is_committed_is_what_the_sources_say():
    assert build_notebooks.compare(build_notebooks.build_all()) == []


def test_a_change_of_one_module_shows_as_a_diff_of_the_notebook():
    built = build_notebooks.build_all()
    path = build_notebooks.RENDERED / "kaggle" / "02_train.ipynb"
    problems = build_notebooks.compare(built | {path: built[path].replace("nothing is left to do", "changed")})
    assert problems[0].startswith("--- notebooks/rendered/kaggle/02_train.ipynb")
    assert sum(line.startswith("+") and "changed" in line for line in problems) == 1


@pytest.mark.parametrize("seed", ["0", "7"])
def test_a_fresh_process_with_another_hash_seed_and_folder_builds_the_same_bytes(seed, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import build_notebooks as b, json;"
        "print(json.dumps({p.name + p.parent.name: t for p, t in b.build_all().items()}, sort_keys=True));"
        "assert 'torch' not in sys.modules"
    )
    environment = os.environ | {"PYTHONHASHSEED": seed}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {p.name + p.parent.name: t for p, t in build_notebooks.build_all().items()}


def test_every_notebook_is_valid_ascii(built):
    for path, notebook in built.items():
        nbformat.validate(notebook)
        assert path.read_bytes().isascii()
        assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)


@pytest.mark.parametrize("check", CHECKS)
def test_every_notebook_keeps_the_checklist(check, built):
    assert len(built) >= 6
    for path, notebook in built.items():
        assert check(notebook, path.parent.name) == [], path


def set_source(number: int, text: str):
    """A way of breaking a notebook: the code cell of this number gets a line more."""

    def change(notebook):
        cell = [cell for cell in notebook.cells if cell.cell_type == "code"][number]
        cell.source += f"\n{text}"

    return change


BREAKS = {
    "check_syntax": [set_source(0, "!nvidia-smi &"), set_source(-1, "print(")],
    "check_names": [set_source(-1, "print(never_bound)"), lambda n: n.cells.remove(n.cells[-5])],
    "check_markers": [set_source(-1, "from google.colab import drive"), set_source(-1, "# Runtime > Run all")],
    "check_pins": [set_source(-1, "# peft==0.1.0"), set_source(5, 'PINS = {"peft": "0.1.0"}')],
    "check_installs": [set_source(-1, '["--force-reinstall"]'), set_source(-1, '{"torch": "2.0"}')],
    "check_tokens": [set_source(-1, "hf_" + "a1" * 12), set_source(0, "ghp_" + "a1" * 12)],
    "check_ids": [lambda n: n.cells[3].update(id=n.cells[4].id), lambda n: n.cells[3].update(id="not valid!")],
    "check_outputs": [lambda n: n.cells[-1].update(execution_count=3)],
    "check_ascii": [set_source(1, "# \u00e9")],
    "check_banner": [lambda n: n.cells.pop(0)],
    "check_parameters": [
        set_source(0, "output = str(split_id)"),
        set_source(0, 'page = "https://example.org/?a=b"'),
        lambda n: n.cells[-1].metadata.update(tags=["parameters"]),
    ],
    "check_tags": [lambda n: n.cells[4].metadata.update(tags=["embed"])],
    "check_embedded": [
        set_source(-1, "from housebrain_core.codec import encode"),
        lambda n: next(cell for cell in n.cells if MODULE.match(cell.source)).metadata.clear(),
    ],
    "check_order": [
        lambda n: n.cells.append(
            n.cells.pop(next(i for i, c in enumerate(n.cells) if "platform = check_machine(" in c.source))
        )
    ],
}
"""What each check has to find, by its name: ways of breaking the notebook for Kaggle."""


@pytest.mark.parametrize("check", CHECKS)
def test_each_check_finds_what_it_is_for(check):
    for change in BREAKS[check.__name__]:
        notebook = train_notebook("kaggle")
        change(notebook)
        assert check(notebook, "kaggle"), f"{check.__name__} did not see it"


def third_party_calls(module: str) -> list[tuple[ast.Call, object]]:
    """The calls of one embedded module into other people's libraries, with what is called."""
    namespace = vars(importlib.import_module(f"housebrain_core.{module}"))
    methods = {"map": Dataset.map, "select": Dataset.select, "with_format": Dataset.with_format}
    methods |= {"save_pretrained": PeftModel.save_pretrained}
    calls = []
    for node in ast.walk(ast.parse((ROOT / "housebrain_core" / f"{module}.py").read_text())):
        if not isinstance(node, ast.Call):
            continue
        try:
            called = eval(ast.unparse(node.func), dict(namespace))
        except Exception:  # it depends on what happens when it runs
            called = methods.get(node.func.attr) if isinstance(node.func, ast.Attribute) else None
        top = (getattr(called, "__module__", None) or "").split(".")[0]
        if top in {"transformers", "peft", "bitsandbytes", "datasets", "huggingface_hub", "safetensors", "pyarrow"}:
            calls.append((node, called))
    return calls


def unknown_keywords(node: ast.Call, called) -> list[str]:
    """Keywords of a call that the installed version does not have."""
    try:
        parameters = inspect.signature(called).parameters
    except ValueError:  # compiled, without a signature
        return []
    names = {keyword.arg for keyword in node.keywords if keyword.arg} - set(parameters)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        function = called if inspect.isroutine(called) else called.__init__
        texts = [inspect.getsource(function)]
        if "from_pretrained" in function.__name__:  # Auto classes hand on to these
            texts += [inspect.getsource(PreTrainedModel), inspect.getsource(modeling_utils)]
            texts += [inspect.getsource(tokenization_utils_base)]
        names = {name for name in names if not any(re.search(rf"\b{name}\b", text) for text in texts)}
    return sorted(names)


def test_every_keyword_exists_in_the_pinned_version_of_its_library():
    seen = []
    for module in embedded(train_notebook("kaggle")):
        if module == "__init__":
            continue
        for node, called in third_party_calls(module):
            seen += [f"{ast.unparse(node.func)}({keyword.arg})" for keyword in node.keywords]
            assert unknown_keywords(node, called) == [], f"{module}.py, line {node.lineno}"
    assert {"TrainingArguments(warmup_steps)", "BitsAndBytesConfig(bnb_4bit_quant_type)", "LoraConfig(r)"} <= set(seen)
    assert "AutoModelForCausalLM.from_pretrained(dtype)" in seen
    assert any(name.endswith(".map(keep_in_memory)") for name in seen)


@pytest.mark.parametrize(
    ("call", "called"),
    [
        ("f(warmup_ratio=0.1)", TrainingArguments),
        ("f(lora_rank=8)", LoraConfig),
        ("f(bnb_4bit_dtype=0)", BitsAndBytesConfig),
        ("f(load_in_2bit=True)", AutoModelForCausalLM.from_pretrained),
        ("f(in_memory=True)", Dataset.map),
    ],
)
def test_a_keyword_that_was_removed_is_found(call, called):
    assert unknown_keywords(ast.parse(call).body[0].value, called)


@pytest.mark.parametrize(("platform", "count"), [("kaggle", 6), ("colab", 5)])
def test_the_way_to_a_running_notebook_has_at_most_six_actions_and_ends_with_run_all(platform, count):
    page = train_notebook(platform).cells[1].source
    actions = re.findall(r"^\d\. .*", page, re.MULTILINE)
    assert len(actions) == count <= 6 and "run all" in actions[-1].lower()
    assert {5: "Five", 6: "Six"}[count] + " actions" in page and "One person, one account." in " ".join(page.split())


def test_the_closure_of_training_is_found_from_the_sources():
    closure = build_notebooks.find_closure(["from housebrain_core.train import HouseBrainFineTuner"])
    assert {"train", "trainer", "packing", "model", "settings", "errors"} <= set(closure)
    for platform in CLOUD:
        assert set(closure) <= set(embedded(train_notebook(platform)))


def test_the_example_is_committed_with_its_outputs_and_nothing_of_a_machine():
    path = build_notebooks.EXAMPLE
    notebook = nbformat.reads(path.read_text(), as_version=4)
    nbformat.validate(notebook)
    assert build_notebooks.same_sources(path), "run: python build_notebooks.py --example"
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert path.stat().st_size < 1_000_000
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    figures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert len(figures) >= 6 and all(figure.startswith("iVBOR") for figure in figures)
    assert any("housebrain-merged" in output.get("data", {}).get("text/markdown", "") for output in outputs)
    texts = json.dumps([output for output in outputs if "image/png" not in output.get("data", {})])
    assert not re.search(r"/home/|/root|/tmp|/work|/Users|0x[0-9a-f]{6}|\d s\b|tokens/s|duration", texts)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert not [cell for cell in notebook.cells if set(cell.metadata) - {"tags"}]


def test_what_an_execution_adds_is_taken_out_of_the_example():
    text = "saved to /tmp/x1/models in 3.2 s, base /home/ann/.cache/base, <Figure at 0x7f3a>"
    hidden = build_notebooks.hide(text, {"/tmp/x1": ".", "/home/ann": "~"})
    assert hidden == "saved to ./models, base ~/.cache/base, <Figure>"


@pytest.mark.parametrize("platform", CLOUD)
def test_the_platforms_read_a_gpu_and_the_internet_from_the_metadata(platform):
    metadata = train_notebook(platform).metadata
    assert metadata.kernelspec.name == "python3" and metadata.accelerator == "GPU"
    assert metadata.colab == {"provenance": [], "gpuType": "T4", "toc_visible": True}
    assert metadata.kaggle == {
        "accelerator": "nvidiaTeslaT4",
        "dataSources": [],
        "isGpuEnabled": True,
        "isInternetEnabled": True,
        "language": "python",
        "sourceType": "notebook",
    }
    assert set(metadata) == {"kernelspec", "language_info", "accelerator", "colab", "kaggle"}


@pytest.mark.parametrize("platform", CLOUD)
def test_embedded_modules_are_written_in_the_bytes_of_the_package(platform, tmp_path):
    shell = InteractiveShell()
    (tmp_path / "housebrain_core").mkdir()
    shell.user_ns["code_folder"] = str(tmp_path)
    cells = embedded(train_notebook(platform))
    for module, cell in cells.items():
        assert shell.run_cell(cell.source, silent=True).success
        written = (tmp_path / "housebrain_core" / f"{module}.py").read_bytes()
        assert written == (ROOT / "housebrain_core" / f"{module}.py").read_bytes()
        assert cell.metadata == {"jupyter": {"source_hidden": True}, "cellView": "form", "_kg_hide-input": True}
    assert {"train", "doctor", "cloud"} <= set(cells) and not {"splits", "codec", "schema", "plots"} & set(cells)


@pytest.mark.parametrize("platform", CLOUD)
def test_the_notebook_imports_only_what_it_carries_what_the_image_has_or_what_it_pins(platform, shared):
    image = (shared / "images" / IMAGES[platform]).read_text().lower().replace("_", "-")
    available = (
        set(re.findall(r"^([\w.-]+)==", image, re.MULTILINE)) | set(PINS) | {"ipython", "google", "kaggle-secrets"}
    )
    notebook = train_notebook(platform)
    cells = embedded(notebook)
    sources = [MODULE.sub("", cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            top, _, module = name.partition(".")
            if top == "housebrain_core":
                assert not module or module in cells or module == "splits"  # which train.py imports where it is
            else:
                assert top in sys.stdlib_module_names or top.lower().replace("_", "-") in available, name


def test_the_closure_of_training_has_at_most_1300_lines():
    modules = build_notebooks.find_closure(["from housebrain_core import train"])
    lines = sum(len((ROOT / "housebrain_core" / f"{module}.py").read_text().splitlines()) for module in modules)
    assert lines <= 1300, "what every cloud notebook carries"


def test_pins_are_those_of_the_project_and_name_nothing_that_the_platform_keeps():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {f"{name}=={version}" for name, version in PINS.items()} <= set(project)
    assert not set(PINS) & set(KEPT)


@pytest.mark.parametrize("platform", CLOUD)
def test_settings_are_literals_and_the_next_cell_expects_each_in_its_type(platform):
    code = [cell for cell in train_notebook(platform).cells if cell.cell_type == "code"]
    assert code[0].metadata.tags == ["parameters"]
    given = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(code[0].source).body}
    checked = next(node for node in ast.parse(code[1].source).body if isinstance(node, ast.Assign))
    expected = {key.value: value.id for key, value in zip(checked.value.keys, checked.value.values, strict=True)}
    expected |= {"drive_folder": "str"} if platform == "colab" else {}
    assert {name: type(value).__name__ for name, value in given.items()} == expected
    assert next(iter(given)) == "split_id"


def test_one_persons_copy_has_its_split_filled_in_as_papermill_does_it(tmp_path):
    command = ["--platform", "kaggle", "--split-id", "4", "--output", str(tmp_path)]
    assert build_notebooks.main(command) == 0
    text = (tmp_path / "train_split_04.ipynb").read_text()
    assert build_notebooks.main(command) == 0 and (tmp_path / "train_split_04.ipynb").read_text() == text
    notebook = nbformat.reads(text, as_version=4)
    injected = [cell for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert [cell.source.strip() for cell in injected] == ["# Parameters\nsplit_id = 4"]
    assert notebook.metadata == train_notebook("kaggle").metadata


@pytest.mark.slow
@pytest.mark.parametrize("platform", CLOUD)
def test_a_resolver_installs_the_pins_beside_what_each_image_keeps(platform, shared, tmp_path):
    image = (shared / "images" / IMAGES[platform]).read_text()
    kept = [line.split("+")[0] for line in image.splitlines() if line.split("==")[0].lower() in KEPT]
    assert {"torch", "numpy", "pyarrow", "datasets"} <= {line.split("==")[0].lower() for line in kept}
    (tmp_path / "kept.txt").write_text("\n".join(kept))
    beside = [line.split("+")[0] for line in image.splitlines() if line.split("==")[0].lower() in BESIDE]
    assert len(beside) >= 4
    wanted = [*(f"{name}=={version}" for name, version in PINS.items()), *beside, "datasets", "pydantic"]
    (tmp_path / "wanted.txt").write_text("\n".join(wanted))
    python = IMAGES[platform].split("python")[1].removesuffix(".txt")
    command = [sys.executable, "-m", "uv", "pip", "compile", "--no-header", "--no-annotate", "wanted.txt", "-c"]
    command += ["kept.txt", "--python-version", python, "--python-platform", "x86_64-manylinux_2_35"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    if done.returncode and re.search("dns error|error sending request|Could not connect", done.stderr):
        pytest.skip(f"no package index can be reached: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    resolved = set(done.stdout.split())
    assert {f"{name}=={version}" for name, version in PINS.items()} <= resolved
    assert set(beside) <= resolved
    assert [line for line in resolved if re.match("nvidia-cuda-runtime", line)], "torch is the CUDA build"
    libraries = {file.name for file in distribution("bitsandbytes").files}
    assert {"libbitsandbytes_cuda128.so", "libbitsandbytes_cuda130.so"} <= libraries
    assert {line for line in kept if line.startswith(("torch==", "numpy==", "pyarrow==", "datasets=="))} <= resolved
