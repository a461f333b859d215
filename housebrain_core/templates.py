"""Pages and cards, filled in from the jinja templates that lie beside the modules which use them.

page.html is what all pages have in common: their look in light and dark, on a phone, and the verdict at their top.
"""

import json
import re
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape


def render(room: str, name: str, **values: Any) -> str:
    """Fills in a template of a room.

    Args:
        room: name of the sub-package, such as data.
        name: file name, such as audit.html or run.md.jinja; in .html files all values are escaped.
        values: what the template uses; a name that it uses and is not given is an error.

    Returns:
        The text. The filter `percent` writes a share in [0, 1] as 12.3%, and nothing for None; `yaml` writes a text as
        YAML reads it.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("housebrain_core", room), PackageLoader("housebrain_core", "")]),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=name.endswith(".md.jinja"),
    )
    environment.filters["yaml"] = to_yaml
    environment.filters["percent"] = lambda share: "" if share is None else f"{share:.1%}"
    return environment.get_template(name).render(values)


def to_yaml(text: str) -> str:
    """Writes a text as a value in YAML: as it is where that is safe, else in quotes, which YAML reads as JSON does."""
    return text if re.fullmatch(r"[A-Za-z][\w./-]*", text) else json.dumps(text)
