"""The settings of serve: limits that make sense, and an address on this machine alone."""

import pytest

from housebrain_core.errors import ConfigError
from housebrain_core.serve.settings import ServeConfig


def test_only_this_machine_reaches_it_unless_told_otherwise():
    assert ServeConfig(model="models/hb").host == "127.0.0.1"


@pytest.mark.parametrize("changes", [{"port": 0}, {"port": 70_000}, {"queue": -1}, {"timeout_seconds": 0}])
def test_limits_that_make_no_sense_are_refused(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        ServeConfig(model="models/hb", **changes)
