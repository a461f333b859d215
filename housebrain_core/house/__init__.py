"""What a house is: brief and design, their text and back, rules, drawings, generated houses."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "briefs": ["check_brief"],
        "codec": ["DesignError", "decode", "encode", "read_prompt"],
        "drawing": ["floor_plan"],
        "synthetic": ["write_dataset"],
    },
)
