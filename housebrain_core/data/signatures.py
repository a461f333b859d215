"""What a file really is, by its first bytes, where it is not what its name says; and what to do then."""

from pathlib import Path
from typing import NamedTuple

READ = 600
"""Bytes that are looked at."""
AGAIN = "the download or copy failed; get it again"
UNPACK = "unpack it and give what is inside"


class Signature(NamedTuple):
    """How a kind of file begins."""

    starts: tuple[bytes, ...]
    """In lower case where they are letters."""
    what: str
    advice: str


SIGNATURES = (
    Signature(
        (b"version https://git-lfs",),
        "a Git LFS pointer: a note of 130 bytes in the place of the file",
        "run `git lfs pull` in the repository that it came from, or download the file by itself",
    ),
    Signature(
        (b"<!doctype html", b"<html", b"<?xml", b"<head"),
        "a web page, such as a login or an error page",
        "log in where it came from, and download it again",
    ),
    Signature(
        (b"gguf",),
        "a GGUF file, for llama.cpp",
        "ask for what training saved, in safetensors; GGUF is made from it at the end",
    ),
    Signature(
        (b"access to model", b"entry not found", b"invalid username", b"repository not found", b"unauthorized"),
        "an error message of the Hugging Face Hub",
        "accept the model's terms or log in there, and download it again",
    ),
    Signature((b"rar!",), "a RAR archive", UNPACK),
    Signature((b"7z\xbc\xaf",), "a 7z archive", UNPACK),
    Signature((b"\x1f\x8b",), "packed with gzip", UNPACK),
    Signature((b"\x28\xb5\x2f\xfd",), "packed with zstd", UNPACK),
    Signature((b"pk\x03\x04", b"pk\x05\x06"), "a zip, or a file that PyTorch pickled", "give it its own ending"),
    Signature(
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        "a pickle, which could run code",
        "ask for it as safetensors",
    ),
    Signature((b"%pdf",), "a PDF", AGAIN),
    Signature((b"par1",), "a Parquet file", "give it the ending .parquet"),
    Signature(
        (b"\xff\xfe", b"\xfe\xff"),
        "UTF-16 text",
        "save it as UTF-8 (in PowerShell: Set-Content -Encoding utf8)",
    ),
)


def explain_bytes(data: bytes) -> str | None:
    """Says what bytes are that are not what was expected.

    Args:
        data: the beginning of a file, `READ` bytes of it.

    Returns:
        A phrase such as "is a GGUF file, for llama.cpp: ask for ...", or None where nothing is recognised.
    """
    if not data:
        return f"is empty: {AGAIN}"
    if not data.strip(b"\0"):
        return f"holds zeros only: {AGAIN}"
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip().lower() or data
    for signature in SIGNATURES:
        if start.startswith(signature.starts) or data.lower().startswith(signature.starts):
            return f"is {signature.what}: {signature.advice}"
    if data[257:262] == b"ustar":
        return f"is a tar archive: {UNPACK}"
    return None


def explain_file(path: Path) -> str | None:
    """`explain_bytes` of the beginning of a file.

    Args:
        path: a file; one that cannot be read is not recognised.

    Returns:
        The phrase, or None.
    """
    try:
        with path.open("rb") as file:
            return explain_bytes(file.read(READ))
    except OSError:
        return None
