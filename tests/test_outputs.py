"""Where results may be written is asked before the work: folders, files in the way, and what others wrote."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors import SafetensorError

from housebrain_core.commands.stages import train_split
from housebrain_core.config import AuditConfig, FineTuningConfig, SplitConfig
from housebrain_core.data.audit import audit_dataset
from housebrain_core.display import plots
from housebrain_core.errors import ConfigError
from housebrain_core.manifests import check_files, read_manifest, seal
from housebrain_core.outputs import check_file, check_folder, lock_output, staged_output
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


FULL = os.strerror(errno.ENOSPC)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, FULL),
        OSError(errno.ENOSPC, FULL, "elsewhere/tokenizer.json", None, "OUT.1-2.partial/tokenizer.json"),
        shutil.Error([("elsewhere/a", "OUT/a", f"[Errno {errno.ENOSPC}] {FULL}: 'elsewhere/a' -> 'OUT/a'")]),
        SafetensorError(f"Error while serializing: I/O error: {FULL} (os error {errno.ENOSPC})"),
        RuntimeError("[enforce fail at inline_container.cc:668] . unexpected pos 64 vs 0"),
    ],
)
def test_a_full_disk_is_told_with_the_output_whoever_found_it(error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(OSError, match=FULL) as told, lock_output(Path("OUT")):
        raise error
    assert (told.value.errno, told.value.strerror, told.value.filename) == (errno.ENOSPC, FULL, "OUT")


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "No such file", "d/.OUT.1.partial"), ConfigError("x")]
)
def test_a_folder_that_goes_away_meanwhile_is_told(error, tmp_path):
    with pytest.raises(ConfigError, match="d was removed while OUT was written there"), lock_output(tmp_path / "d/OUT"):
        shutil.rmtree(tmp_path / "d")
        raise error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("a bug"),
        FileNotFoundError(errno.ENOENT, "No such file", "OUT/input"),
        OSError(errno.ENOSPC, FULL, "/elsewhere/file"),
        TimeoutError("of requests, without a number"),
    ],
)
def test_other_errors_stay_as_they_are(error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(type(error)) as told, lock_output(Path("OUT")):
        raise error
    assert told.value is error


def test_splits_and_adapters_are_not_written_where_a_file_is(dataset, tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="is a file; name a folder"):
            split_dataset(SplitConfig(source=dataset, output=path, overwrite=overwrite), lambda line: None)
    with pytest.raises(ConfigError, match="nothing can be written below it"):
        split_dataset(SplitConfig(source=dataset, output=path / "out"), lambda line: None)
    with pytest.raises(ConfigError, match="is a file; name a folder"):
        train_split(FineTuningConfig(dataset_path=dataset, output_dir=path))
    assert path.read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("text", ["mine", "[1]", '{"precious": 1}', '{"a": 1}'])
def test_only_what_an_earlier_run_wrote_is_replaced(text, tmp_path):
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="no earlier run of this command wrote"):
        check_file(path, {"a", "b"})
    path.write_text('{"a": 1, "b": 2, "c": 3}')
    check_file(path, {"a", "b"})


@pytest.mark.slow
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


def write_result(output: Path, text: str, started=None, go_on=None, overwrite: bool = False) -> None:
    """A stage in miniature: two files and a manifest, with a pause between them."""
    with staged_output(output, "result", overwrite) as folder:
        (folder / "first").write_text(text)
        if started:
            started.set()
            assert go_on.wait(30)
        (folder / "second").write_text(text)
        seal(folder, "result")


def read_result(output: Path) -> list[str]:
    check_files(output, read_manifest(output, "result"))
    return [(output / name).read_text() for name in ("first", "second")]


def left_beside(output: Path) -> list[str]:
    """What is in the folder of the output beside it."""
    return sorted({path.name for path in output.parent.iterdir()} - {output.name})


@pytest.mark.slow
@pytest.mark.parametrize("kind", [threading.Thread, multiprocessing.get_context("spawn").Process])
def test_of_two_runs_into_one_output_the_second_is_refused_and_nothing_is_mixed(kind, tmp_path):
    events = threading if kind is threading.Thread else multiprocessing.get_context("spawn")
    started, go_on, output = events.Event(), events.Event(), tmp_path / "out"
    first = kind(target=write_result, args=(output, "one", started, go_on))
    first.start()
    assert started.wait(60)
    with pytest.raises(ConfigError, match=r"another process is writing .*out\. Wait for it") as refused:
        write_result(output, "two")
    assert "\n" not in str(refused.value) and not output.exists()
    go_on.set()
    first.join()
    assert read_result(output) == ["one", "one"] and left_beside(output) == []
    write_result(output, "two", overwrite=True)
    assert read_result(output) == ["two", "two"] and left_beside(output) == []


def interrupt_halfway(output: Path) -> None:
    with staged_output(output, "result", overwrite=True) as folder:
        (folder / "first").write_text("half")
        raise KeyboardInterrupt


def test_after_an_error_the_output_is_what_it_was(tmp_path):
    output = tmp_path / "out"
    for before in (None, "one"):
        if before:
            write_result(output, before)
        with pytest.raises(KeyboardInterrupt):
            interrupt_halfway(output)
        assert output.exists() == bool(before) and left_beside(output) == []
    assert read_result(output) == ["one", "one"]


def test_what_a_dead_process_left_is_removed_and_an_output_that_stepped_aside_comes_back(tmp_path):
    output = tmp_path / "out"
    write_result(output, "one")
    output.rename(tmp_path / ".out.replaced")
    for name in (".out.123-0a1b2c3d.partial", ".out.v2.123-0a1b2c3d.partial"):
        (tmp_path / name).mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        write_result(output, "two")
    assert read_result(output) == ["one", "one"]
    assert left_beside(output) == [".out.v2.123-0a1b2c3d.partial"], "another output's staging stays"


@pytest.mark.parametrize("files", [[], ["thesis.txt"], ["manifest.json"]])
def test_only_a_whole_folder_of_the_same_stage_is_replaced(files, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    for name in files:
        (output / name).write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        write_result(output, "one")
    with pytest.raises(ConfigError, match="not a whole folder that this command wrote"):
        write_result(output, "one", overwrite=True)
    assert sorted(path.name for path in output.iterdir()) == files and left_beside(output) == []


def make_meanwhile(output: Path) -> None:
    with staged_output(output, "result") as folder:
        seal(folder, "result")
        output.mkdir()
        (output / "thesis.txt").write_text("mine")


def test_an_output_that_somebody_makes_during_the_work_stays(tmp_path):
    output = tmp_path / "out"
    with pytest.raises(ConfigError, match="was made by somebody else during the work"):
        make_meanwhile(output)
    assert (output / "thesis.txt").read_text() == "mine" and left_beside(output) == []


def test_a_file_can_be_locked_too(tmp_path):
    output = tmp_path / "new" / "evaluation.json"
    refused = pytest.raises(ConfigError, match=r"another process is writing .*evaluation\.json")
    with lock_output(output), refused, lock_output(output):
        pass
    assert not output.parent.exists(), "an empty folder is not left"
    output.parent.mkdir()
    with lock_output(output):
        assert left_beside(output) == [".evaluation.json.lock"]


def test_the_lock_outlives_nothing_not_even_a_killed_process(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from housebrain_core.outputs import lock_output\n"
        "with lock_output(Path(sys.argv[1])):\n    print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(ConfigError, match="another process"), lock_output(tmp_path / "out"):
            pass
        holder.send_signal(signal.SIGKILL)
    with lock_output(tmp_path / "out"):
        pass
    with lock_output(tmp_path / "out"):
        pass


@pytest.mark.parametrize(
    ("name", "ours"),
    [("report.html", b"<title>HouseBrain audit of x</title>"), ("a.png", b"\x89PNG\r\n\x1a\n tEXtSoftware\0HouseBrain"),
     ("empty.html", b"")],
)  # fmt: skip
def test_a_page_or_picture_of_ours_is_replaced_and_nobody_elses(name, ours, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"<title>mine</title>")
    with pytest.raises(ConfigError, match=r"so it stays. Choose another --output, or move it away\."):
        check_file(path)
    path.write_bytes(ours)
    check_file(path)


def test_lines_that_an_earlier_run_wrote_are_known_by_the_first(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('\n{"a": 1, "b": "x"}\n{"torn')
    check_file(path, {"a", "b"})
    with pytest.raises(ConfigError, match="so it stays"):
        check_file(path, {"a", "c"})


def test_what_is_read_is_never_replaced(tmp_path):
    path = tmp_path / "briefs.jsonl"
    path.write_text('{"a": 1}\n')
    (tmp_path / "same.jsonl").hardlink_to(path)
    for output in (path, tmp_path / "same.jsonl"):
        with pytest.raises(ConfigError, match="that is what is read"):
            check_file(output, {"a"}, [path, tmp_path / "missing"], overwrite=True)


def test_a_device_is_no_output():
    with pytest.raises(ConfigError, match="no file that can be written anew"):
        check_file(Path(os.devnull))


def test_a_picture_is_known_as_ours_later(tmp_path):
    check_file(plots.save(plots.loss_bars({"x": 1.0}), tmp_path / "x.png"))
