"""Folders that the kaggle client uploads: a dataset with the bundle, one for leg files, and kernels with the notebook.

The fields are those that kaggle 2.2.5 reads and checks (KaggleApi.kernels_push, dataset_create_new). A slug is what
the client makes of the title; it ends in the bundle's hash, so that another round has other datasets and notebooks.
The client uploads the files at the top level of a folder; Kaggle unpacks zips, and the notebook finds either.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from housebrain_core.manifests import to_json
from housebrain_core.splits.parts import LegOfPerson, SplitPart
from housebrain_core.splits.write import link_or_copy

CLIENT = "kaggle==2.2.5"
"""The oldest client that has --no-run; without that flag a push starts a run, which uses up quota."""


def write_folders(folder: Path, part: SplitPart, legs: Sequence[LegOfPerson] = ()) -> list[str]:
    """Writes kaggle/split_NN/{dataset,kernel,kernel_resume}, and with legs {leg,kernel_leg}, for the owner of a split.

    Args:
        folder: of the splits; bundle and notebook of the split lie in it.
        part: the split.
        legs: in which the owner trains it; none without a plan.

    Returns:
        The files written, relative to the folder.
    """
    place = folder / "kaggle" / part.name
    waits = bool(legs and legs[0].leg_file)
    metadata = {
        "dataset": dataset_metadata(part),
        "kernel": kernel_metadata(part, resume=False, leg_files=waits),
        "kernel_resume": kernel_metadata(part, resume=True, leg_files=waits),
    }
    if waits or len(legs) > 1:
        metadata["leg"] = leg_metadata(part)
        metadata["kernel_leg"] = kernel_metadata(part, resume=True, leg_files=True)
    for name, fields in metadata.items():
        inside = place / name
        inside.mkdir(parents=True)
        is_kernel = name.startswith("kernel")
        file = part.notebook if is_kernel else part.bundle
        if file and name != "leg":  # the leg files are put there when they come
            link_or_copy(folder / file, inside / file)
        kind = "kernel" if is_kernel else "dataset"
        (inside / f"{kind}-metadata.json").write_text(to_json(fields), encoding="utf-8")
    return sorted(path.relative_to(folder).as_posix() for path in place.rglob("*") if path.is_file())


def name_on_kaggle(part: SplitPart, what: str) -> tuple[str, str]:
    """Title and OWNER/SLUG of a split's dataset ("split"), notebook ("train"), or dataset of leg files ("legs").

    The slug is what the client makes of the title.
    """
    title = f"HouseBrain {what} {part.split_id:02d} {part.bundle_sha256[:6]}"
    return title, f"{part.owner}/{title.lower().replace(' ', '-')}"


def dataset_metadata(part: SplitPart) -> dict[str, Any]:
    """dataset-metadata.json: a private dataset with the bundle."""
    return _describe_dataset(part, "split") | {
        "subtitle": f"One split of a dataset, number {part.split_id}",
        "description": f"{part.train} samples to train an adapter on, in {part.bundle}, made by HouseBrain. "
        "For use as the dataset they were taken from allows.",
        "resources": [{"path": part.bundle, "description": "prompts and completions, with a manifest"}],
    }


def leg_metadata(part: SplitPart) -> dict[str, Any]:
    """dataset-metadata.json: a private dataset with the newest leg file."""
    return _describe_dataset(part, "legs") | {
        "subtitle": f"What split {part.split_id} of a dataset goes on from",
        "description": "The adapter that the next leg of training starts from, made by HouseBrain.",
    }


def _describe_dataset(part: SplitPart, what: str) -> dict[str, Any]:
    """What the client wants to know of any dataset."""
    title, reference = name_on_kaggle(part, what)
    return {"title": title, "id": reference, "licenses": [{"name": "other"}], "keywords": [], "resources": []}


def kernel_metadata(part: SplitPart, resume: bool, leg_files: bool = False) -> dict[str, Any]:
    """kernel-metadata.json: the private notebook, its GPU, and its inputs.

    Args:
        part: the split.
        resume: attach the output of the notebook's earlier version, to go on from its last checkpoint.
        leg_files: attach the dataset with the leg files.
    """
    title, notebook = name_on_kaggle(part, "train")
    datasets = ["split", "legs"] if leg_files else ["split"]
    return {
        "id": notebook,
        "title": title,
        "code_file": part.notebook,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "enable_tpu": False,
        "enable_internet": True,
        "machine_shape": "NvidiaTeslaT4",
        "dataset_sources": [name_on_kaggle(part, what)[1] for what in datasets],
        "competition_sources": [],
        "kernel_sources": [notebook] if resume else [],
        "model_sources": [],
        "keywords": [],
        "docker_image_pinning_type": "latest",
    }


def push_commands(part: SplitPart, place: str, legs: Sequence[LegOfPerson] = ()) -> list[str]:
    """What the owner types to have dataset and notebook on Kaggle; nothing is run yet.

    Args:
        part: the split.
        place: path of its folder, kaggle/split_NN, from where the commands are typed.
        legs: in which the owner trains it; none without a plan.
    """
    waits = legs and legs[0].leg_file
    return [
        f"kaggle datasets create -p {shlex.quote(f'{place}/dataset')}",
        *([f"kaggle datasets create -p {shlex.quote(f'{place}/leg')}"] if waits else []),
        f"kaggle datasets status {name_on_kaggle(part, 'legs' if waits else 'split')[1]}",
        f"kaggle kernels push -p {shlex.quote(f'{place}/kernel')} --no-run",
    ]


def leg_commands(place: str, legs: Sequence[LegOfPerson]) -> list[str]:
    """What starts a later leg, once its file lies in leg/; none where there is no later leg.

    Where the first leg needs no file, the first command is for the first leg file, and the second for all others.

    Args:
        place: path of the folder kaggle/split_NN, from where the commands are typed.
        legs: in which the owner trains the split.
    """
    if len(legs) < 2:
        return []
    leg = shlex.quote(f"{place}/leg")
    first = [] if legs[0].leg_file else [f"kaggle datasets create -p {leg}"]
    return [
        *first,
        f"kaggle datasets version -p {leg} -m next",
        f"kaggle kernels push -p {shlex.quote(f'{place}/kernel_leg')}",
    ]


def resume_command(place: str) -> str:
    """What goes on from the last checkpoint of a run that ran out of time; it starts a run."""
    return f"kaggle kernels push -p {shlex.quote(f'{place}/kernel_resume')}"
