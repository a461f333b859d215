"""One person's copy of the train notebook: the rendered one, with its settings filled in and its split named."""

import ast
import copy
import hashlib
import json
import re
import sysconfig
from pathlib import Path
from typing import Any

from housebrain_core.errors import ConfigError
from housebrain_core.settings import write_literal
from housebrain_core.splits.bundle import hash_source, read_source

RENDERED = Path(__file__).resolve().parents[2] / "notebooks" / "rendered"
"""The notebooks of a checkout, which an editable install sees."""
INSTALLED = Path(sysconfig.get_path("data")) / "share" / "housebrain" / "notebooks"
"""The same, where a wheel puts them."""
TRAIN = "02_train.ipynb"


def find_rendered(platform: str) -> Path | None:
    """The rendered train notebook for Kaggle or Colab; None where only the package was copied."""
    places = (folder / platform / TRAIN for folder in (RENDERED, INSTALLED))
    return next((path for path in places if path.is_file()), None)


def read_rendered(platform: str) -> dict:
    """The rendered train notebook as parsed JSON.

    Raises:
        ConfigError: it is not there.
    """
    path = find_rendered(platform)
    if path is None:
        raise ConfigError(
            f"the train notebook for {platform} is neither in {RENDERED} nor in {INSTALLED}. "
            "Build it in a checkout: python build_notebooks.py"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def default_settings(notebook: dict) -> dict[str, Any]:
    """Names and values of the cell tagged `parameters`, which holds literals only."""
    cell = next(cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", []))
    return {name: ast.literal_eval(value) for name, value in _values_in("".join(cell["source"])).items()}


def _values_in(source: str) -> dict[str, ast.expr]:
    """The settings of a parameters cell, and where their values stand in it."""
    lines = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return {ast.unparse(line.targets[0]): line.value for line in lines}


def name_code(notebook: dict) -> None:
    """Writes the sha256 of the running package's code into the cell that checks a bundle's code against it."""
    line = f'code_sha256 = "{hash_source(read_source())}"'
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["source"] = re.sub(r'^code_sha256 = "\w*"', line, "".join(cell["source"]), flags=re.MULTILINE)


def fill_in(notebook: dict, parameters: dict[str, Any]) -> str:
    """A copy of the train notebook for one person: their values in its settings, their split in its text.

    The copy names the code of the running package, which is what the bundles that are written beside it hold.

    Args:
        notebook: as parsed JSON; it is not changed.
        parameters: by name, split_id among them; the notebook's own validation cell checks types when it runs.

    Returns:
        The text of an .ipynb file; the same for the same arguments.

    Raises:
        ConfigError: the notebook has no such setting.
    """
    filled_in = copy.deepcopy(notebook)
    for cell in filled_in["cells"]:
        cell["source"] = name_split("".join(cell["source"]), parameters["split_id"])
        if "parameters" in cell["metadata"].get("tags", []):
            cell["source"] = set_values(cell["source"], parameters)
    name_code(filled_in)
    set_ids(filled_in)
    return to_text(filled_in)


def set_values(source: str, parameters: dict[str, Any]) -> str:
    """A parameters cell with other values; comments and form hints stay.

    Raises:
        ConfigError: there is no such setting in it.
    """
    values = _values_in(source)
    if strange := sorted(set(parameters) - set(values)):
        raise ConfigError(f"the train notebook has no {', '.join(strange)}; its settings are {', '.join(values)}.")
    lines = source.splitlines()
    for name, value in parameters.items():
        place = values[name]
        line = lines[place.lineno - 1]
        lines[place.lineno - 1] = line[: place.col_offset] + write_literal(value) + line[place.end_col_offset :]
    return "\n".join(lines)


def name_split(source: str, split_id: int) -> str:
    """A cell's source with what everybody's notebook calls by a general name called by this person's."""
    for general, own in (
        ("split_NN", f"split_{split_id:02d}"),
        ("train one split", f"train split {split_id}"),
        ("your `split_id`", f"`split_id = {split_id}` is filled in already"),
    ):
        source = source.replace(general, own)
    return source


def set_ids(notebook: dict) -> None:
    """Cell ids from content, so that every build has the same; repeated content gets a number."""
    seen: dict[str, int] = {}
    for cell in notebook["cells"]:
        digest = hashlib.sha256(f"{cell['cell_type']}\0{cell['source']}".encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell["id"] = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def to_text(notebook: dict) -> str:
    """A notebook as ASCII: some clients read it in the encoding of their locale."""
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=True) + "\n"
