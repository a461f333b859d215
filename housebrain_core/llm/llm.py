"""A trained model as a person uses it: a brief in, a house design out; and its loss on known designs."""

import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from transformers import GenerationConfig, LogitsProcessorList

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.adapters.archives import CONFIG
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.house import codec
from housebrain_core.house.briefs import check_brief, check_briefs
from housebrain_core.house.codec import DesignError
from housebrain_core.house.json_text import strict_json_parse  # noqa: F401 - the guide's import path
from housebrain_core.house.schema import HouseBrief, HouseDesign
from housebrain_core.llm.constrained import AnswerProcessor, safe_limit
from housebrain_core.llm.decoding import (
    NEW_TOKENS,
    Answered,
    Batch,
    Decoding,
    SamplingProcessor,
    design_or_error,
    in_order,
    lacks_budget,
    read_answer,
)
from housebrain_core.llm.loading import check_effect, find_base
from housebrain_core.llm.losses import Losses, tokens_in_fields
from housebrain_core.progress import with_bar
from housebrain_core.train.base_models import is_same_base, resolve_base
from housebrain_core.train.model import load_adapter, load_base, load_tokenizer
from housebrain_core.train.packing import PackedRows, collate_row, completion_logits, tokenise

ROW_LENGTHS = {"cpu": 512, "cuda": 2048}
"""Tokens in a packed row when only losses are measured: a CPU computes masked attention too."""


