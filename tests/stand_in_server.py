"""A server with OpenAI's completions interface that answers what a test wants, on the loopback."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

Reply = tuple[int, Any, dict[str, str]]
"""Status, body (bytes as they are, anything else as JSON), headers."""


class StandIn:
    """What the server was asked, and its address."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str | None] = []


def completion(text: str, ended: str = "stop") -> Reply:
    """A completion as vLLM and llama.cpp answer it."""
    choice = {"index": 0, "text": text, "finish_reason": ended}
    return 200, {"choices": [choice], "usage": {"completion_tokens": len(text) // 3 + 1}}, {}


@contextmanager
def stand_in(
    answer: Callable[[dict[str, Any]], Reply], models: tuple[str, ...] = ("housebrain",), paths: tuple[str, ...] = ()
) -> Iterator[StandIn]:
    """Serves as long as the context lasts.

    Args:
        answer: what is said to the body of a completion's request; it runs in the server's threads.
        models: names that the server lists.
        paths: others that it answers with an empty object.
    """
    lock = Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listed = {"object": "list", "data": [{"id": name} for name in models]}
            known = {"/v1/models": listed} | dict.fromkeys(paths, {})
            self.reply((200, known[self.path], {}) if self.path in known else (404, {}, {}))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                server.requests.append(body)
                server.paths.append(self.path)
                server.keys.append(self.headers["Authorization"])
            self.reply(answer(body))

        def reply(self, reply: Reply) -> None:
            status, body, headers = reply
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(data))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = StandIn(f"http://127.0.0.1:{http.server_port}/v1")
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
