"""The process that reads a pickle: tensors come out as they were, anything else ends it with a reason."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from housebrain_core.adapters.convert import SCRIPT

pytestmark = pytest.mark.slow


def run(source, target) -> subprocess.CompletedProcess:
    command = [sys.executable, "-P", str(SCRIPT), str(source), str(target), str(10**11)]
    return subprocess.run(command, capture_output=True, text=True)


def test_tensors_come_out_as_they_were(tmp_path):
    tensors = {"a": torch.randn(3, 4), "b": torch.arange(6.0).reshape(2, 3).T}
    torch.save(tensors, tmp_path / "pickle")
    assert run(tmp_path / "pickle", tmp_path / "out").returncode == 0
    written = load_file(tmp_path / "out")
    assert set(written) == set(tensors) and all(torch.equal(written[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("value", [[torch.ones(2)], {"a": 1}])
def test_what_is_no_table_of_tensors_is_refused(value, tmp_path):
    torch.save(value, tmp_path / "pickle")
    ran = run(tmp_path / "pickle", tmp_path / "out")
    assert ran.returncode == 1 and ran.stderr.strip().endswith("it is not a table of tensors")
    assert not (tmp_path / "out").exists()
