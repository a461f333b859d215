"""What can go wrong, as kinds to catch; each message says what happened, what was expected and what to do next."""


class HouseBrainError(Exception):
    """Anything that a person can act on: the command line prints it and exits 2. Bugs keep their traceback."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it: the message alone, so that a notebook's last output is what to do."""
        return [str(self)]


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


class MachineError(HouseBrainError):
    """A session on Kaggle or Colab that cannot train: no GPU, no Internet, no room, or libraries at odds."""
