"""What an audit concludes from findings that are written by hand."""

import pytest
from pydantic import ValidationError

from housebrain_core.data.audit_result import AuditResult, RuleCount, conclude, summarize
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
    said = list(conclude(FIELDS, 5000))
    assert said == [
        "levels is always empty, in 5,000 samples: a model learns to leave it empty.",
        "Designs repeat the whole brief: tokens spent on an echo that code can write.",
        "Code can write these, no model is needed (so in all 5,000 samples): input, size, levels.",
        "1 fields are independent of every single field of the brief (1.5 nats). A model learns how often each value "
        "occurs, and no more: color.",
        "1 fields depend on the brief, and a model can learn that part: feather on input.taste.",
    ]


def test_of_few_samples_nothing_strong_is_said():
    assert list(conclude(FIELDS, 60)) == [
        "levels is always empty, in 60 samples: a model learns to leave it empty.",
        "Designs repeat the whole brief: tokens spent on an echo that code can write.",
        "In all 60 of them these follow from other fields or never change: input, size, levels.",
    ]


def test_free_text_is_named():
    assert list(conclude([*FIELDS, finding("story", "free text", None)], 5000))[-1].endswith("do not know: story.")


def audited(samples: int = 5000, **changes) -> AuditResult:
    """An audit of the fields above, as `audit_dataset` makes one."""
    values = dict.fromkeys(("duplicates", "leaks", "bad", "rule_samples", "seconds"), 0)
    values |= {"source": "x", "samples": {"train": samples}, "bad_reasons": [], "bad_examples": [], "rules": {}}
    values |= {"entropy_nats_per_sample": 2.0, "floor_is_lower_bound": False, "floor_nats_per_token": None}
    values |= {"fields": FIELDS, "tokenizer": None, "lengths": {}, "conclusions": []}
    return AuditResult(**(values | changes))


def test_the_summary_counts_samples_and_fields_and_says_what_to_do():
    counts, fields, floor, todo = summarize(audited())
    assert counts == "5,000 train; all can be used; 0 repeat another, 0 of validation are in training too."
    assert fields.startswith("Of 5 fields of the designs code can write 3; 1 depend on the brief")
    assert "clearly below 2.0 nats per sample; a lower one" in floor and todo == "Next: split the dataset."


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bad": 2}, "mend or remove the samples"),
        ({"leaks": 1}, "(drop_duplicates)"),
        ({"entropy_nats_per_sample": 0.0}, "train nothing"),
        ({"samples": 60}, "60 samples are too few"),
        ({"floor_is_lower_bound": True, "floor_nats_per_token": 0.0123}, "at least 2.0 nats per sample, 0.0123 nats"),
    ],
)
def test_what_stands_in_the_way_is_said(changes, said):
    assert said in " ".join(summarize(audited(**changes)))


def test_of_few_samples_it_is_not_said_that_code_or_no_model_can_write_anything():
    text = " ".join(summarize(audited(samples=60, entropy_nats_per_sample=0.0)))
    assert "In these samples 3 of the designs' 5 fields follow from others or never change." in text
    assert "code can write" not in text and "train nothing" not in text and "can only learn" not in text


def test_a_result_cannot_be_changed():
    count = RuleCount(broken=1, applicable=4)
    assert count.share == 0.25
    with pytest.raises(ValidationError, match="frozen"):
        count.broken = 2
