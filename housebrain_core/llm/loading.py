"""Whether an adapter is in a model as its file has it, and where its base model is."""

import warnings
from typing import Any

import numpy as np

from housebrain_core.adapters.adapter import Adapter
from housebrain_core.errors import AdapterError, ConfigError
from housebrain_core.texts import visible
from housebrain_core.train.base_models import Base, find_trained_base


def find_base(adapter: Adapter, given: str | None) -> Base:
    """The base model that an adapter was trained on, as it is on this machine.

    Args:
        adapter: a checked one.
        given: where a person says it is, if they do; else its recorded name counts.

    Raises:
        ConfigError: nobody says which it is, it cannot be had, or it is another one.
    """
    if given is None and adapter.base_model is None:
        raise ConfigError(f"{adapter.name} does not say which base model it is for. Name it with --base-model.")
    trained_on = f"{adapter.folder} was trained on {adapter.base}"
    return find_trained_base(given or str(adapter.base_model), adapter.revision, adapter.base_content, trained_on)


def check_effect(model: Any, number: str, adapter: Adapter) -> None:
    """Refuses an adapter that was not loaded whole, since without it the base alone would be judged.

    PEFT rewrites the names and factors of some models' modules, such as those of experts.

    Args:
        model: of PEFT, with the adapter loaded.
        number: PEFT's name of the adapter.
        adapter: what should be in it.

    Raises:
        AdapterError: weights of the adapter are not in the model.
    """
    loaded = [layer.lora_B[number].weight for layer in model.modules() if number in getattr(layer, "lora_B", ())]
    square = sum(float(weight.detach().float().square().sum()) for weight in loaded)
    factors = (adapter.matrices(module)[0] for module in adapter.shapes)
    expected = sum(float(np.square(b, dtype=np.float64).sum()) for b in factors)
    if abs(square - expected) > 0.01 * expected:
        raise AdapterError(
            f"{adapter.name} has no effect, or only a part of it: the base model takes {len(loaded)} of its "
            f"{len(adapter.shapes)} modules, such as {next(iter(adapter.shapes))}. Give the base model of its training."
        )
    if not expected:
        name = visible(adapter.name)
        warnings.warn(f"{name} is untrained: every B is zero, so it answers as its base model.", stacklevel=3)
