"""The settings of the commands for other machines."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from housebrain_core.settings import Settings


class KaggleConfig(Settings):
    """What is done on a person's own Kaggle account."""

    action: Literal["push", "status", "fetch"]
    """push uploads and starts a run, or goes on with one; status says how far it is; fetch takes the adapter home."""
    split: Annotated[int, Field(ge=1, le=99)]
    """Your split; `housebrain split --owner 4=alice` wrote its folders."""
    splits: Path = Path("housebrain_splits")
    """The splits folder, or the folder kaggle/split_NN of it that you were sent."""
    rounds: Path = Path("rounds")
    """Where leg files are, in a plan of several legs; the folder leg/ beside the notebook is looked in too."""
    models: Path = Path("models")
    """Folder that fetch puts the adapter into."""
    run: bool = True
    """Start the run, which uses up quota; --no-run only saves the notebook, for a rehearsal with Run All."""
