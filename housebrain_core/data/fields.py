"""How a record becomes a sample: which of its fields are input and output."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from housebrain_core.contents import parse_text
from housebrain_core.errors import DataError
from housebrain_core.texts import clip

Sample = dict
"""A JSON object with `id` (text), `input` (the brief), `output` (the design) and `metadata` (an object).

Brief and design are JSON objects in house data; other people's may be any JSON value, such as a sentence."""
NAMES = frozenset(("id", "input", "output", "metadata"))
"""Fields of a sample that are read without being told."""
PROMPT_NAMES = frozenset((
    "instruction", "instructions", "system", "history", "context", "question", "query", "prompt", "messages",
    "conversations", "text", "completion", "response", "answer", "chosen", "rejected",
))  # fmt: skip
"""Fields that other formats put a part of the prompt or the answer into: they are never left aside unasked."""
TABLE = "is a table by columns, as pandas writes it; df.to_json(FILE, orient='records') writes samples"
ALL_BUT_LAST = ":-1"
"""A part of a path that takes all items of a list but the last."""
SPEAKERS = ("role", "from")
"""Who says a message of a conversation."""


class Shape(NamedTuple):
    """A common form of training data, and the fields that make its input and output."""

    name: str
    input: tuple[str, ...]
    output: str

    def fits(self, record: dict[str, Any]) -> bool:
        """Whether a record has the first field of the input, and the output, in letters of any case."""
        small = {name.lower(): value for name, value in record.items()}
        return all(find(small, path) is not MISSING for path in (self.input[0], self.output))

    def flags(self, record: dict[str, Any]) -> str:
        """The flags that read a record of this form, with those of its fields that are there."""
        written = {name.lower(): name for name in record}
        parts = [path.partition(".") for path in (*self.input, self.output)]
        paths = [f"{written[first]}{dot}{rest}" for first, dot, rest in parts if first in written]
        return " ".join([*(f"--input-field {path}" for path in paths[:-1]), f"--output-field {paths[-1]}"])


SHAPES = (
    Shape("Alpaca", ("instruction", "input", "system", "history"), "output"),
    Shape("Dolly", ("instruction", "context"), "response"),
    Shape("prompt and completion", ("prompt", "system"), "completion"),
    Shape("prompt and response", ("prompt", "system"), "response"),
    Shape("question and answer", ("question", "context", "system"), "answer"),
    Shape("query and response", ("query", "history", "system"), "response"),
    Shape("preference pairs, of which the chosen answer can be trained on", ("prompt", "system"), "chosen"),
    Shape("chat messages", (f"messages.{ALL_BUT_LAST}",), "messages.-1.content"),
    Shape("ShareGPT conversations", (f"conversations.{ALL_BUT_LAST}", "system"), "conversations.-1.value"),
    Shape("input and output", ("input",), "output"),
)
MISSING = object()
"""What `find` returns where there is nothing."""


def find(record: Any, path: str) -> Any:
    """Follows a path into a record.

    Args:
        record: any JSON value.
        path: names joined by dots; on a list a number, -1 for the last, or :-1 for all but the last. A key that has
            the whole path as its name goes first.

    Returns:
        What is there, or `MISSING`.
    """
    if isinstance(record, dict) and path in record:
        return record[path]
    first, _, rest = path.partition(".")
    if isinstance(record, dict) and first in record:
        value = record[first]
    elif isinstance(record, list) and first == ALL_BUT_LAST:
        value = record[:-1]
    elif isinstance(record, list) and first.lstrip("-").isdigit() and -len(record) <= int(first) < len(record):
        value = record[int(first)]
    else:
        return MISSING
    return find(value, rest) if rest else value


