"""Safetensors files: those of somebody else read as untrusted data, limits first; and large ones written."""

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from housebrain_core.contents import explain_file, read_json
from housebrain_core.errors import AdapterError, DataError, HouseBrainError

HEADER_LIMIT = 16 * 2**20
"""Bytes; the header of a 7-billion model's adapter has 60,000."""
TENSOR_LIMIT = 20_000
"""Tensors in a file; an adapter of a 70-billion model has 1,120."""
WIDTHS = {"U64": 8, "I64": 8, "F64": 8, "C64": 8, "F32": 4, "U32": 4, "I32": 4, "BF16": 2, "F16": 2, "U16": 2, "I16": 2,
          "I8": 1, "U8": 1, "BOOL": 1}  # fmt: skip
"""Bytes of a value of each type that can be written, in the library's order of types in a file."""
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts that torch.compile, FSDP and activation checkpointing put into the names of modules."""
PREFIX = "base_model.model."
"""What PEFT puts before the name of every module."""
_TENSOR = re.compile(r"([A-Za-z_]\w*(?:\.\w+){0,15})\.lora_([AB])(?:\.\w+)?\.weight")
NAME_LIMIT = 400
"""Characters of a tensor's name."""
DTYPES = ("F16", "BF16", "F32")
"""Types of values that an adapter may have."""
OTHER_KINDS = (
    (
        r"^(unet|text_encoder\w*|diffusion_model|transformer\.(single_)?transformer_blocks)\.|^lora_(unet|te)\d?_"
        r"|lora_(down|up)\b|\.alpha$",
        "LoRA for a model that makes pictures: give one of a language model",
    ),
    (r"lora_magnitude_vector|dora_scale", "magnitudes of DoRA, which cannot be averaged as updates are"),
    (r"(hada|lokr)_w\d", "LoHa or LoKr, which is not B @ A"),
    (r"lora_E$|ranknum$", "a part of AdaLoRA, which is not B @ A"),
    (
        r"lora_[ab](\.weight)?$",
        "factors as MLX-LM and torchtune name them: write them as PEFT does, in lora_A and lora_B",
    ),
)
"""What tensors of other kinds of adapters are called, what they are, and what to do."""
NO_FACTORS = (
    *OTHER_KINDS,
    (r"lora_embedding_[AB]", "LoRA on an embedding, which is no linear layer: train without it in target_modules"),
    (r"(^|\.)bias$", "a trained bias, which is not part of B @ A: train with bias none"),
    (
        r"(embed_\w+|wte|lm_head|base_layer)\.weight$",
        "a whole layer of the base model: if it was not trained, save with save_embedding_layers=False",
    ),
    (r"modules_to_save|\.weight$", "a whole weight, which is not part of B @ A: train without modules_to_save"),
)
"""The same of what may stand beside LoRA."""


