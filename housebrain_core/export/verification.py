"""Does an export answer as the model that it was made of? Its own consumer loads it and answers the same briefs.

Rounding moves probabilities a little, so that two tokens which the model holds for as good as equal may change places.
An answer may part from the model's there, and nowhere else.
"""

import gc
import importlib.metadata
import math
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.errors import ExportError
from housebrain_core.export.settings import ExportConfig
from housebrain_core.house.codec import encode, write_prompt
from housebrain_core.house.synthetic import make_samples
from housebrain_core.llm.generate import read_briefs
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.merge.compute import ComputedMerge
from housebrain_core.merge.merged_files import write_adapter
from housebrain_core.splits.encode import read_validation
from housebrain_core.texts import say
from housebrain_core.train.base_models import weight_files

BRIEFS = 8
TOKENS = 512
"""Of each answer that are compared, at most."""
TIE = 0.9
"""A token at least so probable as the most probable one, as a share of it, may take its place."""
AT_TIE = f"at a token that the model itself holds for at least {TIE:.0%} as probable as its own"
SPARE = 0.8
"""Share of the free memory that a model may take."""
Report = Callable[[str], None]
ROOM = "there is too little memory on this machine ({needed:.1f} GB are needed, {free:.1f} are free)"


@dataclass(frozen=True)
class Source:
    """What an export is made of, as it is on this machine."""

    merge: ComputedMerge | None
    """The update; None for a whole model."""
    folder: Path
    """Of the base model, or of the whole model."""
    base_name: str | None
    base_revision: str
    in_4bit: bool = False
    """Whether the update was added to the base as 4-bit training saw it."""

    @property
    def adapters(self) -> list[Adapter]:
        """What the update is made of."""
        return self.merge.adapters if self.merge else []

    def load(self, report: Report) -> HouseBrainLLM:
        """The model that the export is made of, by our own loading."""
        llm = HouseBrainLLM(self.folder, load_in_4bit=self.in_4bit, report=report)
        with ExitStack() as cleanup:
            if self.merge and len(self.adapters) == 1:
                llm.use(self.adapters[0].folder)
            elif self.merge:
                scratch = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="housebrain-")))
                write_adapter(scratch, self.adapters, self.merge.rank, self.merge.factors)
                llm.use(scratch)
        return llm


class Check(NamedTuple):
    """What one consumer made of an export."""

    consumer: str
    """A program and its version."""
    passed: bool
    """False where it could not be tried here; an export that answers otherwise is refused."""
    text: str

    def __str__(self) -> str:
        return f"{'verified' if self.passed else 'NOT VERIFIED'} with {self.consumer}: {self.text}"


class Reference(NamedTuple):
    """What the model answers."""

    prompts: list[str]
    origin: str
    """Where the prompts are from."""
    prompt_ids: list[list[int]]
    answers: list[list[int]]
    """Tokens up to the end-of-text token, or `TOKENS`."""
    near: list[list[set[int]]]
    """For each of them, the tokens that are as good as equal."""


