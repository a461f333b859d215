"""What stands behind each command: the function that it calls, its flags, and the demo."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={})
