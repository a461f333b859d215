"""The end of a session on Kaggle or Colab: the adapter as one file to take home, or how to go on in another one."""

from collections.abc import Callable
from pathlib import Path

from housebrain_core.adapters.run import STOPPED_BY_YOU
from housebrain_core.legs import Place
from housebrain_core.manifests import MANIFEST, read_manifest, sha256_of
from housebrain_core.outputs import write_zip
from housebrain_core.platforms import Platform
from housebrain_core.texts import say

REAL_RUN: dict[Platform, str] = {
    "kaggle": "Now the real run: **Save Version > Save & Run All**. It needs no edit, and runs without the browser.",
    "colab": "Now the real run: set `rehearsal = False` in the first cell, then Runtime > Run all.",
    "local": "Now the real run: set `rehearsal = False`.",
}
GO_ON_ON_KAGGLE = """\
1. Only if you ran it with Run All: **Save Version > Save & Run All**, and wait until that run has ended.
2. **Add Input > Your Work > Notebooks > this notebook**: its output has the checkpoints.
3. **Save Version > Save & Run All** again, with the same settings. It goes on from the last checkpoint.

If this notebook came to Kaggle by the kaggle client, one command does all three, in the folder
`kaggle/split_{split_id:02d}` that came with the split. Its `kernel_resume` is the second push, which attaches this
run's output.

    kaggle kernels push -p kernel_resume
"""


def zip_adapter(output: Path, report: Callable[[str], None] = say) -> Path:
    """Puts a finished adapter into NAME.zip beside its folder: its manifest and the files that it lists.

    Args:
        output: the adapter's folder.
        report: gets its size and sha256.

    Returns:
        The zip.
    """
    names = [MANIFEST, *sorted(read_manifest(output, "adapter")["files"])]
    path = output.with_name(f"{output.name}.zip")
    write_zip(path, [(f"{output.name}/{name}", output / name) for name in names])
    report(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, sha256 {sha256_of(path)}")
    return path


def what_next(
    split_id: int,
    archive: Path | None,
    platform: Platform,
    drive: Path | None,
    rehearsal: bool = False,
    why: str = "the time budget ended",
    place: Place | None = None,
) -> str:
    """Says what a person does now: take the adapter home, or go on in another session.

    Args:
        split_id: which split.
        archive: the adapter's zip; None when training has not finished.
        platform: where we are.
        drive: where checkpoints were copied to; None without Drive.
        rehearsal: it was the rehearsal, whose adapter nobody needs.
        why: why an unfinished run ended, as its record says.
        place: the leg; None without a plan.

    Returns:
        Markdown.
    """
    if rehearsal and archive:
        return f"**The rehearsal went well:** trained, saved, stopped, resumed, packed. {REAL_RUN[platform]}"
    if archive:
        clicks = {
            "kaggle": " in the panel on the right under Output (after Save Version: in the Output tab of the version)",
            "colab": ": folder symbol on the left, the three dots beside the file, Download",
        }
        done = f"**{place.describe().capitalize()} is done.**" if place else "**Done.**"
        download = f"{done} Download `{archive.name}`{clicks.get(platform, '')}. Send it to whoever gave you the split."
        return download + _describe_next_leg(split_id, platform, place)
    if why == STOPPED_BY_YOU:
        return "**You stopped it.** All that was trained is saved. To go on, Run all again: it begins where it stopped."
    begin = f"**Not finished yet: {why}.** All that was trained is saved. To go on"
    if platform == "kaggle":
        return f"{begin}, in this notebook:\n\n{GO_ON_ON_KAGGLE.format(split_id=split_id)}"
    if drive:
        return f"{begin}: Runtime > Run all, today or later, with the same settings; the checkpoints lie on your Drive."
    return (
        f"{begin}: Runtime > Run all, now, before this session is disconnected: Drive was not used, so the checkpoints "
        "lie on this machine only. Or download the newest checkpoint folder first."
    )


def _describe_next_leg(split_id: int, platform: Platform, place: Place | None) -> str:
    """What to do when the leg after this one begins; nothing where there is none."""
    turn = place.next_leg(split_id) if place else None
    if not turn:
        return ""
    name = f"leg_{turn}.zip"
    clicks = {
        "kaggle": f"add it (**Add Input > Upload > New Dataset**: `{name}`), take the notebook that came with it "
        "(**File > Import Notebook**), and **Save Version > Save & Run All**",
        "colab": "upload the notebook that came with it, put it beside your bundle (folder symbol on the left: drag "
        f"`{name}` into the list), and **Run all**",
    }
    then = clicks.get(platform, f"put it into the folder `rounds` as `{name}` and run this notebook again")
    return f"\n\n**Next:** you will be sent `{name}`. Then {then}. No setting changes."
