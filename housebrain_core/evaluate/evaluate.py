"""Judges models on validation samples: loss, parse rates, rule checks, always beside the reference's own score."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from housebrain_core.adapters.adapter import CONFIG, check_base_settings
from housebrain_core.config import EvaluateConfig
from housebrain_core.data.samples import read_samples
from housebrain_core.display.results import say
from housebrain_core.errors import ConfigError
from housebrain_core.evaluate.judging import (
    Evaluated,
    compare_models,
    count_values,
    describe_distribution,
    describe_exactness,
    describe_loss,
    describe_rates,
    describe_rules,
    describe_same,
    judge,
)
from housebrain_core.evaluate.report import report_path, write_report
from housebrain_core.evaluate.results import Evaluation, LimitResult, ModelResult, ReferenceResult
from housebrain_core.house import codec
from housebrain_core.house.measures import Limit, read_limits, values_of
from housebrain_core.house.rules import check_or_none
from housebrain_core.llm.constrained import safe_limit
from housebrain_core.llm.decoding import Answered, Decoding
from housebrain_core.llm.designer import Designer
from housebrain_core.llm.journal import Journal
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.llm.losses import Losses
from housebrain_core.llm.remote import ServedLLM
from housebrain_core.manifests import sha256_of, write_atomically
from housebrain_core.outputs import check_file, lock_output
from housebrain_core.settings import is_url
from housebrain_core.splits.bundle import is_bundle, read_bundle
from housebrain_core.splits.encode import read_drawn_fields, read_validation
from housebrain_core.splits.parts import read_splits

TRAINING_SAMPLES = 5000
"""Training samples whose free fields are counted."""


class Questions(NamedTuple):
    """What every model is judged on."""

    examples: list[codec.Example]
    """Validation samples whose loss is measured."""
    briefs: list[dict]
    """Of the first of them; their designs are generated."""
    limits: dict[str, Limit]
    """Numbers of the rule checks."""
    floor: float | None
    """Entropy of the data in nats per sample, where it is known."""
    drawn: tuple[str, ...]
    """Fields of a design that do not follow from the brief, as the data's metadata name them."""
    training: dict[str, Counter]
    """Free field -> value -> how often it is in the training data."""


class Answers(NamedTuple):
    """What one model did with the questions."""

    losses: Losses | None
    """None of a served model."""
    greedy: list[Answered]
    """One for each brief."""
    sampled: list[Answered]
    """For the first briefs, at temperature 1."""
    seconds: float
    """That the greedy answers took."""


def evaluate_models(config: EvaluateConfig, report: Callable[[str], None] = say) -> Evaluation:
    """Evaluates models on the same validation samples; writes evaluation.json, the answers, and report.html.

    Answers go to a journal beside the output as they come, so that a killed evaluation continues where it was.

    Args:
        config: which models, on what, and how many samples.
        report: gets lines of progress.

    Returns:
        The contents of evaluation.json. All but the speed is the same every time.

    Raises:
        ConfigError: settings that do nothing, or an output that holds something else or is being written.
        DataError: the validation samples cannot be read.
        AdapterError: a model cannot be read.
    """
    check_outputs(config)
    check_base_settings(config.models, config.base_model, config.load_in_4bit)
    with lock_output(config.output):
        questions = read_questions(config)
        journal = Journal(config.output.with_suffix(".partial.jsonl"), lambda row: row["key"])
        answers = _answer_questions(config, questions, journal, report)
        report("judging the answers, drawing the best and the worst of each model")
        result = _judge_answers(config, questions, answers)
        _write_answers(config.output.with_suffix(".jsonl"), questions.briefs, answers)
        text = json.dumps(result.model_dump(mode="json"), indent=1)  # models as given: the last counts elsewhere
        write_atomically(config.output, text + "\n")
        page = write_report(result, config.output.with_suffix(".jsonl"), report_path(config.output))
        journal.path.unlink(missing_ok=True)
    report(f"results in {config.output}, with figures in {page}")
    return result


