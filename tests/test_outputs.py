"""Where results may be written is asked before the work: folders, files in the way, and what others wrote."""

import json

import pytest

from housebrain_core.cli import run_train
from housebrain_core.config import AuditConfig, FineTuningConfig, SplitConfig
from housebrain_core.data.audit import audit_dataset
from housebrain_core.errors import ConfigError
from housebrain_core.outputs import check_file, check_folder
from housebrain_core.splits.split import split_dataset


def test_a_folder_is_no_file_and_a_file_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is a folder; name a file"):
        check_file(tmp_path)
    with pytest.raises(ConfigError, match="is a file; name a folder"):
        check_folder(tmp_path / "file")
    for check in (check_file, check_folder):
        with pytest.raises(ConfigError, match=r"file is a file, so that nothing can be written below it"):
            check(tmp_path / "file" / "below" / "it")
    check_file(tmp_path / "new" / "file")
    check_folder(tmp_path / "new" / "folder")


def test_splits_and_adapters_are_not_written_where_a_file_is(dataset, tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="is a file; name a folder"):
            split_dataset(SplitConfig(source=dataset, output=path, overwrite=overwrite), lambda line: None)
    with pytest.raises(ConfigError, match="nothing can be written below it"):
        split_dataset(SplitConfig(source=dataset, output=path / "out"), lambda line: None)
    with pytest.raises(ConfigError, match="is a file; name a folder"):
        run_train(FineTuningConfig(dataset_path=dataset, output_dir=path))
    assert path.read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("text", ["mine", "[1]", '{"precious": 1}', '{"a": 1}'])
def test_only_what_an_earlier_run_wrote_is_replaced(text, tmp_path):
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="no earlier run of this command wrote"):
        check_file(path, {"a", "b"})
    path.write_text('{"a": 1, "b": 2, "c": 3}')
    check_file(path, {"a", "b"})


def test_an_audit_replaces_its_own_report_and_nobody_elses(dataset, tmp_path):
    config = AuditConfig(source=dataset, output=tmp_path / "report.html")
    figures = tmp_path / "report.json"
    figures.write_text('{"precious": 1}')
    with pytest.raises(ConfigError, match="report.json"):
        audit_dataset(config, lambda line: None)
    assert json.loads(figures.read_text()) == {"precious": 1} and not config.output.exists()
    figures.unlink()
    audit_dataset(config, lambda line: None)
    audit_dataset(config, lambda line: None)
