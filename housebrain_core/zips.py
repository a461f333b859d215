"""Zips whose bytes depend on nothing but their contents."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

COMPRESSED = (".parquet",)
"""Endings of files that are compressed already; they are stored as they are."""


def write_zip(path: Path, members: Iterable[tuple[str, Path | bytes]]) -> None:
    """Writes a zip with fixed dates and modes: the same members in the same order give the same bytes.

    Args:
        path: of the zip; a file there is replaced.
        members: name in the zip, and a file or the contents themselves.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, contents in members:
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            member.external_attr = 0o644 << 16
            member.compress_type = zipfile.ZIP_STORED if name.endswith(COMPRESSED) else zipfile.ZIP_DEFLATED
            archive.writestr(member, contents.read_bytes() if isinstance(contents, Path) else contents)