def check_outputs(config: EvaluateConfig) -> None:
    """Refuses names of files that cannot be written, or at which something lies that no evaluation wrote."""
    output = config.output
    check_file(output, {"models", "reference", "pairs"}, [config.data])
    answers, page, partial = output.with_suffix(".jsonl"), report_path(output), output.with_suffix(".partial.jsonl")
    if len({output, answers, page}) < 3:
        raise ConfigError(f"output = {output}: the page is a .html and the answers are a .jsonl; name a .json file.")
    check_file(answers, {"model", "brief", "text"}, [config.data])
    check_file(page)
    check_file(partial, {"key"})


def read_questions(config: EvaluateConfig) -> Questions:
    """The validation samples, and what is known of the data that they belong to."""
    examples = read_validation(config.data)
    briefs = [codec.read_prompt(example.prompt) for example in examples[: config.samples]]
    floor, training = read_training(config.data)
    drawn = read_drawn_fields(config.data)
    return Questions(examples, briefs, read_limits(config.limits), floor, drawn, training)


def read_training(data: Path) -> tuple[float | None, dict[str, Counter]]:
    """The known entropy of the data in nats per sample, and how often free fields have each value in training."""
    if (data / "split_summary.json").is_file():
        data = data / read_splits(data)[0].bundle
    if is_bundle(data):
        bundle = read_bundle(data)
        completions = bundle.train.column("completion")[:TRAINING_SAMPLES].to_pylist()
        return bundle.manifest.get("entropy_nats_per_sample"), count_values(completions)
    samples = islice(read_samples(data, "train"), TRAINING_SAMPLES)
    return None, count_values(codec.encode(sample).completion for sample in samples)


def load_models(config: EvaluateConfig, report: Callable[[str], None]) -> Iterator[Designer]:
    """The models one after another; a base model stays loaded as long as the next adapter is for the same one."""
    llm = None
    for model in config.models:
        folder = model if isinstance(model, Path) and (model / CONFIG).is_file() else None
        if isinstance(llm, HouseBrainLLM) and folder and llm.can_use(folder):
            llm.use(folder)
        elif is_url(model):
            llm = HouseBrainLLM(model)
        else:
            llm = HouseBrainLLM(model, config.base_model, config.load_in_4bit, report)
        yield llm


def _answer_questions(
    config: EvaluateConfig, questions: Questions, journal: Journal, report: Callable[[str], None]
) -> dict[str, Answers]:
    """Model name -> its losses and answers; a name that comes again gets a number."""
    answers: dict[str, Answers] = {}
    for llm in load_models(config, report):
        name = llm.name if llm.name not in answers else f"{llm.name} ({len(answers) + 1})"
        what = "" if isinstance(llm, ServedLLM) else f"loss on {len(questions.examples)} samples and "
        report(f"{name}: {what}{len(questions.briefs)} answers")
        answers[name] = ModelRun(llm, questions, journal, report).answer_all(config)
    return answers


