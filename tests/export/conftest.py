"""What the tests of full weights share."""

import pytest

from housebrain_core.export import into_base


@pytest.fixture
def any_base(monkeypatch):
    """Bases that are no adapter's own."""
    monkeypatch.setattr(into_base, "find_base_folder", lambda name, adapters: (into_base.Path(name), "of the test"))
