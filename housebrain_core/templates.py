"""Pages and cards, filled in from the jinja templates that lie beside the modules which use them."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def render(room: str, name: str, **values: Any) -> str:
    """Fills in a template of a room.

    Args:
        room: name of the sub-package, such as data.
        name: file name, such as audit.html or run.md.jinja; in .html files all values are escaped.
        values: what the template uses; a name that it uses and is not given is an error.

    Returns:
        The text. The filter `percent` writes a share in [0, 1] as 12.3%, and None as a dash.
    """
    environment = Environment(
        loader=PackageLoader("housebrain_core", room),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=name.endswith(".md.jinja"),
    )
    environment.filters["percent"] = lambda share: "-" if share is None else f"{share:.1%}"
    return environment.get_template(name).render(values)
