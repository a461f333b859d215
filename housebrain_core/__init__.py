"""HouseBrain: fine-tune one language model together, on free notebooks.

dataset -> split -> train (one split per person) -> merge -> evaluate -> second round -> deploy
"""

import logging

__version__ = "0.1.0"

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # while imported it suggests a kernel package nobody needs
