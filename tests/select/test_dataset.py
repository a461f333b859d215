"""A selection as files: JSON values as they were, samples for the page evenly spaced, rules of both sides."""

import json
import re

from housebrain_core.data.fields import USUAL
from housebrain_core.data.samples import read_samples
from housebrain_core.house.rules import check_design
from housebrain_core.manifests import check_files, read_manifest
from housebrain_core.select.dataset import compare_rules, spread, to_line
from housebrain_core.select.select import select_samples
from housebrain_core.select.settings import SelectConfig


def test_values_are_written_as_they_were_read():
    sample = {"id": "Ü", "input": {"b": 1.0, "a": [1, 10**30, 1e-7, "é\n"]}, "output": "none", "metadata": {}}
    assert to_line(sample).endswith(b"\n") and to_line(sample).count(b"\n") == 1
    assert json.dumps(json.loads(to_line(sample))) == json.dumps(sample)


def test_evenly_spaced_names_are_at_most_as_many_as_wanted():
    names = [str(number) for number in range(10)]
    assert spread(names, 3) == {"0", "4", "8"} and spread(names, 100) == set(names) and spread([], 3) == set()


def test_rules_are_compared_where_they_apply_on_both_sides(half_broken):
    source = list(read_samples(half_broken, "train"))
    kept = [one for one in source if not check_design(one["input"], one["output"])["room_counts"]]
    shares = compare_rules(source, kept)
    assert shares["room_counts"].source == len(kept) / len(source) and shares["room_counts"].result == 1
    assert compare_rules(source, []) == {}


def test_other_data_than_houses_is_chosen_by_values_and_written_in_the_usual_fields(tmp_path):
    rows = [{"question": f"{n}?", "answer": f"{n}!", "metadata": {"kind": n % 2}} for n in range(200)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = tmp_path / "chosen"
    settings = {"source": tmp_path / "data.jsonl", "input_field": ["question"], "output_field": ["answer"]}
    config = SelectConfig(where=["metadata.kind=1"], output=output, ordinary=0, **settings)
    selection = select_samples(config, lambda line: None)
    train = list(read_samples(output, "train", fields=USUAL))
    assert len(train) == selection.chosen and {one["metadata"]["kind"] for one in train} == {1}
    assert all(one["output"] == one["input"].replace("?", "!") for one in train)
    manifest = read_manifest(output, "selection")
    check_files(output, manifest)
    assert manifest["conditions"] == ["metadata.kind=1"] and manifest["rules"] == {} and manifest["seed"] == 42
    assert re.search(r"<pre>\d*[13579]!</pre>", (output / "selection.html").read_text())
