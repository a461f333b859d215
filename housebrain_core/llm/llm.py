"""A trained model as a person uses it: a brief in, a house design out; and its loss on known designs."""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from transformers import GenerationConfig, LogitsProcessorList

from housebrain_core.adapters.adapter import check_base_settings, read_adapter
from housebrain_core.adapters.folders import CONFIG, check_model
from housebrain_core.errors import ConfigError
from housebrain_core.house import codec
from housebrain_core.house.json_text import strict_json_parse  # noqa: F401 - the guide's import path
from housebrain_core.llm.constrained import AnswerProcessor, safe_limit
from housebrain_core.llm.decoding import Answered, Decoding, SamplingProcessor, lacks_budget
from housebrain_core.llm.designer import Designer
from housebrain_core.llm.loading import check_effect, find_base
from housebrain_core.llm.losses import Losses, tokens_in_fields
from housebrain_core.llm.remote import ServedLLM
from housebrain_core.settings import is_url
from housebrain_core.train.base_models import is_same_base, resolve_base
from housebrain_core.train.model import load_adapter, load_base, load_tokenizer
from housebrain_core.train.packing import PackedRows, collate_row, completion_logits, tokenise

ROW_LENGTHS = {"cpu": 512, "cuda": 2048}
"""Tokens in a packed row when only losses are measured: a CPU computes masked attention too."""


class HouseBrainLLM(Designer):
    """A base model with an adapter, or a base model alone; or, from an address, a model on a server.

    >>> llm = HouseBrainLLM(model_path="models/housebrain-merged")
    >>> llm.generate_design(brief)

    Args:
        model_path: an adapter folder (its base model is found by name), or a model folder; or the address of a server,
            such as http://localhost:11434/v1#housebrain, which gives a `ServedLLM`.
        base_model: where the base model is on this machine, when that is not its recorded name.
        load_in_4bit: for a model folder; an adapter gets its base as it was trained.
        report: gets lines of progress.
    """

    def __new__(
        cls,
        model_path: str | Path,
        base_model: str | None = None,
        load_in_4bit: bool = False,
        report: Callable[[str], None] = lambda line: None,
    ) -> Any:
        """A `ServedLLM` for an address; `__init__` is then not called."""
        if not is_url(model_path):
            return super().__new__(cls)
        check_base_settings([model_path], base_model, load_in_4bit)
        return ServedLLM(str(model_path))

    def __init__(
        self,
        model_path: str | Path,
        base_model: str | None = None,
        load_in_4bit: bool = False,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        folder = Path(model_path)
        check_model(folder)
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

    @property
    def identity(self) -> str:
        """See `Designer`."""
        return f"{self.base.revision} {self.load_in_4bit} {self.weights}"

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
            self.model = load_adapter(self.model, adapter, number)
            check_effect(self.model, number, adapter)  # once: a merge's validation then changes weights in place
        self._adapters.setdefault(folder.resolve(), number)
        self.model.base_model.enable_adapter_layers()
        self.model.set_adapter(self._adapters[folder.resolve()])
        self.name = folder.name
        self.weights = adapter.sha256
        self.model.eval()

    def answer_batch(
        self, prompts: list[str], briefs: list[dict], numbers: list[int], decoding: Decoding
    ) -> list[Answered]:
        """See `Designer`.

        Args:
            prompts: of like length; they are padded on the left.
            briefs: of the prompts.
            numbers: of the briefs.
            decoding: how.

        Returns:
            The answers, in the order of the prompts.
        """
        return [self._cut_at_eos(row) for row in self._continue(prompts, briefs, numbers, decoding)]

    @torch.no_grad()
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
            max_time=decoding.seconds,
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
