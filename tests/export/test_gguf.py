"""A GGUF: what can go wrong before and in the converter; and, where llama.cpp is installed, the whole way, really run.

After pip install 'housebrain[gguf]', `pytest -m soak tests/export/test_gguf.py` runs it; the converter is fetched.
"""

import importlib.util
import json
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
import torch
from outside import SHARED
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from housebrain_core.errors import ConfigError, ExportError
from housebrain_core.export import gguf
from housebrain_core.export.export import export_model
from housebrain_core.export.settings import ExportConfig
from housebrain_core.house import synthetic
from housebrain_core.house.codec import encode
from housebrain_core.house.schema import Answer

STEPS = 220


def without(monkeypatch, *missing: str) -> None:
    """An environment without some modules, with all others."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None if name in missing else object())


def test_what_cannot_be_made_here_is_said_before_any_work_with_what_to_install_or_run(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    config = ExportConfig(model=tmp_path / "model", format="gguf", output=tmp_path / "out")
    without(monkeypatch, "sentencepiece")
    with pytest.raises(ConfigError, match=r"--as gguf needs sentencepiece.*pip install 'housebrain\[gguf\]'"):
        export_model(config, report=lambda line: None)
    without(monkeypatch, "llama_cpp")
    smaller = config.model_copy(update={"quantise": "q4_k_m"})
    with pytest.raises(ConfigError, match="llama-quantize housebrain-f16.gguf housebrain-q4_k_m.gguf Q4_K_M"):
        export_model(smaller, report=lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_merge_that_was_made_in_4_bits_is_refused(tmp_path, monkeypatch):
    """Trap: llama.cpp's converter fails on the bytes of a quantised model (llama.cpp 12494)."""
    without(monkeypatch)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"quantization_config": {"load_in_4bit": true}}')
    with pytest.raises(ConfigError, match="is quantised, and llama.cpp converts whole numbers only"):
        export_model(ExportConfig(model=tmp_path / "model", format="gguf"), report=lambda line: None)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOUSEBRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pip_that(monkeypatch, returncode: int, error: str = "", archive: Path | None = None) -> list[list[str]]:
    """A pip that fails, or that brings an archive; the commands that it got."""
    commands = []

    def run(command, **given):
        commands.append(command)
        if archive:
            (Path(command[command.index("--dest") + 1]) / archive.name).write_bytes(archive.read_bytes())
        return subprocess.CompletedProcess(command, returncode, "", error)

    monkeypatch.setattr(gguf.subprocess, "run", run)
    return commands


def test_without_the_internet_one_sentence_says_so(cache, monkeypatch):
    commands = pip_that(monkeypatch, 1, "WARNING: retrying\nERROR: No matching distribution found for llama-cpp-python")
    with pytest.raises(ExportError, match=r"needs the Internet once \(ERROR: No matching distribution found"):
        gguf.find_converter(lambda line: None)
    assert commands[0][-1] == "llama-cpp-python==0.3.36" and "--no-binary" in commands[0] and "--no-deps" in commands[0]
    assert not list(cache.iterdir())


def test_the_converter_is_taken_from_the_one_archive_that_is_known_and_kept(cache, monkeypatch, tmp_path):
    home = tmp_path / "llama_cpp_python-0.3.36" / "vendor" / "llama.cpp"
    for name in ("convert_hf_to_gguf.py", "conversion/base.py", "gguf-py/gguf/x.py", "src/llama.cpp", "setup.py"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("print()")
    archive = tmp_path / "llama_cpp_python-0.3.36.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "llama_cpp_python-0.3.36", "llama_cpp_python-0.3.36")
    commands = pip_that(monkeypatch, 0, archive=archive)
    with pytest.raises(ExportError, match="is not the source package that this version of HouseBrain knows"):
        gguf.find_converter(lambda line: None)
    monkeypatch.setattr(gguf, "SHA256", gguf.sha256_of(archive.read_bytes()))
    script = gguf.find_converter(lambda line: None)
    kept = {str(path.relative_to(script.parent)) for path in script.parent.rglob("*.*") if path.is_file()}
    assert kept == {"convert_hf_to_gguf.py", "conversion/base.py", "gguf-py/gguf/x.py"}
    assert gguf.find_converter(lambda line: None) == script and len(commands) == 2, "fetched once"


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("NotImplementedError: BPE pre-tokenizer was not recognized - update get_vocab_base_pre()", "the tokenizer of"),
        ("FileNotFoundError: tokenizer.model\nERROR: Model FooForCausalLM is not supported", "the architecture of"),
        ("Traceback\nKeyError: 'x'", "failed: KeyError: 'x'"),
    ],
)
def test_the_converters_failures_are_said_in_words(printed, said):
    """Trap: an unknown tokenizer ends in a traceback about a hash (llama.cpp 14459) or a file (llama.cpp 18065)."""
    assert said in gguf.explain_failure(printed)


