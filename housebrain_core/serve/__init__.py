"""A page for one person at a time: fills in a brief, and gets a drawn and checked design."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"serving": ["serve_model"]})
