"""What is checked before a model is loaded, and a whole process from start to SIGTERM."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

from housebrain_core.errors import ConfigError
from housebrain_core.house.briefs import SANITY_BRIEF
from housebrain_core.serve import serving
from housebrain_core.serve.serving import bind, check_libraries, is_loopback, read_token, serve_model
from housebrain_core.serve.settings import ServeConfig


def test_a_missing_library_is_one_sentence_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(serving.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"serve needs fastapi and uvicorn and llguidance. .*pip install 'housebrain\[serve"
    ):
        check_libraries(ServeConfig(model="models/hb"))
    with pytest.raises(ConfigError, match="serve needs fastapi and uvicorn. "):
        check_libraries(ServeConfig(model="http://127.0.0.1:1/v1"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "design.home"])
def test_others_may_reach_it_only_with_a_token(host, monkeypatch):
    monkeypatch.delenv("HOUSEBRAIN_TOKEN", raising=False)
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match="set HOUSEBRAIN_TOKEN"):
        serve_model(ServeConfig(model="models/hb", host=host))
    monkeypatch.setenv("HOUSEBRAIN_TOKEN", "long-enough-to-be-one")
    assert read_token(host) == "long-enough-to-be-one"


@pytest.mark.parametrize("token", ["", "short", "two words of some length", "ä" * 20])
def test_a_token_that_is_easy_to_guess_or_cannot_be_sent_is_refused_everywhere(token, monkeypatch):
    monkeypatch.setenv("HOUSEBRAIN_TOKEN", token)
    with pytest.raises(ConfigError) as refused:
        read_token("127.0.0.1")
    assert not token or token not in str(refused.value)


def test_a_port_in_use_is_one_sentence(monkeypatch):
    monkeypatch.delenv("HOUSEBRAIN_TOKEN", raising=False)
    assert read_token("127.0.0.1") is None
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} on 127.0.0.1: Address already in use. Choose another"):
            bind("127.0.0.1", port)


def test_a_limit_that_constrained_answers_do_not_fit_in_is_said_at_once(monkeypatch, tmp_path):
    pytest.importorskip("llguidance")
    monkeypatch.delenv("HOUSEBRAIN_TOKEN", raising=False)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="max_new_tokens = 50"):
        serve_model(ServeConfig(model=tmp_path, max_new_tokens=50, port=free_port()))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def test_a_process_designs_and_on_sigterm_finishes_what_is_running(base, tmp_path):
    """A real model in a process of its own: a design, then SIGTERM while another is written."""
    pytest.importorskip("llguidance")
    port = free_port()
    command = [sys.executable, "-m", "housebrain_core.cli", "serve", "--model", str(base), "--port", str(port)]
    environment = os.environ | {"HOUSEBRAIN_TOKEN": "a-secret-that-is-long", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        assert process.stdout and re.search(rf"designs at http://127.0.0.1:{port}/ ", process.stdout.readline())
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            client.headers["Authorization"] = "Bearer a-secret-that-is-long"
            first = client.post("/design", json={"brief": SANITY_BRIEF})
            assert first.status_code == 200 and first.json()["design"]["total_area"] == 1200
            answers = []
            thread = threading.Thread(
                target=lambda: answers.append(client.post("/design", json={"brief": SANITY_BRIEF}))
            )
            thread.start()
            wait_until(lambda: httpx.get(f"http://127.0.0.1:{port}/health").json()["designing"])
            process.send_signal(signal.SIGTERM)
            thread.join()
        assert answers[0].status_code == 200 and answers[0].json()["design"] == first.json()["design"]
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0 and rest == "ended; what was being designed is done\n"
        assert "a-secret" not in rest + json.dumps(first.json())
    finally:
        process.kill()
        process.wait()


def wait_until(holds, seconds=60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)
