"""The strict parser names what is wrong with a text, and no repair passes for a good answer."""

import json
import random
import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from outside import SHARED, real_samples

from housebrain_core.evaluate.judging import judge
from housebrain_core.house import codec, synthetic
from housebrain_core.house.json_text import (
    NEVER_TRUSTED,
    REPAIR_LIMIT,
    StrictJSONError,
    repaired_parse,
    strict_json_parse,
)
from housebrain_core.house.schema import Answer
from housebrain_core.llm.decoding import Answered


def verdict(text: str) -> str:
    try:
        strict_json_parse(text)
    except StrictJSONError as error:
        return error.kind
    return "ok"


@pytest.fixture(scope="module", params=["generated", "real"])
def outputs(request) -> list[dict]:
    """Three hundred designs; the real ones where the real dataset is at hand."""
    if request.param == "generated":
        return [sample["output"] for sample in synthetic.make_samples(300, seed=11)]
    if not (SHARED / "data").is_dir():
        pytest.skip(f"the real dataset is not at {SHARED}; set HOUSEBRAIN_SHARED")
    return [sample["output"] for sample in real_samples(SHARED, "validation", 300)]


def cut(share: float):
    return lambda design, text: text[: int(len(text) * share)]


def replace_once(old: str, new: str):
    def mutate(design: dict, text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return mutate


AREA = '"total_area":'
MUTATIONS = {
    "clean": (lambda design, text: text, "ok"),
    "indented": (lambda design, text: json.dumps(design, indent=2), "ok"),
    "cut at 30 %": (cut(0.30), "truncated"),
    "cut at 70 %": (cut(0.70), "truncated"),
    "cut at 95 %": (cut(0.95), "truncated"),
    "last brace missing": (lambda design, text: text[:-1], "truncated"),
    "inner brace missing": (replace_once('},"building_codes"', ',"building_codes"'), "truncated"),
    "brace too many inside": (replace_once('},"building_codes"', '}},"building_codes"'), "trailing_text"),
    "fenced": (lambda design, text: f"```json\n{text}\n```", "fenced"),
    "prose around": (lambda design, text: f"Here is your design: {text} Enjoy!", "prose_before"),
    "chat mark behind": (lambda design, text: text + "<|im_end|>", "trailing_text"),
    "single quotes": (lambda design, text: text.replace('"', "'"), "single_quotes"),
    "python repr": (lambda design, text: repr(design), "single_quotes"),
    "python literal": (replace_once('"solar_ready":', '"solar_ready":None,"was":'), "python_literal"),
    "trailing comma": (lambda design, text: text[:-1] + ",}", "trailing_comma"),
    "missing comma": (replace_once(',"total_area"', ' "total_area"'), "syntax_other"),
    "comment": (replace_once(AREA, "// in square feet\n" + AREA), "comment"),
    "duplicate key": (replace_once(AREA, AREA + "1," + AREA), "duplicate_key"),
    "NaN": (replace_once(AREA, AREA + "NaN," + '"was":'), "nan_or_infinity"),
    "-Infinity": (replace_once(AREA, AREA + "-Infinity," + '"was":'), "nan_or_infinity"),
    "twice": (lambda design, text: text + "\n" + text, "several_objects"),
    "unit behind number": (replace_once(AREA, AREA + "1234 sqft," + '"was":'), "syntax_other"),
    "thousands separators": (replace_once(AREA, AREA + "1,234,567," + '"was":'), "syntax_other"),
    "raw newline in a string": (replace_once("renders/", "ren\nders/"), "control_char"),
    "prose only": (lambda design, text: "I am sorry, I cannot design a house.", "no_json"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_every_mutation_gets_its_kind_in_all_300_outputs(name, outputs):
    mutate, expected = MUTATIONS[name]
    texts = [mutate(design, codec.dumps(design)) for design in outputs]
    wrong = {verdict(text) for text in texts} - {expected}
    assert not wrong
    assert all(repaired_parse(text)[1] == expected for text in texts[:20])


@pytest.mark.parametrize("name", ["fenced", "prose around", "chat mark behind", "single quotes", "trailing comma",
                                  "missing comma", "comment"])  # fmt: skip
def test_a_harmless_mutation_is_repaired_to_the_original(name, outputs):
    for design in outputs[:30]:
        assert repaired_parse(MUTATIONS[name][0](design, codec.dumps(design))) == (design, MUTATIONS[name][1])


DANGERS = {
    "cut": lambda text, share: text[: 1 + int((len(text) - 1) * share)],
    "duplicate key": lambda text, share: '{"k":1,"k":{"x":2},' + text[1:],
    "deep duplicate key": lambda text, share: '{"k":[{"x":1,"x":2}],' + text[1:],
    "NaN": lambda text, share: '{"k":NaN,' + text[1:],
    "infinite number": lambda text, share: '{"k":[-1e999],' + text[1:],
}
WRAPS = {
    "bare": lambda text: text,
    "fenced": lambda text: f"```json\n{text}\n```",
    "prose around": lambda text: f"Here's your design: {text} That's all!",
    "braces around": lambda text: f"The design of {{a house}}: {text}",
    "chat mark": lambda text: text + "<|im_end|>",
    "trailing comma": lambda text: text[:-1] + ",}" if text.endswith("}") else text,
    "missing comma": lambda text: text.replace(',"', ' "', 1),
    "comment": lambda text: text.replace(",", ", // more\n", 1),
    "python literal": lambda text: text.replace("{", '{"none":None,', 1),
    "single-quoted keys": lambda text: re.sub(r'"([a-z]+)":', r"'\1':", text),
    "unquoted keys": lambda text: re.sub(r'"([a-z]+)":', r"\1:", text),
    "once more": lambda text: text + text,
}
TRAPS = ["```", "{", '"}', "'", "//", "NaN"]
values = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text(max_size=8) | st.sampled_from(TRAPS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcdefg"), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
objects = st.dictionaries(st.sampled_from("abcdefg"), values, min_size=1, max_size=4)


@pytest.mark.slow
@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("danger", DANGERS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(value=objects, share=st.floats(0, 0.999))
@example(value={"a": "```"}, share=0.9)
def test_cut_doubled_or_infinite_is_never_repaired_unflagged_whatever_else_is_wrong(danger, wrap, value, share):
    text = WRAPS[wrap](DANGERS[danger](json.dumps(value, separators=(",", ":")), share))
    repaired, kind = repaired_parse(text)
    assert repaired is None or kind in NEVER_TRUSTED, (text, repaired, kind)


@pytest.mark.parametrize("danger", ["cut", "duplicate"])
@pytest.mark.parametrize("wrap", ["fenced", "prose around", "chat mark", "trailing comma", "comment"])
def test_a_wrapped_answer_that_is_cut_or_doubled_is_not_counted_as_valid_after_repair(danger, wrap, samples):
    """Without the levels, which an answer may leave out, a cut answer can be a valid one with less in it."""
    brief, text = samples[0]["input"], codec.encode(samples[0]).completion
    spoilt = (
        text[: text.index(',"levels"')] if danger == "cut" else text.replace('"wall":', '"wall":"Brick","wall":', 1)
    )
    assert judge(brief, Answered(WRAPS[wrap](text), 300, True)).schema_valid_repaired
    assert not judge(brief, Answered(WRAPS[wrap](spoilt), 300, True)).schema_valid_repaired


def test_no_answer_of_the_schema_is_too_long_to_be_repaired():
    constrained = pytest.importorskip("housebrain_core.llm.constrained")
    schema = Answer.model_json_schema()
    assert constrained.longest_text(schema, schema["$defs"]) < REPAIR_LIMIT


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "empty"),
        (" \t\r\n", "empty"),
        ("[1]", "not_an_object"),
        ('[{"a":1}]', "not_an_object"),
        ('"a"', "not_an_object"),
        ('{"a":1}', "ok"),
        ("{}", "ok"),
        ('{"a":1}\u00a0', "trailing_text"),
        ('\ufeff{"a":1}', "prose_before"),
        ('{"a":1e999}', "nan_or_infinity"),
        ('{"a":' + "9" * 5000 + "}", "huge_number"),
        ('{"a":{"b":1,"b":2}}', "duplicate_key"),
        ('{"a":01}', "syntax_other"),
        ('{"a":"\\x"}', "syntax_other"),
        ('{"a":True}', "python_literal"),
        ("{", "truncated"),
        ('{"a":tru', "truncated"),
        ('{"a":"b\\', "truncated"),
        ("[" * 100_000, "too_deep"),
        ('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "too_deep"),
        ('{"a":' * 100_000, "too_deep"),
    ],
)
def test_kinds_by_hand(text, kind):
    assert verdict(text) == kind


def test_what_is_not_json_never_becomes_a_repaired_object():
    for text in ("", "no braces here", "{" * (REPAIR_LIMIT + 1), '{"a":' * 1000):
        assert repaired_parse(text)[0] is None


LONG = {
    "array": lambda size: '{"a":[' + '"xxxxxxxx",' * (size // 11) + '"x"]}',
    "cut string": lambda size: '{"a":"' + "x" * size,
    "quotes": lambda size: '{"' + '"' * size,
    "escaped quotes": lambda size: '{"a":"' + '\\"' * (size // 2),
    "backslashes": lambda size: '{"a":"' + "\\" * size,
    "braces": lambda size: "{" * size,
    "digits": lambda size: '{"a":' + "1" * size,
    "late duplicate": lambda size: "{" + "".join(f'"k{i}":1,' for i in range(size // 11)) + '"k1":1}',
}


def seconds_for(make, size: int) -> float:
    text, started = make(size), time.process_time()
    verdict(text)
    return time.process_time() - started


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_ten_megabytes_take_time_in_proportion_to_one(name):
    """Quadratic would be a hundredfold; a short base keeps the machine's noise out."""
    small, large = (min(seconds_for(LONG[name], size) for _ in range(2)) for size in (1_000_000, 10_000_000))
    assert large < 30 * small + 0.5


def fuzz(dice: random.Random, text: str) -> str:
    """A text with some characters dropped, doubled, swapped or invented."""
    characters = list(text)
    for _ in range(dice.choice((1, 1, 2, 5, 30))):
        place = dice.randrange(len(characters))
        size = dice.choice((0, 1, 1, 3, 40))
        invented = dice.choice(
            ('"', "{", "}", "[", "]", ",", ":", "\\", "'", "NaN", "//", "\u0000", "\ud800", "9" * 30)
        )
        characters[place : place + size] = dice.choice(([], [invented], characters[place : place + size] * 2))
        characters = characters or ["{"]
    return "".join(characters)


def check_fuzzed(count: int) -> None:
    """Every text goes through both parsers."""
    dice = random.Random(5)
    texts = [codec.encode(sample).completion for sample in synthetic.make_samples(50, seed=12)]
    for _ in range(count):
        text = fuzz(dice, dice.choice(texts))
        strict = verdict(text)
        repaired, kind = repaired_parse(text)
        assert kind == strict or kind in NEVER_TRUSTED
        assert repaired is None or isinstance(repaired, dict)
        if strict == "ok":  # whatever the strict parser accepts, the standard one reads alike
            assert strict_json_parse(text) == json.loads(text)


@pytest.mark.slow
def test_fuzzed_answers_never_crash_the_parsers():
    check_fuzzed(1_000)


@pytest.mark.soak
def test_a_hundred_thousand_fuzzed_answers_never_crash_the_parsers():
    check_fuzzed(100_000)
