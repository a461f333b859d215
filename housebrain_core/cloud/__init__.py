"""Sessions elsewhere: what Kaggle and Colab have, need, and give back."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "doctor": ["check_machine"],
        "install": ["install_libraries"],
        "kaggle_split": ["run_kaggle"],
        "next_steps": ["what_next", "zip_adapter"],
        "settings": ["KaggleConfig", "RunConfig"],
        "own_machines": ["run_splits"],
        "session": [
            "DriveCopies",
            "bring_back",
            "choose_inputs",
            "interrupt_at_checkpoint",
            "mount_drive",
            "use_token",
        ],
    },
)
