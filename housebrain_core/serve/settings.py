"""The settings of `housebrain serve`."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from housebrain_core.settings import Count, Model, Settings


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", name):
        raise ValueError(
            f"{name} is no name of a machine; give it alone, such as workstation.local, without http:// or port"
        )
    return name


class ServeConfig(Settings):
    """How a model answers on a page."""

    model: Model
    """Adapter folder, model folder, or the address of a server, such as http://localhost:8000/v1#name."""
    base_model: str | None = None
    """Where the base model is on this machine; by default its recorded name."""
    load_in_4bit: bool = False
    """Quantise a model folder as training does; an adapter always gets the base it was trained on."""
    host: str = "127.0.0.1"
    """Address to answer on; any but this machine's own (127.0.0.1, ::1, localhost) needs HOUSEBRAIN_TOKEN."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port to answer on."""
    allow_host: list[Annotated[str, AfterValidator(_check_name)]] = []
    """Further names that people type for this machine; localhost, the host, and addresses of digits are known."""
    constrained: bool = True
    """Allow only tokens that keep an answer a design."""
    max_new_tokens: Count = 1024
    """Tokens at most per design."""
    queue: Annotated[int, Field(ge=0, le=100)] = 4
    """Designs that may wait while one is made; more are told to come back later."""
    timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 300
    """Seconds at most that a design may take once it is its turn."""
