"""The settings of `housebrain select`."""

import difflib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from housebrain_core.errors import ConfigError
from housebrain_core.house.rules import RULES
from housebrain_core.settings import Count, DatasetSettings, Seed, Share, parse_condition, refuse_idle

Part = Annotated[float, Field(gt=0, lt=1)]
RULE_NAMES = [rule.name for rule in RULES]


class SelectConfig(DatasetSettings):
    """Which samples of a dataset a second round trains on; of several conditions, all must hold."""

    output: Path = Path("housebrain_selected")
    """Folder to write; it must not exist yet."""
    where: list[str] = []
    """Take only samples that have this value, such as metadata.region=Asia_India; of several conditions, all must
    hold."""
    clean_rules: list[str] = []
    """Take only samples whose reference breaks none of these rules, such as parking,height; all for every rule."""
    difficulty: Part | Literal["hardest", "middle", "easiest"] | None = None
    """Take a third of what the conditions before it left, by how difficult the brief is; 0.1 is the hardest tenth."""
    failed: list[Literal["parse", "schema", "rules"]] = []
    """Take samples on which a model fails: its answer is no JSON, no design, or breaks a rule that the reference
    keeps. Needs evaluation or model."""
    evaluation: Path | None = None
    """What housebrain evaluate wrote; its validation samples never become training samples, so that the nearest
    training samples of those that failed are taken. Of several models the last one counts."""
    neighbours: Count = 20
    """With evaluation: training samples to take for each brief that failed."""
    model: Path | None = None
    """Adapter or model folder that answers training briefs now, for failed, or whose loss counts, for highest_loss."""
    base_model: str | None = None
    """Where the base model of the model is on this machine; by default its recorded name."""
    candidates: Count = 2000
    """With model: samples that it is tried on, drawn by the seed from those that the other conditions left."""
    highest_loss: Part | None = None
    """Take this share of the candidates, those of the highest loss; refused where answers do not follow from briefs."""
    ordinary: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Share of the result that is drawn by the seed from all other training samples, against forgetting."""
    at_least: Count = 50
    """Chosen samples below which nothing is written."""
    max_bad: Share = 0.01
    """Share of unreadable samples above which nothing is written, in [0, 1]."""
    seed: Seed = 42
    """Seed of all that is drawn."""
    dry_run: bool = False
    """Say how many samples each condition leaves, and write no dataset."""
    overwrite: bool = False
    """Replace an output folder that an earlier select wrote."""

    @field_validator("where")
    @classmethod
    def _check_where(cls, values: list[str]) -> list[str]:
        for text in values:
            try:
                parse_condition(text)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return values

    @field_validator("clean_rules")
    @classmethod
    def _name_rules(cls, values: list[str]) -> list[str]:
        words = [word.strip() for value in values for word in value.split(",") if word.strip()]
        if values and not words:
            raise ValueError("it names no rule; name some, or all")
        if "all" in words:
            return RULE_NAMES
        return list(dict.fromkeys(find_rule(word) for word in words))

    @model_validator(mode="after")
    def _check_use(self) -> Self:
        conditions = (self.where, self.clean_rules, self.difficulty, self.failed, self.highest_loss)
        problems = []
        if not any(conditions):
            problems.append("where: without a condition all samples are ordinary; give one, as metadata.region=Asia")
        if self.failed and (self.evaluation is None) == (self.model is None):
            problems.append("failed: say on what: either an evaluation, or a model that answers training briefs now")
        if self.highest_loss and self.model is None:
            problems.append(f"highest_loss = {self.highest_loss}: say with model whose loss counts")
        with_model = self.model is not None and bool(self.failed or self.highest_loss)
        needs = {
            "evaluation": (bool(self.failed), "it is for --failed"),
            "neighbours": (self.evaluation is not None, "it is for --evaluation"),
            "model": (with_model, "it is for --failed and --highest-loss"),
            "base_model": (with_model, "it is for --model"),
            "candidates": (with_model, "it is for --model"),
        }
        refuse_idle(self, needs, tuple(problems))
        return self


def find_rule(word: str) -> str:
    """The name of a rule, of which the beginning is enough where only one rule begins so.

    Args:
        word: such as height_limit, or height.

    Raises:
        ValueError: there is no such rule, or there are several.
    """
    begin = [name for name in RULE_NAMES if name.startswith(word)]
    if word in RULE_NAMES or len(begin) == 1:
        return word if word in RULE_NAMES else begin[0]
    if begin:
        raise ValueError(f"{word} may be {' or '.join(begin)}")
    near = difflib.get_close_matches(word, RULE_NAMES, 1, 0.0)[0]
    raise ValueError(f"there is no rule {word}, did you mean {near}? There are all, {', '.join(RULE_NAMES)}")
