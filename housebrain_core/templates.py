"""Pages and cards, filled in from the jinja templates that lie beside the modules which use them."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def render(package: str, name: str, **values: Any) -> str:
    """Fills in a template of a package.

    Args:
        package: where the template lies, such as "housebrain_core.evaluate".
        name: its file; in .html files values are escaped.
        values: what the template names; a name that is missing is an error.

    Returns:
        The text. `{{ share | percent }}` writes a share in [0, 1] as 12.3%, and None as a dash.
    """
    environment = Environment(
        loader=PackageLoader(package, ""),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["percent"] = lambda share: "-" if share is None else f"{share:.1%}"
    return environment.get_template(name).render(values)
