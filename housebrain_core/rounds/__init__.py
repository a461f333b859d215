"""Training in legs: the ways to do it side by side, who has sent what, and what everybody trains on next."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"choices": ["compare_choices"], "round": ["run_round"]}
)
