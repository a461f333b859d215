"""HTML pages that open offline: a room's template, filled in, with figures inside."""

import base64
import io
from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure


def render_page(room: str, template: str, filters: dict[str, Callable[..., str]] | None = None, **values: Any) -> str:
    """Fills in a template that lies beside the modules of a room.

    Args:
        room: name of the sub-package, such as data.
        template: file name, such as audit.html.
        filters: jinja filters beyond its own, by name.
        values: what the template uses; a name that it uses and is not given is an error.

    Returns:
        The page; all values are escaped.
    """
    loader = PackageLoader("housebrain_core", room)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= filters or {}
    return environment.get_template(template).render(values)


def embed(figure: Figure) -> str:
    """Turns a figure into a data URI that holds the picture itself."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, bbox_inches="tight", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
