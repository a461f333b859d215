"""One split into one adapter: the fine-tuner, its checkpoints and the base model."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "tuner": ["HouseBrainFineTuner"],
        "tiny": ["tiny_base"],
    },
)
