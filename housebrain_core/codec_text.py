"""Samples whose very text is usual: encoded without parsing it, in 31 microseconds instead of 53.

The patterns are the text of a sample, as `json.dumps(sample, indent=2)` writes it, with a group for each value that
may differ. A text that matches, and whose derivations are right, is the sample that parsing would have found, so that
the result is the same; any other text is left to parsing and `codec.encode`. The tests hold the two against each
other on real samples, and on texts with every value, line and byte spoilt.
"""

import json
import re
from functools import lru_cache
from itertools import groupby

import orjson

from housebrain_core.codec_brief import BEDROOMS, expand_brief
from housebrain_core.codec_design import expand_design
from housebrain_core.codec_usual import COMFORTS, COMPLETION, FEATURES_OF, WORDS
from housebrain_core.jsontext import dumps
from housebrain_core.schema import Answer


def encode_text(data: bytes) -> tuple[str, str, str, str] | None:
    """What parsing and `codec.encode` would make of a sample, where its text is usual.

    Args:
        data: a sample as it is in a file.

    Returns:
        Id, prompt, completion and metadata, the columns of bundles.SCHEMA; None where the text is not usual.
    """
    try:
        text = data.decode()
        head = _HEAD.match(text)
        if head is None:
            return None
        echo = _ECHO + text[head.end(1) + len(_BRIEF) : head.end()].replace("\n", "\n  ")
        tail = _TAIL.fullmatch(text, head.end() + len(echo)) if text.startswith(echo, head.end()) else None
        if tail is None:
            return None
        prompt, completion = _write_prompt(*head.groups()), _write_answer(head, *tail.groups())
        metadata = orjson.loads(tail["metadata"])
    except ValueError:  # not UTF-8, an unusual room, or metadata that only look like JSON
        return None
    only_text = tail["metadata"].count('"') == 4 * len(metadata)  # there are no lists and no escapes in it
    return (head[1], prompt, completion, dumps(metadata)) if prompt and completion and only_text else None


