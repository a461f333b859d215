"""What everybody gets between two legs: leg_2.zip, with the adapter to go on from and the code; the data stay.

It is read as it is, unpacked, or zipped again, and so is a bundle that has an adapter to start from.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from housebrain_core.adapters.folders import CONFIG, WEIGHTS
from housebrain_core.errors import AdapterError, DataError
from housebrain_core.legs import FORMAT as PLAN_FORMAT
from housebrain_core.legs import Place
from housebrain_core.manifests import MANIFEST, check_files, read_manifest, sha256_of
from housebrain_core.splits.bundle import (
    INIT,
    copy_init,
    hash_source,
    is_bundle,
    open_package,
    read_package_manifest,
    read_source,
    write_package,
)
from housebrain_core.splits.parts import SUMMARY, Inputs
from housebrain_core.texts import first_problem

KIND = "leg"
FORMAT = 1
"""Version of the leg file."""


@dataclass(frozen=True)
class Start:
    """The adapter that a run starts from."""

    place: Place | None
    """The leg that starts from it; None where an adapter was given that belongs to no plan."""
    weights: bytes
    """Of its safetensors file."""
    config: bytes
    """Of its adapter_config.json."""
    parent_sha256: str
    """sha256 of the weights."""

    def write_to(self, folder: Path) -> None:
        """Writes it as an adapter folder.

        Args:
            folder: is made where it is missing.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / WEIGHTS).write_bytes(self.weights)
        (folder / CONFIG).write_bytes(self.config)


def write_leg_file(folder: Path, place: Place, adapter: Path) -> Path:
    """Writes leg_N.zip: the adapter that leg N starts from, and the code; same contents, same bytes.

    Args:
        folder: where the zip will be.
        place: the leg; its parent_sha256 is filled in.
        adapter: folder of the adapter, already at rank and alpha of the plan.

    Returns:
        The zip's path.
    """
    place = place.model_copy(update={"parent_sha256": sha256_of(adapter / WEIGHTS)})
    name = f"leg_{place.leg}"
    return write_package(folder, name, KIND, lambda inside: copy_init(adapter, inside), format=FORMAT, **place.about())


def read_start(path: Path) -> Start:
    """Reads what a run starts from.

    Args:
        path: a leg file, or a bundle that has an init/, each as a zip or unpacked; or any LoRA adapter's folder.

    Returns:
        The adapter, and the leg that it is for. Its files were compared with their manifest, where there is one.

    Raises:
        DataError: it is none of these, damaged, or of a newer format.
        AdapterError: weights or configuration are missing from an adapter's folder.
    """
    if path.suffix.lower() != ".zip" and (path / CONFIG).is_file():
        return _read_adapter(path)
    with open_package(path, KIND) as inside:
        kind = "bundle" if (inside / "train.parquet").is_file() else KIND
        manifest = read_manifest(inside, kind)
        if kind == KIND and manifest.get("format") != FORMAT:
            raise DataError(
                f"{path} is a leg file of format {manifest.get('format')}; this code reads format {FORMAT}. "
                "Use the notebook or the version of HouseBrain that belongs to it."
            )
        files = {name: manifest["files"].get(name, {}) for name in (f"{INIT}/{WEIGHTS}", f"{INIT}/{CONFIG}")}
        check_files(inside, {"files": files})
        weights, config = ((inside / name).read_bytes() for name in files)
        place = read_place(manifest, path)
    digest = sha256_of(weights)
    if place and place.parent_sha256 != digest:
        raise DataError(f"{path} names another adapter to start from than it holds. Ask for it again.")
    return Start(place, weights, config, digest)


def read_place(manifest: dict[str, Any], path: Path) -> Place | None:
    """The leg that a manifest is for.

    Args:
        manifest: of a bundle or leg file.
        path: its place, for messages.

    Returns:
        None where it belongs to no plan.

    Raises:
        DataError: the plan cannot be read, or is of a newer format.
    """
    plan = manifest.get("plan")
    if plan is None:
        return None
    if isinstance(plan, dict) and plan.get("format") != PLAN_FORMAT:
        raise DataError(
            f"{path} has a plan of format {plan.get('format')}; this code reads format {PLAN_FORMAT}. "
            "Use the notebook or the version of HouseBrain that belongs to it."
        )
    try:
        place = Place.model_validate({name: manifest.get(name) for name in ("plan", "leg", "parent_sha256")})
    except ValidationError as error:
        raise DataError(f"{path} has a plan that cannot be read: {first_problem(error)}. Ask for it again.") from None
    if place.leg > len(place.plan.legs):
        raise DataError(f"{path} is for {place.describe()}, which cannot be. Ask for it again.")
    return place


def find_inputs(data: Path, paths: Iterable[Path]) -> Inputs:
    """Finds the leg in which a split is trained now: that of the highest leg file of its plan.

    Of several for one leg, one that ends the plan early counts before others, then one with this very code, then the
    newest.

    Args:
        data: the split's bundle, or its folder in a splits folder; other data belong to no plan.
        paths: where leg files may be; other plans' and what is none are passed over.

    Returns:
        The data, the leg file, and the leg.

    Raises:
        DataError: what is called a leg file is damaged, so that it cannot be told which leg it is for.
    """
    place = read_place(_read_data_manifest(data), data)
    if place is None:
        return Inputs(data)
    code = hash_source(read_source())
    files = []
    for path in paths:
        try:
            manifest = read_package_manifest(path, KIND)
            leg = read_place(manifest, path)
        except DataError:
            if path.name.startswith("leg_"):
                raise
            continue
        if leg and leg.plan.id == place.plan.id:
            order = (leg.leg, leg.is_last, manifest.get("code_sha256") == code, path.stat().st_mtime)
            files.append((order, path, leg))
    _, leg_file, place = max(files, key=lambda file: file[0], default=(None, None, place))
    return Inputs(data, leg_file, place)


def _read_data_manifest(data: Path) -> dict[str, Any]:
    """The manifest of a bundle or of a split's folder; an empty one of other data."""
    if is_bundle(data):
        return read_package_manifest(data)
    is_split = (data / MANIFEST).is_file() and not (data / SUMMARY).is_file()
    return read_manifest(data, "split") if is_split else {}


def _read_adapter(folder: Path) -> Start:
    """The adapter of a folder that belongs to no leg file."""
    if not (folder / WEIGHTS).is_file():
        raise AdapterError(f"{folder} lacks {WEIGHTS}; it is not a whole adapter. Copy it again.")
    if (folder / MANIFEST).is_file():
        files = read_manifest(folder, "adapter")["files"]
        check_files(folder, {"files": {name: files.get(name, {}) for name in (WEIGHTS, CONFIG)}})
    weights = (folder / WEIGHTS).read_bytes()
    return Start(None, weights, (folder / CONFIG).read_bytes(), sha256_of(weights))
