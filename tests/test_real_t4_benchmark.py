"""benchmarks/real_t4.py up to the network: what it pushes to the stand-in for Kaggle, and the page that it writes."""

import ast
import importlib
import json
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from adapter_files import make_trained
from kaggle_server import CANARY

from housebrain_core.adapters.run import HardwareRecord
from housebrain_core.errors import ConfigError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def real_t4(monkeypatch, client):
    """The benchmark on alice's account, with less data and without waiting."""
    import kaggle

    monkeypatch.setattr(kaggle, "api", client)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("real_t4")
    monkeypatch.setattr(module, "SAMPLES", 60)
    monkeypatch.setattr(module, "VALIDATION", 8)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: end_runs(client.server))
    return module


def end_runs(server) -> None:
    """What runs is done."""
    server.states = {name: "complete" if state == "running" else state for name, state in server.states.items()}


def put_outputs(server, folder: Path) -> None:
    """What the three notebooks leave on a machine with two GPUs."""
    hardware = HardwareRecord(device="Tesla T4", gpus=2)
    run = make_trained(
        folder / "made", 1, hardware=hardware, steps=20, tokens_per_second=1234.5, versions={"torch": "2.13.0"}
    )
    record = json.loads((run / "run.json").read_text())
    server.outputs["hb-kaggle-01-rehearsal/run.json"] = json.dumps(record).encode()
    speed = [{"gpus": gpus, "memory": [5.1, 15.6], "run": record | {"steps": 12}} for gpus in (1, 2)]
    server.outputs["speed.json"] = json.dumps(speed).encode()
    server.outputs["something-else.txt"] = b"not fetched"


def test_three_notebooks_run_one_after_another_each_with_a_limit_and_the_page_has_what_came_of_them(
    real_t4, client, tmp_path
):
    put_outputs(client.server, tmp_path)
    lines: list[str] = []
    real_t4.run_all("alice", tmp_path / "t4", tmp_path / "real_t4.md", lines.append)
    pushed = [request for request in client.server.requests if hasattr(request, "session_timeout_seconds")]
    assert [request.session_timeout_seconds for request in pushed] == [600] * 3
    assert sum(request.session_timeout_seconds for request in pushed) / 3600 <= 0.5
    assert [request.machine_shape for request in pushed] == ["NvidiaTeslaT4"] * 3
    page = (tmp_path / "real_t4.md").read_text()
    assert "| pinned | complete | Tesla T4 | 2 | 20 | 1,234 | - | torch 2.13.0 |" in page
    assert page.count("| speed | complete | Tesla T4 | 2 | 12 | 1,234 | 5.1 of 15.6 |") == 2
    assert "- one T4: " in page and "- two T4: " in page
    assert not list((tmp_path / "t4").rglob("something-else.txt")) and CANARY not in page + "".join(lines)
    real_t4.run_all("alice", tmp_path / "t4", tmp_path / "real_t4.md", lines.append)
    assert len(client.server.requests) == 4, "what has run is not run again"


def test_a_notebook_that_failed_is_on_the_page_too(real_t4, client, tmp_path, monkeypatch):
    monkeypatch.setattr(real_t4.time, "sleep", lambda seconds: fail_runs(client.server))
    client.server.failure = "Your notebook tried to allocate more memory than is available."
    real_t4.run_all("alice", tmp_path / "t4", tmp_path / "real_t4.md", lambda line: None)
    assert "| pinned | error: Your notebook tried to allocate" in (tmp_path / "real_t4.md").read_text()


def fail_runs(server) -> None:
    server.states = {name: "error" if state == "running" else state for name, state in server.states.items()}


def test_without_quota_or_on_another_account_nothing_is_pushed(real_t4, client, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="logged in to Kaggle as alice, not as bob"):
        real_t4.run_all("bob", tmp_path / "t4", tmp_path / "x.md")
    gpu = SimpleNamespace(time_used=timedelta(hours=29.8), total_time_allowed=timedelta(hours=30))
    quota = SimpleNamespace(gpu_quota=gpu, quota_refresh_time=None)
    monkeypatch.setattr(client.server, "get_accelerator_quota_statistics", lambda request: quota)
    with pytest.raises(ConfigError, match=r"0.2 hours of GPU quota are left, and this may need 0.5"):
        real_t4.run_all("alice", tmp_path / "t4", tmp_path / "x.md")
    assert not client.server.requests and not (tmp_path / "t4").exists()


def test_the_notebooks_differ_from_the_shipped_one_in_what_they_say_and_nothing_else(real_t4):
    texts = {part.name: [cell["source"] for cell in json.loads(part.notebook())["cells"]] for part in real_t4.PARTS}
    pinned, newest, speed = (["".join(cell) for cell in texts[name]] for name in ("pinned", "newest", "speed"))
    changed = [(ours, theirs) for ours, theirs in zip(pinned, newest, strict=True) if ours != theirs]
    assert len(changed) == 1 and "install_libraries(platform)" in changed[0][0]
    assert len(speed) < len(pinned) and speed[-1] == real_t4.MEASURE
    assert any("rehearsal = True" in cell for cell in pinned) and any("max_steps = 12" in cell for cell in speed)
    for source in (real_t4.INSTALL_NEWEST, real_t4.MEASURE):
        ast.parse(source)


def test_the_measuring_cell_trains_with_one_gpu_and_with_two_and_keeps_what_it_has(real_t4, tmp_path, monkeypatch):
    from housebrain_core.config import FineTuningConfig
    from housebrain_core.display import progress
    from housebrain_core.train import tuner

    configs = []

    class Tuner:
        def __init__(self, config):
            configs.append(config)

        def train(self):
            return SimpleNamespace(to_dict=lambda: {"steps": 12})

    monkeypatch.setattr("housebrain_core.train.HouseBrainFineTuner", Tuner, raising=False)
    monkeypatch.setattr(tuner, "HouseBrainFineTuner", Tuner)
    monkeypatch.setattr(progress, "read_state", lambda folder: SimpleNamespace(memory=(5.0, 15.0)))
    monkeypatch.chdir(tmp_path)
    settings = SimpleNamespace(config=lambda inputs, output: FineTuningConfig(dataset_path="x", output_dir=output))
    exec(real_t4.MEASURE, {"settings": settings, "inputs": None, "output": Path("hb"), "Path": Path, "json": json})
    assert [(config.gpus, config.output_dir.name) for config in configs] == [(1, "hb-on-1"), (2, "hb-on-2")]
    assert [entry["gpus"] for entry in json.loads(Path("speed.json").read_text())] == [1, 2]
