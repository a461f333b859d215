"""HouseBrain: fine-tune one language model together, on free notebooks.

dataset -> split -> train (one split per person) -> merge -> evaluate -> second round -> deploy
"""

__version__ = "0.1.0"
