"""What a person has: any dataset read and checked, and what a model can learn from it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "audit": ["audit_dataset"],
        "audit_page": ["entropy_bars", "length_histogram"],
        "fields": ["choose_fields"],
        "samples": ["read_samples"],
    },
)
