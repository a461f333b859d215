"""The doctor's checks, each made to fail, with the menu path that it names."""

import subprocess
import sys
import tempfile
import urllib.error
from types import SimpleNamespace

import pytest

from housebrain_core.cloud import doctor
from housebrain_core.cloud.doctor import check_machine
from housebrain_core.errors import MachineError
from housebrain_core.platforms import TIME_BUDGET_HOURS, Gpu

T4 = Gpu("Tesla T4", (7, 5), 15360, 14900)
MENU = {
    "kaggle": 'Session options > Accelerator > "GPU T4 x2"',
    "colab": "Runtime > Change runtime type > T4 GPU > Save",
}


class Machine:
    """What the doctor sees: a machine without faults, until a test gives it one."""

    def __init__(self, monkeypatch, tmp_path, platform: str):
        self.gpus, self.free, self.python, self.refused = [T4, T4], 50.0, (3, 12, 13), ""
        self.asked: list[str] = []
        monkeypatch.setattr(doctor, "detect_platform", lambda: platform)
        monkeypatch.setattr(doctor, "list_gpus", lambda: self.gpus)
        monkeypatch.setattr(doctor, "WORKING", {platform: tmp_path})
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: SimpleNamespace(free=self.free * 1e9))
        monkeypatch.setattr(doctor.urllib.request, "urlopen", self.open)
        monkeypatch.setattr(doctor, "package_index", lambda: "https://user:password@index.example/simple")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        self.monkeypatch = monkeypatch

    def open(self, request, timeout):
        assert timeout <= 5
        self.asked.append(request.full_url)
        if self.refused and self.refused in request.full_url:
            raise urllib.error.URLError("Network is unreachable")
        return SimpleNamespace(close=lambda: None)

    def problems(self, base_model: str = "Qwen/Qwen2.5-Coder-1.5B", require_gpu: bool = True) -> str:
        """What the doctor says is in the way; empty when nothing is."""
        self.monkeypatch.setattr(sys, "version_info", self.python)
        try:
            check_machine(base_model, require_gpu, report=lambda line: None)
        except MachineError as error:
            return str(error)
        return ""


@pytest.fixture(params=["kaggle", "colab"])
def machine(request, monkeypatch, tmp_path) -> Machine:
    made = Machine(monkeypatch, tmp_path, request.param)
    made.platform = request.param
    return made


def test_a_machine_without_faults_passes_and_the_index_and_the_hub_were_asked(machine, tmp_path):
    assert machine.problems() == ""
    assert [address.split("/")[2] for address in machine.asked] == ["user:password@index.example", "huggingface.co"]


def test_the_hub_is_not_asked_when_the_base_is_a_folder(machine, tmp_path):
    machine.refused = "huggingface"
    assert machine.problems(base_model=str(tmp_path)) == ""


def test_no_gpu_is_refused_only_where_one_is_required(machine):
    machine.gpus = []
    assert "there is no GPU" in machine.problems() and MENU[machine.platform] in machine.problems()
    assert machine.problems(require_gpu=False) == ""


@pytest.mark.parametrize(("name", "capability"), [("Tesla P100-PCIE-16GB", (6, 0)), ("Tesla V100", (7, 0))])
def test_a_gpu_that_is_too_old_is_named_with_the_menu_path(machine, name, capability):
    machine.gpus = [Gpu(name, capability, 16276, 16000)]
    said = machine.problems()
    assert f"the GPU is a {name}, compute capability {capability[0]}.{capability[1]}; 7.5 or more" in said
    assert MENU[machine.platform] in said


def test_little_free_gpu_memory_says_to_restart(machine):
    machine.gpus = [T4._replace(free=900)]
    assert "900 MiB of GPU memory are free; 5,120 are needed" in machine.problems()
    assert "Restart" in machine.problems()


def test_little_disk_is_named_for_both_places(machine, tmp_path):
    machine.free = 0.4
    said = machine.problems()
    assert f"{tmp_path} has 0.4 GB free; 1 are needed" in said and "8 are needed" in said
    assert {"kaggle": "fresh disk", "colab": "Disconnect and delete runtime"}[machine.platform] in said


@pytest.mark.parametrize("host", ["index.example", "huggingface.co"])
def test_no_internet_says_which_switch(machine, host):
    machine.refused = host
    said = machine.problems()
    assert f"{host} cannot be reached" in said and "password" not in said
    switch = {"kaggle": "Session options > Internet > on", "colab": "Runtime > Disconnect and delete runtime"}
    assert switch[machine.platform] in said


def test_a_server_that_answers_with_an_error_is_reachable(machine):
    def refuse(request, timeout):
        raise urllib.error.HTTPError(request.full_url, 403, "Forbidden", {}, None)

    machine.monkeypatch.setattr(doctor.urllib.request, "urlopen", refuse)
    assert machine.problems() == ""


@pytest.mark.parametrize("wrap", [lambda error: error, urllib.error.URLError], ids=["reading", "connecting"])
@pytest.mark.parametrize(("silences", "reachable"), [(1, True), (3, True), (8, False)])
def test_a_server_that_is_silent_is_asked_again_but_not_for_ever(machine, tmp_path, wrap, silences, reachable):
    asked = []

    def stay_silent(request, timeout):
        asked.append(request.full_url)
        if len(asked) <= silences:
            raise wrap(TimeoutError("The read operation timed out"))
        return SimpleNamespace(close=lambda: None)

    machine.monkeypatch.setattr(doctor.urllib.request, "urlopen", stay_silent)
    said = machine.problems(base_model=str(tmp_path))
    assert len(asked) == (silences + 1 if reachable else 4) and set(asked) == {asked[0]}
    assert said == "" if reachable else "cannot be reached" in said and "timed out" in said


def test_a_server_that_refuses_is_asked_once(machine):
    machine.refused = "index"
    assert "cannot be reached" in machine.problems()
    assert [address.split("/")[-2] for address in machine.asked if "index" in address] == ["pip"]


def test_an_old_python_is_refused(machine):
    machine.python = (3, 10, 12)
    assert "3.11 or newer is needed" in machine.problems()


def test_all_problems_are_said_at_once(machine):
    machine.gpus, machine.free, machine.refused = [], 0.4, "index"
    assert machine.problems().count("\n- ") == 4


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("global.index-url='https://index.example/simple'\n", "https://index.example/simple"),
        ("global.extra-index-url='https://more.example'\n", "https://pypi.org/simple"),
        ("global.index-url='https://a'\n:env:.index-url='https://b'\n", "https://b"),
        ("", "https://pypi.org/simple"),
    ],
)
def test_the_index_is_the_one_that_pip_is_configured_for(monkeypatch, said, address):
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: SimpleNamespace(stdout=said))
    assert doctor.package_index() == address


def test_downloads_go_to_scratch_disk_and_the_visible_gpus_stay_visible(machine, monkeypatch):
    monkeypatch.delenv("HF_HOME")
    assert machine.problems() == ""
    assert doctor.os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert doctor.os.environ["HF_HOME"].startswith(tempfile.gettempdir())


def test_a_session_ends_itself_well_before_the_platform_does():
    assert TIME_BUDGET_HOURS == {"kaggle": 8.5, "colab": 11.0, "local": None}
