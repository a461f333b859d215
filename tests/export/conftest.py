"""What the tests of full weights share."""

import pytest

from housebrain_core.export import finishing, into_base


@pytest.fixture
def any_base(monkeypatch):
    """Bases that are no adapter's own."""
    monkeypatch.setattr(into_base, "find_base_folder", lambda name, adapters: (into_base.Path(name), "of the test"))


@pytest.fixture
def unverified(monkeypatch):
    """Leaves the verification out, for tests of weights that no model ever trained, and for the time that it takes."""
    monkeypatch.setattr(finishing, "_verify", lambda folder, source, config, report: [])
