"""How many tokens a tokenizer makes of texts."""

from collections.abc import Callable
from pathlib import Path
from textwrap import shorten

from housebrain_core.errors import ConfigError

CountTokens = Callable[[list[str]], list[int]]
"""From texts to their lengths."""


def read_counter(path: Path, special: bool = False) -> CountTokens:
    """Reads a tokenizer that counts.

    Args:
        path: a tokenizer.json.
        special: whether the tokens that the tokenizer puts around a text count too.

    Returns:
        A function from texts to their lengths in tokens.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: [len(codes) for codes in tokenizer.encode_batch_fast(texts, add_special_tokens=special)]


def load_counter(name: str | None) -> CountTokens:
    """Loads a tokenizer by its name.

    Args:
        name: a folder or a Hub id; None counts characters.

    Returns:
        A function from texts to their lengths, without special tokens.

    Raises:
        ConfigError: the tokenizer cannot be loaded.
    """
    if name is None:
        return lambda texts: [len(text) for text in texts]
    if (Path(name) / "tokenizer.json").is_file():
        return read_counter(Path(name) / "tokenizer.json")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"tokenizer = {name!r} cannot be loaded ({shorten(str(error), 240)}). "
            "Give a folder with tokenizer.json or a Hub id."
        ) from None
    return lambda texts: [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
