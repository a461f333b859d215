"""The samples that are left, condition after condition, and the ordinary ones that are drawn from all others."""

import random
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np

from housebrain_core.data.audit_result import ENOUGH
from housebrain_core.data.columns import make_columns
from housebrain_core.data.fields import choose_fields
from housebrain_core.data.findings import LITTLE, entropy_floor, learnable_from_brief, study_fields
from housebrain_core.data.samples import read_samples
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.manifests import sha256_of
from housebrain_core.select.difficulty import nearest_rows, read_brief
from housebrain_core.select.reading import Conditions, Row, read_chosen, read_pool
from housebrain_core.select.selection import Selection, Step, tabulate
from housebrain_core.select.settings import SelectConfig
from housebrain_core.settings import parse_condition

AUDITED = 5_000
"""Training samples that say whether answers follow from briefs, at most."""
THIRDS = {"hardest": 0, "middle": 1, "easiest": 2}
"""Which third of the briefs a word means, the most difficult first."""


class Choice:
    """What is left of a dataset's training samples.

    Args:
        config: the dataset and the conditions.
        report: gets lines of progress.

    Raises:
        DataError: the dataset cannot be read, or too many of its samples are bad.
    """

    def __init__(self, config: SelectConfig, report: Callable[[str], None]) -> None:
        self.config = config
        self.report = report
        self.fields = choose_fields(config.input_field, config.output_field)
        where = tuple(parse_condition(text) for text in config.where)
        reads_briefs = config.difficulty is not None or config.evaluation is not None
        self.conditions = Conditions(where, tuple(config.clean_rules), reads_briefs)
        self.pool = read_pool(config.source, self.conditions, self.fields, report)
        self.pool.log.check(config.max_bad)
        if self.pool.log.bad:
            report(self.pool.log.describe())
        self.training = self.pool.training()
        self.rows = self.training
        self.names: list[str] = []
        self.notes: list[str] = self.pool.log.describe_notes()
        self.about: dict[str, Any] = {}
        self.steps = [
            Step(text="training samples", left=self.pool.count("train")),
            Step(text="no validation sample has their brief", left=len(self.training)),
        ]

    def choose(self) -> None:
        """Asks every condition in turn.

        Raises:
            DataError: fewer samples are left than are wanted.
            ConfigError: a condition would do nothing, or choose by chance.
        """
        self._ask_samples()
        if self.config.difficulty is not None:
            self._ask_difficulty(self.config.difficulty)
        if self.config.evaluation:
            self._ask_evaluation()
        elif self.config.model:
            self._ask_model()
        if len(self.rows) < self.config.at_least:
            raise DataError(self._describe_too_few())

    def draw_ordinary(self) -> list[Row]:
        """Draws ordinary samples from all training samples that were not chosen, as many as make the wanted share."""
        chosen = {row.id for row in self.rows}
        others = [row for row in self.training if row.id not in chosen]
        share = self.config.ordinary
        wanted = round(len(chosen) * share / (1 - share))
        if wanted > len(others):
            self.notes.append(f"{wanted:,} ordinary samples are wanted, and there are only {len(others):,} others")
        return random.Random(self.config.seed).sample(others, min(wanted, len(others)))

    def describe(self, ordinary: int) -> Selection:
        """What was chosen, with so many ordinary samples."""
        return Selection(
            source=self.config.source.resolve().name,
            source_sha256=self.pool.sha256(),
            source_train=self.pool.count("train"),
            conditions=self.names,
            steps=self.steps,
            notes=self.notes,
            chosen=len(self.rows),
            ordinary=ordinary,
            validation=self.pool.count("validation"),
            seed=self.config.seed,
            **self.about,
        )

    def _keep(self, text: str, rows: list[Row], is_condition: bool = True) -> None:
        """Goes on with fewer rows, and notes how many are left."""
        self.rows = rows
        self.steps.append(Step(text=text, left=len(rows)))
        self.names += [text] * is_condition

    def _ask_samples(self) -> None:
        """Conditions on values and rules, which every sample has been asked already."""
        rules = self.conditions.rules
        idle = [rule for rule in rules if rule not in self.pool.applying]
        if rules and len(idle) == len(rules) and any(row.held >= len(self.conditions.where) for row in self.rows):
            raise ConfigError(
                f"clean_rules: {', '.join(rules)} would do nothing; no sample of {self.config.source} that meets the "
                "conditions before is of a kind to which they apply."
            )
        for number, name in enumerate(self.conditions.names(), 1):
            if number <= len(self.conditions.where) or rules[number - len(self.conditions.where) - 1] not in idle:
                self._keep(name, [row for row in self.rows if row.held >= number])
        if idle:
            self.notes.append(f"these rules apply to no sample here: {', '.join(idle)}")

    def _ask_difficulty(self, wanted: float | str) -> None:
        """Takes a third of what is left, or the most difficult share; equal ones in the order of the dataset."""
        scored = [row for row in self.rows if row.brief]
        ranked = sorted(scored, key=difficulty_of, reverse=True)
        if isinstance(wanted, str):
            place = THIRDS[wanted]
            taken = ranked[len(ranked) * place // 3 : len(ranked) * (place + 1) // 3]
            text = f"the {wanted} third by the difficulty of the brief"
        else:
            taken = ranked[: round(len(ranked) * wanted)]
            text = f"the hardest {wanted:.4g} by the difficulty of the brief"
        if self.rows and not scored:
            raise ConfigError("difficulty: it is for house briefs, and no sample that is left has one.")
        if taken:
            text += f" ({difficulty_of(taken[0]):.2f} to {difficulty_of(taken[-1]):.2f})"
        ids = {row.id for row in taken}
        self._keep(text, [row for row in self.rows if row.id in ids])

    def _ask_evaluation(self) -> None:
        """Takes the nearest training samples of the briefs on which the evaluated model failed."""
        from housebrain_core.select.failures import read_failed

        failed = read_failed(self.config, self.pool, self.fields)
        places = [row for row in self.rows if row.brief]
        wanted = [brief for brief in map(read_brief, failed.briefs) if brief]
        if failed.briefs and not wanted:
            raise ConfigError(
                "failed: only of house briefs it is known which are near to each other. Let the model answer training "
                "briefs with --model instead of --evaluation."
            )
        near: set[str] = set()
        if places:
            numbers = np.array([row.brief.numbers for row in places if row.brief])
            words = np.array([row.brief.words for row in places if row.brief])
            for brief in wanted:
                near |= {places[row].id for row in nearest_rows(brief, numbers, words, self.config.neighbours)}
        kinds = " or ".join(self.config.failed)
        text = (
            f"nearest to the {len(failed.briefs):,} of {failed.answered:,} evaluated briefs on which {failed.model} "
            f"failed ({kinds})"
        )
        self._keep(text, [row for row in self.rows if row.id in near])
        assert self.config.evaluation, "asked for by the caller"
        self.about["evaluation_sha256"] = sha256_of(self.config.evaluation.with_suffix(".jsonl"))

    def _ask_model(self) -> None:
        """Tries the model on candidates: takes those on which it fails, and of these those of the highest loss."""
        if self.config.highest_loss:
            self._check_dependence()
        if not self.rows:
            return
        from housebrain_core.select.failures import Trial

        count = min(self.config.candidates, len(self.rows))
        drawn = {row.id for row in random.Random(self.config.seed).sample(self.rows, count)}
        self._keep("drawn to try the model on", [row for row in self.rows if row.id in drawn], is_condition=False)
        samples = [sample for _, sample in read_chosen(self.config.source, drawn, self.fields, ("train",))]
        trial = Trial(self.config, samples, self.report)
        self.about["model"] = {"name": trial.llm.name, "sha256": trial.llm.weights}
        if self.config.failed:
            failed = set(trial.failed())
            kinds = " or ".join(self.config.failed)
            self._keep(f"{trial.llm.name} fails on them ({kinds})", [row for row in self.rows if row.id in failed])
        if self.config.highest_loss:
            losses = trial.losses()
            count = round(len(self.rows) * self.config.highest_loss)
            highest = {row.id for row in sorted(self.rows, key=lambda row: -losses[row.id])[:count]}
            text = f"the {self.config.highest_loss:.4g} of the highest loss of {trial.llm.name}"
            self._keep(text, [row for row in self.rows if row.id in highest])

    def _check_dependence(self) -> None:
        """Refuses a choice by loss where the audit's statistics do not say that answers follow from briefs."""
        step = -(-len(self.training) // AUDITED) if self.training else 1
        ids = {row.id for row in islice(self.training, 0, None, step)}
        findings = study_fields(
            make_columns(sample for _, sample in read_chosen(self.config.source, ids, self.fields, ("train",)))
        )
        nats = learnable_from_brief(findings) if len(ids) >= ENOUGH else None
        chance = entropy_floor(findings)
        if nats is None:
            why = f"how much of an answer follows from its brief is not known of these data ({len(ids):,} samples)"
        elif nats < LITTLE * (nats + chance):
            why = f"fields of the brief tell {nats:.1f} nats of an answer and {chance:.1f} are chance"
        else:
            return
        raise ConfigError(
            f"highest_loss: {why} (statistics of housebrain audit), so a high loss would mean an unlucky draw, and "
            "training on it would teach noise. Choose by rules, failures or difficulty."
        )

    def _describe_too_few(self) -> str:
        """That too few samples are left, with the counts by condition."""
        left = len(self.rows)
        what = f"{left:,} samples are left, fewer than {self.config.at_least:,}" if left else "no sample is left"
        lines = [f"{what}; nothing was written.", str(tabulate(self.steps))]
        if left:
            lines.append(f"Leave a condition out, or take so few with --at-least {left}.")
        else:
            first_empty = next(step.text for step in self.steps if not step.left)
            lines.append(f"Leave out what leaves nothing: {first_empty}.{self._describe_first()}")
        return "\n".join(lines)

    def _describe_first(self) -> str:
        """What the first sample has in the place of a value that no sample has."""
        met = len(self.conditions.where)
        if not met or any(row.held >= met for row in self.training):
            return ""
        first = next(read_samples(self.config.source, "train", fields=self.fields))
        return f" In the first sample {'; '.join(one.describe(first) for one in self.conditions.where)}."


def difficulty_of(row: Row) -> float:
    """Of a row whose brief was read."""
    return row.brief.difficulty if row.brief else 0.0