class TensorInfo(NamedTuple):
    """What a header says of a tensor."""

    dtype: str
    """As safetensors names it: F32, F16, BF16, ..."""
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor in the file."""
        return math.prod(self.shape) * WIDTHS[self.dtype]


def read_header(path: Path, error: type[HouseBrainError] = AdapterError) -> dict[str, TensorInfo]:
    """The tensors of a safetensors file, by name; no tensor is read.

    The library checks types, shapes and places: that tensors fill the file without gap or overlap.

    Raises:
        HouseBrainError: as `error`; the file is cut, or its header is no valid one.
    """
    from safetensors import SafetensorError, safe_open

    try:
        _check_limits(path)
        with safe_open(path, "numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
            return {name: TensorInfo(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except (OSError, ValueError, DataError, SafetensorError) as problem:
        shown = str(problem).encode(errors="backslashreplace").decode()[:300]
        why = explain_file(path) or f"is damaged: {shown}. Copy it again"
        raise error(f"{path} {why}.") from None


def read_names(file: IO[bytes]) -> list[str]:
    """The tensors that a safetensors file says it has; ValueError where it is none."""
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= HEADER_LIMIT:
        raise ValueError(f"the header would have {length} bytes")
    return [name for name in read_json(file.read(length)) if name != "__metadata__"]


def explain_names(names: list[str]) -> str | None:
    """What weights of these names are instead of a LoRA adapter for a language model, or None."""
    for pattern, what in OTHER_KINDS:
        if any(re.search(pattern, name) for name in names):
            return what
    if any(map(read_tensor_name, names)):
        return None
    return "weights without LoRA, as of a whole model: give what LoRA training saved"


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


def explain_tensors(header: dict[str, TensorInfo]) -> list[str]:
    """Why tensors are no factors of an update: a line for each reason, with the first of its tensors."""
    names: dict[str, list[str]] = {}
    for name, info in header.items():
        if why := _explain_tensor(name, info):
            names.setdefault(why, []).append(name)
    return [
        f"{found[0][:120]!r}{f' and {len(found) - 1} more' if found[1:] else ''}: {why}" for why, found in names.items()
    ]


def _explain_tensor(name: str, info: TensorInfo) -> str | None:
    place = read_tensor_name(name)
    if not place:
        return next((what for pattern, what in NO_FACTORS if re.search(pattern, name)), "no LoRA weight")
    if "base_layer" in place[0].split("."):
        return "LoRA on a parameter without a module of its own, or on top of another adapter, which is not supported"
    if info.dtype not in DTYPES:
        return f"of type {info.dtype}, expected is one of {', '.join(DTYPES)}: save it as float32"
    if 0 in info.shape:
        return "empty, as DeepSpeed ZeRO-3 saves what it does not gather: save it with trainer.save_model(folder)"
    if len(info.shape) != 2:
        return f"of {len(info.shape)} dimensions, expected is a matrix: train LoRA on linear layers only"
    return None


def is_copy_of_base(name: str, header: Mapping[str, Any]) -> bool:
    """Whether a tensor is the base's weight below a LoRA: PEFT saves the output layer so, and trains only the LoRA."""
    module, _, rest = name.rpartition(".base_layer.")
    return rest == "weight" and {f"{module}.lora_A.weight", f"{module}.lora_B.weight"} <= set(header)


def tensor_name(module: str, side: str) -> str:
    """What PEFT calls the weight of a module: side A or B."""
    return f"{PREFIX}{module}.lora_{side}.weight"


def read_matrices(path: Path, names: list[str]) -> list[np.ndarray]:
    """Tensors of a file, in float32. It is open only meanwhile, so that memory is that of what is asked for.

    Raises:
        AdapterError: the file has changed since its header was read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            dtypes = {file.get_slice(name).get_dtype() for name in names}
            if "BF16" not in dtypes:
                return [file.get_tensor(name).astype(np.float32, copy=False) for name in names]
        with safe_open(path, "pt") as file:  # NumPy has no bfloat16
            return [file.get_tensor(name).float().numpy() for name in names]
    except (OSError, SafetensorError) as problem:
        raise AdapterError(f"{path} has changed while it was read ({problem}). Copy it again.") from None


def write_tensors(path: Path, infos: dict[str, TensorInfo], read: Callable[[str], np.ndarray]) -> None:
    """Writes a safetensors file, one tensor after the other: the library's writer needs all of them in memory.

    Its bytes are the library's; format: https://huggingface.co/docs/safetensors. Returns when the disk has them, since
    a manifest will promise them.

    Args:
        path: of the file.
        infos: type and shape of each tensor, by name.
        read: name -> the tensor, called once for each.

    Raises:
        ValueError: a tensor has another size than its info.
    """
    types = list(WIDTHS)
    names = sorted(infos, key=lambda name: (types.index(infos[name].dtype), name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        start, end = end, end + infos[name].nbytes
        header[name] = {"dtype": infos[name].dtype, "shape": infos[name].shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            tensor = np.ascontiguousarray(read(name))
            if tensor.nbytes != infos[name].nbytes:
                raise ValueError(f"{name} has {tensor.nbytes} bytes; {infos[name]} has {infos[name].nbytes}")
            file.write(tensor.data)
        file.flush()
        os.fsync(file.fileno())


def _check_limits(path: Path) -> None:
    """Refuses a header that is too long, or that two readers could understand differently."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(HEADER_LIMIT, size - 8):
            raise ValueError(f"the header would have {length} bytes, the file has {size}")
        header = read_json(file.read(length))  # of bounded length
    if len(header) > TENSOR_LIMIT:
        raise ValueError(f"it lists {len(header)} tensors; at most {TENSOR_LIMIT} are expected")
