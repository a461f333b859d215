"""Where a run starts: legs of a plan, the state that each goes on from, its stretch of the data and of the schedule."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.adapters.run import read_run
from housebrain_core.config import FineTuningConfig, SplitConfig
from housebrain_core.errors import AdapterError, CheckpointError, ConfigError
from housebrain_core.legs import Place, TrainingPlan, plan_relay, plan_rounds
from housebrain_core.manifests import read_manifest, sha256_of
from housebrain_core.splits.bundle import read_bundle
from housebrain_core.splits.leg_file import write_leg_file
from housebrain_core.splits.parts import read_plan
from housebrain_core.splits.split import split_dataset
from housebrain_core.train import stopping, training
from housebrain_core.train.base_models import resolve_base
from housebrain_core.train.model import add_lora, load_base, start_from
from housebrain_core.train.packing import data_order
from housebrain_core.train.start import LegOfSplit, find_start
from housebrain_core.train.tuner import HouseBrainFineTuner

WEIGHTS = "adapter_model.safetensors"


def settings(bundle, base, output, **more) -> FineTuningConfig:
    """Twelve steps for the whole split, which are six in each of two rounds."""
    values = {"dataset_path": bundle, "output_dir": output, "base_model": str(base), "max_steps": 12,
              "gradient_accumulation_steps": 1, "row_length": 512, "learning_rate": 5e-3}  # fmt: skip
    return FineTuningConfig(**values | more)


def train(config, lines=None):
    return HouseBrainFineTuner(config, report=(lines if lines is not None else []).append).train()


def start_of(config):
    return find_start(config, read_bundle(config.dataset_path), resolve_base(config.base_model))


def legs_of(plan: TrainingPlan, split_id: int, steps: int) -> list[LegOfSplit]:
    """The stretches of one split in all legs in which it takes part."""
    numbers = [number for number in range(1, len(plan.legs) + 1) if split_id in plan.leg(number).people]
    return [LegOfSplit(Place(plan=plan, leg=leg), *plan.steps(split_id, leg, steps), steps) for leg in numbers]


@pytest.mark.parametrize("rounds", [2, 3, 6])
def test_all_rounds_together_take_the_data_in_the_order_of_one_run(rounds):
    plan, rows, per_step, steps = TrainingPlan(splits=6, legs=plan_rounds(6, rounds)), 50, 4, 25
    legs = legs_of(plan, 4, steps)
    taken = [row for leg in legs for row in data_order(rows, 42, leg.first * per_step, leg.last * per_step)]
    assert taken == data_order(rows, 42, 0, steps * per_step)
    assert sorted(taken[:rows]) == sorted(taken[rows:]) == list(range(rows)), "two passes, each over every row"
    assert taken[:rows] != taken[rows:], "each in an order of its own"
    assert taken != data_order(rows, 43, 0, steps * per_step)


def test_the_person_of_the_common_start_goes_on_behind_it():
    plan = TrainingPlan(splits=2, legs=plan_rounds(2, 1, common_start=0.2))
    first, second = legs_of(plan, 1, 50)
    assert (first.first, first.last, second.first) == (0, 20, 20)
    assert legs_of(plan, 2, 50)[0].first == 0


def test_the_rates_of_all_legs_are_one_schedule_that_is_constant_between_warm_up_and_the_last_leg():
    legs = legs_of(TrainingPlan(splits=6, legs=plan_rounds(6, 3)), 2, 90)
    schedules = [leg.schedule(0.1) for leg in legs]
    assert [schedule.end for schedule in schedules] == [30, 30, 30]
    rates = [schedule(step) for schedule in schedules for step in range(schedule.end)]
    assert rates[:9] == pytest.approx([step / 9 for step in range(9)])
    assert rates[9:60] == [1.0] * 51
    assert rates[60:] == pytest.approx([1 - step / 30 for step in range(30)])
    assert schedules[-1](30) == 0
    assert [schedule.cools_down for schedule in schedules] == [False, False, True]


def test_a_run_says_which_leg_it_is_what_it_starts_from_and_what_comes_next(two_rounds, leg_file, base, tmp_path):
    first = read_run((leg_file.parent / "hb-colab-01-leg-1" / "run.json").read_bytes())
    plan = read_plan(two_rounds)
    assert (first.plan, first.leg, first.legs, first.parent_sha256) == (plan.id, 1, 2, None)
    assert first.finished and first.steps == 6 and first.why_it_ended == "leg 1 of 2 done"
    lines: list[str] = []
    output = tmp_path / "hb-colab-02-leg-2"
    run = train(settings(two_rounds / "split_02.zip", base, output, init_adapter=leg_file), lines)
    parent = sha256_of(leg_file.parent / "hb-colab-01-leg-1" / WEIGHTS)
    assert lines[0] == f"leg 2 of 2, starts from leg_2.zip ({parent[:12]})"
    assert (run.plan, run.leg, run.legs, run.parent_sha256, run.steps) == (plan.id, 2, 2, parent, 6)
    manifest = read_manifest(output, "adapter")
    place = Place(plan=plan, leg=2, parent_sha256=parent)
    assert {name: manifest[name] for name in place.about()} == place.about()
    assert lines[-1] == "This was the last leg: send the adapter in."
    assert "wait for leg_2.zip" in Place(plan=plan, leg=1).next_step(2)


def test_everybody_in_a_leg_starts_from_the_bytes_of_the_leg_file(two_rounds, leg_file, base, tmp_path):
    weights = load_file(leg_file.parent / "hb-colab-01-leg-1" / WEIGHTS)
    for split in (1, 2):
        config = settings(two_rounds / f"split_0{split}.zip", base, tmp_path, init_adapter=leg_file, seed=split)
        config, start = start_of(config)
        known = resolve_base(config.base_model)
        model = add_lora(load_base(known, True, lambda line: None), known, config)
        start_from(model, start.factors, "leg_2.zip")
        state = dict(model.named_parameters())
        for name, values in weights.items():
            assert np.array_equal(state[name.replace(".weight", ".default.weight")].detach().numpy(), values), name


class PowerCut(BaseException):
    """Ends a run where it stands, past every `except`."""


def test_a_leg_that_was_stopped_at_every_step_and_one_that_lost_power_end_with_the_bytes_of_the_undisturbed_one(
    two_rounds, leg_file, base, tmp_path
):
    config = settings(two_rounds / "split_02.zip", base, tmp_path / "straight", init_adapter=leg_file)
    train(config)
    stopped = config.model_copy(update={"output_dir": tmp_path / "stopped", "time_budget_hours": 1e-7})
    sessions = 1
    while not train(stopped).finished:
        sessions += 1
        assert sessions < 10
    assert sessions == 6
    killed = config.model_copy(update={"output_dir": tmp_path / "killed", "save_steps": 2, "logging_steps": 1})

    def cut(line: str) -> None:
        if line.startswith("step 5 of 6"):
            raise PowerCut

    with pytest.raises(PowerCut):
        HouseBrainFineTuner(killed, report=cut).train()
    lines: list[str] = []
    assert train(killed, lines).finished and "resuming from checkpoint-4" in lines
    for name in ("stopped", "killed"):
        assert sha256_of(tmp_path / name / WEIGHTS) == sha256_of(tmp_path / "straight" / WEIGHTS)


def test_a_leg_is_another_run_than_the_leg_before_and_than_one_from_another_parent(two_rounds, leg_file, base):
    folder = leg_file.parent / "hb-colab-01-leg-1"
    with pytest.raises(CheckpointError, match="leg was 'leg 1 of 2, share 0.5' and is now 'leg 2 of 2.*parent_sha256"):
        train(settings(two_rounds / "split_01.zip", base, folder, init_adapter=leg_file))


def test_rank_and_alpha_are_the_plans_and_another_is_refused(dataset, base, tmp_path):
    split_dataset(
        SplitConfig(source=dataset, output=tmp_path / "s", splits=2, rounds=2, common_start=0, training=["lora_r=4"])
    )
    bundle = tmp_path / "s" / "split_01.zip"
    taken, _ = start_of(settings(bundle, base, tmp_path / "a"))
    assert (taken.lora_r, taken.lora_alpha) == (4, 16), "the plan's, where nothing was given"
    assert start_of(settings(bundle, base, tmp_path / "a", lora_r=4))[0] == taken
    with pytest.raises(ConfigError, match="lora_r = 8 and lora_alpha = 8: .* lora_r = 4 and lora_alpha = 16"):
        start_of(settings(bundle, base, tmp_path / "a", lora_r=8, lora_alpha=8))


def test_a_leg_file_of_another_plan_or_for_data_without_one_is_refused(splits, two_rounds, leg_file, base, tmp_path):
    with pytest.raises(ConfigError, match=r"leg_2.zip belongs to plan \w{12}; split_01 belongs to no plan"):
        train(settings(splits / "split_01.zip", base, tmp_path / "a", init_adapter=leg_file))
    other = TrainingPlan(splits=2, legs=plan_rounds(2, 3))
    adapter = leg_file.parent / "hb-colab-01-leg-1"
    stray = write_leg_file(tmp_path, Place(plan=other, leg=2), adapter)
    with pytest.raises(ConfigError, match=f"belongs to plan {other.id}; split_01 belongs to plan"):
        train(settings(two_rounds / "split_01.zip", base, tmp_path / "a", init_adapter=stray))
    assert not (tmp_path / "a").exists(), "nothing was begun"


def test_a_damaged_adapter_in_a_leg_file_is_refused_in_the_name_of_the_leg_file(two_rounds, leg_file, base, tmp_path):
    damaged = tmp_path / "leg_2.zip"
    with zipfile.ZipFile(leg_file) as whole, zipfile.ZipFile(damaged, "w") as archive:
        members = {name: whole.read(name) for name in whole.namelist()}
        place, config = "leg_2/manifest.json", b'{"peft_type": "LORA"}'
        manifest = json.loads(members[place])
        manifest["files"]["init/adapter_config.json"] = {"sha256": sha256_of(config), "size": len(config)}
        members |= {place: json.dumps(manifest).encode(), "leg_2/init/adapter_config.json": config}
        for name, data in members.items():
            archive.writestr(name, data)
    config = settings(two_rounds / "split_01.zip", base, tmp_path / "run", init_adapter=damaged)
    with pytest.raises(AdapterError, match="leg_2.zip cannot be merged exactly") as refused:
        train(config)
    assert "housebrain-" not in str(refused.value) and not (tmp_path / "run").exists()


def test_a_leg_that_other_people_train_is_refused_with_what_to_wait_for(dataset, base, tmp_path):
    config = SplitConfig(source=dataset, output=tmp_path / "s", splits=2, relay=True)
    split_dataset(config)
    with pytest.raises(
        ConfigError, match=r"split_02 takes no part in leg 1 of 2, which split 1 trains. Wait for leg_2"
    ):
        train(settings(tmp_path / "s" / "split_02.zip", base, tmp_path / "a"))
    relay = TrainingPlan(splits=3, legs=plan_relay(3))
    assert Place(plan=relay, leg=2).next_leg(1) is None


def test_an_adapter_folder_is_a_start_without_a_plan_at_the_rank_of_the_settings(splits, adapters, base, tmp_path):
    lines: list[str] = []
    config = settings(splits / "split_02.zip", base, tmp_path / "a", init_adapter=adapters[0], lora_r=4, max_steps=2)
    run = train(config, lines)
    assert (run.plan, run.leg, run.parent_sha256) == (None, None, sha256_of(adapters[0] / WEIGHTS))
    assert read_manifest(tmp_path / "a", "adapter")["parent_sha256"] == run.parent_sha256
    assert lines[0].startswith("starts from hb-colab-01 (") and "rewritten at rank 4, which keeps" in lines[0]
    fresh = read_run((adapters[1] / "run.json").read_bytes())  # on the same split, whose first row is the same
    assert run.curve[0][1] < fresh.curve[0][1], "it knows something"
    other = config.model_copy(update={"init_adapter": adapters[1]})
    with pytest.raises(CheckpointError, match="parent_sha256 was"):
        train(other)


def test_directions_that_the_start_lacks_stay_fresh_and_change_nothing(adapters, base, tmp_path):
    config = settings(Path("x"), base, tmp_path, lora_r=16, lora_alpha=32)
    known = resolve_base(str(base))
    model = add_lora(load_base(known, True, lambda line: None), known, config)
    adapter = read_adapter(adapters[0])
    module = next(iter(adapter.shapes))
    factors = {name: (np.pad(b / 2, ((0, 0), (0, 8))), np.pad(a, ((0, 8), (0, 0)))) for name, (b, a) in
               ((name, adapter.factors(name)) for name in adapter.shapes)}  # fmt: skip
    start_from(model, factors, "an adapter of rank 8")
    state = dict(model.named_parameters())
    a = state[f"base_model.model.{module}.lora_A.default.weight"].detach()
    b = state[f"base_model.model.{module}.lora_B.default.weight"].detach()
    assert a.any(1).all() and not b[:, 8:].any()
    expected = torch.from_numpy(np.matmul(*adapter.factors(module)))
    assert torch.allclose(b @ a * 2, expected, atol=1e-7)


def test_an_adapter_of_another_base_model_is_no_start(splits, adapters, base, tmp_path):
    (tmp_path / "other").mkdir()
    for file in base.iterdir():
        (tmp_path / "other" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "other" / "config.json").write_text((base / "config.json").read_text() + " ")
    config = settings(splits / "split_02.zip", tmp_path / "other", tmp_path / "a", init_adapter=adapters[0])
    with pytest.raises(ConfigError, match="hb-colab-01 was trained on tiny"):
        train(config)


def test_a_bundle_that_brings_an_adapter_starts_from_it(splits, adapters, base, tmp_path):
    with zipfile.ZipFile(splits / "split_02.zip") as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / "split_02"
    (folder / "init").mkdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in (WEIGHTS, "adapter_config.json"):
        data = (adapters[0] / name).read_bytes()
        (folder / "init" / name).write_bytes(data)
        manifest["files"][f"init/{name}"] = {"sha256": sha256_of(data), "size": len(data)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    _, start = start_of(settings(folder, base, tmp_path / "a"))
    assert start.parent_sha256 == sha256_of(adapters[0] / WEIGHTS) and start.place is None and start.factors


def test_a_leg_that_learns_nothing_more_just_ends_and_says_what_that_means(two_rounds, base, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "measuring_interval", lambda rows, per_step: 2)
    monkeypatch.setattr(stopping, "why_learned", lambda losses, floor, done: "learned: enough" * (len(losses) == 2))
    lines: list[str] = []
    config = settings(two_rounds / "split_01.zip", base, tmp_path / "a", max_steps=None, epochs=4)
    run = train(config, lines)
    assert run.finished and run.steps == 4 < run.planned_steps and run.why_it_ended == "learned: enough"
    assert "learned: enough; the leg ends here" in lines and "housebrain round --finish" in lines[-1]
    assert train(config).steps == 4, "a finished adapter"


def test_a_folder_named_for_a_later_leg_is_refused_where_the_leg_file_was_forgotten(two_rounds, base, tmp_path):
    config = FineTuningConfig(
        dataset_path=two_rounds / "split_02.zip", output_dir=tmp_path / "hb-colab-02-leg-2", base_model=str(base)
    )
    with pytest.raises(ConfigError, match=r"named for leg 2, and this is leg 1 of 2.*--init-adapter leg_2.zip"):
        HouseBrainFineTuner(config, report=lambda line: None).train()
    assert not config.output_dir.exists()