class NearTokens(LogitsProcessor):
    """Takes note of the tokens that are nearly as probable as the best, step by step, for each row."""

    def __init__(self) -> None:
        self.steps: list[list[set[int]]] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores (rows, vocabulary) as they are."""
        near = scores.float() >= scores.float().amax(-1, keepdim=True) + math.log(TIE)
        self.steps.append([set(row.nonzero().flatten().tolist()) for row in near])
        return scores


def choose_prompts(config: ExportConfig, report: Report = say) -> tuple[list[str], str]:
    """Chooses prompts to verify with: of given briefs, else of the validation sample, else of generated houses.

    Args:
        config: of the export.
        report: gets what is doubtful in given briefs.

    Returns:
        At most eight prompts, and where they are from.

    Raises:
        DataError: the briefs or the data that were given cannot be used.
    """
    if config.briefs:
        briefs = read_briefs(config.briefs)[0][:BRIEFS]
        for doubt in dict.fromkeys(doubt for brief in briefs for doubt in brief.doubts):
            report(f"NOTE: a brief of {config.briefs}: {doubt}")
        return [write_prompt(brief.plain) for brief in briefs], config.briefs
    if "data" in config.model_fields_set or config.data.exists():
        return [example.prompt for example in read_validation(config.data, BRIEFS)], f"validation of {config.data}"
    return [encode(sample).prompt for sample in make_samples(BRIEFS, seed=8)], "generated"


@torch.no_grad()
def answer_as_model(source: Source, config: ExportConfig, report: Report) -> Reference:
    """The greedy answers of the model that an export is made of.

    Args:
        source: what it is made of.
        config: says which briefs.
        report: gets lines of progress.
    """
    prompts, origin = choose_prompts(config, report)
    llm = source.load(report)
    inputs = llm.tokenizer(prompts, return_tensors="pt", padding=True).to(llm.model.device)
    near = NearTokens()
    settings = GenerationConfig(
        max_new_tokens=TOKENS,
        do_sample=False,
        use_cache=True,
        eos_token_id=llm.tokenizer.eos_token_id,
        pad_token_id=llm.tokenizer.pad_token_id,
    )
    ids = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    output = llm.model.generate(**ids, generation_config=settings, logits_processor=LogitsProcessorList([near]))
    answers = cut_answers(output, ids["input_ids"].shape[1], llm.tokenizer.eos_token_id)
    steps = [[step[row] for step in near.steps] for row in range(len(prompts))]
    return Reference(prompts, origin, llm.tokenizer(prompts).input_ids, answers, steps)


def cut_answers(output: torch.Tensor, start: int, end: int) -> list[list[int]]:
    """The tokens of each row behind its prompt, up to the end-of-text token and with it."""
    rows = output[:, start:].tolist()
    return [row[: row.index(end) + 1] if end in row else row for row in rows]


def compare_prompts(reference: Reference, prompt_ids: list[list[int]], consumer: str) -> None:
    """Raises ExportError where a consumer reads other tokens from a prompt than training did."""
    for number, (expected, actual) in enumerate(zip(reference.prompt_ids, prompt_ids, strict=True), 1):
        if expected != actual:
            place = first_difference(expected, actual)
            raise ExportError(
                f"{consumer} reads other tokens from prompt {number} than training did: from token {place} on "
                f"{actual[place : place + 4]} for {expected[place : place + 4]}. Its answers would be those of another "
                "model, so nothing is written."
            )


def compare_answers(reference: Reference, answers: list[list[int]], consumer: str) -> str:
    """Compares answers with the model's, token by token.

    Returns:
        How many are the same, in words.

    Raises:
        ExportError: one parts from the model's where the model does not hold two tokens for as good as equal.
    """
    ties = 0
    for number, (expected, actual) in enumerate(zip(reference.answers, answers, strict=True), 1):
        if actual == expected:
            continue
        if not parts_at_tie(reference, number - 1, actual):
            place = first_difference(expected, actual)
            raise ExportError(
                f"{consumer} does not answer as the model that was exported: the answers to brief {number} part at "
                f"token {place}, where {actual[place : place + 1]} stands for {expected[place : place + 1]}, which the "
                "model is sure of. Nothing is written. Try another --dtype or --base-view, or report it with this "
                "message."
            )
        ties += 1
    count = len(answers)
    text = f"{count - ties} of {count} greedy answers are the model's, token by token (briefs: {reference.origin})"
    return text + (f"; {ties} part{'s' * (ties == 1)} from it {AT_TIE}, which rounding may turn" if ties else "")


def parts_at_tie(reference: Reference, number: int, answer: list[int]) -> bool:
    """Whether an answer parts from the model's where the model holds two tokens for as good as equal.

    Args:
        reference: what the model answers.
        number: of the brief, from 0.
        answer: another one than the model's.
    """
    expected = reference.answers[number]
    place = first_difference(expected, answer)
    return place < min(len(answer), len(expected)) and answer[place] in reference.near[number][place]


def first_difference(one: list[int], other: list[int]) -> int:
    """The place from which two rows of tokens differ."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


@torch.no_grad()
def verify_with_transformers(reference: Reference, lines: str, folder: Path, libraries: list[str]) -> Check:
    """Loads an export by the very lines of its card, and compares prompts and answers.

    Args:
        reference: what it has to answer.
        lines: Python that makes `model` and `tokenizer`.
        folder: of the export.
        libraries: what the lines use, such as peft.

    Raises:
        ExportError: it reads or answers otherwise.
    """
    consumer = " and ".join(f"{name} {importlib.metadata.version(name)}" for name in libraries)
    loaded: dict[str, Any] = {}
    exec(lines, loaded)
    model, tokenizer = loaded["model"].eval(), loaded["tokenizer"]
    # half precision is slow on a CPU, and has other sums
    model = model.to("cuda") if torch.cuda.is_available() else model.float()
    requests = [[{"role": "user", "content": prompt.rstrip("\n")}] for prompt in reference.prompts]
    inputs = tokenizer.apply_chat_template(requests, padding=True, return_tensors="pt", return_dict=True)
    inputs = {name: inputs[name].to(model.device) for name in ("input_ids", "attention_mask")}
    rows = zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    compare_prompts(reference, [row[mask.bool()].tolist() for row, mask in rows], consumer)
    settings = GenerationConfig.from_pretrained(str(folder))
    settings.max_new_tokens = TOKENS
    output = model.generate(**inputs, generation_config=settings)
    answers = cut_answers(output, inputs["input_ids"].shape[1], tokenizer.eos_token_id)
    return Check(consumer, True, compare_answers(reference, answers, consumer))


def explain_room(folder: Path) -> str:
    """Why a model cannot be loaded on this machine, in words; empty where it can.

    Args:
        folder: with its weights, whose numbers take four bytes on a CPU.
    """
    if torch.cuda.is_available():  # pragma: needs GPU or platform
        return ""
    gc.collect()  # of a model that was loaded before
    needed = 2 * sum(path.stat().st_size for path in weight_files(folder) if path.is_file())
    free = psutil.virtual_memory().available
    if needed <= SPARE * free:
        return ""
    return ROOM.format(needed=needed / 1e9, free=free / 1e9)
