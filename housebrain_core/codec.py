"""The codec under the name that the old guide gave it; it lives in house/codec.py."""

from housebrain_core.house.codec import *  # noqa: F403
