"""HTML pages from a room's templates."""

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


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
