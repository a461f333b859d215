"""One run of a notebook: finished, stopped, killed, or failed; and what is left of it afterwards."""

import os
import subprocess
import sys
import threading
import time

import psutil
import pytest
from fake_training import is_whole, make_job, sessions_of

from housebrain_core.cloud import notebook_run
from housebrain_core.cloud.notebook_run import MARK, NOW, end_processes, find_processes, read_record, run_job
from housebrain_core.outputs import lock_output


def wait_until(condition, seconds: float = 90) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not come to that"
        time.sleep(0.05)


def begin(job) -> tuple[threading.Thread, list]:
    """Runs a job beside the test, until it has done a step."""
    outcomes: list = []
    thread = threading.Thread(target=lambda: outcomes.append(run_job(job)))
    thread.start()
    wait_until(lambda: (job.output / "step").exists() or outcomes)
    return thread, outcomes


@pytest.mark.slow
def test_a_run_whose_kernel_is_killed_goes_on_where_it_was(tmp_path):
    job = make_job(tmp_path, dies_at=3)
    outcome = run_job(job, "GPU 7", {"CUDA_VISIBLE_DEVICES": "7"})
    assert (outcome.ended, outcome.error) == ("finished", "")
    assert is_whole(job) and not list(find_processes(job.folder))
    assert [session[1:] for session in sessions_of(job)] == [["0", "7"], ["3", "7"]]
    record = read_record(job.folder)
    assert record and (record.machine, record.attempt, record.worker) == ("GPU 7", 2, os.getpid())
    assert "--- attempt 2 on GPU 7" in (job.folder / "log.txt").read_text()


@pytest.mark.slow
def test_a_stop_lets_it_save_and_waits_for_nothing_else(tmp_path):
    job = make_job(tmp_path, steps=10_000)
    thread, outcomes = begin(job)
    job.stop.touch()
    thread.join(30)
    assert outcomes[0].ended == "stopped" and not list(find_processes(job.folder))
    assert int((job.output / "step").read_text()) > 0 and not (job.output / "manifest.json").exists()


@pytest.mark.soak
def test_a_second_stop_ends_it_at_once(tmp_path):
    job = make_job(tmp_path, steps=10_000, pause=60)
    thread, outcomes = begin(job)
    job.stop.write_text(NOW)
    thread.join(30)
    assert outcomes[0].ended == "stopped" and not list(find_processes(job.folder))


@pytest.mark.soak
@pytest.mark.parametrize(("error", "attempts"), [("DataError", 1), ("RuntimeError", 2)])
def test_only_what_may_pass_is_tried_again_and_the_last_error_is_told(tmp_path, error, attempts):
    job = make_job(tmp_path, attempts=2, error=error)
    outcome = run_job(job)
    assert (outcome.ended, outcome.error) == ("failed", "what went wrong")
    assert (job.folder / "log.txt").read_text().count("--- attempt") == attempts


@pytest.mark.slow
def test_a_run_ends_with_the_process_that_started_it(tmp_path):
    job = make_job(tmp_path, steps=10_000)
    code = "import sys; from pathlib import Path; from fake_training import make_job\n"
    code += "from housebrain_core.cloud.notebook_run import run_job\n"
    code += "run_job(make_job(Path(sys.argv[1]), steps=10_000))"
    path = os.pathsep.join([*sys.path, os.path.dirname(__file__)])
    worker = subprocess.Popen([sys.executable, "-c", code, tmp_path], env=os.environ | {"PYTHONPATH": path})
    wait_until(lambda: (job.output / "step").exists())
    worker.kill()
    worker.wait()
    wait_until(lambda: not list(find_processes(job.folder)))
    with lock_output(job.output):
        assert not (job.output / "manifest.json").exists()


def sleeping(folder, **settings) -> subprocess.Popen:
    """A process that has the mark of a run, in a session of its own, as a kernel has."""
    command = [sys.executable, "-c", "import time; time.sleep(100)"]
    return subprocess.Popen(command, env=os.environ | {MARK: str(folder)}, start_new_session=True, **settings)


def test_what_a_dead_worker_left_is_ended_and_nothing_else(tmp_path):
    mine, others = sleeping(tmp_path / "runs" / "a"), sleeping(tmp_path / "runs" / "b")
    try:
        wait_until(lambda: len(list(find_processes(tmp_path / "runs" / "a"))) == 1)
        end_processes(tmp_path / "runs" / "a")
        assert mine.wait(10) is not None
        assert others.poll() is None and psutil.pid_exists(others.pid)
    finally:
        for process in (mine, others):
            process.kill()
            process.wait()


def test_a_record_that_is_damaged_is_none(tmp_path):
    (tmp_path / notebook_run.RECORD).write_text('{"attempt": ')
    assert read_record(tmp_path) is None


def test_while_another_machine_writes_nothing_is_started(tmp_path, monkeypatch):
    monkeypatch.setattr(notebook_run, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **settings: pytest.fail("a second writer"))
    job = make_job(tmp_path)
    with lock_output(job.output):
        outcome = run_job(job)
    assert outcome.ended == "failed" and "another process is writing" in outcome.error


def test_a_job_that_is_stopped_before_its_turn_starts_nothing(tmp_path):
    job = make_job(tmp_path)
    job.stop.touch()
    assert run_job(job).ended == "stopped" and not job.output.exists()


def test_without_a_notebook_the_last_line_of_the_newest_attempt_is_the_error(tmp_path):
    (tmp_path / "log.txt").write_text("--- attempt 1 on x\nold\n--- attempt 2 on x\nDeadKernelError: Kernel died\n\n")
    assert notebook_run.read_error(tmp_path) == ("", "DeadKernelError: Kernel died")
    (tmp_path / "log.txt").write_text("--- attempt 1 on x\n")
    assert notebook_run.read_error(tmp_path) == ("", "it ended without a word")