def test_without_llama_cpp_a_gguf_is_named_as_not_verified(monkeypatch, tmp_path):
    without(monkeypatch, "llama_cpp")
    (check,) = gguf.verify_gguf(tmp_path / "x.gguf", None, exact=True)
    assert str(check).startswith("NOT VERIFIED with llama.cpp: llama-cpp-python is not installed here")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A small model with DeepSeek-Coder's tokenizer and rope settings that has seen eight generated houses."""
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("llama-cpp-python is not installed")
    if not (SHARED / "tokenizers").is_dir():
        pytest.skip(f"the real tokenizers are not at {SHARED}; set HOUSEBRAIN_SHARED")
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(SHARED / "tokenizers" / "deepseek-coder")
    rope = {"rope_type": "linear", "factor": 4.0, "rope_theta": 100_000.0}
    config = LlamaConfig(
        vocab_size=32_256, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=4096, rope_parameters=rope, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    examples = [encode(sample) for sample in synthetic.make_samples(8, seed=8)]
    rows = []
    for example in examples:
        prompt = tokenizer(example.prompt).input_ids
        answer = tokenizer(example.completion, add_special_tokens=False).input_ids + [tokenizer.eos_token_id]
        rows.append((prompt + answer, len(prompt)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(STEPS):
        ids, begin = rows[step % len(rows)]
        labels = torch.tensor([[-100] * begin + ids[begin:]])
        loss = model(input_ids=torch.tensor([ids]), labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(f"trained to {loss.item():.4f} nats per token")
    folder = tmp_path_factory.mktemp("whole") / "small-deepseek"
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.soak
def test_llama_cpp_answers_token_by_token_as_transformers_and_designs_with_the_schema(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = []
    made = export_model(ExportConfig(model=whole, format="ollama", output=tmp_path / "o"), report=lines.append)
    print("\n".join(lines))
    check = next(check for check in made.checks if "llama-cpp-python" in check.consumer)
    assert check.passed and "8 of 8 greedy answers are the model's, token by token (briefs: generated)" in check.text
    assert re.search(r"with the schema as its grammar \d of 8 answers are designs", check.text)
    names = {path.name for path in made.folder.iterdir()}
    assert names == {"housebrain-f16.gguf", "Modelfile", "README.md", "answer_schema.json", "request.json",
                     "manifest.json"}  # fmt: skip
    from llama_cpp import Llama

    file = str(tmp_path / "o" / "housebrain-f16.gguf")
    prompts = [encode(sample).prompt for sample in synthetic.make_samples(2, seed=8)]
    needed = [name for name, field in Answer.model_fields.items() if field.is_required()]
    for answer in gguf.ask_with_schema(Llama(file, n_ctx=4096, verbose=False), prompts):
        stated = list(json.loads(answer.text))  # ranges of numbers are not kept, and optional fields come last
        assert answer.complete and set(stated) <= set(Answer.model_fields)
        assert [name for name in stated if name in needed] == needed
    llama = Llama(file, verbose=False, vocab_only=True)
    assert llama.metadata["tokenizer.ggml.pre"] == "deepseek-coder"
    assert (
        llama.metadata["llama.rope.scaling.type"] == "linear"
        and float(llama.metadata["llama.rope.scaling.factor"]) == 4
    )
    assert float(llama.metadata["llama.rope.freq_base"]) == 100_000
    assert llama.metadata["tokenizer.chat_template"].startswith("{{ bos_token }}{{ messages[-1]")


@pytest.mark.soak
def test_a_quantised_gguf_is_smaller_and_says_how_many_answers_stayed(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ExportConfig(model=whole, format="gguf", output=tmp_path / "q", quantise="q8_0")
    made = export_model(config, report=lambda line: None)
    print("\n".join(map(str, made.checks)))
    assert {path.suffix for path in made.folder.iterdir()} == {".gguf", ".md", ".json"}
    assert [path.name for path in made.folder.glob("*.gguf")] == ["housebrain-q8_0.gguf"]
    exact, smaller = made.checks
    assert "8 of 8 greedy answers" in exact.text and "it loads, and" in smaller.text
    whole_size = sum(path.stat().st_size for path in whole.glob("*.safetensors"))
    assert made.sizes["housebrain-q8_0.gguf"] < 0.75 * whole_size
    assert json.loads((made.folder / "manifest.json").read_text())["kind"] == "gguf"


@pytest.mark.soak
def test_the_tiny_base_cannot_become_a_gguf_and_that_is_said(base, tmp_path):
    if importlib.util.find_spec("sentencepiece") is None:
        pytest.skip("sentencepiece is not installed")
    with pytest.raises(ExportError, match="llama.cpp does not know the tokenizer of this base model"):
        export_model(ExportConfig(model=base, format="gguf", output=tmp_path / "out"), report=lambda line: None)
    assert list(tmp_path.iterdir()) == []