class ModelRun:
    """One model's losses and answers, taken from the journal as far as they are in it."""

    def __init__(self, llm: Designer, questions: Questions, journal: Journal, report: Callable[[str], None]) -> None:
        self.llm = llm
        self.questions = questions
        self.journal = journal
        self.report = report
        data = sha256_of("\0".join(text for example in questions.examples for text in example).encode())
        self.key = sha256_of(json.dumps([llm.identity, data, len(questions.briefs)]).encode())

    def answer_all(self, config: EvaluateConfig) -> Answers:
        """Losses first: they say how long the reference answers are, which bounds the generated ones.

        Where a server counts the tokens, the bytes of the longest reference are a bound that is surely enough.
        """
        losses = self.losses()
        longest = max(losses.tokens if losses else [len(one.completion.encode()) for one in self.questions.examples])
        limit = longest * 5 // 4 if config.max_new_tokens == "auto" else config.max_new_tokens
        if config.constrained and config.max_new_tokens == "auto":
            limit = max(limit, safe_limit())
        decoding = Decoding(config.batch_size, limit, config.constrained, seed=config.seed)
        count = len(self.questions.briefs)
        self.report(f"{self.llm.name}: {f'loss {losses.mean:.4f}; ' if losses else ''}writing {count} answers")
        greedy, seconds = self.answers(decoding, count)
        if config.sampled:
            self.report(f"{self.llm.name}: answers at temperature 1, to see how varied they are")
        sampled, _ = self.answers(decoding._replace(temperature=1.0), min(config.sampled, count))
        return Answers(losses, greedy, sampled, seconds)

    def losses(self) -> Losses | None:
        """The loss on each example; None where the model does not tell."""
        key = f"{self.key} losses"
        if key not in self.journal.rows:
            losses = self.llm.losses(self.questions.examples, self.questions.drawn)
            if losses is None:
                return None
            self.journal.add({"key": key, "losses": losses})
        return Losses(*self.journal.rows[key]["losses"])

    def answers(self, decoding: Decoding, count: int) -> tuple[list[Answered], float]:
        """Answers for the first briefs, and the seconds that generating them took."""
        keys = [f"{self.key} {json.dumps(decoding)} {count} {index}" for index in range(count)]
        done = {index for index, key in enumerate(keys) if key in self.journal.rows}
        for batch in self.llm.answer_batches(self.questions.briefs[:count], decoding, done, self.report):
            seconds = batch.seconds / len(batch.indices)
            for index, answer in zip(batch.indices, batch.answers, strict=True):
                self.journal.add({"key": keys[index], "answer": answer, "seconds": seconds})
        rows = [self.journal.rows[key] for key in keys]
        return [Answered(*row["answer"]) for row in rows], sum(row["seconds"] for row in rows)


def _judge_answers(config: EvaluateConfig, questions: Questions, answers: dict[str, Answers]) -> Evaluation:
    """The contents of evaluation.json."""
    models = {}
    evaluated = {}
    references = _read_references(questions)
    for name, given in answers.items():
        judged = [
            judge(brief, answer, values_of(questions.limits))
            for brief, answer in zip(questions.briefs, given.greedy, strict=True)
        ]
        evaluated[name] = Evaluated(given.losses, judged)
        models[name] = ModelResult(
            **dict(describe_loss(given.losses, questions.floor)),
            **dict(describe_rules([one.rules for one in judged])),
            **dict(
                describe_same(
                    questions.briefs, [one.design for one in judged], references, questions.drawn, given.losses
                )
            ),
            rates=describe_rates(judged),
            kinds=dict(Counter(one.kind for one in judged)),
            exactness=describe_exactness(questions.briefs, [answer.text for answer in given.greedy]),
            distribution=describe_distribution(
                count_values(answer.text for answer in given.sampled), questions.training
            ),
            tokens_per_second=sum(answer.tokens for answer in given.greedy) / given.seconds,
        )
    return Evaluation(
        data=config.data.resolve().name,
        loss_samples=len(questions.examples),
        samples=len(questions.briefs),
        constrained=config.constrained,
        text=all(isinstance(reference, str) for reference in references),
        drawn=list(questions.drawn),
        limits={name: LimitResult(**limit._asdict()) for name, limit in questions.limits.items()},
        reference=describe_reference(questions),
        models=models,
        pairs=compare_models(evaluated),
    )


def describe_reference(questions: Questions) -> ReferenceResult:
    """The same figures for the reference designs, which models are compared with."""
    briefs = questions.briefs
    designs = _read_references(questions)
    completions = [example.completion for example in questions.examples[: len(briefs)]]
    limits = values_of(questions.limits)
    rules = [check_or_none(brief, design, limits) for brief, design in zip(briefs, designs, strict=True)]
    return ReferenceResult(**dict(describe_rules(rules)), exactness=describe_exactness(briefs, completions))


def _read_references(questions: Questions) -> list[dict]:
    """The design of the validation sample of each brief."""
    return [
        codec.decode(brief, example.completion)
        for brief, example in zip(questions.briefs, questions.examples, strict=False)
    ]


def _write_answers(path: Path, briefs: list[dict], answers: dict[str, Answers]) -> None:
    """Writes every answer with its brief and model, a line each."""
    lines = [
        codec.dumps({"model": name, "brief": brief, **answer._asdict()})
        for name, given in answers.items()
        for brief, answer in zip(briefs, given.greedy, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "\n".join(lines) + "\n")
