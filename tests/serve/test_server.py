"""The listening process: it says when it listens, and takes signals only as long as it runs."""

import os
import signal
import threading

import httpx
from test_desk import StandIn, config

from housebrain_core.serve.app import make_app
from housebrain_core.serve.desk import Desk
from housebrain_core.serve.server import Server
from housebrain_core.serve.serving import bind


def test_it_listens_when_it_says_so_and_a_signal_closes_the_desk_and_ends_it():
    desk = Desk(StandIn("{}"), config())
    handlers = [signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM)]
    seen = []
    with bind("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]

        def look_and_end() -> None:
            seen.append(httpx.get(f"http://127.0.0.1:{port}/health").json()["status"])
            os.kill(os.getpid(), signal.SIGINT)

        server = Server(make_app(desk, [], None), desk, threading.Thread(target=look_and_end).start)
        server.run_until_signal(listening)
    assert seen == ["ok"] and desk.describe()["status"] == "closing"
    assert [signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM)] == handlers
