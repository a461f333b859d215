"""A GGUF file of full weights, for llama.cpp and Ollama, by llama.cpp's own converter, which is fetched on first use.

No package on PyPI converts; llama-cpp-python's source package has the converter in it. Nothing of it is copied here.
"""

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from housebrain_core.errors import ConfigError, ExportError
from housebrain_core.export.servers import CONTEXT
from housebrain_core.export.settings import ExportConfig
from housebrain_core.export.verification import (
    AT_TIE,
    TOKENS,
    Check,
    Reference,
    compare_answers,
    compare_prompts,
    parts_at_tie,
)
from housebrain_core.house.codec import DesignError, read_prompt
from housebrain_core.llm.constrained import answer_schema
from housebrain_core.llm.decoding import NEW_TOKENS, Answered, read_answer
from housebrain_core.manifests import sha256_of
from housebrain_core.train.tiny import cache_folder

PACKAGE, VERSION = "llama-cpp-python", "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
"""Of its source package: no other code is run."""
PARTS = ("convert_hf_to_gguf.py", "conversion/", "gguf-py/")
"""What the converter is made of, below vendor/llama.cpp."""
INSTALL = "Install it: pip install 'housebrain[gguf]'"
Report = Callable[[str], None]


def check_tools(config: ExportConfig) -> None:
    """Refuses what cannot be made on this machine, before any work.

    Raises:
        ConfigError: naming what is missing, and what to install or to run instead.
    """
    if importlib.util.find_spec("sentencepiece") is None:
        raise ConfigError(f"--as {config.format} needs sentencepiece, which llama.cpp's converter imports. {INSTALL}")
    if config.quantise and importlib.util.find_spec("llama_cpp") is None:
        kind = config.quantise.upper()
        raise ConfigError(
            f"--quantise needs llama-cpp-python. {INSTALL}. Or leave it out, and run on the result: llama-quantize "
            f"housebrain-f16.gguf housebrain-{config.quantise}.gguf {kind} or: ollama create housebrain -q {kind}"
        )


def find_converter(report: Report) -> Path:
    """llama.cpp's converter, fetched by pip and kept in the cache.

    Raises:
        ExportError: it cannot be fetched, or is not what it should be.
    """
    folder = cache_folder() / f"{PACKAGE}-{VERSION}"
    script = folder / "vendor" / "llama.cpp" / PARTS[0]
    if script.is_file():
        return script
    report(f"fetching llama.cpp's converter: the source package of {PACKAGE} {VERSION}, 77 MB")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        archive = _download(Path(scratch))
        _unpack(archive, Path(scratch) / "unpacked")
        inside = next((Path(scratch) / "unpacked").iterdir())
        if not folder.exists():  # another process may have been faster
            inside.rename(folder)
    return script


def _download(scratch: Path) -> Path:
    """The source package, of the version and content that are named here."""
    options = ["--no-deps", "--no-binary", PACKAGE, "--dest", str(scratch)]
    command = [sys.executable, "-m", "pip", "download", *options, f"{PACKAGE}=={VERSION}"]
    ran = subprocess.run(command, capture_output=True, text=True)
    archives = list(scratch.glob("*.tar.gz"))
    if ran.returncode or not archives:
        why = (ran.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise ExportError(
            f"llama.cpp's converter cannot be fetched, which needs the Internet once ({why}). Connect and try again, "
            "or export --as full, and convert that with llama.cpp's convert_hf_to_gguf.py elsewhere."
        )
    if sha256_of(archives[0].read_bytes()) != SHA256:
        raise ExportError(
            f"{archives[0].name} is not the source package that this version of HouseBrain knows, so it is not run. "
            "Use a newer version of HouseBrain."
        )
    return archives[0]


def _unpack(archive: Path, folder: Path) -> None:
    """Unpacks the parts of the converter."""
    with tarfile.open(archive) as tar:
        members = [
            member
            for member in tar.getmembers()
            if member.name.partition("/vendor/llama.cpp/")[2].startswith(PARTS) and (member.isfile() or member.isdir())
        ]
        tar.extractall(folder, members, filter="data")


def convert(model: Path, file: Path, report: Report) -> None:
    """Converts full weights into a GGUF of float16.

    Args:
        model: folder of the whole model.
        file: to write.
        report: gets lines of progress.

    Raises:
        ExportError: llama.cpp does not know its architecture or its tokenizer, or fails.
    """
    command = [sys.executable, str(find_converter(report)), str(model), "--outfile", str(file), "--outtype", "f16"]
    report("converting to GGUF, float16")
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode or not file.is_file():
        raise ExportError(explain_failure(ran.stdout + ran.stderr))


def explain_failure(output: str) -> str:
    """Why llama.cpp's converter failed, from what it printed, and what to do."""
    if "pre-tokenizer was not recognized" in output:
        return (
            "llama.cpp does not know the tokenizer of this base model: it would cut texts otherwise than training did. "
            "Qwen2.5-Coder's and DeepSeek-Coder's it knows; the demo's tiny base cannot become a GGUF. Serve this "
            "model with --as full or vllm."
        )
    if "is not supported" in output:
        return "llama.cpp does not know the architecture of this base model. Serve it with --as full or vllm."
    lines = output.strip().splitlines() or ["it printed nothing"]
    return f"llama.cpp's converter failed: {lines[-1]}. Export --as full, and serve that."


def quantise(file: Path, target: Path, kind: str, report: Report) -> None:
    """Writes a smaller GGUF.

    Args:
        file: of float16.
        target: to write.
        kind: such as q4_k_m.
        report: gets lines of progress.

    Raises:
        ExportError: llama.cpp fails.
    """
    llama_cpp: Any = importlib.import_module("llama_cpp")
    report(f"quantising to {kind}")
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind.upper()}")
    if llama_cpp.llama_model_quantize(str(file).encode(), str(target).encode(), settings) or not target.is_file():
        raise ExportError(f"llama.cpp could not quantise to {kind}. Leave --quantise out, or take another kind.")


