"""Where a merged adapter goes: into folders that other programs load, and onto the Hub."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "export": ["ask_export", "export_model"],
        "into_base": ["merge_into_base"],
        "settings": ["ExportConfig"],
        "verification": ["choose_prompts"],
    },
)
