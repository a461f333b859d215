"""Settings of select: what they read, and what they refuse at once."""

import pytest

from housebrain_core.errors import ConfigError
from housebrain_core.house.rules import RULES
from housebrain_core.select.settings import SelectConfig, find_rule


def test_rules_are_named_in_one_word_or_several_and_by_their_beginning():
    assert SelectConfig(source="x", clean_rules=["parking,height", "exits"]).clean_rules == [
        "parking",
        "height_limit",
        "exits",
    ]
    assert SelectConfig(source="x", clean_rules=["all"]).clean_rules == [rule.name for rule in RULES]


def test_an_unknown_rule_names_the_nearest_and_lists_all():
    said = r"no rule parkin_g, did you mean parking\? There are all, far_limit, .*stairs"
    with pytest.raises(ConfigError, match=said):
        SelectConfig(source="x", clean_rules=["parkin_g"])
    with pytest.raises(ValueError, match="habitable may be habitable_area or habitable_width"):
        find_rule("habitable")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "without a condition all samples are ordinary"),
        ({"failed": ["rules"]}, "failed: say on what"),
        ({"failed": ["rules"], "evaluation": "e.json", "model": "m"}, "failed: say on what"),
        ({"failed": ["colour"], "model": "m"}, "failed = 'colour'"),
        ({"highest_loss": 0.1}, "highest_loss = 0.1: say with model"),
        ({"difficulty": 0.5, "model": "m"}, "model = m: it would do nothing"),
        ({"difficulty": 0.5, "evaluation": "e.json"}, "evaluation = e.json: it would do nothing"),
        ({"difficulty": "harder"}, "difficulty = 'harder'"),
        ({"difficulty": 0.5, "candidates": 5}, "candidates = 5: it would do nothing"),
        ({"difficulty": 0.5, "ordinary": 1.0}, "ordinary = 1.0"),
        ({"where": ["region=India"]}, "is no condition"),
    ],
)
def test_what_cannot_be_used_or_would_do_nothing_is_refused(given, said):
    with pytest.raises(ConfigError) as refused:
        SelectConfig(source="x", **given)
    assert said in str(refused.value)
