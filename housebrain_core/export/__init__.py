"""Where a merged adapter goes: the full weights of its base."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"into_base": ["merge_into_base"]},
)
