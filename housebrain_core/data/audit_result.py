"""What an audit says, as typed values; their JSON is the file beside the page."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from housebrain_core.data.findings import Finding, entropy_floor


class AuditPart(BaseModel):
    """Base of the parts: immutable, documented field by field."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Cut(AuditPart):
    """What a cut from the right at one max_length leaves; shares in [0, 1]."""

    answer_kept: float
    """Of the tokens of all answers."""
    whole: float
    """Of the samples, those whose answer is whole."""
    no_answer: float
    """Of the samples, those that lose all of their answer."""


class Lengths(AuditPart):
    """Lengths of prompt and answer together, in tokens, or in characters where there is no tokenizer."""

    samples: int
    mean: float
    median: float
    p99: float
    max: int
    prompt_mean: float
    answer_mean: float
    cut: dict[str, Cut]
    """max_length in tokens -> what it leaves."""
    all: list[int]
    """Of each sample."""


class RuleCount(AuditPart):
    """How many references break a rule, of those that it applies to."""

    broken: int
    applicable: int

    @property
    def share(self) -> float:
        """In [0, 1]."""
        return self.broken / self.applicable


class AuditResult(AuditPart):
    """The contents of the audit's JSON file."""

    source: str
    """Name of the dataset's folder or file."""
    samples: dict[str, int]
    """Part (train, validation) -> samples that could be read."""
    bad: int
    bad_reasons: list[tuple[str, int]]
    """The ten most frequent reasons, and how often each occurs."""
    bad_examples: list[dict[str, str]]
    """Origin and reason of the first ten bad samples."""
    notes: list[str] = []
    """What was left aside or changed: files, and fields of samples."""
    duplicates: int
    """Samples whose content occurs before, under whatever id."""
    leaks: int
    """Validation samples whose content is also in training."""
    fields: list[Finding]
    entropy_nats_per_sample: float
    """The floor for the loss of one sample."""
    floor_is_lower_bound: bool
    """Whether a field is left out of the floor because its entropy cannot be estimated."""
    floor_nats_per_token: float | None
    """The floor per token of an answer; None without a tokenizer."""
    tokenizer: str | None
    """What lengths are counted with; None: in characters."""
    lengths: dict[str, Lengths]
    """original (indented JSON) and ours (as HouseBrain trains) -> lengths."""
    rules: dict[str, RuleCount]
    """Name of each rule that applies to a sample -> how many references break it."""
    rule_samples: int
    """Samples that the rules were tried on."""
    conclusions: list[str]
    """What a model can and cannot learn, in plain words."""
    seconds: float


ENOUGH = 200
"""Samples from which it is said that no model is needed for a field, or that none can learn it."""


def conclude(fields: list[Finding], nats_per_token: float | None, samples: int) -> list[str]:
    """Says in plain words what a model can and cannot learn.

    Args:
        fields: the finding of each field.
        nats_per_token: the floor per token of an answer, where tokens were counted.
        samples: how many the findings are made from.
    """
    if samples < ENOUGH:
        few = f"{samples} samples are too few to say what a model can learn; it takes {ENOUGH}."
        return [few, *_conclude_fields(fields, samples)]
    bound = "at least " if any(field.free is None for field in fields) else ""
    per_token = f", {nats_per_token:.4f} nats per token" if nats_per_token else ""
    floor = (
        f"No honest model gets a validation loss clearly below {bound}{entropy_floor(fields):.1f} nats per sample"
        f"{per_token}, as estimated from these samples. A lower one means that it has seen the answers."
    )
    return [*_conclude_fields(fields, samples), floor]


def _conclude_fields(fields: list[Finding], samples: int) -> Iterator[str]:
    """What follows from the fields; of few samples only what is so in all of them."""
    for field in fields:
        if field.text == "always empty":
            yield f"{field.short_name} is always empty, in {samples:,} samples: a model learns to leave it empty."
    if any(field.text == "a copy of the whole brief" for field in fields):
        yield "Designs repeat the whole brief: tokens spent on an echo that code can write."
    written = _names(fields, "copied") + _names(fields, "derivable") + _names(fields, "constant")
    if written and samples < ENOUGH:
        yield f"In all {samples} of them these follow from other fields or never change: {', '.join(written)}."
    elif written:
        yield f"Code can write these, no model is needed (so in all {samples:,} samples): {', '.join(written)}."
    if samples >= ENOUGH:
        yield from _conclude_free(fields)


def _conclude_free(fields: list[Finding]) -> Iterator[str]:
    """What follows from the fields that other fields do not decide."""
    free = [field for field in fields if field.free]
    blind = [field for field in free if field.kind != "nearly derivable" and not field.depends_on_brief]
    if blind:
        yield (
            f"{len(blind)} fields are independent of every single field of the brief "
            f"({sum(field.free or 0 for field in blind):.1f} nats). A model learns how often each value occurs, and no "
            f"more: {', '.join(field.short_name for field in blind)}."
        )
    for field in free:
        if field.depends_on_brief:
            yield f"{field.short_name} depends on {field.brief_field}: a model can learn that part of it."
    texts = _names(fields, "free text")
    if texts:
        yield f"Free text or structure, whose floor these statistics do not know: {', '.join(texts)}."


def _names(fields: list[Finding], kind: str) -> list[str]:
    return [field.short_name for field in fields if field.kind == kind]
