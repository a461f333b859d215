"""One part for each person: cutting, bundles, notebooks, pages, and the hours that training takes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bundle": ["read_bundle"],
        "hours": ["estimate_hours"],
        "leg_file": ["find_inputs"],
        "parts": ["adapter_in_leg", "find_plan", "read_split"],
        "encode": ["read_validation"],
        "split": ["split_dataset"],
    },
)
