"""HouseBrain: fine-tune one language model together: split, train a split per person on free notebooks, merge."""

import logging

__version__ = "0.1.0"

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # while imported it suggests a kernel package nobody needs
