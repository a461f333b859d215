"""The audit finds by itself what can be learned from a dataset, and the floor is the data's own entropy."""

import json
import math
import random

import pytest
from conftest import real_samples

from housebrain_core.audit import audit_dataset
from housebrain_core.bundles import read_bundle
from housebrain_core.config import AuditConfig, SplitConfig
from housebrain_core.entropy import Columns, describe_fields, floor_of
from housebrain_core.splits import split_dataset


def drawn(count: int) -> list[dict]:
    """Designs with one field of each kind, of known entropy: ln 4 + ln 2."""
    dice = random.Random(0)
    samples = []
    for number in range(count):
        brief = {"area": dice.randrange(1000, 9000), "style": dice.choice("abc"), "plot": [number]}
        wall = dice.choice("wxyz")
        design = {"input": brief, "levels": [], "cost": int(brief["area"] * 0.6), "area": brief["area"], "wall": wall,
                  "again": wall.upper(), "path": f"{brief['style']}.png", "ramp": dice.random() < 0.5}  # fmt: skip
        samples.append({"id": f"s{number}", "input": brief, "output": design})
    return samples


def write(path, samples) -> None:
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples), encoding="utf-8")


def collect(samples) -> Columns:
    columns = Columns()
    for sample in samples:
        columns.add(sample["input"], sample["output"])
    return columns


def test_each_kind_of_field_is_found_and_the_floor_is_the_entropy_of_what_is_drawn():
    fields = {item.name.removeprefix("output."): item for item in describe_fields(collect(drawn(5000)))}
    kinds = {name: item.kind for name, item in fields.items()}
    assert kinds == {"input": "constant", "levels": "constant", "cost": "derived", "area": "derived",
                     "wall": "choice", "again": "derived", "path": "derived", "ramp": "choice"}  # fmt: skip
    assert fields["cost"].source == "int(0.6 x input.area)"
    assert fields["area"].source == "copy of input.area"
    assert floor_of(list(fields.values())) == pytest.approx(math.log(4) + math.log(2), abs=0.01)


def test_a_choice_that_leans_on_the_brief_has_the_conditional_entropy():
    dice = random.Random(1)
    samples = []
    for _ in range(20_000):
        style = dice.choice("ab")
        samples.append({"input": {"style": style}, "output": {"wall": style if dice.random() < 0.9 else "c"}})
    (wall,) = describe_fields(collect(samples))
    expected = -0.9 * math.log(0.9) - 0.1 * math.log(0.1)
    assert wall.conditional == pytest.approx(expected, abs=0.01)
    assert wall.source == "input.style"


def test_columns_merged_from_workers_say_the_same_as_columns_of_one():
    samples = drawn(2000)
    samples[700]["output"].pop("wall")
    merged = Columns()
    for start in range(0, 2000, 500):
        merged.merge(collect(samples[start : start + 500]))
    assert describe_fields(merged) == describe_fields(collect(samples))


def test_too_many_values_leave_the_floor_unknown_rather_than_wrong():
    samples = [{"input": {"a": n % 3}, "output": {"text": f"unique {n}"}} for n in range(2000)]
    assert floor_of(describe_fields(collect(samples))) is None


def test_duplicates_leaks_and_bad_samples_are_counted_and_the_report_says_it_in_words(tmp_path):
    samples = drawn(1500)
    source = tmp_path / "data"
    source.mkdir()
    write(source / "train.jsonl", [*samples, samples[0] | {"id": "again"}, {"id": "bad", "input": {"a": 1}}])
    write(source / "validation.jsonl", [samples[3] | {"id": "leak"}, drawn(1501)[-1] | {"id": "clean"}])
    lines: list[str] = []
    result = audit_dataset(AuditConfig(source=source, output=tmp_path / "audit"), lines.append)
    assert (result["train"], result["validation"], result["bad"]) == (1501, 2, 1)
    assert (result["duplicates"], result["leaks"]) == (1, 1)
    page = (tmp_path / "audit" / "audit.html").read_text(encoding="utf-8")
    assert "has no output" in page
    assert "output.levels is the same in every sample" in page
    assert json.loads((tmp_path / "audit" / "audit.json").read_text())["findings"] == result["findings"]


def test_the_floor_is_in_every_bundle_and_absent_where_it_is_not_known(tmp_path, splits):
    write(tmp_path / "data.jsonl", drawn(1500))
    split_dataset(SplitConfig(source=tmp_path / "data.jsonl", output=tmp_path / "out", splits=2), lambda line: None)
    for number in (1, 2):
        manifest = read_bundle(tmp_path / "out" / f"split_{number:02d}.zip").manifest
        assert manifest["entropy_nats_per_sample"] == pytest.approx(math.log(8), abs=0.01)
    assert "entropy_nats_per_sample" not in read_bundle(splits / "split_01.zip").manifest


def test_the_real_data_is_seen_through(shared):
    fields = {
        item.name.removeprefix("output."): item
        for item in describe_fields(collect(real_samples(shared, "train", 10_000)))
    }
    assert fields["levels"].kind == fields["input"].kind == "constant"
    assert fields["construction_cost"].source == "int(0.6 x input.basicDetails.budget)"
    free = [item for item in fields.values() if item.kind == "choice"]
    assert len(free) == 28  # every choice that the generator of this dataset draws by itself
    assert max(item.brief_information for item in free) < 0.02
    assert floor_of(list(fields.values())) == pytest.approx(42.3, abs=0.3)
