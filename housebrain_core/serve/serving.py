"""`housebrain serve`: everything is checked before a model is loaded, then it answers until it is told to end."""

import importlib.util
import ipaddress
import os
import socket
from collections.abc import Callable

from housebrain_core.adapters.adapter import check_base_settings
from housebrain_core.errors import ConfigError
from housebrain_core.serve.settings import ServeConfig
from housebrain_core.settings import is_url
from housebrain_core.texts import say

TOKEN = "HOUSEBRAIN_TOKEN"
"""Environment variable with what a request for a design has to bring."""
SHORTEST_TOKEN = 16  # characters


def serve_model(config: ServeConfig, report: Callable[[str], None] = say) -> None:
    """Answers briefs on a page, and to programs, until Ctrl-C or SIGTERM; what is running then is finished.

    Args:
        config: which model, where, and the limits.
        report: gets lines of progress.

    Raises:
        ConfigError: the settings cannot be used, the port is in use, or a library is missing.
    """
    check_libraries(config)
    token = read_token(config.host)
    check_base_settings([config.model], config.base_model, config.load_in_4bit)
    with bind(config.host, config.port) as listening:
        from housebrain_core.llm.constrained import safe_limit
        from housebrain_core.llm.llm import HouseBrainLLM
        from housebrain_core.serve.app import make_app
        from housebrain_core.serve.desk import Desk
        from housebrain_core.serve.server import Server

        if config.constrained and config.max_new_tokens < safe_limit():
            raise ConfigError(f"max_new_tokens = {config.max_new_tokens}: a constrained answer needs {safe_limit()}.")
        desk = Desk(HouseBrainLLM(config.model, config.base_model, config.load_in_4bit), config)
        app = make_app(desk, [config.host.lower(), *map(str.lower, config.allow_host)], token)
        host = f"[{config.host}]" if ":" in config.host else config.host
        where = f"{desk.designer.name} designs at http://{host}:{config.port}/"
        Server(app, desk, lambda: report(f"{where}  (Ctrl-C ends it)")).run_until_signal(listening)
    report("ended; what was being designed is done")


def check_libraries(config: ServeConfig) -> None:
    """Raises ConfigError where a library of the extra is not installed."""
    needed = ["fastapi", "uvicorn"] + ["llguidance"] * (config.constrained and not is_url(config.model))
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"serve needs {' and '.join(missing)}. Install it: pip install 'housebrain[serve]'")


def read_token(host: str) -> str | None:
    """What requests have to bring; ConfigError where others can reach the server and there is none, or a short one."""
    token = os.environ.get(TOKEN)
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or token.split() != [token]):
        raise ConfigError(f"{TOKEN} is to be {SHORTEST_TOKEN} letters or digits or more, without spaces.")
    if token is None and not is_loopback(host):
        raise ConfigError(
            f"host = {host!r}: others can reach that, so set {TOKEN} to a secret of {SHORTEST_TOKEN} characters or "
            "more, which they type into the page; or leave --host out."
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """A socket that holds the port; nothing can connect to it before the server listens.

    Args:
        host: a name or an address of this machine.
        port: to hold.

    Raises:
        ConfigError: it is in use, or may not be used.
    """
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise ConfigError(f"port {port} on {host}: {error.strerror or error}. Choose another with --port.") from None
    return made
