"""A generated dataset whose references break a rule at a known rate."""

from pathlib import Path

import pytest

from housebrain_core.house import synthetic

BROKEN = synthetic.DEMO._replace(broken=0.5)


@pytest.fixture(scope="session")
def half_broken(tmp_path_factory) -> Path:
    """120 training and 16 validation samples; about half of the references break the rule room_counts."""
    folder = tmp_path_factory.mktemp("half_broken") / "houses"
    synthetic.write_dataset(folder, 120, 16, region=BROKEN)
    return folder
