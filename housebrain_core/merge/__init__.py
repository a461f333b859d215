"""Many adapters into one, exactly."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"merge": ["merge_adapters"]})
