"""run.json: one record, read also where 0.1.0 wrote it, refused where it is none."""

import json
from pathlib import Path

import pytest

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.adapters.run import FORMAT, Run, adapter_card, describe_run, read_run
from housebrain_core.errors import DataError

SAMPLE = Path(__file__).parents[1] / "samples_0_1_0" / "hb-colab-01"


def test_what_a_run_writes_is_read_as_the_same_record(adapters):
    data = (adapters[0] / "run.json").read_bytes()
    run = read_run(data)
    assert run.to_dict() == json.loads(data) and Run.model_validate(run.to_dict(), strict=False) == run
    assert run.format == FORMAT == 2 and run.finished and run.settings.lora_seed == 42 and run.settings.max_steps == 6
    assert run.model_dump()["settings"]["learning_rate"] == 5e-3, "settings that no stage reads are kept too"
    assert (run.leg, run.legs, run.parent_sha256) == (None, None, None), "no plan, a fresh initialisation"


def test_the_record_of_0_1_0_is_read_with_all_that_it_says(tmp_path):
    data = (SAMPLE / "run.json").read_bytes()
    assert "format" not in json.loads(data)
    run = read_run(data)
    assert (run.finished, run.steps, run.samples, run.tokens) == (True, 2, 4, 823)
    assert (run.base.name, run.base.content) == ("tiny-base", None) and run.base.revision.startswith("sha256:")
    assert (run.data.split_id, run.data.splits, run.hardware.gpus) == (1, 2, 1)
    assert run.settings.load_in_4bit and run.curve[0] == (1, pytest.approx(1.517, abs=1e-3))
    assert read_adapter(SAMPLE).name == "hb-colab-01", "and so is the whole folder"


@pytest.mark.parametrize(
    ("change", "said"),
    [({"finished": 1}, "finished: .*valid boolean"), ({"tokens": -1}, "tokens: .*greater than or equal to 0"),
     ({"train_loss": float("nan")}, "NaN or Infinity"), ({"settings": {"lora_seed": "1"}}, "settings.lora_seed"),
     ({"train_loss": 1e300}, "train_loss: .*less than"), ({"leg": 0}, "leg: .*greater than"),
     ({"data": {"splits": 10**9}}, "data.splits: .*less than or equal to 99"), ({"data": {"split_id": -1}}, "split_id"),
     ({"curve": [[1]]}, "curve.0"), ({"why_it_ended": "x" * 501}, "why_it_ended"),
     ({"format": 3}, "format 3; this code reads formats up to 2. Use a newer version")],
)  # fmt: skip
def test_a_file_that_is_no_such_record_is_refused_naming_the_field(change, said):
    with pytest.raises(DataError, match=said):
        read_run(json.dumps({"finished": True} | change).encode())
    with pytest.raises(DataError, match="is no JSON object"):
        read_run(b"[]")


def test_a_record_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Run(finished=True).finished = False


def test_the_card_has_front_matter_and_the_body_has_none(adapters):
    run = read_run((adapters[0] / "run.json").read_bytes())
    card = (adapters[0] / "README.md").read_text()
    assert card == adapter_card(run) and card.startswith(f"---\nbase_model: {run.base.name}\nlibrary_name: peft\n")
    assert card.endswith(describe_run(run)) and describe_run(run).startswith("# HouseBrain adapter\n")
    assert f"| trained | 6 of 6 steps, {run.tokens:,} tokens |\n" in card
    assert "leg" not in card and "started from" not in card
    in_a_plan = run.model_copy(update={"plan": "1f" * 6, "leg": 2, "legs": 3, "parent_sha256": "ab" * 32})
    start = "| started from | the adapter with weights abababababab |"
    assert f"| leg | 2 of 3 in plan 1f1f1f1f1f1f |\n{start}\n| trained |" in describe_run(in_a_plan)
