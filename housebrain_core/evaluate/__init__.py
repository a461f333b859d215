"""Whether a model is any good: losses, parse rates, rules, and a page about them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "evaluate": ["evaluate_models"],
        "first_house": ["draw_first_house"],
        "report": ["report_path"],
        "tables": ["show_evaluation"],
    },
)
