"""What adapters and their tensors are called: by people, and by trainers that wrap the model."""

import re
from collections import Counter
from pathlib import Path

WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts that torch.compile, FSDP and activation checkpointing put into the names of modules."""
PREFIX = "base_model.model."
"""What PEFT puts before the name of every module."""
_TENSOR = re.compile(r"([A-Za-z_]\w*(?:\.\w+){0,15})\.lora_([AB])(?:\.\w+)?\.weight")
NAME_LIMIT = 400
"""Characters of a tensor's name."""


def read_tensor_name(name: str) -> tuple[str, str] | None:
    """The module of a LoRA weight and its side, without what wrappers added.

    Args:
        name: as it stands in the file, such as module.base_model.model.layers.0.q_proj.lora_A.default.weight.

    Returns:
        The module, as the base model calls it, and A or B; None where it is no LoRA weight.
    """
    plain = ".".join(part for part in name[:NAME_LIMIT].split(".") if part not in WRAPPERS)
    before = ""
    while plain != before:
        before = plain
        plain = plain.removeprefix(PREFIX).removeprefix("module.")
    match = _TENSOR.fullmatch(plain)
    return (match[1], match[2]) if match else None


def tensor_name(module: str, side: str) -> str:
    """What PEFT calls the weight of a module: side A or B."""
    return f"{PREFIX}{module}.lora_{side}.weight"


def name_of(path: Path) -> str:
    """What the adapter in a folder or zip is called."""
    if path.suffix.lower() == ".zip" and not path.is_dir():
        return path.stem
    return path.name or path.absolute().name


def name_all(paths: list[Path]) -> dict[Path, str]:
    """Names for adapters that people call alike: as much of the path before a name as tells them apart.

    Args:
        paths: folders or zips, each once.

    Returns:
        Path -> its name, such as hb-kaggle-04, or anna/lora_model beside ben/lora_model.
    """
    names = {path: name_of(path) for path in paths}
    for depth in range(1, 30):
        counts = Counter(names.values())
        alike = [path for path in paths if counts[names[path]] > 1]
        if not alike:
            break
        for path in alike:
            above = path.absolute().parent.parts[-depth:]
            names[path] = "/".join([*(part.strip("/\\") for part in above if part.strip("/\\")), name_of(path)])
    counts = Counter(names.values())
    return {path: path.name if counts[name] > 1 else name for path, name in names.items()}
