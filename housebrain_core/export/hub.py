"""An exported folder onto the Hugging Face Hub: private unless asked otherwise, and only after a person has seen it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from housebrain_core.display.results import Table
from housebrain_core.errors import ConfigError, DataError, ExportError
from housebrain_core.export.settings import ExportConfig
from housebrain_core.manifests import MANIFEST, check_files, read_manifest
from housebrain_core.splits.handouts import describe_size

KINDS = ("adapter", "model", "gguf")
"""Of the manifests of folders that an export made."""
Report = Callable[[str], None]


def push_folder(folder: Path, config: ExportConfig, report: Report, ask: Callable[[str], str] = input) -> str:
    """Uploads a folder; started again, it goes on: what is on the Hub already is not sent again.

    Args:
        folder: an export, whole.
        config: says to which repository, whether it is public, and whether to ask.
        report: gets what will be uploaded.
        ask: asks a person, and returns the answer.

    Returns:
        Where it is on the Hub.

    Raises:
        ConfigError: the folder is no whole export, or the person says no.
        ExportError: the Hub cannot be reached, or refuses.
    """
    files = _read_files(folder)
    repository = str(config.push)
    visible = "PUBLIC: everybody sees it" if config.public else "private, if it is new"
    rows = [(name, describe_size(about["size"])) for name, about in files.items()]
    report(f"to upload to {repository} ({visible}):\n{Table(('file', 'size'), rows)}")
    try:
        said = "y" if config.yes else ask(f"Upload these {len(rows)} files to {repository}? [y/N] ")
    except EOFError:  # no terminal, as in a script
        raise ConfigError("nothing was uploaded: nobody is there to ask. With --yes nobody is asked.") from None
    if said.strip().lower() != "y":
        raise ConfigError(f"nothing was uploaded. {folder} is whole; upload it with {_again(folder, config)}")
    url = _upload(folder, repository, config, [*files])
    report(f"uploaded: {url}")
    return url


def _read_files(folder: Path) -> dict[str, Any]:
    """The files of a whole export, and its manifest, with their sizes."""
    for kind in KINDS:
        try:
            manifest = read_manifest(folder, kind)
        except DataError:
            continue
        check_files(folder, manifest)
        return manifest["files"] | {MANIFEST: {"size": (folder / MANIFEST).stat().st_size}}
    raise ConfigError(f"{folder} is nothing that housebrain export made. Make it with --as, or name another --model.")


def _upload(folder: Path, repository: str, config: ExportConfig, files: list[str]) -> str:
    """Makes the repository and sends the files; ExportError says what the Hub said, without any token."""
    import httpx  # what huggingface_hub sends with, and whose errors it lets through
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    api = HfApi()
    try:
        api.create_repo(repository, private=not config.public, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=folder, allow_patterns=files, commit_message="HouseBrain export"
        )
    except (HfHubHTTPError, httpx.TransportError, OfflineModeIsEnabled, LocalTokenNotFoundError) as error:
        status = (
            error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None
        )
        advice = {
            401: "Log in with: hf auth login.",
            403: "Your token may not write there: make one that may, and log in with it: hf auth login.",
        }.get(status or 0, "Check the connection.")
        reason = f"it answered {status}" if status else f"it cannot be reached ({type(error).__name__})"
        raise ExportError(
            f"the Hub did not take the folder: {reason}. {advice} What was sent stays there; go on with "
            f"{_again(folder, config)}"
        ) from None
    return f"{api.endpoint}/{repository}"


def _again(folder: Path, config: ExportConfig) -> str:
    """The command that uploads a folder that is made already."""
    return f"housebrain export --model {folder} --push {config.push}" + " --public" * config.public
