"""What comes back from people: an adapter as untrusted input, read, compared and converted."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "inspection": ["draw_inspection", "inspect_adapters"],
        "convert": ["convert_adapters"],
        "run": ["describe_run"],
    },
)
