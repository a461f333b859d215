"""Which base model: one is known by its contents or its commit wherever it lies, and another one is refused."""

import json
import shutil

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from housebrain_core.errors import ConfigError
from housebrain_core.train.base_models import (
    SINGLE,
    Base,
    find_commit,
    find_trained_base,
    hash_content,
    is_same_base,
    resolve_base,
)
from housebrain_core.train.model import save_tokenizer

COMMIT, OTHER = "df3ce67c0e24480f20468b6ef2894622d69eb73b", "0" * 40
NAME = "some/base"


@pytest.fixture
def hub(base, tmp_path, monkeypatch):
    """A Hub that cannot be reached, and its cache with the tiny base at `COMMIT`."""
    snapshot = tmp_path / "hub" / "models--some--base" / "snapshots" / COMMIT
    shutil.copytree(base, snapshot)
    refs = tmp_path / "hub" / "models--some--base" / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
    return snapshot


def note_download(folder, commit: str) -> None:
    """What `hf download --local-dir` writes beside the files."""
    notes = folder / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True)
    for name in ("config.json", SINGLE):
        (notes / f"{name}.metadata").write_text(f"{commit}\nan-etag\n1764350000.0\n")


def change_a_weight(folder) -> None:
    data = bytearray((folder / SINGLE).read_bytes())
    data[-5] ^= 1
    (folder / SINGLE).write_bytes(data)


def test_contents_are_the_same_on_the_hub_in_its_cache_and_in_a_folder(base, hub):
    on_hub = resolve_base(NAME)
    assert (on_hub.revision, on_hub.commit, on_hub.folder) == (COMMIT, COMMIT, hub)
    in_folder = resolve_base(str(base))
    assert on_hub.content == in_folder.content == in_folder.revision == hash_content(hub)
    assert Base("some/other", COMMIT, "some/other").content is None, "nothing of it is on this machine"


def test_contents_of_weights_that_are_not_all_there_are_unknown(hub):
    (hub / SINGLE).unlink()
    assert resolve_base(NAME).content is None


@pytest.mark.parametrize("recorded", [True, False])
def test_trained_from_the_hub_and_used_from_a_snapshot_or_a_download(recorded, base, hub, tmp_path):
    content = hash_content(base) if recorded else None
    download = shutil.copytree(base, tmp_path / "download")
    note_download(download, COMMIT)
    for folder in (hub, download):
        assert find_commit(folder) == COMMIT
        assert find_trained_base(str(folder), COMMIT, content, "it was trained on it").source == str(folder)
    assert find_trained_base(NAME, COMMIT, content, "it was trained on it").source == NAME


def test_trained_from_the_hub_and_used_from_a_folder_of_the_same_content(base):
    assert find_commit(base) is None
    found = find_trained_base(str(base), COMMIT, hash_content(base), "it was trained on it")
    assert found.source == str(base)
    with pytest.raises(ConfigError, match="Give the very base model"):
        find_trained_base(str(base), COMMIT, None, "nothing tells what it is")


def test_trained_from_a_folder_and_used_from_the_hub(base, hub):
    assert find_trained_base(NAME, hash_content(base), None, "it was trained on it").commit == COMMIT


@pytest.mark.parametrize("where", ["hub", "snapshot", "download", "folder"])
def test_different_content_is_refused_wherever_it_lies_and_whatever_it_is_called(where, base, hub, tmp_path):
    content = hash_content(base)
    folder = hub if where in ("hub", "snapshot") else shutil.copytree(base, tmp_path / "copy")
    if where == "download":
        note_download(folder, COMMIT)
    change_a_weight(folder)
    with pytest.raises(ConfigError, match=r"hb-1 was trained on it; .* is .*Give the very base model of the training"):
        find_trained_base(NAME if where == "hub" else str(folder), content, None, "hb-1 was trained on it")
    with pytest.raises(ConfigError, match="Give the very base model"):
        find_trained_base(str(folder), COMMIT, content, "hb-1 was trained on it")


def test_another_commit_is_refused_and_no_revision_fits_any(base, hub):
    assert not is_same_base(resolve_base(str(hub)), OTHER, None)
    assert not is_same_base(resolve_base(NAME), OTHER, None)
    assert is_same_base(resolve_base(NAME), None, None)


def test_files_of_two_commits_are_of_none(base, tmp_path):
    folder = shutil.copytree(base, tmp_path / "copy")
    note_download(folder, COMMIT)
    (folder / ".cache" / "huggingface" / "download" / f"{SINGLE}.metadata").write_text(f"{OTHER}\n")
    assert find_commit(folder) is None


def test_a_tokenizer_is_saved_with_a_class_that_other_tools_have(base, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    save_tokenizer(tokenizer, tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast" and not {"is_local", "local_files_only"} & set(config)
    assert config["model_input_names"] == ["input_ids", "attention_mask"], "or transformers 4 gives token_type_ids too"
    text = '{"plot": {"length": 40}, "style": "Modern"}\n'
    for other in (AutoTokenizer.from_pretrained(tmp_path), PreTrainedTokenizerFast.from_pretrained(tmp_path)):
        assert other(text).input_ids == tokenizer(text).input_ids
        assert (other.eos_token, other.pad_token) == (tokenizer.eos_token, tokenizer.pad_token)
