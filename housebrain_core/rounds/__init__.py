"""What comes after a merge: the legs of a plan, who has sent what, and what everybody trains on next."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"round": ["run_round"]})
