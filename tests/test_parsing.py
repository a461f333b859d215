"""The strict parser names what is wrong with a text, and no repair passes for a good answer."""

import json
import random
import time

import pytest

from housebrain_core import codec, synthetic
from housebrain_core.parsing import NEVER_TRUSTED, REPAIR_LIMIT, StrictJSONError, repaired_parse, strict_json_parse


def verdict(text: str) -> str:
    try:
        strict_json_parse(text)
    except StrictJSONError as error:
        return error.kind
    return "ok"


@pytest.fixture(scope="module")
def outputs() -> list[dict]:
    return [sample["output"] for sample in synthetic.make_samples(300, seed=11)]


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


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_mutation_gets_its_kind_in_all_300_outputs(name, outputs):
    mutate, expected = MUTATIONS[name]
    texts = [mutate(design, codec.dumps(design)) for design in outputs]
    wrong = {verdict(text) for text in texts} - {expected}
    assert not wrong
    assert all(repaired_parse(text)[1] == expected for text in texts[:20])


@pytest.mark.parametrize("name", [name for name in MUTATIONS if MUTATIONS[name][1] in NEVER_TRUSTED])
def test_a_repair_of_a_dangerous_text_keeps_its_flag(name, outputs):
    mutate, expected = MUTATIONS[name]
    for design in outputs[:30]:
        assert repaired_parse(mutate(design, codec.dumps(design)))[1] == expected


@pytest.mark.parametrize("name", ["fenced", "prose around", "chat mark behind", "single quotes", "trailing comma",
                                  "missing comma", "comment"])  # fmt: skip
def test_a_harmless_mutation_is_repaired_to_the_original(name, outputs):
    for design in outputs[:30]:
        assert repaired_parse(MUTATIONS[name][0](design, codec.dumps(design)))[0] == design


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
    dice = random.Random(5)
    texts = [codec.encode(sample).completion for sample in synthetic.make_samples(50, seed=12)]
    for _ in range(count):
        text = fuzz(dice, dice.choice(texts))
        strict = verdict(text)
        if dice.random() < 0.1:
            repaired, kind = repaired_parse(text)
            assert kind == strict
            assert repaired is None or isinstance(repaired, dict)
        if strict == "ok":  # whatever the strict parser accepts, the standard one reads alike
            assert strict_json_parse(text) == json.loads(text)


def test_fuzzed_answers_never_crash_the_parsers():
    check_fuzzed(2_000)


@pytest.mark.soak
def test_a_hundred_thousand_fuzzed_answers_never_crash_the_parsers():
    check_fuzzed(100_000)
