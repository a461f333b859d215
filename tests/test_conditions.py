"""Conditions on samples: what holds, what does not, and what is none."""

import pytest

from housebrain_core.errors import ConfigError
from housebrain_core.settings import parse_condition

SAMPLE = {
    "id": "a=b",
    "input": {"plot": {"corner": True}},
    "metadata": {"region": "Asia_India", "floors": 2, "x": None},
}


@pytest.mark.parametrize(
    "text",
    ["metadata.region=Asia_India", " metadata.region = Asia_India ", "metadata.floors=2", "metadata.x=null",
     "input.plot.corner=true", "id=a=b", 'input.plot={"corner":true}'],
)  # fmt: skip
def test_texts_are_compared_as_they_are_and_everything_else_as_json(text):
    assert parse_condition(text).holds(SAMPLE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("metadata.region=Europe", 'metadata.region is "Asia_India"'),
        ("metadata.floors=2.0", "metadata.floors is 2"),
        ("metadata.colour=red", "metadata has region, floors, x"),
        ("metadata.region.city=Pune", "metadata.region has no fields"),
        ("output.cost=1", "the top has id, input, metadata"),
    ],
)
def test_a_sample_that_does_not_hold_it_is_described(text, said):
    condition = parse_condition(text)
    assert not condition.holds(SAMPLE)
    assert condition.describe(SAMPLE) == said


def test_long_values_are_cut_in_what_is_said():
    said = parse_condition("metadata.text=x").describe({"metadata": {"text": "y" * 500}})
    assert said.endswith(" ...") and len(said) < 130


@pytest.mark.parametrize("text", ["metadata.region", "=x", "plot.shape=square", "inputs.x=1"])
def test_what_is_no_condition_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match="Write PATH=VALUE"):
        parse_condition(text)
