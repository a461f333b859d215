"""evaluation.json: what an evaluation found, as typed records with the file's own names. Needs no torch."""

from pydantic import BaseModel, ConfigDict

from housebrain_core.llm.losses import Interval


class Result(BaseModel):
    """A part of evaluation.json. Shares are in [0, 1], losses in nats; None is what could not be measured."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LimitResult(Result):
    """A number that the rule checks compare with."""

    value: float
    unit: str
    source: str


class RuleResult(Result):
    """How many designs keep one rule."""

    passed: int
    applicable: int
    not_applicable: int
    share: float | None
    """passed / applicable."""


class RulesResult(Result):
    """What the rule checks say of many designs."""

    checked: int
    """Designs that could be checked."""
    rules: dict[str, RuleResult]
    rule_score: float | None
    """Share of the applicable checks that are kept, over all rules and designs."""
    hard_score: float | None
    soft_score: float | None
    all_hard: float
    """Share of all answers that are a design which keeps every hard rule that applies to it."""


class ReferenceResult(RulesResult):
    """The same figures for the reference designs, which models are compared with."""

    exactness: dict[str, float | None]


class LossResult(Result):
    """Validation loss, and how far it is above the data's own entropy; all None of a served model."""

    loss_nats_per_token: float | None = None
    loss_interval: Interval | None = None
    loss_nats_per_sample: float | None = None
    floor_nats_per_token: float | None = None
    """Entropy of the data, where it is known."""
    loss_above_floor: float | None = None
    """Nats per token."""


class RatesResult(Result):
    """Shares of the answers, strict and repaired never mixed."""

    invalid_json: float
    strict_parse: float
    repaired_parse: float
    schema_valid: float
    schema_valid_repaired: float
    intervals: dict[str, Interval]
    """95 % interval of each share."""


class FieldResult(Result):
    """How one free field is distributed in answers."""

    distance: float
    """Total variation distance from its distribution in the training data, in [0, 1]."""
    entropy: float
    """In nats."""
    training_entropy: float


class DistributionResult(Result):
    """How far the free fields of answers at temperature 1 are from the training data's."""

    designs: int
    """Answers with the field that is found most often."""
    fields: dict[str, FieldResult]
    distance: float | None = None
    """Mean over the fields."""
    expected_distance: float | None = None
    """What as many draws from the training data would have."""
    entropy_ratio: float | None = None
    """Of all fields: near 1 for an honest model, near 0 where it always answers the same."""


class SameResult(Result):
    """How many answers are what the reference is."""

    same: float
    """Share of all answers that are the reference design, in every field that is not drawn."""
    same_interval: Interval
    """95 % interval of the share."""
    rooms: float | None
    """Share of the reference's rooms that the answer has on the same level with the same type and bounds; None where
    the references have no rooms."""
    most_probable: float | None
    """Share of the validation samples in whose completion every token is the model's most probable one after the right
    ones before it, drawn fields left out; None of a served model."""


class ModelResult(LossResult, RulesResult, SameResult):
    """What was found of one model."""

    rates: RatesResult
    kinds: dict[str, int]
    """Kind of answer -> how many: "ok", "schema", or why a text is not JSON."""
    exactness: dict[str, float | None]
    """Derivable field -> share of valid answers whose design has the derived value."""
    distribution: DistributionResult
    tokens_per_second: float


class PairResult(Result):
    """Two models on the same samples."""

    first: str
    second: str
    loss_difference: float | None
    """First less second, nats per token; None where one of them is served."""
    loss_interval: Interval | None
    lower_loss: float | None
    """Share of the samples on which the first has the lower loss."""
    valid_only_first: int
    """Briefs that only the first gave a schema-valid answer to."""
    valid_only_second: int
    rule_difference: float | None
    """Share of rules kept, first less second, over the briefs that both gave a design for."""
    rule_interval: Interval | None
    rule_pairs: int
    """Number of those briefs."""


class Evaluation(Result):
    """The contents of evaluation.json."""

    data: str
    loss_samples: int
    """Validation samples whose loss was measured."""
    samples: int
    """Validation samples whose designs were generated and judged."""
    constrained: bool
    text: bool = False
    """Whether the references are texts, so that nothing is to be said of JSON, designs and rules."""
    drawn: list[str]
    """Fields that do not follow from the brief, as the data's metadata name them; `same` leaves them out."""
    limits: dict[str, LimitResult]
    """Numbers of the rule checks, with unit and source."""
    reference: ReferenceResult
    models: dict[str, ModelResult]
    pairs: list[PairResult]

    @property
    def floor(self) -> float | None:
        """Entropy of the data in nats per token, where it is known and the same for all models."""
        floors = {model.floor_nats_per_token for model in self.models.values() if model.loss_nats_per_token is not None}
        return floors.pop() if len(floors) == 1 else None
