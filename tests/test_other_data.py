"""Other people's data: any JSON input and output goes through every stage, and what is of HBV5 switches itself off.

The geometry plans are written by hand after the structures that people have (feet with bounds, feet with openings as
points, millimetres with walls and spaces, plans as text); each has little to choose, so that few samples are enough.
"""

import json
import random

import pytest

from housebrain_core.config import AuditConfig, EvaluateConfig, FineTuningConfig, SplitConfig
from housebrain_core.data.audit import audit_dataset
from housebrain_core.data.samples import read_samples
from housebrain_core.house import codec
from housebrain_core.splits.bundle import read_bundle
from housebrain_core.splits.split import split_dataset


def box(x: float, y: float, width: float, height: float) -> dict:
    return {"x": x, "y": y, "width": width, "height": height}


def raw_plan(dice: random.Random) -> tuple[dict, dict]:
    """Feet; doors and windows on named walls; the brief's rooms have areas and levels."""
    wide, style = dice.randint(10, 30), dice.choice(["modern", "villa"])
    brief = {
        "basicDetails": {"totalArea": wide * 40, "bedrooms": 2, "floors": 1, "budget": 90000, "style": style},
        "plot": {"length": 60, "width": wide + 20, "orientation": dice.choice("NESW")},
        "roomBreakdown": [{"type": "living_room", "area": wide * 20, "level": 0}, {"type": "study", "area": 99.5}],
    }
    rooms = [
        {"id": "living_room_0", "type": "living_room", "bounds": box(0, 0, wide, 20),
         "doors": [{"wall": "south", "position": 0.5}], "windows": [{"wall": "north", "position": "center"}]},
        {"id": "study_0", "type": "study", "bounds": box(0, 20, wide, 20), "doors": [], "windows": "east"},
    ]  # fmt: skip
    levels = [{"level_number": 0, "rooms": rooms}]
    return brief, {"total_area": wide * 40, "construction_cost": wide * 4000.0, "levels": levels}


def platinum_plan(dice: random.Random) -> tuple[dict, dict]:
    """Feet; openings by the number of their wall, with the room behind them; only levels."""
    wide = dice.choice([12.5, 14.0, 16.25])
    door = {"id": "d1", "wall_index": dice.randint(0, 3), "position": 2.5, "width": 3, "connecting_room_id": "r2"}
    window = {"id": "w1", "wall_index": 1, "position": 4, "width": 5, "height": 4, "elevation": 3}
    room = {"id": "r1", "type": "bedroom", "bounds": box(0, 0, wide, 11), "doors": [door], "windows": [window]}
    other = {"id": "r2", "type": "corridor", "bounds": box(0, 11, wide, 4), "doors": [], "windows": []}
    brief = {"basicDetails": {"totalArea": 400, "bedrooms": 1}, "plot": {"length": 40}, "roomBreakdown": []}
    return brief, {"levels": [{"level_number": 1, "rooms": [room, other]}]}


def gold_plan(dice: random.Random) -> tuple[str, dict]:
    """The input is a sentence; openings are points; levels have names and stairs."""
    wide = dice.choice([30, 40])
    room = {"id": "hall", "type": "hall", "bounds": box(0, 0, wide, 12),
            "doors": [{"position": {"x": 3, "y": 0}, "width": 3.5, "to_room": "outside"}],
            "windows": [{"position": {"x": wide, "y": 6}, "width": 4}]}  # fmt: skip
    stair = {"id": "s1", "type": "straight", "floor_from": 0, "floor_to": 1, "bounds": box(4, 12, 4, 10)}
    output = {
        "input": {"plot_dimensions": {"width": wide, "depth": 50}, "vastu": True},
        "levels": [{"level_name": "Ground Floor", "level_number": 0, "rooms": [room], "stairs": [stair]}],
        "vastu_compliance": {"entrance": dice.choice(["north", "east"])},
        "sustainability_features": ["rainwater", "solar"],
    }
    return f"A duplex on {wide} by 50 ft, facing {dice.choice(['north', 'east'])}", output


def wall_plan(dice: random.Random) -> tuple[dict, dict]:
    """Millimetres; walls, openings on them and spaces with a boundary."""
    side = dice.choice([3000, 4200])
    walls = [{"id": "w1", "start": [0, 0], "end": [side, 0], "thickness": 230, "height": 3000}]
    openings = [{"id": "o1", "type": "door", "wall_id": "w1", "position": 0.25, "width": 900}]
    spaces = [{"id": "s1", "type": "living", "boundary": [[0, 0], [side, 0], [side, side], [0, side]]}]
    brief = {"rooms": ["living"], "side": side, "region": dice.choice(["Kerala", "Punjab"])}
    return brief, {"metadata": {"units": "mm"}, "walls": walls, "openings": openings, "spaces": spaces}