class HouseBrainLLM:
    """A base model with an adapter, or a base model alone.

    >>> llm = HouseBrainLLM(model_path="models/housebrain-merged")
    >>> llm.generate_design(brief)

    Args:
        model_path: an adapter folder (its base model is found by name), or a model folder.
        base_model: where the base model is on this machine, when that is not its recorded name.
        load_in_4bit: for a model folder; an adapter gets its base as it was trained.
        report: gets lines of progress.
    """

    def __init__(
        self,
        model_path: str | Path,
        base_model: str | None = None,
        load_in_4bit: bool = False,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        folder = Path(model_path)
        if not folder.is_dir():
            what = "a zip: unpack it first" if folder.is_file() else "there is no such folder"
            raise ConfigError(f"model_path = {str(model_path)!r}: {what}.")
        self.name = folder.name
        self.weights = ""  # sha256 of the adapter in use
        adapter = read_adapter(folder, accept_plain=True) if (folder / CONFIG).is_file() else None
        if adapter:
            self.base = find_base(adapter, base_model)
        else:
            self.base = resolve_base(base_model or str(folder))
        self.load_in_4bit = adapter.trained_in_4bit if adapter else load_in_4bit
        self.tokenizer = load_tokenizer(self.base)
        self.tokenizer.padding_side = "left"
        self.model: Any = load_base(self.base, self.load_in_4bit, report).eval()
        self.model.generation_config = GenerationConfig()  # a model's own penalties and sampling stay out
        with torch.no_grad():  # bitsandbytes lays 4-bit weights out at the first pass; what comes first must not matter
            self.model(input_ids=torch.tensor([[self.tokenizer.eos_token_id]], device=self.model.device))
        self._adapters: dict[Path, str] = {}
        if adapter:
            self.use(folder)
        self.model.eval()

    def can_use(self, folder: Path) -> bool:
        """Whether an adapter belongs on the base model as it is loaded.

        Args:
            folder: of the adapter.

        Returns:
            True where base model, its content and its quantisation are those of its training.
        """
        adapter = read_adapter(folder, accept_plain=True)
        fits = adapter.revision is not None and is_same_base(self.base, adapter.revision, adapter.base_content)
        return fits and adapter.trained_in_4bit == self.load_in_4bit

    def use(self, folder: Path | None) -> None:
        """Switches to another adapter of the same base model, or to the base model alone; the base stays loaded.

        Args:
            folder: of the adapter; None for the base model alone.

        Raises:
            ConfigError: the adapter was trained on another base model.
        """
        if folder is None:
            self.name = "base"
            self.weights = ""
            if self._adapters:
                self.model.base_model.disable_adapter_layers()
            return
        adapter = read_adapter(folder, accept_plain=True)
        if not is_same_base(self.base, adapter.revision, adapter.base_content):
            raise ConfigError(f"{folder} was trained on another base model: {adapter.base}.")
        number = str(len(self._adapters))
        if folder.resolve() not in self._adapters:
            self.model = load_adapter(self.model, folder, number)
            check_effect(self.model, number, adapter)  # once: a merge's validation then changes weights in place
        self._adapters.setdefault(folder.resolve(), number)
        self.model.base_model.enable_adapter_layers()
        self.model.set_adapter(self._adapters[folder.resolve()])
        self.name = folder.name
        self.weights = adapter.sha256
        self.model.eval()

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

    @torch.no_grad()
    def answer_batches(
        self,
        briefs: list[dict],
        decoding: Decoding,
        done: Container[int] = (),
        report: Callable[[str], None] = lambda line: None,
    ) -> Iterator[Batch]:
        """Answers in batches of like length, left-padded; the same batches for the same briefs.

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
            rows = self._continue([prompts[index] for index in batch], [briefs[i] for i in batch], batch, decoding)
            yield Batch(batch, [self._cut_at_eos(row) for row in rows], time.monotonic() - begun)
            finished += len(batch)
            if time.monotonic() - reported > 10 and finished < total:
                reported = time.monotonic()
                left = (reported - started) / finished * (total - finished)
                report(f"{self.name}: {finished} of {total} designs, {left:.0f} s left")

    def _continue(self, prompts: list[str], briefs: list[dict], numbers: list[int], decoding: Decoding) -> list:
        """Tokens that the model writes after each prompt, up to and beyond its EOS."""
        inputs = self.tokenizer(prompts, return_tensors="pt", padding=True)
        inputs = {key: inputs[key].to(self.model.device) for key in ("input_ids", "attention_mask")}
        processors = LogitsProcessorList()
        if decoding.constrained:
            limit = decoding.max_new_tokens
            if limit < safe_limit():
                raise ConfigError(
                    f"max_new_tokens = {limit}: a constrained answer is sure to be complete only within "
                    f"{safe_limit()} tokens. Allow at least those; a trained model stops long before."
                )
            needs_cost = [lacks_budget(brief) for brief in briefs]
            processors.append(AnswerProcessor(self.tokenizer, self.model.config.vocab_size, limit, needs_cost))
        if decoding.temperature:
            processors.append(SamplingProcessor(decoding.temperature, decoding.seed, numbers, self.model.device))
        settings = GenerationConfig(
            max_new_tokens=decoding.max_new_tokens,
            do_sample=False,
            use_cache=True,
            eos_token_id=self.tokenizer.eos_token_id,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        output = self.model.generate(**inputs, generation_config=settings, logits_processor=processors)
        return output[:, inputs["input_ids"].shape[1] :].tolist()

    def _cut_at_eos(self, row: list[int]) -> Answered:
        end = self.tokenizer.eos_token_id
        complete = end in row
        ids = row[: row.index(end)] if complete else row
        return Answered(self.tokenizer.decode(ids, skip_special_tokens=False), len(ids) + complete, complete)

    @torch.no_grad()
    def losses(self, examples: Iterable[codec.Example], drawn: Collection[str] = ()) -> Losses:
        """Loss of each known completion.

        Args:
            examples: prompts and completions.
            drawn: fields of the answer that do not follow from the brief; exactness leaves them out.

        Returns:
            Nats, learned tokens and exactness of each completion, in the order of the examples.
        """
        examples = list(examples)
        columns = {name: [getattr(e, name) for e in examples] for name in ("prompt", "completion")}
        rows = PackedRows(
            tokenise(pa.table(columns), self.tokenizer, "auto").samples, ROW_LENGTHS[self.model.device.type]
        )
        losses = Losses([0.0] * len(examples), [0] * len(examples), [True] * len(examples))
        for number, members in enumerate(rows.rows):
            batch = {name: values.to(self.model.device) for name, values in collate_row([rows[number]]).items()}
            logits, targets, _ = completion_logits(self.model, batch)
            token_losses = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
            lengths = [rows.learned[member] for member in members]
            parts = zip(token_losses.split(lengths), (logits.argmax(-1) == targets).split(lengths), strict=True)
            for member, (nats, right) in zip(members, parts, strict=True):
                losses.nats[member] = nats.double().sum().item()
                losses.tokens[member] = len(nats)
                left_out = tokens_in_fields(self.tokenizer, examples[member].completion, drawn)
                losses.exact[member] = all(a or b for a, b in zip(right.tolist(), left_out, strict=True))
        return losses
