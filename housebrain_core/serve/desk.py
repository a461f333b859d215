"""One design at a time, a short queue before it, and for each what came of it: a design, or why there is none."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from housebrain_core.errors import HouseBrainError
from housebrain_core.house.briefs import CheckedBrief
from housebrain_core.house.codec import DesignError
from housebrain_core.house.drawing import floor_plan
from housebrain_core.house.rules import RULES, check_or_none
from housebrain_core.llm.decoding import Answered, Decoding, read_answer
from housebrain_core.llm.designer import Designer
from housebrain_core.serve.settings import ServeConfig

FIRST_GUESS = 30.0
"""Seconds that a design is thought to take before one was made."""


class Refused(Exception):  # noqa: N818 - it is an answer
    """A request that gets no design.

    Attributes:
        status: of HTTP.
        values: what the answer says.
        headers: of the answer.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None, **values: Any) -> None:
        super().__init__(message)
        self.status = status
        self.values = {"error": message, **values}
        self.headers = headers or {}


class Desk:
    """Where briefs are answered, one after another.

    Args:
        designer: the model.
        config: limits, and how answers are generated.
    """

    def __init__(self, designer: Designer, config: ServeConfig) -> None:
        self.designer = designer
        self.config = config
        self.turn = asyncio.Lock()
        self.inside = 0
        self.seconds: float | None = None  # that the last design took
        self.closing = False

    def close(self) -> None:
        """Takes no more briefs, neither new ones nor those that wait; what is being designed is finished."""
        self.closing = True

    def describe(self) -> dict[str, Any]:
        """How busy it is."""
        return {
            "status": "closing" if self.closing else "ok",
            "designing": self.turn.locked(),
            "waiting": max(0, self.inside - 1),
            "seconds_each": self.seconds and round(self.seconds, 1),
        }

    async def answer(self, brief: CheckedBrief, has_left: Callable[[], Awaitable[bool]]) -> dict[str, Any]:
        """Waits for its turn, and designs.

        Args:
            brief: a checked one.
            has_left: whether nobody waits for the answer any more.

        Returns:
            What `describe_design` says, the doubts about the brief, the model's name, and the seconds that it took.

        Raises:
            Refused: too many are waiting, the time was up, or the answer is no design.
        """
        self._check_open()
        if self.inside > self.config.queue:
            wait = math.ceil((self.seconds or FIRST_GUESS) * self.inside)
            message = f"{self.inside} designs are before yours; try again in {wait} seconds"
            raise Refused(429, message, {"Retry-After": str(wait)})
        self.inside += 1
        try:
            async with self.turn:
                self._check_open()
                if await has_left():
                    raise Refused(499, "nobody waits for this design any more")
                return await asyncio.to_thread(self._design, brief)
        finally:
            self.inside -= 1

    def _check_open(self) -> None:
        if self.closing:
            raise Refused(503, "the server is shutting down; nothing was designed")

    def _design(self, brief: CheckedBrief) -> dict[str, Any]:
        started = time.monotonic()
        answer = self._write(brief.plain, started)
        try:
            result = describe_design(brief.plain, read_answer(brief.plain, answer))
        except DesignError as error:
            raise Refused(502, str(error), kind=error.kind, text=error.text) from None
        self.seconds = time.monotonic() - started
        about = {"doubts": brief.doubts, "model": self.designer.name, "seconds": round(self.seconds, 1)}
        return result | about

    def _write(self, brief: dict[str, Any], started: float) -> Answered:
        """The model's answer, if it is there in time."""
        limit = self.config.timeout_seconds
        decoding = Decoding(1, self.config.max_new_tokens, self.config.constrained, seconds=limit)
        too_late = Refused(504, f"the design was not done within {limit:g} seconds")
        try:
            (answer,) = next(self.designer.answer_batches([brief], decoding)).answers
        except HouseBrainError as error:
            if time.monotonic() - started >= limit:
                raise too_late from None
            raise Refused(502, str(error)) from None
        if not answer.complete and time.monotonic() - started >= limit:
            raise too_late
        return answer


def describe_design(brief: dict[str, Any], design: dict[str, Any]) -> dict[str, Any]:
    """A design with its drawing and what the rule checks say of it.

    Args:
        brief: a checked one.
        design: of a whole answer.

    Returns:
        `design`; `findings`, each with rule, kind (hard or soft) and text; `rules`, how many were checked and kept;
        `plan_svg`, the drawing; and `plan_text`, the drawing in words.
    """
    checked = {name: found for name, found in (check_or_none(brief, design) or {}).items() if found is not None}
    kinds = {rule.name: rule.kind for rule in RULES}
    findings = [
        {"rule": name.replace("_", " "), "kind": kinds[name], "text": line}
        for name, lines in checked.items()
        for line in lines
    ]
    picture = floor_plan(design, brief=brief)
    return {
        "design": design,
        "findings": findings,
        "rules": {"checked": len(checked), "kept": sum(not lines for lines in checked.values())},
        "plan_svg": picture.svg(),
        "plan_text": picture.alt,
    }
