"""The form of a usual sample's text, as `json.dumps(sample, indent=2)` writes it: what is fixed, where values are."""

import json
import re
from functools import lru_cache
from typing import NamedTuple

import orjson

from housebrain_core.house.brief_text import expand_brief
from housebrain_core.house.codec_usual import WORDS
from housebrain_core.house.design_text import expand_design
from housebrain_core.house.pages import Template
from housebrain_core.house.schema import Answer

DIGITS = {"area": 6, "bedrooms": 6, "bathrooms": 6, "floors": 6, "budget": 8, "corner": 6, "total_area": 6,
          "construction_cost": 8, "garage_spaces": 1, "max_area": 6, "max_height": 3, "parking": 1,
          "fire_exits": 1}  # fmt: skip
"""Integers, and how many digits are usual."""
SETBACKS = ("front", "rear", "left", "right")
FLAGS = ("solar_ready", "sprinklers", "fire_walls", "ramp_required", "accessible_bathroom")
COMFORT = ("cooling", "heating", "insulation")
_BARE = {*DIGITS, *SETBACKS, *FLAGS, "length", "width", "slope", "floor_area_ratio", "count", "min_area"}
"""Values without quotes."""
_WIDTHS = dict.fromkeys((*_BARE, *COMFORT), 8) | dict.fromkeys((*WORDS, "gas"), 16)
"""Bytes that hold a value, where these are not 24."""
_INPUT, _OUTPUT = b',\n  "input": ', b',\n  "output": {\n    "input": '
"""What is before a brief, and before its echo in the design."""


class Form(NamedTuple):
    """The parts of a sample's text without the echo; the room is repeated, with a comma between rooms."""

    head: Template
    room: Template
    tail: Template


@lru_cache(maxsize=16)
def form_of(keys: tuple[str, ...]) -> Form:
    """The form of samples with these keys in their metadata, whose values are <metadata_0> and so on."""
    names = ("style", "floors", "budget", "bedrooms", "bathrooms", "shape", "orientation", "slope", "corner")
    rows = [{"type": "<kind>", "count": "<count>", "minArea": "<min_area>"}]
    short = {name: f"<{name}>" for name in names} | {"totalArea": "<area>", "roomBreakdown": rows}
    short |= {"plot": ["<length>", "<width>"], "setbacks": [f"<{side}>" for side in SETBACKS]}
    brief = expand_brief(short)
    answer = {name: f"<{name}>" for name in Answer.model_fields} | {"features": [], "levels": []}
    metadata = {key: f"<metadata_{number}>" for number, key in enumerate(keys)}
    sample = {"id": "<id>", "input": brief, "output": expand_design(brief, answer), "metadata": metadata}
    text = remove_echo(json.dumps(sample, indent=2, ensure_ascii=False).encode()).decode() + "\n"
    text = re.sub(r'"(\w+)": false', r'"\1": <\1>', text).replace('"Not_Available"', '"<gas>"')
    text = re.sub(f'"(<(?:{"|".join(sorted(_BARE))})>)"', r"\1", text)
    head, room, tail = re.split(r'(\n +\{\n +"type": "<kind>",\n.+\n.+<min_area>)', text)
    closing = tail[: tail.index("}") + 1]
    return Form(*(Template(part, _WIDTHS) for part in (head, room + closing, tail)))


def remove_echo(text: bytes) -> bytes | None:
    """A sample's text without the brief in its design; None where there is none, or another one."""
    before, found, after = text.partition(_OUTPUT)
    brief = before[before.find(_INPUT) + len(_INPUT) :]
    echo = brief.replace(b"\n", b"\n  ")
    return before + found + after[len(echo) :] if found and after.startswith(echo) else None


def metadata_keys(text: bytes) -> tuple[str, ...] | None:
    """The keys of a sample's metadata if these are usual, an object of texts under plain names; else None.

    Args:
        text: the sample, with its echo or without.
    """
    try:
        metadata = orjson.loads(text[text.rindex(b'\n  "metadata": ') + 15 :].rstrip()[:-1])
        plain = all(type(value) is str and re.fullmatch(r"[\w .-]{1,64}", key) for key, value in metadata.items())
    except (ValueError, AttributeError):
        return None
    return tuple(metadata) if plain else None
