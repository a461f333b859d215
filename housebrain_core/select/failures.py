"""On which samples a model fails: as an evaluation says, or as it answers now; and on which its loss is highest."""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from housebrain_core.contents import LINES_LIMIT, parse_json, read_bytes
from housebrain_core.data.fields import Fields, Sample
from housebrain_core.errors import DataError
from housebrain_core.evaluate.evaluate import ModelRun, Questions
from housebrain_core.evaluate.judging import judge
from housebrain_core.house import codec
from housebrain_core.house.measures import NBC
from housebrain_core.house.rules import check_or_none
from housebrain_core.llm.decoding import Answered, Decoding
from housebrain_core.llm.journal import Journal
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.select.reading import Pool, answers_path, hash_of, read_chosen
from housebrain_core.select.settings import SelectConfig

BLOCK = 200
"""Samples whose losses are measured, and kept, together."""
EXAMPLE_OF_ANSWERS = "evaluation.jsonl, which housebrain evaluate writes beside evaluation.json"


class FailedBriefs(NamedTuple):
    """Briefs of an evaluation on which its last model failed."""

    model: str
    answered: int
    """Briefs of the evaluation that are in the dataset."""
    briefs: list[Any]


def find_kinds(brief: Any, answer: Answered, reference: Any, rules: Collection[str]) -> set[str]:
    """How an answer fails.

    Args:
        brief: that was answered.
        answer: of the model.
        reference: the output of the sample.
        rules: those that count; all when there are none.

    Returns:
        parse, where it is not one whole JSON object; schema, where it is, but not a design; rules, where it breaks one
        that the reference keeps: what the reference breaks too, it cannot teach.
    """
    judged = judge(brief, answer)
    if not judged.strict_parse:
        return {"parse"}
    kinds = set() if judged.schema_valid else {"schema"}
    kept = check_or_none(brief, reference) or {}
    broken = [rule for rule, findings in (judged.rules or {}).items() if findings and kept.get(rule) == []]
    return kinds | ({"rules"} if any(not rules or rule in rules for rule in broken) else set())


def read_failed(config: SelectConfig, pool: Pool, fields: Fields) -> FailedBriefs:
    """Reads an evaluation, and gives the briefs on which its last model failed in one of the wanted ways.

    Raises:
        DataError: it cannot be read, or none of its briefs is in the dataset.
    """
    assert config.evaluation, "checked by the settings"
    if config.evaluation.is_dir():
        raise DataError(f"{config.evaluation} is a folder; name the file {EXAMPLE_OF_ANSWERS}.")
    path = config.evaluation.with_suffix(".jsonl")
    rows = _read_rows(path)
    last = rows[-1]["model"]
    answers = {hash_of(row["brief"]): row for row in rows if row["model"] == last}
    ids = {row.id: row.brief_hash for row in pool.rows if row.brief_hash in answers}
    if not ids:
        raise DataError(
            f"none of the {len(answers)} briefs of {path} is in {config.source}. Name the evaluation of a model on "
            "samples of this dataset."
        )
    failed: dict[int, Any] = {}
    for _, sample in read_chosen(config.source, ids, fields):
        row = answers[ids[sample["id"]]]
        answer = Answered(row["text"], row["tokens"], row["complete"])
        if find_kinds(row["brief"], answer, sample["output"], config.clean_rules) & set(config.failed):
            failed[ids[sample["id"]]] = row["brief"]
    return FailedBriefs(last, len(set(ids.values())), list(failed.values()))


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of answers."""
    try:
        rows = [parse_json(line) for line in read_bytes(path, LINES_LIMIT).splitlines() if line.strip()]
    except DataError as error:
        raise DataError(f"{path} {error}. Expected was {EXAMPLE_OF_ANSWERS}.") from None
    if not rows or not all(isinstance(row, dict) and _is_answer(row) for row in rows):
        raise DataError(f"{path} is no file of answers. Expected was {EXAMPLE_OF_ANSWERS}.")
    return rows


def _is_answer(row: dict[str, Any]) -> bool:
    kinds = {"model": str, "text": str, "tokens": int, "complete": bool}
    return "brief" in row and all(isinstance(row.get(name), kind) for name, kind in kinds.items())


class Trial:
    """A model tried on training samples; what it did is kept in a journal, so that a killed trial goes on."""

    def __init__(self, config: SelectConfig, samples: Iterable[Sample], report: Callable[[str], None]) -> None:
        assert config.model, "checked by the settings"
        self.config = config
        self.samples = list(samples)
        self.examples = [codec.encode(sample) for sample in self.samples]
        self.report = report
        self.journal = Journal(answers_path(config.output), lambda row: row["key"])
        self.llm = HouseBrainLLM(config.model, config.base_model, report=report)

    def failed(self) -> list[str]:
        """Ids of the samples on which the model fails in one of the wanted ways."""
        texts = [example.completion for example in self.examples]
        longest = max(map(len, self.llm.tokenizer(texts).input_ids)) + 1
        self.report(f"{self.llm.name}: designs for {len(texts):,} training briefs")
        run = self._run(self.examples)
        answers, _ = run.answers(Decoding(max_new_tokens=longest * 5 // 4), len(texts))
        wanted = set(self.config.failed)
        return [
            sample["id"]
            for sample, answer in zip(self.samples, answers, strict=True)
            if find_kinds(sample["input"], answer, sample["output"], self.config.clean_rules) & wanted
        ]

    def losses(self) -> dict[str, float]:
        """Id of each sample -> its loss in nats per token."""
        losses: dict[str, float] = {}
        for start in range(0, len(self.samples), BLOCK):
            block = self._run(self.examples[start : start + BLOCK]).losses()
            assert block, "the model is loaded here, so that its losses can be measured"
            ids = [sample["id"] for sample in self.samples[start : start + BLOCK]]
            for name, nats, tokens in zip(ids, block.nats, block.tokens, strict=True):
                losses[name] = nats / tokens
            self.report(f"{self.llm.name}: loss of {len(losses):,} of {len(self.samples):,} samples")
        return losses

    def _run(self, examples: list[codec.Example]) -> ModelRun:
        """The model on some samples, as an evaluation runs it."""
        briefs = [codec.read_prompt(example.prompt) for example in examples]
        return ModelRun(self.llm, Questions(examples, briefs, NBC, None, (), {}), self.journal, self.report)
