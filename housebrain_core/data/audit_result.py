"""What an audit says, as typed values; their JSON is the file beside the page."""

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from housebrain_core.data.findings import Finding


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


def summarize(result: AuditResult) -> list[str]:
    """Says in three sentences what is in the data and what a model can learn from them, and what to do next."""
    return [_count_samples(result), _count_fields(result), _describe_floor(result), f"Next: {_advise(result)}"]


def _count_samples(result: AuditResult) -> str:
    parts = ", ".join(f"{count:,} {part}" for part, count in result.samples.items())
    bad = f"{result.bad:,} cannot be used" if result.bad else "all can be used"
    return f"{parts}; {bad}; {result.duplicates} repeat another, {result.leaks} of validation are in training too."


def _count_fields(result: AuditResult) -> str:
    open_fields = [field for field in result.fields if field.free != 0]
    decided = len(result.fields) - len(open_fields)
    if _is_few(result):
        fields = f"{decided} of the designs' {len(result.fields)} fields"
        return f"In these samples {fields} follow from others or never change."
    unknown = sum(field.free is None for field in open_fields)
    learnable = sum(field.depends_on_brief for field in open_fields if field.free)
    blind = len(open_fields) - unknown - learnable
    return (
        f"Of {len(result.fields)} fields of the designs code can write {decided}; "
        f"{learnable} depend on the brief, which a model can learn; of {blind} it can only learn how often each value "
        f"occurs; free text or structure, such as rooms: {unknown}."
    )


def _describe_floor(result: AuditResult) -> str:
    """What no honest loss is below; of few samples that nothing can be said."""
    if _is_few(result):
        return f"{sum(result.samples.values())} samples are too few to say what a model can learn; it takes {ENOUGH}."
    bound = "at least " if result.floor_is_lower_bound else ""
    per_token = f", {result.floor_nats_per_token:.4f} nats per token" if result.floor_nats_per_token else ""
    floor = f"{bound}{result.entropy_nats_per_sample:.1f} nats per sample{per_token}"
    return (
        f"No honest model gets a validation loss clearly below {floor}; a lower one means that it has seen the answers."
    )


def _is_few(result: AuditResult) -> bool:
    """Whether there are too few samples to say that code can write a field, or that no model can learn it."""
    return sum(result.samples.values()) < ENOUGH


def _advise(result: AuditResult) -> str:
    if result.bad:
        return "mend or remove the samples that cannot be used; the page names them."
    if result.leaks or result.duplicates:
        return "leave those that repeat another out when you split (drop_duplicates): else validation flatters."
    if result.entropy_nats_per_sample == 0 and not result.floor_is_lower_bound and not _is_few(result):
        return "train nothing: code can write these designs."
    return "split the dataset."


def conclude(fields: list[Finding], samples: int) -> Iterator[str]:
    """Says of each field in plain words whether a model can and has to learn it; of few samples only what is certain.

    Args:
        fields: the finding of each field.
        samples: how many the findings are made from.
    """
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
    dependent = [f"{field.short_name} on {field.brief_field}" for field in free if field.depends_on_brief]
    if dependent:
        yield f"{len(dependent)} fields depend on the brief, and a model can learn that part: {', '.join(dependent)}."
    texts = _names(fields, "free text")
    if texts:
        yield f"Free text or structure, whose floor these statistics do not know: {', '.join(texts)}."


def _names(fields: list[Finding], kind: str) -> list[str]:
    return [field.short_name for field in fields if field.kind == kind]
