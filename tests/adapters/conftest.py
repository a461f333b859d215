"""What the tests of adapters share."""

import shutil

import pytest


@pytest.fixture
def copies(adapters, tmp_path):
    return [shutil.copytree(folder, tmp_path / folder.name) for folder in adapters]
