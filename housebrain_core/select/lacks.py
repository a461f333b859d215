"""What a model lacks, as its evaluation says: how it fails, and how often it keeps each rule, beside the references."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from housebrain_core.contents import read_record
from housebrain_core.display.plots import Picture
from housebrain_core.display.results import Shown, Table
from housebrain_core.errors import DataError
from housebrain_core.evaluate.results import Evaluation
from housebrain_core.select.selection import draw_shares, find_broken


@dataclass(frozen=True)
class Lacks(Shown):
    """What the last model of an evaluation lacks."""

    model: str
    answers: int
    failed: int
    """Answers that are no design."""
    rules: dict[str, tuple[float, float | None]]
    """Rule -> share of the references that keep it, and of the model's designs; None where it applies to none."""

    def outputs(self) -> list[Any]:
        """A sentence, and a table and a figure of the rules that are broken."""
        return [self.verdict(), *([self.tabulate(), self.draw()] if find_broken(self.rules) else [])]

    def verdict(self) -> str:
        """What a selection could teach."""
        text = f"{self.failed} of {self.answers} answers of {self.model} are no design."
        teachable = {name: share for name, (share, _) in self.rules.items() if 0 < share < 1}
        if not teachable:
            return f"{text} No rule is kept by some references and broken by others, so rules choose nothing here."
        worst = sorted(teachable, key=lambda name: teachable[name])[:3]
        return f"{text} Rules that most references break, of those that some keep: {', '.join(worst)}."

    def tabulate(self) -> Table:
        """A line for each rule that some reference or some answer breaks."""
        rows = []
        for name, (reference, model) in find_broken(self.rules).items():
            rows.append((name, f"{reference:.1%}", "-" if model is None else f"{model:.1%}"))
        note = f"{len(self.rules) - len(rows)} of {len(self.rules)} rules are kept by all of them."
        return Table(("rule", "references keep", f"{self.model} keeps"), rows, [note])

    def draw(self) -> Picture:
        """Bars of both shares for each rule."""
        return draw_shares(find_broken(self.rules), ("references", self.model))


def find_lacks(path: Path | str) -> Lacks:
    """Reads from an evaluation what its last model lacks.

    Args:
        path: evaluation.json, as `housebrain evaluate` wrote it.

    Returns:
        Failures, and how often references and model keep each rule.

    Raises:
        DataError: it cannot be read.
    """
    try:
        evaluation = read_record(Evaluation, Path(path))
        name, model = list(evaluation.models.items())[-1]
    except (DataError, IndexError) as error:
        raise DataError(f"{path} is no evaluation that can be read ({error}). Run housebrain evaluate again.") from None
    rules = {
        rule: (score.share, model.rules[rule].share)
        for rule, score in evaluation.reference.rules.items()
        if score.share is not None and rule in model.rules
    }
    return Lacks(name, evaluation.samples, evaluation.samples - model.kinds.get("ok", 0), rules)
