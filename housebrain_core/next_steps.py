"""The end of a session on Kaggle or Colab: the adapter as one file to take home, or how to go on in another one."""

import json
import re
import zipfile
from pathlib import Path

from housebrain_core.manifests import MANIFEST, sha256_of, to_json
from housebrain_core.platforms import ROOT, Platform

SECOND_PUSH = "second_push"
"""Folder in a Kaggle run's output, for the kaggle client: the notebook that goes on."""


def pack(output: Path, folder: Path) -> tuple[Path, str]:
    """Puts a finished adapter into NAME.zip: the files of its manifest, with fixed dates, so the same bytes each time.

    Returns:
        The zip, and its sha256.
    """
    names = [MANIFEST, *sorted(json.loads((output / MANIFEST).read_text(encoding="utf-8"))["files"])]
    path = folder / f"{output.name}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            member = zipfile.ZipInfo(f"{output.name}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
            member.external_attr, member.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(member, (output / name).read_bytes())
    return path, sha256_of(path)


def what_next(
    archive: Path | None, platform: Platform, drive: Path | None, rehearsal: bool = False, push: dict | None = None
) -> str:
    """What a person does now: take the adapter home, or go on in another session. Markdown.

    Args:
        archive: the packed adapter; None when training has not finished.
        platform: where we are.
        drive: where checkpoints were copied to; None without Drive.
        rehearsal: it was the rehearsal, whose adapter nobody needs.
        push: from `write_second_push`, on Kaggle when training has not finished.
    """
    if rehearsal and archive:
        return "**The rehearsal went well:** trained, saved, stopped, resumed, packed. Now set `rehearsal = False`."
    if archive:
        clicks = {
            "kaggle": " in the panel on the right under Output (after Save Version: in the Output tab of the version)",
            "colab": ": folder symbol on the left, the three dots beside the file, Download",
        }
        return f"**Done.** Download `{archive.name}`{clicks.get(platform, '')}. Send it to whoever gave you the split."
    begin = "**Not finished yet: the time budget ended.** All that was trained is saved. To go on"
    if push:
        return f"{begin}, in this notebook:\n\n{_clicks_on_kaggle()}\n\n{_commands(push)}"
    if drive:
        return f"{begin}: Runtime > Run all, today or later, with the same settings; the checkpoints lie on your Drive."
    return (
        f"{begin}: Runtime > Run all, now, before this session is disconnected: Drive was not used, so the checkpoints "
        "lie on this machine only. Or download the newest checkpoint folder first."
    )


def _clicks_on_kaggle() -> str:
    return (
        "1. Only if you ran it with Run All: **Save Version > Save & Run All**, and wait until that run has ended.\n"
        "2. **Add Input > Your Work > Notebooks > this notebook**: its output has the checkpoints.\n"
        "3. **Save Version > Save & Run All** again, with the same settings. It goes on from the last checkpoint."
    )


def _commands(push: dict) -> str:
    (earlier,) = push["kernel_sources"]
    return (
        f"Or with the kaggle client, from the folder `{SECOND_PUSH}` in this run's output (look into its "
        f"kernel-metadata.json first: this notebook should be kaggle.com/code/{earlier}):\n\n"
        f"    kaggle kernels output {earlier} -p next --page-size 200 --file-pattern {SECOND_PUSH}\n"
        f"    kaggle kernels pull {earlier} -p next/{SECOND_PUSH}\n"
        f"    kaggle kernels push -p next/{SECOND_PUSH}"
    )


def write_second_push(folder: Path, split_id: int, dataset: Path, earlier: Path | None) -> dict:
    """Writes folder/second_push/kernel-metadata.json: a notebook that starts from this session's output.

    A session does not know its own address, so the one that `housebrain split` gives it is assumed. The notebook
    that goes on has its own, and names this one as a source.

    Args:
        folder: /kaggle/working.
        split_id: which split.
        dataset: the bundle as it is mounted; tells owner and name of the dataset.
        earlier: the run that this session went on from; its address counts the sessions.

    Returns:
        The metadata, with OWNER where Kaggle's mount does not say who that is.
    """
    mounted = dataset.relative_to(ROOT / "kaggle/input").parts if dataset.is_relative_to(ROOT / "kaggle/input") else ()
    owner, source = mounted[1:3] if mounted[:1] == ("datasets",) else ("OWNER", mounted[0] if mounted else "DATASET")
    slug = f"housebrain-split-{split_id:02d}"
    counted = re.search(rf"{slug}-session-(\d+)", str(earlier))
    session = 1 if earlier is None else int(counted[1]) + 1 if counted else 2
    this = slug if session == 1 else f"{slug}-session-{session}"
    following = f"{slug}-session-{session + 1}"
    metadata = {
        "id": f"{owner}/{following}",
        "title": following.replace("-", " "),
        "code_file": f"train_split_{split_id:02d}.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "enable_tpu": False,
        "enable_internet": True,
        "machine_shape": "NvidiaTeslaT4",
        "dataset_sources": [f"{owner}/{source}"],
        "kernel_sources": [f"{owner}/{this}"],
        "competition_sources": [],
        "model_sources": [],
        "keywords": [],
        "docker_image_pinning_type": "latest",
    }
    place = folder / SECOND_PUSH
    place.mkdir(exist_ok=True)
    (place / "kernel-metadata.json").write_text(to_json(metadata), encoding="ascii")
    return metadata
