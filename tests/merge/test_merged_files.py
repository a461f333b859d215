"""The files of a merged adapter: which base they name, and a tokenizer that other tools can load."""

import json
import shutil
from dataclasses import replace

import pytest
from transformers import AutoTokenizer

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.adapters.run import read_run
from housebrain_core.errors import AdapterError
from housebrain_core.merge.compute import Recipe, compute_merge
from housebrain_core.merge.merged_files import TOKENIZER_CONFIG, merged_run, reference_adapter, write_adapter

COMMIT = "df3ce67c0e24480f20468b6ef2894622d69eb73b"


def write(adapters, folder) -> None:
    folder.mkdir()
    merge = compute_merge(adapters, Recipe("average", [1 / len(adapters)] * len(adapters)), "auto")
    write_adapter(folder, adapters, merge.rank, merge.factors)


def test_the_tokenizer_of_an_older_adapter_gets_a_class_that_other_tools_know(adapters, tmp_path):
    old = shutil.copytree(adapters[0], tmp_path / "old")
    for name in ("manifest.json", "run.json"):
        (old / name).unlink()
    config = json.loads((old / TOKENIZER_CONFIG).read_text()) | {"tokenizer_class": "TokenizersBackend"}
    (old / TOKENIZER_CONFIG).write_text(json.dumps(config))
    write([read_adapter(old, accept_plain=True)], tmp_path / "merged")
    written = json.loads((tmp_path / "merged" / TOKENIZER_CONFIG).read_text())
    assert written["tokenizer_class"] == "PreTrainedTokenizerFast"
    text = '{"plot": {"length": 40}}\n'
    trained = AutoTokenizer.from_pretrained(adapters[0])(text).input_ids
    assert AutoTokenizer.from_pretrained(tmp_path / "merged")(text).input_ids == trained


def test_a_trained_and_a_merged_adapter_name_a_class_that_other_tools_know(adapters, tmp_path):
    write([read_adapter(folder) for folder in adapters], tmp_path / "merged")
    for folder in (adapters[0], tmp_path / "merged"):
        assert json.loads((folder / TOKENIZER_CONFIG).read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_a_tokenizer_configuration_that_is_no_json_is_refused(adapters, tmp_path):
    broken = shutil.copytree(adapters[0], tmp_path / "broken")
    (broken / "manifest.json").unlink()
    (broken / TOKENIZER_CONFIG).write_text("{")
    with pytest.raises(AdapterError, match=f"broken/{TOKENIZER_CONFIG} is not JSON"):
        write([read_adapter(broken, accept_plain=True)], tmp_path / "merged")


def test_a_base_that_can_be_downloaded_is_named_where_one_adapter_names_its_commit(adapters):
    one, two, three = map(read_adapter, adapters)
    hub = replace(two, base_model="some/base", revision=COMMIT)
    assert reference_adapter([one, hub, three]) is hub and reference_adapter([one, three]) is one
    run = merged_run([one, hub, three])
    assert (run.base.name, run.base.revision, run.base.content) == ("some/base", COMMIT, one.base_content)


def test_run_json_adds_up_what_the_adapters_were_trained_on(adapters, tmp_path):
    opened = [read_adapter(folder) for folder in adapters]
    write(opened, tmp_path / "merged")
    run = read_run((tmp_path / "merged" / "run.json").read_bytes())
    assert run.finished and run.why_it_ended == "merged from 3 adapters"
    assert run.tokens == sum(adapter.run.tokens for adapter in opened)
    assert run.samples == sum(adapter.run.samples for adapter in opened)
    assert run.data.dataset == opened[0].dataset and run.settings.load_in_4bit
