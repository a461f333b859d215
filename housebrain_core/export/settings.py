"""What an export is made of, which form it gets, and where it goes."""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from housebrain_core.settings import Settings, refuse_idle

FORMATS = ("adapter", "full", "gguf", "ollama", "vllm")
"""Names of the formats, as `--as` takes them."""
REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")


class ExportConfig(Settings):
    """How a model becomes a folder that other programs load."""

    model: Path
    """Adapter folder, such as models/housebrain-merged; for gguf and ollama also a whole model. Without a format, the
    exported folder to push."""
    format: Literal["adapter", "full", "gguf", "ollama", "vllm"] | None = None
    """adapter: for PEFT; full: base and update in one, for transformers; vllm: the same with the command that serves
    it; gguf: one file for llama.cpp; ollama: that and a Modelfile."""
    output: Path | None = None
    """Folder for the export [default: beside the model, under its name and the format]"""
    base_model: str | None = None
    """Where the base model is on this machine; by default its recorded name."""
    dtype: Literal["keep", "float16", "bfloat16", "float32"] = "keep"
    """Type of the weights of a full model; keep is the base's own."""
    base_view: Literal["auto", "fp16", "nf4-dequant"] = "auto"
    """Weights that the update is added to: the base as it is, or as 4-bit training saw it; auto takes what the adapter
    was trained on, or with --validate the one of lower validation loss."""
    run_validation: bool = False
    """Measure the full model on the validation sample; with base view auto both views, and the better one stays."""
    quantise: Literal["q4_k_m", "q5_k_m", "q6_k", "q8_0"] | None = None
    """Make the GGUF smaller, which changes its answers; needs llama-cpp-python (extra `gguf`)."""
    briefs: str | None = None
    """File with briefs to verify with, one per line; by default validation samples, or generated ones."""
    data: Path = Path("housebrain_splits")
    """Where the validation sample is: a splits folder, a bundle, or any dataset."""
    evaluation: Path | None = None
    """evaluation.json for the card; by default the one of this folder, where it is of this model and not older."""
    dataset: str | None = None
    """What the card calls the dataset that it was trained on, such as its id on the Hub."""
    dataset_licence: str | None = None
    """Licence of that dataset, such as MIT."""
    base_licence: str | None = None
    """Licence of the base model, where it is not known here."""
    push: str | None = None
    """Upload to this repository of the Hugging Face Hub, user/name; private, after showing what goes and asking."""
    public: bool = False
    """Let everybody see a new repository."""
    yes: bool = False
    """Upload without asking."""
    overwrite: bool = False
    """Replace an output folder that an earlier export wrote."""

    @property
    def folder(self) -> Path:
        """Where the export goes."""
        return self.output or self.model.with_name(f"{self.model.name}-{self.format}")

    @property
    def is_full(self) -> bool:
        """Whether base and update become one."""
        return self.format not in (None, "adapter")

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        problems: list[str] = []
        if self.format is None and self.push is None:
            problems.append(f"format: say which, --as {'|'.join(FORMATS)}; without it, --push uploads a folder")
        if self.push is not None and not REPOSITORY.fullmatch(self.push):
            problems.append(f"push = {self.push}: expected user/name, such as alice/housebrain")
        made = (self.format is not None, "without --as nothing is made, only uploaded")
        whole = (self.is_full, "it is for full weights: --as full, gguf, ollama or vllm")
        needs: dict[str, tuple[bool, str]] = dict.fromkeys(
            ("output", "base_model", "briefs", "data", "evaluation", "dataset", "overwrite"), made
        )
        needs |= dict.fromkeys(("dataset_licence", "base_licence"), made)
        needs |= dict.fromkeys(("dtype", "base_view", "run_validation"), whole)
        needs["quantise"] = (self.format in ("gguf", "ollama"), "it is for --as gguf or ollama")
        needs |= dict.fromkeys(("public", "yes"), (self.push is not None, "it is for --push"))
        refuse_idle(self, needs, tuple(problems))
        return self
