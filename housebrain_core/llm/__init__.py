"""A trained model in use: a brief in, a design out."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "decoding": ["read_answer"],
        "llm": ["HouseBrainLLM", "strict_json_parse"],
        "generate": ["generate_designs"],
    },
)
