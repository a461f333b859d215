"""What a second round trains on: chosen samples, mixed with ordinary ones, as a dataset of its own."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "lacks": ["find_lacks"],
        "select": ["select_samples"],
        "settings": ["SelectConfig"],
    },
)
