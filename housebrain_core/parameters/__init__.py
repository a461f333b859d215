"""The parameters cell of each notebook: its settings, typed, and how the notebook checks them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cells": ["check_settings"],
        "settings": ["DeploySettings", "EvaluateSettings", "MergeSettings", "NextRoundSettings", "SplitSettings"],
        "training": ["ColabTrainSettings", "KaggleTrainSettings", "LocalTrainSettings"],
    },
)
