"""What the tests of rounds share."""

import pytest
from plans import Project


@pytest.fixture
def project(tmp_path) -> Project:
    """Three people, three legs; nothing came back yet."""
    return Project(tmp_path / "project")