def _write_prompt(_, area, bedrooms, bathrooms, floors, budget, style, length, width, *rest: str) -> str | None:
    *plot, rows = rest
    kinds, values, counts = zip(*map(_read_room, rows[1:-1].split(_NEXT_ROOM)), strict=True)
    beds, rooms = sum(counts), _group_rooms(kinds)
    if int(area) != int(float(length) * float(width)) or int(bedrooms) != beds or int(bathrooms) != max(1, beds // 2):
        return None
    return _PROMPT % (style, floors, budget, length, width, *plot, rooms % values)


@lru_cache(maxsize=20_000)
def _read_room(text: str) -> tuple[str, str, int]:
    """The kind of a room, its value in the short form, and how many bedrooms it is.

    Raises:
        ValueError: the text is unusual.
    """
    room = _ROOM.fullmatch(text)
    if room is None or room[2] == "0":
        raise ValueError(text)
    kind, count, area = room.groups()
    return kind, area if count == "1" else f'"{count}x{area}"', int(count) if kind in BEDROOMS else 0


@lru_cache(maxsize=20_000)
def _group_rooms(kinds: tuple[str, ...]) -> str:
    """The rooms of a short form with %s for each value; raises ValueError where rooms of a kind are apart."""
    groups = [(kind, ["%s" for _ in same]) for kind, same in groupby(kinds)]
    if len(dict(groups)) < len(groups):
        raise ValueError(kinds)
    return ",".join([f'"{kind}":' + (same[0] if len(same) == 1 else f"[{','.join(same)}]") for kind, same in groups])


def _write_answer(brief: re.Match, *values: str) -> str | None:
    (total_area, cost, wall, roof, flooring, windows, doors, garage, garage_spaces, wall_color, roof_color,
     climate, seismic, wind, snow, rainfall, soil, water_table, water, sewer, gas, solar_ready, *comforts,
     ratio, max_area, max_height, parking, sprinklers, fire_exits, fire_walls, ramp, bathroom, style, _,
    ) = values  # fmt: skip
    area, budget, named = brief.group("area", "budget", "style")
    if total_area != area or int(cost) != int(int(budget) * 0.6) or style != named:
        return None
    if area == "0" or (*comforts,) != COMFORTS[climate]:
        return None
    derived = float(ratio) == round((int(max_area) + 0.5) / int(area), 2)
    return COMPLETION % (
        wall, wall_color, roof, roof_color, flooring, windows, doors, garage, garage_spaces, climate, seismic, wind,
        snow, rainfall, soil, water_table, water, sewer, max_area, "" if derived else f'"floor_area_ratio":{ratio},',
        max_height, parking, fire_exits, _FEATURES[gas, solar_ready, sprinklers, fire_walls, ramp, bathroom],
    )  # fmt: skip


_COUNT, _MONEY, _DECIMALS = "(?:0|[1-9][0-9]{0,5})", "(?:0|[1-9][0-9]{0,8})", r"\.(?:0|[0-9]?[1-9])"
_QUOTED = {name: "|".join(sorted(words)) for name, words in WORDS.items()}
_QUOTED |= dict.fromkeys(("id", "shape", "orientation", "kind", "cooling", "heating", "insulation"), "[A-Za-z0-9_.-]++")
_QUOTED["style"] = "[A-Za-z0-9_ .-]+"
_QUOTED["gas"] = "(?:Not_)?Available"
_BARE = {
    **dict.fromkeys(("area", "number", "floors", "total_area", "max_area"), _COUNT),
    **dict.fromkeys(("budget", "construction_cost"), _MONEY),
    **dict.fromkeys(("garage_spaces", "parking", "fire_exits"), "[0-9]"),
    "max_height": "(?:0|[1-9][0-9]{0,2})", "side": _COUNT + _DECIMALS, "amount": f"{_COUNT}(?:{_DECIMALS})?",
    "floor_area_ratio": "[0-9]" + _DECIMALS, "flag": "true|false", "rows": r"\{[^]]+\}",
    "metadata": r"\{[^][{}\\]*+\}",
}  # fmt: skip
"""What values may be; numbers as `dumps` writes them: no sign, no zero too many, digits that a float keeps."""
_BRIEF, _ECHO, _NEXT_ROOM = '",\n  "input": ', ',\n  "output": {\n    "input": ', "},\n      {"
_PROMPT = (
    '{"style":"%s","floors":%s,"budget":%s,"plot":[%s,%s],"shape":"%s","orientation":"%s","slope":%s,"corner":%s,'
    '"setbacks":[%s,%s,%s,%s],"rooms":{%s}}\n'
)
_FEATURES = {(gas, *map(dumps, flags)): features for (gas, *flags), features in FEATURES_OF.items()}


def _describe_texts() -> tuple[str, str, str]:
    """A sample up to the echo in its design, what follows the echo, and a room inside, with <name> for each value."""
    short = {name: f"<{name}>" for name in ("style", "floors", "budget", "shape", "orientation")}
    short |= {"totalArea": "<area>", "bedrooms": "<number>", "bathrooms": "<number>", "plot": ["<side>", "<side>"],
              "slope": "<amount>", "corner": "<number>", "setbacks": ["<amount>"] * 4, "roomBreakdown": ["<rows>"],
    }  # fmt: skip
    brief = expand_brief(short)
    answer = {name: f"<{name}>" for name in Answer.model_fields} | {"features": [], "levels": []}
    design = expand_design(brief, answer) | {"input": "<echo>"}
    sample = {"id": "<id>", "input": brief, "output": design, "metadata": "<metadata>"}
    head, tail = json.dumps(sample, indent=2).split('"<echo>"')
    head, tail = head.removesuffix(_ECHO), tail.replace("false", "<flag>").replace("Not_Available", "<gas>")
    room = json.dumps({"type": "<kind>", "count": "<number>", "minArea": "<number>"}, indent=2)
    return head, tail, room[1:-1].replace("\n", "\n      ")


def _compile(text: str) -> re.Pattern:
    """A pattern with a group for each value in the text; a word that comes again must be the same."""
    seen: set[str] = set()

    def describe(place: re.Match) -> str:
        before, name, after = place.groups()
        bare, first = name in _BARE, name not in seen
        seen.add(name)
        group = f"(?P<{name}>{(_BARE | _QUOTED)[name]})" if first else f"({_BARE[name]})" if bare else f"(?P={name})"
        return group if bare else before + group + after

    return re.compile(re.sub(r'("?)<(\w+)>("?)', describe, re.escape(text)))


_HEAD, _TAIL, _ROOM = map(_compile, _describe_texts())