class Fields(NamedTuple):
    """Which fields of a record are the input and the output of a sample."""

    input: tuple[str, ...] = ("input",)
    output: tuple[str, ...] = ("output",)
    given: bool = False
    """Whether a person said so, and knows what is left aside."""

    @property
    def are_defaults(self) -> bool:
        """Whether they are input and output themselves."""
        return self.input == USUAL.input and self.output == USUAL.output

    def take(self, record: dict[str, Any], side: str) -> Any:
        """The input or output of a record: what a single path finds, or an object of what several find.

        Args:
            record: a JSON object.
            side: input or output.

        Raises:
            DataError: there is nothing.
        """
        paths: tuple[str, ...] = getattr(self, side)
        if len(paths) == 1 and (value := record.get(paths[0])) is not None:
            return value
        there = {path: value for path in paths if (value := find(record, path)) not in (MISSING, None)}
        if not there:
            others = ", ".join([_shown(name) for name in record if name not in NAMES or not self.are_defaults][:12])
            raise DataError(f"has no {' or '.join(paths)}" + f", but {others}{hint(record)}" * bool(others))
        return there[paths[0]] if len(paths) == 1 else {_key_of(path, paths): value for path, value in there.items()}

    def unread(self, record: dict[str, Any]) -> list[str]:
        """The fields of a record that are neither input nor output, id nor metadata.

        Raises:
            DataError: nobody said which fields count, and there is one that looks like a part of input or output.
        """
        if not self.are_defaults:
            return list(_unread(record, _tree_of(self), ""))
        others = record.keys() - NAMES
        if not others:
            return []
        lost = [name for name in others & PROMPT_NAMES if record[name] not in (None, "", [], {})]
        if lost and not self.given:
            raise DataError(
                f"has {', '.join(sorted(lost))} beside input and output, which would be lost{hint(record)}. "
                "To leave it aside: --input-field input --output-field output"
            )
        return sorted(others)


USUAL = Fields()
"""What a sample of HouseBrain has."""


def choose_fields(input_field: list[str], output_field: list[str]) -> Fields:
    """Makes the fields that settings name.

    Args:
        input_field: paths of the input; input when empty.
        output_field: paths of the output; output when empty.

    Returns:
        What `read_samples` takes.
    """
    return Fields(
        tuple(input_field) or USUAL.input, tuple(output_field) or USUAL.output, bool(input_field + output_field)
    )


def hint(record: dict[str, Any]) -> str:
    """What a record looks like, and the flags that read it; empty where nothing is recognised."""
    for shape in SHAPES:
        if shape.fits(record) and not (shape.name == "Alpaca" and not record.get("instruction", True)):
            return f". It looks like {shape.name}: {shape.flags(record)}"
    if set(record) - {"id", "metadata", "meta"} == {"text"}:
        return ". It looks like one text without question and answer: write the one into input, the other into output"
    nested = {key: value for key, value in record.items() if isinstance(value, dict | list)}
    lists = {key: value[0] for key, value in nested.items() if isinstance(value, list) and value}
    likely = [key for key, first in lists.items() if isinstance(first, dict) and _is_sample(first)]
    if likely or (len(nested) == 1 and any(isinstance(first, dict) for first in lists.values())):
        names = " and ".join(map(_shown, likely or lists))
        return f". The samples seem to be the list {names}: save it as a file of its own, a JSON array (jq .NAME FILE)"
    if {"columns", "index", "data"} <= nested.keys():
        return f". It {TABLE}"
    if nested == record and all(isinstance(one, dict) and _is_sample(one) for one in nested.values()):
        return ". The samples seem to be the values of this object: save them as a JSON array"
    return ". Say which fields count with --input-field NAME --output-field NAME (audit and split)" if record else ""


def _shown(name: str) -> str:
    """A field's name in a message: in quotes where its spaces would not be seen."""
    return clip(name, 80) if name and name == name.strip() else repr(clip(name, 80))


def _is_sample(record: dict[str, Any]) -> bool:
    """Whether a record is of a common form."""
    return any(shape.fits(record) for shape in SHAPES)


