"""The end of a session on Kaggle or Colab: the adapter as one file to take home, or how to go on in another one."""

import json
import zipfile
from pathlib import Path

from housebrain_core.manifests import MANIFEST, sha256_of
from housebrain_core.platforms import Platform

GO_ON_ON_KAGGLE = """\
1. Only if you ran it with Run All: **Save Version > Save & Run All**, and wait until that run has ended.
2. **Add Input > Your Work > Notebooks > this notebook**: its output has the checkpoints.
3. **Save Version > Save & Run All** again, with the same settings. It goes on from the last checkpoint.

If this notebook came to Kaggle by the kaggle client, one command does all three, in the folder
`kaggle/split_{split_id:02d}` that came with the split. Its `kernel_resume` is the second push, which attaches this
run's output.

    kaggle kernels push -p kernel_resume
"""


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
    split_id: int, archive: Path | None, platform: Platform, drive: Path | None, rehearsal: bool = False
) -> str:
    """What a person does now: take the adapter home, or go on in another session. Markdown.

    Args:
        split_id: which split.
        archive: the packed adapter; None when training has not finished.
        platform: where we are.
        drive: where checkpoints were copied to; None without Drive.
        rehearsal: it was the rehearsal, whose adapter nobody needs.
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
    if platform == "kaggle":
        return f"{begin}, in this notebook:\n\n{GO_ON_ON_KAGGLE.format(split_id=split_id)}"
    if drive:
        return f"{begin}: Runtime > Run all, today or later, with the same settings; the checkpoints lie on your Drive."
    return (
        f"{begin}: Runtime > Run all, now, before this session is disconnected: Drive was not used, so the checkpoints "
        "lie on this machine only. Or download the newest checkpoint folder first."
    )
