"""The folders for the kaggle client, judged by the client's own checks; only its network calls are replaced."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from notebook_checks import run_find_cell

from housebrain_core.cloud import session as cloud
from housebrain_core.cloud.session import choose_bundle
from housebrain_core.config import SplitConfig
from housebrain_core.splits.bundle import read_bundle
from housebrain_core.splits.split import split_dataset


@pytest.fixture(scope="module")
def owned(dataset, tmp_path_factory) -> Path:
    """The generated dataset in four splits, the last two for the client."""
    folder = tmp_path_factory.mktemp("owned") / "splits"
    config = SplitConfig(source=dataset, output=folder, splits=4, validation_samples=4, owner=["3=alice", "4=bob"])
    split_dataset(config, report=lambda line: None)
    return folder


@pytest.mark.parametrize(("split_id", "owner"), [(3, "alice"), (4, "bob")])
def test_the_client_creates_a_private_dataset_of_the_bundle_alone(owned, client, split_id, owner, capsys):
    from slugify import slugify

    folder = owned / "kaggle" / f"split_0{split_id}" / "dataset"
    assert client.dataset_create_new(str(folder)).status == "ok"
    assert client.server.files == [folder / f"split_0{split_id}.zip"]
    assert os.path.samefile(client.server.files[0], owned / f"split_0{split_id}.zip")
    (request,) = client.server.requests
    assert (request.owner_slug, request.is_private, len(request.files)) == (owner, True, 1)
    assert request.slug == slugify(request.title) and request.slug.startswith(f"housebrain-split-0{split_id}-")
    assert "Skipping" not in capsys.readouterr().out


def test_the_client_saves_the_notebook_with_a_gpu_the_internet_and_the_dataset_without_running_it(
    owned, client, capsys
):
    from kagglesdk.kernels.types.kernels_enums import KernelExecutionType

    folder = owned / "kaggle" / "split_03"
    client.kernels_push(str(folder / "kernel"), no_run=True)
    (request,) = client.server.requests
    dataset = json.loads((folder / "dataset" / "dataset-metadata.json").read_text())["id"]
    assert request.kernel_execution_type == KernelExecutionType.QUICK_SAVE
    assert (request.machine_shape, request.docker_image_pinning_type) == ("NvidiaTeslaT4", "latest")
    assert (request.is_private, request.enable_gpu, request.enable_tpu, request.enable_internet) == (1, 1, 0, 1)
    assert (request.dataset_data_sources, request.kernel_data_sources) == ([dataset], [])
    assert json.loads(request.text) == json.loads((owned / "train_split_03.ipynb").read_text())
    assert capsys.readouterr().out == ""  # neither a slug that differs from the title nor a retired GPU


def test_a_second_push_attaches_the_output_of_the_first_and_changes_nothing_else(owned, client, capsys):
    place = owned / "kaggle" / "split_04"
    for name in ("kernel", "kernel_resume"):
        client.kernels_push(str(place / name))
    first, second = (request.to_dict() for request in client.server.requests)
    assert second["kernelDataSources"] == [first["slug"]] and first["slug"].startswith("bob/housebrain-train-04-")
    assert {**second, "kernelDataSources": []} == {"kernelDataSources": [], **first}
    assert capsys.readouterr().out == ""


def test_what_the_page_says_to_type_is_what_the_client_understands(owned, client, monkeypatch, capsys):
    import kaggle.cli

    page = (owned / "handouts" / "split_04.md").read_text()
    commands = [line.split() for line in page.splitlines() if line.startswith("    kaggle ")]
    assert [command[2] for command in commands] == ["create", "status", "push", "push"]
    assert [command[-1] == "--no-run" for command in commands] == [False, False, True, False]
    client._authenticated = True
    monkeypatch.setattr(kaggle.cli, "api", client)
    monkeypatch.chdir(owned / "kaggle" / "split_04")
    for command in commands:
        monkeypatch.setattr("sys.argv", command)
        kaggle.cli.main()
    printed = capsys.readouterr()
    assert "dataset is being created" in printed.out.lower() and "ready" in printed.out
    assert "saved without running" in printed.out and not printed.err


@pytest.fixture(scope="module")
def in_rounds(dataset, tmp_path_factory) -> Path:
    """Three splits for the client, in two rounds after a common start by the first of them."""
    folder = tmp_path_factory.mktemp("rounds") / "splits"
    owner = ["1=alice", "2=bob", "3=carol"]
    config = SplitConfig(
        source=dataset, output=folder, splits=3, platform=["kaggle"], owner=owner, rounds=2, common_start=0.1,
        training=["max_steps=60"],
    )  # fmt: skip
    split_dataset(config, report=lambda line: None)
    return folder


@pytest.mark.parametrize(
    ("split_id", "verbs"),
    [
        (1, ["create", "status", "push", "push", "create", "version", "push"]),
        (2, ["create", "create", "status", "push", "push", "version", "push"]),
    ],
)
def test_the_commands_for_legs_are_what_the_client_understands(
    in_rounds, client, monkeypatch, capsys, split_id, verbs, tmp_path
):
    import kaggle.cli

    page = (in_rounds / "handouts" / f"split_0{split_id}.md").read_text()
    commands = [line.split() for line in page.splitlines() if line.startswith("    kaggle ")]
    assert [command[2] for command in commands] == verbs
    shutil.copytree(in_rounds / "kaggle" / f"split_0{split_id}", tmp_path / "owners")
    (tmp_path / "owners" / "leg" / "leg_2.zip").write_bytes(b"as it was sent")
    client._authenticated = True
    monkeypatch.setattr(kaggle.cli, "api", client)
    monkeypatch.chdir(tmp_path / "owners")
    for command in commands:
        if command[2] != "version":  # the server here keeps no datasets
            monkeypatch.setattr("sys.argv", command)
            kaggle.cli.main()
    printed = capsys.readouterr()
    assert "error" not in printed.out.lower() and not printed.err
    assert {path.name for path in client.server.files} == {f"split_0{split_id}.zip", "leg_2.zip"}


def test_a_later_leg_gets_its_leg_file_and_the_notebooks_own_output(in_rounds):
    def sources(split_id: int, folder: str) -> tuple[int, int]:
        path = in_rounds / "kaggle" / f"split_0{split_id}" / folder / "kernel-metadata.json"
        fields = json.loads(path.read_text())
        return len(fields["dataset_sources"]), len(fields["kernel_sources"])

    folders = ("kernel", "kernel_resume", "kernel_leg")
    assert [sources(1, folder) for folder in folders] == [(1, 0), (1, 1), (2, 1)]
    assert [sources(2, folder) for folder in folders] == [(2, 0), (2, 1), (2, 1)]
    assert [path.name for path in (in_rounds / "kaggle" / "split_02" / "leg").iterdir()] == ["dataset-metadata.json"]


def test_every_boolean_is_written_as_one_and_all_metadata_is_ascii(owned):
    for path in owned.glob("kaggle/*/*/*.json"):
        assert path.read_bytes().isascii()  # the client reads dataset-metadata.json in the encoding of the locale
    fields = json.loads((owned / "kaggle" / "split_03" / "kernel" / "kernel-metadata.json").read_text())
    names = ("is_private", "enable_gpu", "enable_tpu", "enable_internet")
    assert [fields[name] for name in names] == [True, True, False, True]


BROKEN = [
    ("dataset", "title", "house", "between 6 and 50"),
    ("dataset", "title", "h" * 51, "between 6 and 50"),
    ("dataset", "id", "alice/house", "between 6 and 50"),
    ("dataset", "licenses", [], "exactly one license"),
    ("dataset", "subtitle", "too short", "between 20 and 80"),
    ("dataset", "resources", [{"path": "split_09.zip"}], "does not exist"),
    ("dataset", "title", None, "title not found"),
    ("kernel", "title", "HB", "at least five"),
    ("kernel", "code_file", "train_split_09.ipynb", "Source file not found"),
    ("kernel", "id", "alice/hb", "at least five"),
    ("kernel", "id", "alice/housebrain-train/2", "cannot contain a version"),
    ("kernel", "language", "julia", "valid language"),
    ("kernel", "kernel_type", "page", "valid kernel type"),
    ("kernel", "enable_gpu", "yes", "Invalid boolean"),
    ("kernel", "dataset_sources", ["housebrain-split-03"], "owner|username"),
    ("kernel", "kernel_sources", ["housebrain-train-03"], "username"),
    ("kernel", "docker_image_pinning_type", "newest", "must be one of"),
]


@pytest.mark.parametrize(("kind", "field", "value", "said"), BROKEN)
def test_the_clients_checks_refuse_metadata_with_one_field_broken(owned, client, tmp_path, kind, field, value, said):
    folder = shutil.copytree(owned / "kaggle" / "split_03" / kind, tmp_path / kind)
    path = folder / f"{kind}-metadata.json"
    fields = json.loads(path.read_text()) | {field: value}
    path.write_text(json.dumps({name: value for name, value in fields.items() if value is not None}))
    push = client.dataset_create_new if kind == "dataset" else client.kernels_push
    with pytest.raises(ValueError, match=said):
        push(str(folder))
    assert not client.server.requests and not client.server.files


def test_a_title_that_does_not_give_the_slug_is_noticed_by_the_client(owned, client, tmp_path, capsys):
    folder = shutil.copytree(owned / "kaggle" / "split_03" / "kernel", tmp_path / "kernel")
    path = folder / "kernel-metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"title": "Some other title"}))
    client.kernels_push(str(folder))
    assert "does not resolve to the specified id" in capsys.readouterr().out


@pytest.mark.parametrize("owner", ["", "datasets/alice"])
@pytest.mark.parametrize("unpacked", [None, ".", "split_03"])
def test_the_notebook_finds_what_the_client_uploaded_in_both_layouts_packed_or_not(
    owned, tmp_path, monkeypatch, owner, unpacked
):
    """Kaggle unpacks a zip into the dataset, or into a folder of its name; some sessions see it as it was sent."""
    folder = owned / "kaggle" / "split_03" / "dataset"
    slug = json.loads((folder / "dataset-metadata.json").read_text())["id"].split("/")[1]
    mount = tmp_path / "kaggle" / "input" / owner / slug
    mount.mkdir(parents=True)
    if unpacked is None:
        shutil.copy(folder / "split_03.zip", mount)
    else:
        zipfile.ZipFile(folder / "split_03.zip").extractall(mount / unpacked)
    paths = run_find_cell("kaggle", monkeypatch, tmp_path)["paths"]
    assert read_bundle(choose_bundle(3, paths)).manifest["split_id"] == 3


def test_the_notebook_finds_the_run_that_the_second_push_attaches(owned, tmp_path, monkeypatch):
    fields = json.loads((owned / "kaggle" / "split_03" / "kernel_resume" / "kernel-metadata.json").read_text())
    checkpoint = tmp_path / "kaggle/input/notebooks" / fields["kernel_sources"][0] / "hb-kaggle-03" / "checkpoint-5"
    checkpoint.mkdir(parents=True)
    (checkpoint / "manifest.json").write_text("{}")
    monkeypatch.setattr(cloud, "ROOT", tmp_path)
    monkeypatch.setattr(cloud, "WORKING", {"kaggle": tmp_path / "working"})
    cloud.bring_back("hb-kaggle-03", "kaggle", None, report=lambda line: None)
    assert (tmp_path / "working" / "hb-kaggle-03" / "checkpoint-5" / "manifest.json").is_file()
