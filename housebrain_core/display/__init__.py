"""What a person sees of any work: results as tables and figures, and how far something is."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "plots": ["loss_curves"],
        "progress": ["draw_training"],
        "results": ["Page", "Table", "link", "show"],
    },
)
