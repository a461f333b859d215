"""The settings of the commands for other machines."""

import pytest

from housebrain_core.cloud.settings import KaggleConfig
from housebrain_core.errors import ConfigError


def test_kaggle_needs_an_action_and_a_split():
    with pytest.raises(ConfigError) as error:
        KaggleConfig(action="shove", split=0)
    assert "action = 'shove'" in str(error.value) and "split = 0" in str(error.value)
