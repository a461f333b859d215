"""The first validation brief, always the same one, as the base, a trained model and the reference answer it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from housebrain_core.display.plots import BESIDE_INCHES, Picture, beside, text_picture
from housebrain_core.display.results import Shown
from housebrain_core.errors import DataError
from housebrain_core.house import codec
from housebrain_core.house.codec import DesignError
from housebrain_core.house.drawing import floor_plan
from housebrain_core.llm.decoding import read_answer
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.splits.bundle import is_bundle, read_bundle
from housebrain_core.splits.parts import read_splits

BASE = "base model"
MODEL = "after training"
REFERENCE = "reference"
SHOWN = 240
"""Characters of an answer that is no design, as they are shown."""
SPARE = 1.25
"""Tokens that an answer may have, as a multiple of the reference's."""


@dataclass(frozen=True)
class FirstHouse(Shown):
    """One brief and what became of it."""

    brief: dict[str, Any]
    answers: dict[str, Any]
    """Who answered -> the design, or why it is none; the reference is among them."""

    def outputs(self) -> list[Picture | str]:
        """The houses side by side, and what they say."""
        return [self.draw(), self.describe()]

    def draw(self) -> Picture:
        """All answers side by side; what is no design is shown as the text that it is."""
        return beside({name: draw_answer(answer) for name, answer in self.answers.items()})

    def describe(self) -> str:
        """What was learned, in a sentence."""
        reference = self.answers[REFERENCE]
        lines = []
        for name, answer in self.answers.items():
            if name == REFERENCE or isinstance(reference, DesignError):
                continue
            if isinstance(answer, DesignError):
                lines.append(f"{name}: no design ({answer.kind})")
            else:
                same, all_of_them, what = count_same(answer, reference)
                lines.append(f"{name}: {same} of {all_of_them} {what} as in the reference")
        return f"The first validation brief. {'; '.join(lines)}."


def draw_first_house(
    model_path: Path,
    data: Path,
    base_model: str | None = None,
    name: str = MODEL,
    report: Callable[[str], None] = lambda line: None,
) -> FirstHouse:
    """Answers the first validation brief with a trained adapter, and with its base model alone.

    The base model is loaded once; for its own answer the adapter is switched off.

    Args:
        model_path: an adapter folder.
        data: where the brief is: a bundle, or a splits folder.
        base_model: where the base model is on this machine; by default its recorded name.
        name: what the adapter's answer is called.
        report: gets lines of progress.

    Returns:
        The brief and the answers, the reference last.

    Raises:
        DataError: there is no validation sample.
        ConfigError: the model cannot be loaded.
    """
    brief, completion = read_first_brief(data)
    llm = HouseBrainLLM(model_path, base_model, report=report)
    limit = round(SPARE * len(llm.tokenizer(completion).input_ids)) + 16
    answers: dict[str, Any] = {}
    for who, adapter in ((name, model_path), (BASE, None)):
        llm.use(adapter)
        (answer,) = llm.answer([brief], max_new_tokens=limit)
        try:
            answers[who] = read_answer(brief, answer)
        except DesignError as error:
            answers[who] = error
    return FirstHouse(brief, {BASE: answers[BASE], name: answers[name], REFERENCE: codec.decode(brief, completion)})


def read_first_brief(data: Path) -> tuple[dict[str, Any], str]:
    """The first brief of the validation sample that all bundles share, and its completion.

    Raises:
        DataError: there is none.
    """
    path = data if is_bundle(data) else data / read_splits(data)[0].bundle
    rows = read_bundle(path).validation.slice(0, 1).to_pylist()
    if not rows:
        raise DataError(f"{path} has no validation sample, so there is no brief to draw. Split the dataset again.")
    return codec.read_prompt(rows[0]["prompt"]), rows[0]["completion"]


def draw_answer(answer: Any) -> Picture:
    """A design as a drawing without its plot, or as a card; what is no design as why it is none, and how it begins."""
    if isinstance(answer, DesignError):
        return text_picture(f"no design: {answer.kind}\n\n{answer.text[:SHOWN]} ...", BESIDE_INCHES / 3)
    if not isinstance(answer, dict):  # of other data than houses
        return text_picture(str(answer)[:SHOWN], BESIDE_INCHES / 3)
    return floor_plan({name: part for name, part in answer.items() if name != "input"}, width=BESIDE_INCHES / 3)


def count_same(design: dict[str, Any], reference: dict[str, Any]) -> tuple[int, int, str]:
    """How much of a reference a design has: its rooms in their places, or its values where it has no rooms.

    Returns:
        How many are the same, of how many, and what they are.
    """
    wanted = _rooms(reference)
    if wanted:
        left = _rooms(design)
        return sum(_take(left, room) for room in wanted), len(wanted), "rooms"
    values = _values(reference)
    mine = _values(design)
    return sum(mine.get(key) == value for key, value in values.items()), len(values), "values"


def _rooms(design: Any) -> list[tuple[Any, ...]]:
    """The rooms of a design: level, type and bounds."""
    if not isinstance(design, dict):
        return []
    return [
        (number, room.get("type"), tuple(sorted((room.get("bounds") or {}).items())))
        for number, level in enumerate(design.get("levels") or [])
        for room in level.get("rooms") or []
    ]


def _take(rooms: list[tuple[Any, ...]], room: tuple[Any, ...]) -> bool:
    """Removes a room from those that are left; whether it was there."""
    if room in rooms:
        rooms.remove(room)
        return True
    return False


def _values(value: Any, key: str = "") -> dict[str, Any]:
    """Every single value of a design by its path; lists count as one value."""
    if not isinstance(value, dict):
        return {key: value}
    return {path: one for name, part in value.items() for path, one in _values(part, f"{key}.{name}").items()}