def _key_of(path: str, paths: tuple[str, ...]) -> str:
    """What a field is called in the object that several make: its last name, or its path where others end so too."""
    last = path.rpartition(".")[2]
    return last if [one.rpartition(".")[2] for one in paths].count(last) == 1 else path


@lru_cache(maxsize=8)
def _tree_of(fields: Fields) -> dict[str, Any]:
    """The paths of fields as nested objects; what is used whole has True."""
    tree: dict[str, Any] = {"id": True, "metadata": True}
    for path in (*fields.input, *fields.output):
        tree[path] = True
        place = tree
        *above, last = path.split(".")
        for name in above:
            if place.get(name) is True:
                break
            place = place.setdefault(name, {})
        else:
            place[last] = True
    return tree


def _unread(value: Any, tree: dict[str, Any], above: str) -> Iterator[str]:
    """Paths in a value that a tree of fields does not use."""
    if isinstance(value, list):
        rest = value[-1:] if ALL_BUT_LAST in tree else value
        names = {
            len(value) + int(key) if key.startswith("-") else int(key): key for key in tree if key.lstrip("-").isdigit()
        }
        start = len(value) - len(rest)
        items = {names.get(start + index, str(start + index)): item for index, item in enumerate(rest)}
    else:
        items = value if isinstance(value, dict) else {}
    for key, item in items.items():
        if key not in tree:  # the message that is trained on may be somebody else's than the assistant's
            yield f"{above}{key}" + f" ({item})" * (key in SPEAKERS and isinstance(item, str) and len(item) < 20)
        elif tree[key] is not True:
            yield from _unread(item, tree[key], f"{above}{key}.")


def read_record(record: dict[str, Any], fields: Fields) -> tuple[Sample, tuple[str, ...]]:
    """Makes a sample of a record.

    Args:
        record: a JSON object.
        fields: which of its fields are input and output.

    Returns:
        The sample, whose id is empty where the record has none; and what was left aside or changed in it.

    Raises:
        DataError: with the reason alone; the caller knows the place.
    """
    number = record.get("id")
    sample: Sample = {"id": "" if number is None else str(number), "input": None, "output": None, "metadata": {}}
    notes = []
    values = {side: fields.take(record, side) for side in ("input", "output")}
    if _are_columns(values["input"], values["output"]):
        raise DataError(TABLE)
    unread = fields.unread(record)  # first: an empty input beside an instruction is no empty input
    for side, value in values.items():
        if not value and isinstance(value, dict | list | str):
            raise DataError(f"its {side} is empty")
        sample[side] = value
        if isinstance(value, str) and (read := parse_text(value)) is not value:
            sample[side] = read
            notes.append(f"{side} is JSON in a text, and read as that JSON")
        elif isinstance(value, str) and value[:1] == "{":
            notes.append(f"{side} begins like JSON but is none, and stays a text")
    if _may_be_columns(*values.values()):
        notes.append(f"input and output are as long as each other; if each is a whole column, the file {TABLE}")
    notes += [f"{_shown(name)} is not read" for name in unread]
    metadata = record.get("metadata")
    metadata = parse_text(metadata) if isinstance(metadata, str) else metadata
    if isinstance(metadata, dict):
        sample["metadata"] = metadata
    elif metadata is not None:
        notes.append("metadata is not read, as it is no object")
    return sample, tuple(notes)


def _are_columns(first: Any, second: Any) -> bool:
    """Whether two values are columns of a table: objects with the same row numbers as keys."""
    both = isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys()
    return both and len(first) > 1 and all(key.isdigit() for key in first)


def _may_be_columns(first: Any, second: Any) -> bool:
    """Whether two values could be columns of a table, though also one sample: as long as each other."""
    kind = type(first)
    if kind is not type(second) or kind not in (dict, list) or not 1 < len(first) == len(second):
        return False
    return kind is list or first.keys() == second.keys()
