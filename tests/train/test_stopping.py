"""Ending: when nothing more is learned, with a schedule that comes down, exactly the same after interruptions."""

import json
import math
import zipfile

import pytest

from housebrain_core.config import FineTuningConfig
from housebrain_core.errors import TrainingError
from housebrain_core.manifests import sha256_of
from housebrain_core.train import stopping
from housebrain_core.train import training as train
from housebrain_core.train.stopping import Schedule, StopOnGarbage, cosine_shares, measuring_interval, why_learned
from housebrain_core.train.tuner import HouseBrainFineTuner


def run(splits, base, output, **more):
    values = {"dataset_path": splits / "split_01.zip", "output_dir": output, "base_model": str(base), "epochs": 10,
              "gradient_accumulation_steps": 1, "row_length": 512, "learning_rate": 5e-3}  # fmt: skip
    return HouseBrainFineTuner(FineTuningConfig(**values | more), report=lambda line: None).train()


def test_a_loss_that_still_falls_goes_on_and_one_that_stands_still_ends():
    assert not why_learned([2.0, 1.5, 1.2, 1.1, 1.0], None, 0.5)
    assert why_learned([1.0, 0.999, 0.998, 0.997, 0.996], None, 0.5)
    assert not why_learned([1.0, 0.999, 0.998, 0.997, 0.994], None, 0.5), "0.6 % in four measurements is a gain"


def test_a_plateau_of_three_measurements_on_real_samples_is_not_the_end():
    measured = [0.9380, 0.9314, 0.9117, 0.9117, 0.9103, 0.9135, 0.9025, 0.9029, 0.8955]  # benchmarks/learning_curve.py
    assert not any(why_learned(measured[:count], 0.6760, count / 20) for count in range(1, 10))


def test_a_rising_loss_ends_too():
    assert why_learned([2.0, 1.0, 1.1, 1.2, 1.3, 1.4], None, 0.5)


def test_the_first_fifth_and_four_measurements_are_always_waited_for():
    assert not why_learned([1.0] * 9, None, 0.19)
    assert not why_learned([1.0] * 4, None, 0.9)


def test_within_one_percent_of_the_floor_nothing_is_left():
    assert "floor" in why_learned([1.0099], 1.0, 0.01)
    assert not why_learned([1.0101], 1.0, 0.01)


def test_the_schedule_is_the_cosine_and_comes_down_to_zero_when_learned():
    schedule = Schedule(cosine_shares(10, 110))
    assert [schedule(0), schedule(5), schedule(10)] == [0, 0.5, 1]
    assert schedule(60) == pytest.approx(0.5) and schedule(110) == pytest.approx(0)
    before = schedule(50)
    schedule.learned_at = 50
    rates = [schedule(step) for step in range(50, schedule.end + 1)]
    assert schedule.end == 55 and rates[0] == before and rates[-1] == 0
    assert rates == sorted(rates, reverse=True)


def test_measuring_costs_at_most_two_percent_by_arithmetic():
    for rows, per_step in [(68, 4), (1, 1), (1000, 4)]:
        every = measuring_interval(rows, per_step)
        assert 0.5 * rows <= 0.02 * per_step * every


class State:
    global_step = 7


class Optimizer:
    """An optimizer whose gradient scaler has a scale that a test sets."""

    def __init__(self):
        self.scaler, self.scale = self, 65536.0

    def get_scale(self) -> float:
        return self.scale


@pytest.mark.parametrize("logs", [{"loss": math.nan}, {"loss": math.inf}, {"loss": 1.0, "grad_norm": math.nan},
                                  {"loss": 1.0, "grad_norm": math.inf}])  # fmt: skip
def test_nan_and_inf_stop_with_advice(logs):
    watch = StopOnGarbage()
    watch.on_step_end(None, State, None, optimizer=object())
    with pytest.raises(TrainingError, match="step 7.*learning rate"):
        watch.on_log(None, State, None, logs=logs)


def test_float16_steps_that_are_skipped_now_and_then_are_routine():
    watch, optimizer = StopOnGarbage(), Optimizer()
    for _ in range(2):
        for _ in range(10):
            watch.on_step_end(None, State, None, optimizer=optimizer)
            optimizer.scale /= 2
        optimizer.scale *= 2**10
        watch.on_log(None, State, None, logs={"loss": 1.0, "grad_norm": math.inf})


def test_a_scaler_that_falls_in_every_step_stops_with_advice_long_before_it_is_zero():
    def fall() -> None:
        watch, optimizer = StopOnGarbage(), Optimizer()
        while optimizer.scale:
            watch.on_step_end(None, State, None, optimizer=optimizer)
            optimizer.scale /= 2

    with pytest.raises(TrainingError, match="scaler fell below 1 at step 7.*learning rate"):
        fall()


def test_the_bundles_floor_ends_a_run_and_full_epochs_does_not_ask(splits, base, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "measuring_interval", lambda rows, per_step: 2)
    with zipfile.ZipFile(splits / "split_01.zip") as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / "split_01"
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"entropy_nats_per_sample": 1e6}))
    early = run(splits, base, tmp_path / "early", dataset_path=folder)
    assert early.finished and early.steps == 3 < early.planned_steps and "floor" in early.why_it_ended
    assert early.hours_saved >= 0 and early.validation_curve[0][0] == 2 and early.floor > 100
    full = run(splits, base, tmp_path / "full", dataset_path=folder, full_epochs=True, epochs=1)
    assert full.steps == full.planned_steps and full.why_it_ended == "all epochs done"


def test_a_run_that_ends_when_learned_is_the_same_when_it_is_interrupted(splits, base, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "measuring_interval", lambda rows, per_step: 2)
    monkeypatch.setattr(stopping, "why_learned", lambda losses, floor, done: "learned: enough" * (len(losses) == 2))
    monkeypatch.setattr(stopping, "COOL_DOWN", 1.0)
    straight = run(splits, base, tmp_path / "straight")
    assert straight.steps == 8 and straight.why_it_ended == "learned: enough"
    sessions = 1
    while not (result := run(splits, base, tmp_path / "cut", time_budget_hours=1e-7)).finished:
        sessions += 1
        assert sessions < 12
    assert sessions == 8 and result.validation_curve == straight.validation_curve
    weights = "adapter_model.safetensors"
    assert sha256_of(tmp_path / "cut" / weights) == sha256_of(tmp_path / "straight" / weights)
