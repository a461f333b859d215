"""The audit: facts of invented data by hand, and what it must find by itself on the real data."""

import json
import math
import random

import pytest
from outside import real_samples

from housebrain_core.config import AuditConfig
from housebrain_core.data.audit import audit_dataset
from housebrain_core.errors import DataError


def write_jsonl(path, samples):
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return path


def make_invented(count: int, seed: int = 1) -> list[dict]:
    """Samples of another trade: a hat for a head. Colour is free, size follows, band follows from colour."""
    dice = random.Random(seed)
    samples = []
    for number in range(count):
        head, taste = dice.randint(50, 900), dice.choice(["plain", "bold"])
        color = dice.choice(["red", "blue", "green", "grey"])
        output = {
            "brief": {"head": head, "taste": taste},
            "rings": [],
            "size": int(0.25 * head),
            "band": {"red": "dark", "blue": "dark", "green": "light", "grey": "light"}[color],
            "color": color,
            "feather": taste == "bold" and dice.random() < 0.9,
        }
        samples.append({"id": f"hat {number}", "input": output["brief"], "output": output})
    return samples


@pytest.fixture(scope="module")
def hats(tmp_path_factory):
    """The audit of 4,000 hats."""
    folder = tmp_path_factory.mktemp("hats")
    source = write_jsonl(folder / "hats.jsonl", make_invented(4000))
    result = audit_dataset(AuditConfig(source=source, output=folder / "audit.html"), report=lambda line: None)
    return folder, {field.short_name: field for field in result.fields}, result


def test_every_kind_of_field_is_found_on_data_that_are_no_houses(hats):
    _, fields, _ = hats
    assert fields["brief"].text == "a copy of the whole brief"
    assert (fields["rings"].kind, fields["rings"].text) == ("constant", "always empty")
    assert fields["size"].text == "int(0.25 x input.head)"
    assert fields["band"].kind == "derivable" and "output.color" in fields["band"].text
    assert fields["color"].kind == "choice" and "independent of every field of the brief" in fields["color"].text
    assert fields["feather"].depends_on == "input.taste"


def test_the_floor_is_the_entropy_that_the_invented_data_were_drawn_with(hats):
    _, _, result = hats
    feather = 0.5 * -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert result.entropy_nats_per_sample == pytest.approx(math.log(4) + feather, abs=0.03)


def test_the_report_is_one_page_and_json_of_the_same(hats):
    folder, _, result = hats
    page = (folder / "audit.html").read_text()
    assert "int(0.25 x input.head)" in page and page.count("data:image/png;base64") == 2
    assert "http://" not in page and "https://" not in page
    assert json.loads((folder / "audit.json").read_text())["leaks"] == result.leaks
    assert result.rules == {}, "house rules switch themselves off"


def test_bad_samples_duplicates_and_leaks_are_counted(tmp_path):
    good = make_invented(30)
    write_jsonl(tmp_path / "train.jsonl", [*good[:20], {**good[0], "id": "again"}, {"id": "no input"}])
    write_jsonl(tmp_path / "validation.jsonl", [*good[20:], {**good[5], "id": "leaked"}])
    result = audit_dataset(AuditConfig(source=tmp_path, output=tmp_path / "out" / "a.html"), report=lambda line: None)
    assert result.samples == {"train": 21, "validation": 11}
    assert (result.bad, result.duplicates, result.leaks) == (1, 2, 1)
    assert result.bad_reasons == [("has no input", 1)]


def test_a_dataset_without_a_good_sample_is_an_error(tmp_path):
    source = write_jsonl(tmp_path / "bad.jsonl", [{"id": "x"}])
    with pytest.raises(DataError, match="none of the 1 samples"):
        audit_dataset(AuditConfig(source=source, output=tmp_path / "a.html"), report=lambda line: None)


@pytest.mark.slow
def test_it_finds_by_itself_what_the_real_data_are(shared, tmp_path):
    source = write_jsonl(tmp_path / "real.jsonl", real_samples(shared, "train", 4000))
    tokenizer = str(shared / "tokenizers" / "deepseek-coder")
    result = audit_dataset(
        AuditConfig(source=source, output=tmp_path / "a.html", tokenizer=tokenizer), report=lambda x: None
    )
    fields = {field.name: field for field in result.fields}
    assert fields["output.levels"].text == "always empty"
    assert fields["output.input"].text == "a copy of the whole brief"
    assert fields["output.construction_cost"].text == "int(0.6 x input.basicDetails.budget)"
    choices = [field for field in result.fields if field.kind == "choice"]
    assert len(choices) == 27 and all("independent of every field of the brief" in field.text for field in choices)
    assert result.entropy_nats_per_sample == pytest.approx(42.1, abs=0.2)
    assert result.lengths["original"].mean == pytest.approx(1600, rel=0.02)  # 1,675 with chat markers
    assert result.rules["far_limit"].broken == result.rules["far_limit"].applicable
    said = " ".join(result.conclusions)
    assert "levels is always empty" in said and "repeat the whole brief" in said and "no more" in said
