"""What every model does that answers briefs, whether it is loaded here or asked on a server."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Container, Iterable, Iterator

from housebrain_core.display.progress import with_bar
from housebrain_core.errors import DataError
from housebrain_core.house import codec
from housebrain_core.house.briefs import check_brief, check_briefs
from housebrain_core.house.codec import DesignError
from housebrain_core.house.schema import HouseBrief, HouseDesign
from housebrain_core.llm.decoding import (
    NEW_TOKENS,
    Answered,
    Batch,
    Decoding,
    design_or_error,
    in_order,
    read_answer,
)
from housebrain_core.llm.losses import Losses


class Designer(ABC):
    """A model that answers briefs."""

    name: str
    """What tables call it."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """What tells it from other models, so that an answer in a journal is taken for its own."""

    @abstractmethod
    def answer_batch(
        self, prompts: list[str], briefs: list[dict], numbers: list[int], decoding: Decoding
    ) -> list[Answered]:
        """Answers that are written at the same time.

        Args:
            prompts: of the briefs.
            briefs: checked ones.
            numbers: of the briefs; a drawn answer depends on its number, not on its batch.
            decoding: how.

        Returns:
            The answers, in the order of the prompts.
        """

    @abstractmethod
    def losses(self, examples: Iterable[codec.Example], drawn: Collection[str] = ()) -> Losses | None:
        """Loss of each known completion; None where the model does not tell.

        Args:
            examples: prompts and completions.
            drawn: fields of the answer that do not follow from the brief; exactness leaves them out.
        """

    def generate_design(
        self, brief: dict | HouseBrief, max_new_tokens: int = NEW_TOKENS, constrained: bool = False
    ) -> HouseDesign:
        """Designs one house, greedily; what code can derive from the brief is filled in by code.

        Args:
            brief: see schema.HouseBrief; feet and square feet.
            max_new_tokens: tokens at most.
            constrained: allow only tokens that keep the answer a design (extra `constrained`).

        Returns:
            The design, in feet and square feet.

        Raises:
            DataError: the brief is not one; all its problems at once.
            DesignError: the model's answer is not a design; kind, text and how far it got are in the error.
        """
        brief = check_brief(brief)
        (answer,) = self.answer([brief], max_new_tokens=max_new_tokens, constrained=constrained)
        return HouseDesign.model_validate(read_answer(brief, answer))

    def generate_designs(
        self,
        briefs: Iterable[dict | HouseBrief],
        batch_size: int = 8,
        max_new_tokens: int = NEW_TOKENS,
        constrained: bool = False,
        progress: bool = True,
    ) -> list[HouseDesign | DesignError]:
        """Designs many houses in batches, the same as one by one.

        Args:
            briefs: as for `generate_design`.
            batch_size: designs at once.
            max_new_tokens: tokens at most per design.
            constrained: as for `generate_design`.
            progress: show a bar on a terminal.

        Returns:
            In the order of the briefs a design, or the error that `generate_design` would have raised.

        Raises:
            DataError: some briefs are none; all problems of all of them at once.
        """
        usable, problems = check_briefs(briefs)
        if problems:
            raise DataError("these briefs cannot be used:\n  " + "\n  ".join(problems))
        checked = [brief.plain for brief in usable]
        decoding = Decoding(batch_size, max_new_tokens, constrained)
        batches = self.answer_batches(checked, decoding)
        if progress:
            batches = with_bar(batches, lambda: len(checked), self.name, lambda batch: len(batch.indices))
        answers = in_order(batches, len(checked))
        return [design_or_error(brief, answer) for brief, answer in zip(checked, answers, strict=True)]

    def answer(
        self,
        briefs: list[dict],
        batch_size: int = 8,
        max_new_tokens: int = NEW_TOKENS,
        constrained: bool = False,
    ) -> list[Answered]:
        """Greedy answers for many checked briefs, as texts.

        Args:
            briefs: checked ones.
            batch_size: answers at once.
            max_new_tokens: tokens at most per answer.
            constrained: as for `generate_design`.

        Returns:
            The answers, in the order of the briefs.
        """
        decoding = Decoding(batch_size, max_new_tokens, constrained)
        return in_order(self.answer_batches(briefs, decoding), len(briefs))

    def answer_batches(
        self,
        briefs: list[dict],
        decoding: Decoding,
        done: Container[int] = (),
        report: Callable[[str], None] = lambda line: None,
    ) -> Iterator[Batch]:
        """Answers in batches of like length; the same batches for the same briefs.

        Args:
            briefs: checked ones.
            decoding: how.
            done: numbers of briefs whose answers are known; a batch is left out when all of its are.
            report: gets a line of progress every ten seconds.

        Returns:
            The batches as they are done, the shortest prompts first.
        """
        prompts = [codec.write_prompt(brief) for brief in briefs]
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        batches = [order[start : start + decoding.batch_size] for start in range(0, len(order), decoding.batch_size)]
        batches = [batch for batch in batches if not all(index in done for index in batch)]
        total = sum(map(len, batches))
        finished = 0
        started = reported = time.monotonic()
        for batch in batches:
            begun = time.monotonic()
            answers = self.answer_batch([prompts[i] for i in batch], [briefs[i] for i in batch], batch, decoding)
            yield Batch(batch, answers, time.monotonic() - begun)
            finished += len(batch)
            if time.monotonic() - reported > 10 and finished < total:
                reported = time.monotonic()
                left = (reported - started) / finished * (total - finished)
                report(f"{self.name}: {finished} of {total} designs, {max(1, left):.0f} s left")