def text_plan(dice: random.Random) -> tuple[dict, str]:
    """The output is JSON as text, which is read as that JSON."""
    brief, plan = wall_plan(dice)
    return brief, json.dumps(plan)


def migrated_plan(dice: random.Random) -> tuple[dict, dict]:
    """Nearly HBV5; rooms without doors, and a total area of 0."""
    brief = {"basicDetails": {"totalArea": 0, "unit": "sqft", "bedrooms": 2, "style": "Modern"}, "plot": {"unit": "ft"},
             "roomBreakdown": [{"type": "bedroom", "count": 2, "minArea": 100}]}  # fmt: skip
    room = {"id": "b", "type": "bedroom", "bounds": box(0, 0, dice.randint(9, 14), 10)}
    return brief, {"input": brief, "levels": [{"level_number": 1, "height": 9.5, "rooms": [room]}], "total_area": 0}


PLANS = [raw_plan, platinum_plan, gold_plan, wall_plan, text_plan, migrated_plan]
COUNT = 60


def read_plan(output: dict | str) -> dict | str:
    """An output as it is trained on: JSON in a text is read."""
    return json.loads(output) if isinstance(output, str) else output


def write_plans(path, *plans) -> list[dict]:
    samples = []
    for number in range(COUNT):
        plan = plans[number % len(plans)]
        brief, design = plan(random.Random(number))
        samples.append({"id": f"{plan.__name__} {number}", "input": brief, "output": design})
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return samples


def quiet(line: str) -> None:
    pass


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS)
def test_the_audit_reads_any_structure_and_house_rules_judge_only_houses(plan, tmp_path):
    write_plans(tmp_path / "plans.jsonl", plan)
    result = audit_dataset(AuditConfig(source=tmp_path / "plans.jsonl", output=tmp_path / "audit.html"), report=quiet)
    assert sum(result.samples.values()) == COUNT and result.bad == 0
    assert result.fields and (tmp_path / "audit.html").stat().st_size > 10_000
    if plan in (wall_plan, text_plan):
        assert "far_limit" not in result.rules


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS)
def test_the_split_carries_any_structure_there_and_back(plan, tmp_path):
    samples = {sample["id"]: sample for sample in write_plans(tmp_path / "plans.jsonl", plan)}
    (tmp_path / "data").mkdir()
    lines = (tmp_path / "plans.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "data" / "train.jsonl").write_text("".join(lines[:50]))
    (tmp_path / "data" / "validation.jsonl").write_text("".join(lines[50:]))
    split_dataset(SplitConfig(source=tmp_path / "data", output=tmp_path / "out", splits=2), report=quiet)
    found = 0
    for number in (1, 2):
        bundle = read_bundle(tmp_path / "out" / f"split_0{number}.zip")
        for row in bundle.train.to_pylist():
            sample = samples[row["id"]]
            assert json.dumps(codec.read_prompt(row["prompt"])) == json.dumps(sample["input"])
            assert json.dumps(codec.decode(sample["input"], row["completion"])) == json.dumps(
                read_plan(sample["output"])
            )
            found += 1
    assert found == 50
    tree = [*read_samples(tmp_path / "out" / "split_01", "train")]
    assert all(
        json.dumps(sample["output"]) == json.dumps(read_plan(samples[sample["id"]]["output"])) for sample in tree
    )


@pytest.mark.slow
def test_training_and_evaluation_take_all_structures_together(base, tmp_path):
    from housebrain_core.evaluate.evaluate import evaluate_models
    from housebrain_core.train.tuner import HouseBrainFineTuner

    write_plans(tmp_path / "train.jsonl", *PLANS)
    write_plans(tmp_path / "validation.jsonl", *PLANS)
    rows = (tmp_path / "validation.jsonl").read_text().replace('{"id": "', '{"id": "held out ').splitlines()
    (tmp_path / "validation.jsonl").write_text("\n".join(rows[:12]) + "\n")
    data = tmp_path / "data"
    data.mkdir()
    for name in ("train.jsonl", "validation.jsonl"):
        (tmp_path / name).rename(data / name)
    split_dataset(SplitConfig(source=data, output=tmp_path / "out", splits=1), report=quiet)
    config = FineTuningConfig(
        dataset_path=tmp_path / "out" / "split_01.zip", output_dir=tmp_path / "model", base_model=str(base),
        max_steps=2, gradient_accumulation_steps=1, learning_rate=5e-3,
    )  # fmt: skip
    HouseBrainFineTuner(config, report=quiet).train()
    result = evaluate_models(
        EvaluateConfig(models=[tmp_path / "model"], data=tmp_path / "out", samples=6, sampled=0, max_new_tokens=16,
                       output=tmp_path / "evaluation.json"),
        report=quiet,
    )  # fmt: skip
    assert (tmp_path / "report.html").exists() and result
