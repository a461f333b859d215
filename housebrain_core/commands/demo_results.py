"""What came of the demo: a table in plain words, a sentence that concludes, and one house as four of them draw it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from housebrain_core.adapters.run import FILE, read_run
from housebrain_core.contents import read_record
from housebrain_core.display.plots import save
from housebrain_core.display.results import Table
from housebrain_core.evaluate.first_house import BASE, REFERENCE, FirstHouse
from housebrain_core.evaluate.results import Evaluation, ModelResult
from housebrain_core.evaluate.tables import percent
from housebrain_core.house import codec
from housebrain_core.house.codec import DesignError
from housebrain_core.house.synthetic import entropy_nats
from housebrain_core.llm.decoding import Answered, read_answer
from housebrain_core.splits.encode import read_validation

APART = "apart"
"""Folder, inside the demo's, of the splits that are trained once and merged once, and of what else is compared."""
ONE_MERGE = "one-merge"
AB_AVERAGE = "ab-average"
EVERYTHING = "everything"
ROUNDS = "housebrain-merged"
NAMES = {
    AB_AVERAGE: "A and B averaged apart",
    ONE_MERGE: "one merge",
    ROUNDS: "three rounds",
    EVERYTHING: "everything at once",
}
"""Adapter -> what the table calls it."""
HOUSES = "houses.png"


@dataclass(frozen=True)
class Row:
    """A line of the table; shares are in [0, 1]."""

    steps: int
    """Optimizer steps of all people together."""
    above: float
    """Validation loss above the entropy of the data, in nats per token."""
    exact: float
    """Share of the designs that are exactly the planner's, but for what was drawn."""
    rooms: float
    """Share of the planner's rooms that are in their place."""
    hard: float
    """Share of the designs that keep every hard rule."""


@dataclass(frozen=True)
class DemoResult:
    """The table, and what it says."""

    rows: dict[str, Row]
    """What the table calls a model -> its figures."""
    splits: tuple[str, ...]
    """Which of them were trained on one split alone."""
    reference_hard: float
    """Share of the planner's own designs that keep every hard rule."""
    designs: int
    """Designs of each model that were judged."""

    @property
    def exact_of_split(self) -> float:
        """Share of designs exactly the planner's, in the mean over the splits."""
        return sum(self.rows[name].exact for name in self.splits) / len(self.splits)

    def problems(self) -> list[str]:
        """What did not come out as it should, a sentence each."""
        order = [BASE, NAMES[ONE_MERGE], NAMES[ROUNDS], NAMES[EVERYTHING]]
        found = [
            f"the loss of {better} is not below that of {worse}"
            for worse, better in pairwise(order)
            if self.rows[better].above >= self.rows[worse].above
        ]
        if self.rows[NAMES[ROUNDS]].exact <= max(self.exact_of_split, self.rows[NAMES[ONE_MERGE]].exact):
            found.append("three rounds are not better than a split alone and one merge")
        return found

    def conclude(self) -> str:
        """What the table says, in two sentences."""
        merge, rounds, everything = (self.rows[NAMES[name]] for name in (ONE_MERGE, ROUNDS, EVERYTHING))
        return (
            f"Trained apart, a split alone gets {self.exact_of_split:.0%} of the designs exactly right, and the one "
            f"merge of them {merge.exact:.0%}.\nWith a merge after each of three rounds, the same {rounds.steps} steps "
            f"give {rounds.exact:.0%}; with all data in one place they give {everything.exact:.0%}."
        )

    def table(self) -> Table:
        """The figures, a line for each model, the planner first."""
        rows: list[tuple[str, ...]] = [("the planner", "", "", "100.0%", "100.0%", percent(self.reference_hard))]
        for name, row in self.rows.items():
            shares = (row.exact, row.rooms, row.hard)
            rows.append((name, str(row.steps), f"{row.above:.3f}", *map(percent, shares)))
        columns = (
            "model",
            "steps",
            "loss above the floor",
            "exactly the planner's",
            "rooms in place",
            "keep all rules",
        )
        return Table(columns, rows)

    def __str__(self) -> str:
        notes = [
            "steps: of all people together; loss above the floor: nats per token above the data's own entropy.",
            f"The last three columns are shares of {self.designs} designs, of their rooms, and of designs that keep all"
            " hard rules.",
        ]
        notes += [f"NOTE: {problem}: so small a model, trained so briefly, is noisy" for problem in self.problems()]
        return "\n".join([str(self.table()), "", *notes, "", self.conclude()])


def read_result(root: Path, base: str) -> DemoResult:
    """Reads what the demo's folder holds at its end.

    Args:
        root: the folder.
        base: name of the base model in evaluation.json.
    """
    evaluation = read_record(Evaluation, root / "evaluation.json")
    steps = {path.parent.name: read_run(path).steps for path in (root / APART).glob(f"models/*/{FILE}")}
    splits = {name: f"split {number} alone" for number, name in enumerate(_splits_of(evaluation), 1)}
    in_rounds = sum(read_run(path).steps for path in root.glob(f"models/hb-*/{FILE}"))
    apart = sum(steps[name] for name in splits)
    steps |= {base: 0, ONE_MERGE: apart, AB_AVERAGE: apart, ROUNDS: in_rounds}
    names = {base: BASE, **splits, **NAMES}
    return DemoResult(
        rows={shown: _row(evaluation.models[name], steps[name]) for name, shown in names.items()},
        splits=tuple(splits.values()),
        reference_hard=evaluation.reference.all_hard,
        designs=evaluation.samples,
    )


def draw_houses(root: Path, base: str) -> None:
    """Draws the first validation brief as base, one split, three rounds and the planner design it, side by side.

    Args:
        root: the demo's folder; houses.png is written there, and design.json with the design of the three rounds.
        base: name of the base model in evaluation.json.
    """
    first = dict(_first_answers(root))
    split = next(name for name in first if name.startswith("hb-"))
    shown = {BASE: first[base], "split 1 alone": first[split], NAMES[ROUNDS]: first[ROUNDS]}
    example = read_validation(root / "housebrain_splits", 1)[0]
    brief = codec.read_prompt(example.prompt)
    houses = FirstHouse(brief, shown | {REFERENCE: codec.decode(brief, example.completion)})
    save(houses.draw(), root / HOUSES)
    if not isinstance(first[ROUNDS], DesignError):
        (root / "design.json").write_text(codec.dumps(first[ROUNDS]), encoding="utf-8")


def _splits_of(evaluation: Evaluation) -> list[str]:
    return [name for name in evaluation.models if name.startswith("hb-")]


def _row(model: ModelResult, steps: int) -> Row:
    assert model.loss_nats_per_token and model.loss_nats_per_sample, "no model of the demo is served"
    tokens = model.loss_nats_per_sample / model.loss_nats_per_token
    above = model.loss_nats_per_token - entropy_nats() / tokens
    return Row(steps, above, model.same, model.rooms or 0.0, model.all_hard)


def _first_answers(root: Path) -> Iterator[tuple[str, dict[str, Any] | DesignError]]:
    """What each model answered to the first brief."""
    seen = set()
    for line in filter(None, (root / "evaluation.jsonl").read_text(encoding="utf-8").split("\n")):
        row = json.loads(line)
        if row["model"] in seen:
            continue
        seen.add(row["model"])
        try:
            yield row["model"], read_answer(row["brief"], Answered(row["text"], row["tokens"], row["complete"]))
        except DesignError as error:
            yield row["model"], error
