"""What each field of the designs is: constant, copied, derivable, or a free choice; and how many nats it holds.

These are statistics over columns; no field is treated by its name. A dependence is believed when the mutual
information is far beyond what as many independent samples would show (`columns.mutual_information`).
"""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from housebrain_core.data.columns import (
    BINS,
    ECHO,
    Column,
    differential_entropy,
    entropy_of_codes,
    mutual_information,
)
from housebrain_core.data.formulas import best_formula

EXACT = 0.999
"""Share of the samples from which a field counts as derivable; below it, as nearly derivable."""
SIGMAS = 8.0
"""Standard deviations beyond chance from which a dependence is believed; thousands of pairs are looked at."""
REPEATS = 10
"""Samples per distinct value from which frequencies give the entropy of a number."""
FEW_REPEATS = 3
"""Samples per distinct value below which nothing is said of how free a field is."""
LITTLE = 0.05
"""Share of the designs' entropy below which there is little to be learned from the brief. Assumed; HBV5 has 1.5 %."""
SHOWN_VALUES = 8


class Finding(BaseModel):
    """What one field of the designs is. Entropies in nats per sample."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    name: str
    """Path of the field, from output."""
    kind: Literal["constant", "copied", "derivable", "nearly derivable", "choice", "number", "free text"]
    text: str
    """The same in words, with formula or dependence."""
    distinct: int
    """Number of distinct values."""
    entropy: float
    """Of the field by itself."""
    free: float | None
    """What is left when brief, formulas and earlier fields are given; None where it cannot be estimated."""
    depends_on: str | None = None
    """The field that tells most about it, where that is beyond chance."""
    information: float = 0.0
    """Mutual information with that field, less what chance would show."""
    brief_field: str | None = None
    """The field of the brief that tells most about it."""
    brief_information: float = 0.0
    """Mutual information with that field, less what chance would show."""
    brief_sigmas: float = 0.0
    """Standard deviations of that beyond chance."""
    top: list[tuple[Any, float]]
    """The most frequent values and their shares."""

    @property
    def short_name(self) -> str:
        """The path without output."""
        return self.name.removeprefix("output.")

    @property
    def depends_on_brief(self) -> bool:
        """Whether a field of the brief tells about it beyond chance."""
        return self.brief_sigmas > SIGMAS


class Dependence(NamedTuple):
    """What another field tells about a field: nats less chance, and standard deviations beyond it."""

    source: Column
    information: float
    sigmas: float


def study_fields(columns: list[Column]) -> list[Finding]:
    """Looks at every field of the designs.

    Args:
        columns: fields of briefs and designs, as `columns.read_columns` or `columns.make_columns` gives them.

    Returns:
        A finding for each field of the designs, in their order.
    """
    brief = [column for column in columns if column.in_brief]
    outputs = [column for column in columns if not column.in_brief and not column.name.endswith("(count)")]
    decided: dict[str, Finding] = {}
    for target in outputs:
        # A later field may explain an earlier one (an area its ratio), but never in a circle.
        sources = [column for column in outputs if column is not target and column.name not in decided]
        finding = _explain(target, brief + sources)
        if finding:
            decided[target.name] = finding
    open_fields = [column for column in outputs if column.name not in decided]
    for number, target in enumerate(open_fields):
        decided[target.name] = _measure(target, brief + open_fields[:number])
    return [decided[column.name] for column in outputs]


def entropy_floor(findings: list[Finding]) -> float:
    """Nats per sample that no honest model gets below: what is left of every field, summed.

    Fields of free text or nested structure count as zero, so that the sum is a lower bound where there are any.
    """
    return float(sum(finding.free or 0.0 for finding in findings))


def learnable_from_brief(findings: list[Finding]) -> float | None:
    """Nats per sample that fields of the brief tell about the designs, each field of a design by the best of them.

    A lower bound: what only several fields together tell is not in it, and neither are free texts and structures.

    Args:
        findings: of all fields of the designs.

    Returns:
        None where it is little and there are free texts or structures, of which it is not known.
    """
    nats = sum(finding.brief_information for finding in findings if finding.depends_on_brief)
    is_complete = nats >= LITTLE * (nats + entropy_floor(findings)) or all(
        finding.free is not None for finding in findings
    )
    return nats if is_complete else None


def _explain(target: Column, sources: list[Column]) -> Finding | None:
    """The finding for a field that is constant, copied or derivable; None for any other."""
    if target.values == [ECHO]:
        return _finding(target, kind="copied", text="a copy of the whole brief", free=0.0)
    if len(target.values) == 1:
        shown = "empty" if target.values[0] in ("[]", "{}") else repr(target.values[0])
        return _finding(target, kind="constant", text=f"always {shown}", free=0.0)
    best = best_formula(target, sources)
    if best is None:
        return None
    exact = best.share >= EXACT
    share = "" if best.share >= 1 else f" in {best.share:.{2 if exact else 1}%} of the samples"
    return _finding(target, kind=best.kind if exact else "nearly derivable", text=best.text + share, free=best.rest)


def _finding(target: Column, **more: Any) -> Finding:
    counts = np.bincount(target.codes, minlength=len(target.values))
    order = np.argsort(-counts, kind="stable")[:SHOWN_VALUES]
    return Finding(
        name=target.name,
        distinct=len(target.values),
        entropy=entropy_of_codes(target.codes),
        top=[(target.values[code], float(counts[code] / len(target.codes))) for code in order],
        **more,
    )


def _measure(target: Column, sources: list[Column]) -> Finding:
    """The finding for a field that nothing decides: how free it is, and what it depends on."""
    binned = [source for source in sources if (source.closed or source.numeric) and len(source.values) > 1]
    dependences = [Dependence(source, *mutual_information(target.bins, source.bins)) for source in binned]
    on_brief = [one for one in dependences if one.source.in_brief and one.sigmas > 0]
    believed = [one for one in dependences if one.sigmas > SIGMAS and one.information > 0]
    nearest = max(on_brief, key=lambda one: one.sigmas, default=None)
    strongest = max(believed, key=lambda one: one.information, default=None)
    more: dict[str, Any] = {}
    if nearest:
        more = {"brief_field": nearest.source.name, "brief_information": nearest.information}
        more["brief_sigmas"] = nearest.sigmas
    if strongest:
        more |= {"depends_on": strongest.source.name, "information": strongest.information}
    enough = len(target.codes) >= FEW_REPEATS * len(target.values)
    if target.closed and enough:
        text = f"one of {len(target.values)}{_describe(nearest, strongest)}"
        free = max(0.0, entropy_of_codes(target.codes) - more.get("information", 0.0))
        return _finding(target, kind="choice", text=text, free=free, **more)
    if target.numeric:
        text = f"a number with {len(target.values):,} values{_describe(nearest, strongest)}"
        free = _number_entropy(target, [source for source in sources if source.in_brief])
        return _finding(target, kind="number", text=text, free=free, **more)
    text = f"{len(target.values):,} different texts or structures in {len(target.codes):,} samples"
    return _finding(target, kind="free text", text=text, free=None, **more)


def _describe(nearest: Dependence | None, strongest: Dependence | None) -> str:
    """What a field depends on, in words that follow what it is."""
    if nearest and nearest.sigmas > SIGMAS:
        return f"; depends on {nearest.source.name}"
    other = f", depends on {strongest.source.name}" if strongest else ""
    return f", independent of every field of the brief{other}"


def _number_entropy(target: Column, brief: list[Column]) -> float:
    """The entropy of a number given the brief: the least over its own and its ratios to the brief's numbers.

    t = r x s with r independent of s has h(t | s) = h(r) + E[ln s]; in steps of the number's own unit.
    """
    values = target.numbers
    unit = 1.0  # the step of the numbers: a whole one, or the last decimal that is written
    if not target.whole:
        unit = 10.0 ** -max(len(repr(float(value)).partition(".")[2]) for value in target.values[:1000])
    estimates = [differential_entropy(values)]
    for source in brief:
        if source.numeric and source.numbers.min() > 0 and len(source.values) > BINS:
            estimates.append(differential_entropy(values / source.numbers) + float(np.log(source.numbers).mean()))
    least = min(estimates) - math.log(unit)
    if len(values) >= REPEATS * len(target.values):  # else it would be ln(samples), far too little
        least = min(least, entropy_of_codes(target.codes))
    return max(0.0, least)
