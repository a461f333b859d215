"""What can go wrong, as kinds to catch; each message says what happened, what was expected and what to do next."""

import re

from housebrain_core.texts import visible, wrap

FLAG = re.compile(r"--([a-z][a-z0-9-]*[a-z0-9])( \d+(?:\.\d+)?)?")
NAMES = {"validate": "run_validation", "model": "models", "split": "dataset_path", "as": "format"}
"""Flags that are not their setting's own name."""
SWITCHES: set[str] = set()
"""Settings that are true or false, by name; settings.py adds those of every stage."""
OFFERED: set[str] = set()
"""Settings of the notebook that runs; its check of them adds them. The flags of others stay as they are."""


class HouseBrainError(Exception):
    """Anything that a person can act on: the command line prints it and exits 2. Bugs keep their traceback.

    Its message names files and quotes data, so hidden characters in it are written out.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(visible(message))

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it: the message alone, so that a notebook's last output is what to do."""
        return [wrap(in_settings(str(self)))]


def in_settings(message: str) -> str:
    """A message that names flags of the command line, in the words of a notebook's settings.

    Args:
        message: such as "Choose another --output, or replace it with --overwrite."

    Returns:
        "Choose another output, or replace it with overwrite = True."; lines with a whole command stay as they are.
    """

    def setting(match: re.Match[str]) -> str:
        name, number = match[1].replace("-", "_"), match[2]
        name = NAMES.get(name, name)
        if OFFERED and name not in OFFERED:
            return match[0]
        if name in SWITCHES:
            return f"{name} = True{number or ''}"
        return f"{name} ={number}" if number else name

    lines = [line if "housebrain " in line else FLAG.sub(setting, line) for line in message.splitlines()]
    elsewhere = [line for line in lines if "housebrain " not in line and FLAG.search(line)]
    hint = ["What begins with -- is set on the command line: housebrain --help"] if elsewhere else []
    return "\n".join(lines + hint)


class ConfigError(HouseBrainError):
    """Settings that cannot be used; the message lists every problem at once."""


class DataError(HouseBrainError):
    """A dataset, bundle or sample that cannot be read or used."""


class AdapterError(HouseBrainError):
    """An adapter folder that is damaged, unsafe, or does not belong with the others."""


class CheckpointError(HouseBrainError):
    """A run that cannot be continued, or must not be, from what is on disk."""


class TrainingError(HouseBrainError):
    """Training that has to stop: garbage gradients, no memory, a device that cannot do it."""


class ServerError(HouseBrainError):
    """A model's server that cannot be reached, is too busy, or answers with something else."""


class ExportError(HouseBrainError):
    """An export that cannot be made, uploaded, or answers otherwise than the model that it was made of."""


class MachineError(HouseBrainError):
    """A session on Kaggle or Colab that cannot train: no GPU, no Internet, no room, or libraries at odds."""