def verify_gguf(file: Path, reference: Reference, exact: bool) -> list[Check]:
    """Loads a GGUF with llama.cpp: prompts, greedy answers, and answers with the schema as a grammar.

    Args:
        file: the GGUF.
        reference: what it has to answer.
        exact: whether it has to; a quantised one answers otherwise, and how often is said.

    Raises:
        ExportError: it reads a prompt otherwise, or has to answer as the model does and does not.
    """
    if importlib.util.find_spec("llama_cpp") is None:
        return [Check("llama.cpp", False, f"llama-cpp-python is not installed here. {INSTALL}")]
    consumer = f"{PACKAGE} {importlib.metadata.version(PACKAGE)} ({file.name})"
    with closing(_load(file)) as llama:  # left to the interpreter's end, it prints a traceback
        prompt_ids = [llama.tokenize(prompt.encode(), add_bos=True, special=False) for prompt in reference.prompts]
        compare_prompts(reference, prompt_ids, consumer)
        answers = [_answer_greedily(llama, ids) for ids in prompt_ids]
        constrained = ask_with_schema(llama, reference.prompts)
    text = compare_answers(reference, answers, consumer) if exact else count_answers(reference, answers)
    designs = sum(is_design(prompt, answer) for prompt, answer in zip(reference.prompts, constrained, strict=True))
    text += f"; with the schema as its grammar {designs} of {len(answers)} answers are designs"
    return [Check(consumer, True, text)]


def count_answers(reference: Reference, answers: list[list[int]]) -> str:
    """How many answers of a quantised model are the model's, and how many others part where rounding may turn."""
    others = [number for number, answer in enumerate(answers) if answer != reference.answers[number]]
    ties = sum(parts_at_tie(reference, number, answers[number]) for number in others)
    text = f"it loads, and {len(answers) - len(others)} of {len(answers)} greedy answers are the model's"
    return text + (f"; quantising changes the others, of which {ties} part from it {AT_TIE}" if others else "")


def ask_gguf(file: Path, prompt: str) -> Answered:
    """The answer of a GGUF to one prompt, with the schema as the grammar.

    Raises:
        ConfigError: llama-cpp-python is not installed.
    """
    if importlib.util.find_spec("llama_cpp") is None:
        raise ConfigError(f"asking {file.name} needs llama-cpp-python. {INSTALL}. Or serve it, as its README.md says.")
    with closing(_load(file)) as llama:
        return ask_with_schema(llama, [prompt])[0]


def _load(file: Path) -> Any:
    """A GGUF in llama.cpp, which not every installation has."""
    return importlib.import_module("llama_cpp").Llama(str(file), n_ctx=CONTEXT, verbose=False)


def _answer_greedily(llama: Any, ids: list[int]) -> list[int]:
    """The most probable tokens after a prompt, up to the end-of-text token and with it."""
    answer: list[int] = []
    for token in llama.generate(ids, temp=0.0, top_k=1, repeat_penalty=1.0, reset=True):
        answer.append(token)
        if token == llama.token_eos() or len(answer) == TOKENS:
            break
    return answer


def ask_with_schema(llama: Any, prompts: list[str]) -> list[Answered]:
    """Answers to prompts, sent as messages, with the schema of an answer as the grammar.

    Args:
        llama: a loaded GGUF.
        prompts: as in training.
    """
    schema = json.loads(answer_schema())
    answers = []
    for prompt in prompts:
        reply = llama.create_chat_completion(
            [{"role": "user", "content": prompt.rstrip("\n")}],
            response_format={"type": "json_object", "schema": schema},
            temperature=0.0,
            max_tokens=NEW_TOKENS,
        )
        (choice,), used = reply["choices"], reply["usage"]["completion_tokens"]
        answers.append(Answered(choice["message"]["content"], used, choice["finish_reason"] == "stop"))
    return answers


def is_design(prompt: str, answer: Answered) -> bool:
    """Whether an answer is a design for the brief of its prompt."""
    try:
        read_answer(read_prompt(prompt), answer)
    except DesignError:
        return False
    return True
