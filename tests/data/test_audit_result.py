"""What an audit concludes from findings that are written by hand."""

import pytest
from pydantic import ValidationError

from housebrain_core.data.audit_result import RuleCount, conclude
from housebrain_core.data.findings import Finding


def finding(name: str, kind: str, free: float | None, text: str = "", **more) -> Finding:
    return Finding(name=f"output.{name}", kind=kind, text=text, distinct=2, entropy=1.0, free=free, top=[], **more)


FIELDS = [
    finding("input", "copied", 0.0, "a copy of the whole brief"),
    finding("levels", "constant", 0.0, "always empty"),
    finding("size", "derivable", 0.0, "int(0.25 x input.head)"),
    finding("color", "choice", 1.5),
    finding("feather", "choice", 0.5, brief_field="input.taste", brief_sigmas=40.0),
]


def test_every_kind_of_field_has_its_sentence():
    said = conclude(FIELDS, None, 5000)
    assert said == [
        "levels is always empty, in 5,000 samples: a model learns to leave it empty.",
        "Designs repeat the whole brief: tokens spent on an echo that code can write.",
        "Code can write these, no model is needed (so in all 5,000 samples): input, size, levels.",
        "1 fields are independent of every single field of the brief (1.5 nats). A model learns how often each value "
        "occurs, and no more: color.",
        "feather depends on input.taste: a model can learn that part of it.",
        "No honest model gets a validation loss clearly below 2.0 nats per sample, as estimated from these samples. "
        "A lower one means that it has seen the answers.",
    ]


def test_of_few_samples_nothing_strong_is_said():
    assert conclude(FIELDS, None, 60) == [
        "60 samples are too few to say what a model can learn; it takes 200.",
        "levels is always empty, in 60 samples: a model learns to leave it empty.",
        "Designs repeat the whole brief: tokens spent on an echo that code can write.",
        "In all 60 of them these follow from other fields or never change: input, size, levels.",
    ]


def test_free_text_makes_the_floor_a_lower_bound_and_tokens_are_named_where_they_were_counted():
    *_, text, floor = conclude([*FIELDS, finding("story", "free text", None)], 0.0123, 5000)
    assert text.endswith("do not know: story.")
    assert "clearly below at least 2.0 nats per sample, 0.0123 nats per token" in floor


def test_a_result_cannot_be_changed():
    count = RuleCount(broken=1, applicable=4)
    assert count.share == 0.25
    with pytest.raises(ValidationError, match="frozen"):
        count.broken = 2
