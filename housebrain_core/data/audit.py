"""What is in a dataset, and what a model can learn from it, before anyone spends a GPU hour.

Every sample is read, and every field of every design is looked at. Two things are measured on a sample of the
dataset, evenly spaced: token lengths (500 samples) and how often the references break a rule (2,000).
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from housebrain_core.config import AuditConfig
from housebrain_core.data.audit_page import describe, write_page
from housebrain_core.data.audit_result import AuditResult, Cut, Lengths, RuleCount, conclude
from housebrain_core.data.columns import make_columns
from housebrain_core.data.fields import USUAL, Fields, Sample, choose_fields
from housebrain_core.data.files import find_dataset
from housebrain_core.data.findings import entropy_floor, study_fields
from housebrain_core.data.samples import Item, ReadLog, list_items, open_item
from housebrain_core.data.token_counts import CountTokens, load_counter
from housebrain_core.display.results import say
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.house import codec
from housebrain_core.house.rules import check_or_none, score_rules
from housebrain_core.manifests import to_json, write_atomically
from housebrain_core.outputs import check_file, lock_output

MAX_LENGTHS = (512, 1024, 2048)
"""max_length values whose cut is reported, in tokens."""
LENGTH_SAMPLES = 500
"""Samples whose lengths are measured."""
RULE_SAMPLES = 2000
"""Samples that the rules are tried on."""
REPORT_EVERY = 50_000
"""Samples between two lines of progress."""


def audit_dataset(config: AuditConfig, report: Callable[[str], None] = say) -> AuditResult:
    """Audits a dataset and writes the report as HTML and JSON.

    Args:
        config: the dataset, the tokenizer, and where the report goes.
        report: gets lines of progress, and what it comes to.

    Returns:
        The contents of the JSON file; `entropy_nats_per_sample` is the floor for a bundle's manifest.

    Raises:
        DataError: there is no dataset, or none of its samples can be read.
        ConfigError: the tokenizer cannot be loaded, or the report would replace somebody's file.
    """
    check_file(config.output, inputs=[config.source])
    json_path = config.output.with_suffix(".json")
    if json_path.resolve() == config.source.resolve():
        json_path = config.output.with_suffix(".audit.json")
    if config.output == json_path:
        raise ConfigError(f"output = {config.output}: the JSON file gets this name; name a page, such as audit.html.")
    check_file(json_path, {"entropy_nats_per_sample", "conclusions"}, [config.source])
    result = _study(config, report)
    with lock_output(config.output):
        write_page(result, config.output)
        write_atomically(json_path, to_json(result.model_dump()))
    report(describe(result))
    report(f"wrote {config.output}, with every field and figures, and {json_path}, the same for programs")
    return result


def _study(config: AuditConfig, report: Callable[[str], None]) -> AuditResult:
    """Reads a dataset and measures all that the report says."""
    start = time.monotonic()
    count_tokens = load_counter(config.tokenizer)
    counts = SampleCounts()
    fields_read = choose_fields(config.input_field, config.output_field)
    columns = make_columns(read_all(config.source, counts, report, fields_read))
    counts.log.check(1.0)
    report(f"looking at every field of {sum(counts.parts.values()):,} samples")
    fields = study_fields(columns)
    report(f"measuring lengths and trying the rules on up to {RULE_SAMPLES:,} samples")
    examples = list(pick_samples(config.source, counts, RULE_SAMPLES, fields_read))
    lengths = measure_lengths(examples[:: max(1, len(examples) // LENGTH_SAMPLES)], count_tokens)
    per_token = entropy_floor(fields) / lengths["ours"].answer_mean if config.tokenizer else None
    return AuditResult(
        source=config.source.name,
        samples=dict(counts.parts),
        bad=len(counts.log.bad),
        bad_reasons=Counter(bad.reason for bad in counts.log.bad).most_common(10),
        bad_examples=[bad.to_record(config.source) for bad in counts.log.bad[:10]],
        notes=counts.log.describe_notes(),
        duplicates=counts.duplicates,
        leaks=counts.leaks,
        fields=fields,
        entropy_nats_per_sample=entropy_floor(fields),
        floor_is_lower_bound=any(finding.free is None for finding in fields),
        floor_nats_per_token=per_token,
        tokenizer=config.tokenizer,
        lengths=lengths,
        rules=measure_rules(examples),
        rule_samples=len(examples),
        conclusions=list(conclude(fields, sum(counts.parts.values()))),
        seconds=time.monotonic() - start,
    )


@dataclass
class SampleCounts:
    """What reading a dataset counts beside its fields."""

    log: ReadLog = field(default_factory=ReadLog)
    parts: Counter[str] = field(default_factory=Counter)
    train: set[bytes] = field(default_factory=set)
    """Digests of the content of training samples, without id and metadata."""
    validation: Counter[bytes] = field(default_factory=Counter)
    """Digest -> validation samples with this content."""
    arrays: bool = False
    """Whether files hold arrays of samples."""

    @property
    def duplicates(self) -> int:
        """Samples whose content occurs before, in either part."""
        return sum(self.parts.values()) - len(self.train | set(self.validation))

    @property
    def leaks(self) -> int:
        """Validation samples whose content is also in training."""
        return sum(count for digest, count in self.validation.items() if digest in self.train)


def read_all(
    source: Path, counts: SampleCounts, report: Callable[[str], None], fields: Fields = USUAL
) -> Iterator[Sample]:
    """Reads every sample of both parts, and counts them; one whose id occurs twice is bad, and its content counts."""
    files = find_dataset(source)
    counts.log.aside = files.describe()
    for item in list_items(source, ("train", "validation"), fields, files):
        for one in open_item(item):
            counts.arrays = counts.arrays or one.number != item.number
            sample = _read_one(one, counts, fields)
            if sample is None:
                continue
            if sum(counts.parts.values()) % REPORT_EVERY == 0:
                report(f"read {sum(counts.parts.values()):,} samples")
            yield sample


def _read_one(item: Item, counts: SampleCounts, fields: Fields) -> Sample | None:
    """Reads and counts one sample; None where it is bad."""
    try:
        part, sample, notes = item.read(fields)
        digest = _digest(sample)
    except DataError as error:
        counts.log.refuse(item.origin, str(error))
        return None
    counts.log.notes.update(notes)
    counts.parts[part] += 1
    if part == "train":
        counts.train.add(digest)
    else:
        counts.validation[digest] += 1
    try:
        counts.log.add(sample["id"])
    except DataError as error:
        counts.log.refuse(item.origin, str(error))
    return sample


def _digest(sample: Sample) -> bytes:
    content = codec.dumps(sample["input"]) + codec.dumps(sample["output"])
    return hashlib.blake2b(content.encode(errors="surrogatepass"), digest_size=12).digest()


def pick_samples(source: Path, counts: SampleCounts, wanted: int, fields: Fields = USUAL) -> Iterator[Sample]:
    """Reads evenly spaced good samples of both parts; bad ones were counted by `read_all`."""
    items = list_items(source, ("train", "validation"), fields)
    if counts.arrays:
        items = (one for item in items for one in open_item(item))
    for item in islice(items, 0, None, max(1, sum(counts.parts.values()) // wanted)):
        for one in open_item(item):
            try:
                yield one.read(fields).sample
            except DataError:
                continue


def measure_lengths(samples: list[Sample], count_tokens: CountTokens) -> dict[str, Lengths]:
    """Measures lengths in the original form (indented JSON, the answer repeats the brief) and in ours."""
    original = [(json.dumps(s["input"], indent=2), json.dumps(s["output"], indent=2)) for s in samples]
    ours = [codec.encode(sample) for sample in samples]
    return {"original": _measure_form(original, count_tokens), "ours": _measure_form(ours, count_tokens)}


def _measure_form(texts: Sequence[tuple[str, str]], count_tokens: CountTokens) -> Lengths:
    prompts = np.array(count_tokens([prompt for prompt, _ in texts]))
    answers = np.array(count_tokens([answer for _, answer in texts])) + 1  # the end-of-text token
    total = prompts + answers
    return Lengths(
        samples=len(texts),
        mean=total.mean(),
        median=np.median(total),
        p99=np.quantile(total, 0.99),
        max=total.max(),
        prompt_mean=prompts.mean(),
        answer_mean=answers.mean(),
        cut={str(limit): _cut(prompts, answers, limit) for limit in MAX_LENGTHS},
        all=total.tolist(),
    )


def _cut(prompts: np.ndarray, answers: np.ndarray, limit: int) -> Cut:
    kept = np.clip(limit - prompts, 0, answers)
    return Cut(answer_kept=kept.sum() / answers.sum(), whole=(kept == answers).mean(), no_answer=(kept == 0).mean())


def measure_rules(samples: list[Sample]) -> dict[str, RuleCount]:
    """Counts how often the references break each rule; nothing for data that is no house design."""
    results = [check_or_none(sample["input"], sample["output"]) for sample in samples]
    scores = score_rules([result for result in results if result is not None])
    counts = {name: (score.applicable - score.passed, score.applicable) for name, score in scores.items()}
    return {name: RuleCount(broken=broken, applicable=of) for name, (broken, of) in counts.items() if of}
