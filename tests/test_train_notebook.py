"""The train notebook for a cloud: what it imports, installs and asks for, before anybody runs it."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from importlib.metadata import distribution

import pytest
from datasets import Dataset
from notebook_checks import CLOUD, code_cells, train_notebook
from outside import skip_without_index
from peft import LoraConfig, PeftModel
from test_rooms import package_imports, path_of, read_imports
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PreTrainedModel,
    TrainingArguments,
    modeling_utils,
    tokenization_utils_base,
)

from housebrain_core.cloud.install import KEPT, PINS
from housebrain_core.parameters.settings import NOTEBOOKS

BESIDE = ("diffusers", "sentence-transformers", "gradio", "timm", "torchvision", "kagglehub")
"""Packages of the images that need some of what we install, in versions of their own."""
IMAGES = {"kaggle": "kaggle_python3.12.txt", "colab": "colab_python3.13.txt"}


def session_modules(platform: str) -> set[str]:
    """Modules of the package that a session loads: what its cells import, what that imports at once, and training."""
    waiting = ["train.training"]
    for cell in code_cells(train_notebook(platform)):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("housebrain_core"):
                values = [getattr(importlib.import_module(node.module), alias.name) for alias in node.names]
                waiting += [value.__module__.removeprefix("housebrain_core.") for value in values]
    loaded: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module not in loaded:
            loaded.add(module)
            waiting += [name for name, at_once in package_imports(module).items() if at_once]
    return loaded


def third_party_calls(module: str) -> list[tuple[ast.Call, object]]:
    """The calls of one module into other people's libraries, with what is called."""
    namespace = vars(importlib.import_module(f"housebrain_core.{module}"))
    methods = {"map": Dataset.map, "select": Dataset.select, "with_format": Dataset.with_format}
    methods |= {"save_pretrained": PeftModel.save_pretrained}
    calls = []
    for node in ast.walk(ast.parse(path_of(module).read_text())):
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


@pytest.mark.slow
def test_every_keyword_exists_in_the_pinned_version_of_its_library():
    seen = []
    for module in session_modules("kaggle"):
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
    page = train_notebook(platform).cells[0].source
    actions = re.findall(r"^\d\. .*", page, re.MULTILINE)
    assert len(actions) == count <= 6 and "run all" in actions[-1].lower()
    assert {5: "Five", 6: "Six"}[count] + " actions" in page and "One person, one account." in " ".join(page.split())


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
def test_the_session_imports_only_what_the_image_has_or_what_is_installed(platform, shared):
    image = (shared / "images" / IMAGES[platform]).read_text().lower().replace("_", "-")
    available = set(re.findall(r"^([\w.-]+)==", image, re.MULTILINE)) | set(PINS) | {"ipython"}
    available |= {"google", "kaggle-secrets", "housebrain-core"}
    available |= {"llguidance"}  # llm/constrained.py does without it, and a session asks for no constrained answer
    modules = session_modules(platform)
    expected = {
        "train.training",
        "cloud.session",
        "cloud.install",
        "display.plots",
        "parameters.cells",
        "splits.bundle",
    }
    assert expected <= modules
    names = {item.name for module in modules for item in read_imports(path_of(module)) if item.at_once}
    for cell in code_cells(train_notebook(platform)):
        for node in ast.walk(ast.parse(cell.source)):
            names |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            names |= {node.module} if isinstance(node, ast.ImportFrom) else set()
    for name in {name.partition(".")[0] for name in names}:
        assert name in sys.stdlib_module_names or name.lower().replace("_", "-") in available, name


@pytest.mark.parametrize("platform", CLOUD)
def test_settings_are_literals_of_the_types_that_are_checked_and_the_split_comes_first(platform):
    code = code_cells(train_notebook(platform))
    assert code[0].metadata.tags == ["parameters"]
    given = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(code[0].source).body}
    fields = NOTEBOOKS["02_train", platform].model_fields
    assert given == {name: field.default for name, field in fields.items()}
    assert next(iter(given)) == "split_id"


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
    skip_without_index(done)
    resolved = set(done.stdout.split())
    assert {f"{name}=={version}" for name, version in PINS.items()} <= resolved
    assert set(beside) <= resolved
    assert [line for line in resolved if re.match("nvidia-cuda-runtime", line)], "torch is the CUDA build"
    libraries = {file.name for file in distribution("bitsandbytes").files}
    assert {"libbitsandbytes_cuda128.so", "libbitsandbytes_cuda130.so"} <= libraries
    assert {line for line in kept if line.startswith(("torch==", "numpy==", "pyarrow==", "datasets=="))} <= resolved
