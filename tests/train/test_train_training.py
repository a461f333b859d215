"""What one process trains on, and what may differ between its sessions; whole runs are in test_tuner.py."""

import pytest

from housebrain_core.config import FineTuningConfig
from housebrain_core.errors import DataError
from housebrain_core.splits.bundle import read_bundle
from housebrain_core.train.base_models import resolve_base
from housebrain_core.train.start import find_start
from housebrain_core.train.training import MAY_CHANGE, Training, read_training_data


def test_a_bundle_its_folder_and_any_dataset_can_be_trained_on(splits, dataset):
    bundle = read_training_data(splits / "split_01.zip")
    assert bundle.train.equals(read_bundle(splits / "split_01.zip").train)
    whole = read_training_data(dataset)
    assert (whole.train.num_rows, whole.validation.num_rows) == (48, 16)
    assert set(bundle.train["prompt"].to_pylist()) <= set(whole.train["prompt"].to_pylist())


def test_what_is_neither_is_refused(tmp_path):
    with pytest.raises(DataError):
        read_training_data(tmp_path / "gone.zip")
    with pytest.raises(DataError):
        read_training_data(tmp_path)


def test_settings_that_may_differ_between_sessions_are_not_in_the_fingerprint(splits, base, tmp_path):
    def fingerprint(**settings):
        config = FineTuningConfig(
            dataset_path=splits / "split_01.zip", output_dir=tmp_path, base_model=str(base), **settings
        )
        bundle = read_training_data(config.dataset_path)
        known = resolve_base(str(base))
        return Training(config, print, 0.0, bundle, known, find_start(config, bundle, known)[1])._fingerprint(512)

    same = fingerprint()
    assert not MAY_CHANGE & set(same)
    assert fingerprint(save_steps=7, time_budget_hours=1.0, full_epochs=True) == same
    for change in ({"seed": 1}, {"lora_r": 4}, {"learning_rate": 1e-3}, {"epochs": 1}):
        assert fingerprint(**change) != same
