"""The process that listens: it ends in good order, with what was being designed finished."""

import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from housebrain_core.serve.desk import Desk

CONNECTIONS = 64
"""At most at a time, the page's own included."""


class Server(uvicorn.Server):
    """Uvicorn's server; a signal closes the desk, so that those who wait are told, and only what runs is finished.

    Args:
        app: what answers.
        desk: where briefs are answered.
        started: is called once it listens.
    """

    def __init__(self, app: FastAPI, desk: Desk, started: Callable[[], None] = lambda: None) -> None:
        super().__init__(uvicorn.Config(app, log_level="warning", access_log=False, limit_concurrency=CONNECTIONS))
        self.desk = desk
        self.report_start = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, and says so."""
        await super().startup(sockets)
        self.report_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or Ctrl-C."""
        self.desk.close()
        super().handle_exit(sig, frame)

    def run_until_signal(self, listening: socket.socket) -> None:
        """Answers until a signal comes and what was running is done.

        Args:
            listening: a bound socket.
        """
        before = {sign: signal.signal(sign, lambda sign, frame: None) for sign in (signal.SIGINT, signal.SIGTERM)}
        try:
            self.run([listening])  # in the end uvicorn raises the signal again, for the handlers that it has found
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)
