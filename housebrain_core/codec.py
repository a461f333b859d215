"""The codec under the name that the old guide gave it; it lives in house/codec.py and house/parsing.py."""

from housebrain_core.house.codec import decode, encode, read_prompt
from housebrain_core.house.json_text import strict_json_parse

__all__ = ["decode", "encode", "read_prompt", "strict_json_parse"]
