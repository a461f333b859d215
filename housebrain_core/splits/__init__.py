"""One part for each person: cutting, bundles, notebooks, pages, and the hours that training takes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bundle": ["read_bundle", "read_validation"],
        "hours": ["estimate_hours"],
        "parts": ["read_splits"],
        "split": ["split_dataset"],
    },
)
