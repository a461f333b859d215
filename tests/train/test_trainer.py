"""Settings of the Trainer, writes that fail, and the lines of progress; whole runs are in test_tuner.py."""

from types import SimpleNamespace

import pytest

from housebrain_core.config import FineTuningConfig
from housebrain_core.display.progress import TrainingState, read_state
from housebrain_core.train import trainer
from housebrain_core.train.trainer import FIRST_STEPS, Progress, failed_write, steps_left, training_arguments


def test_settings_reach_the_trainer_and_samples_stay_whole(tmp_path):
    config = FineTuningConfig(dataset_path="x.zip", output_dir=tmp_path, learning_rate=1e-3, max_steps=7, seed=3)
    arguments = training_arguments(config, accumulation=4)
    assert (arguments.max_steps, arguments.learning_rate, arguments.seed) == (7, 1e-3, 3)
    assert arguments.gradient_accumulation_steps == 4 and arguments.per_device_train_batch_size == 1
    assert arguments.save_total_limit is None, "checkpoints.py prunes, and counts sealed ones only"
    assert arguments.n_gpu <= 1, "several GPUs are several processes"


@pytest.mark.parametrize(
    ("step", "planned", "measurement", "every", "left"),
    [(0, 100, 2, None, 102), (40, 100, 2, 20, 60 + 2 * 4), (100, 100, 3, 50, 3), (0, 10, 0.5, 5, 10 + 0.5 * 3)],
)
def test_measurements_that_are_still_to_come_count_as_steps(step, planned, measurement, every, left):
    assert steps_left(step, planned, measurement, every) == left


def test_a_write_that_fails_on_a_full_disk_is_said_and_any_other_error_is_raised():
    def fail(error):
        def write():
            raise error

        return write

    assert failed_write(lambda: None) == ""
    assert "No space left" in failed_write(fail(OSError(28, "No space left on device")))
    assert failed_write(fail(RuntimeError("PytorchStreamWriter failed\nmore"))) == "PytorchStreamWriter failed"
    with pytest.raises(RuntimeError, match="bug"):
        failed_write(fail(RuntimeError("a bug")))


def test_progress_is_a_line_an_interval_and_an_estimate_after_the_first_steps(monkeypatch, tmp_path):
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(trainer.time, "time", lambda: float(next(clock)))
    lines = []
    progress = Progress(lines.append, TrainingState(name="hb"), tmp_path, hours=None, measurement=0, every=None)
    log = [{"step": 5, "loss": 9.0}, {"step": 5, "validation_loss": 8.5}]
    state = SimpleNamespace(num_input_tokens_seen=0, global_step=0, max_steps=100, log_history=log)
    progress.on_train_begin(None, state, None)
    progress.on_log(None, state, None, logs={"loss": 9.0})
    assert lines == [], "there is no speed yet"
    for step in range(1, FIRST_STEPS + 1):
        state.global_step, state.num_input_tokens_seen = step, 1000 * step
        progress.on_step_end(None, state, None)
    assert lines[0].startswith("after 20 steps: 500 tokens/s: 3 min left, done ")
    progress.on_log(None, state, None, logs={"loss": 1.25})
    assert lines[1] == "step 20 of 100  loss 1.2500  500 tokens/s  3 min left"
    progress.on_log(None, state, None, logs={"grad_norm": 1.0})
    assert len(lines) == 2
    progress.on_save(None, state, None)
    written = read_state(tmp_path)
    assert written == progress.state
    assert (written.step, written.planned, written.saved, written.phase) == (20, 100, 20, "training")
    assert (written.curve, written.validation, written.tokens_per_second) == ([(5, 9.0)], [(5, 8.5)], 500)
    state.global_step, progress.measurement = 100, 0
    progress.on_log(None, state, None, logs={"loss": 1.0})
    assert lines[-1].endswith("tokens/s  all steps done"), "and not 0 s left"
    assert progress.state.seconds_left is None
