"""Two processes (gloo, on the CPU) train one model: as one process would, stopped and resumed exactly."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel
from safetensors.torch import load_file

from housebrain_core.config import FineTuningConfig
from housebrain_core.errors import CheckpointError, HouseBrainError, MachineError
from housebrain_core.manifests import read_manifest, sha256_of
from housebrain_core.platforms import Gpu
from housebrain_core.train import processes, stopping, training
from housebrain_core.train.processes import rank
from housebrain_core.train.trainer import RowTrainer
from housebrain_core.train.training import train_together
from housebrain_core.train.tuner import HouseBrainFineTuner

WEIGHTS = "adapter_model.safetensors"


def settings(splits, base, output, **more) -> FineTuningConfig:
    """Two rows per step, so that a step of two processes is a step of one."""
    values = {"dataset_path": splits / "split_01.zip", "output_dir": output, "base_model": str(base), "max_steps": 6,
              "gradient_accumulation_steps": 2, "row_length": 512, "learning_rate": 5e-3}  # fmt: skip
    return FineTuningConfig(**values | more)


def run_ranks(config, act=lambda line, children: None) -> tuple[list[int], list[list[str]]]:
    """Trains in two forked processes, torch being loaded already: exit codes, and what each of them said.

    Args:
        config: the run's settings; the lines lie in files beside its folder.
        act: called at each line with the process ids of both.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = [config.output_dir.with_suffix(f".{number}.txt") for number in (0, 1)]
    children: list[int] = []
    for number in (1, 0):  # the first process knows the other one's id
        child = os.fork()
        if not child:
            os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2",
                           "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip
            train_and_exit(config, files[number], lambda line: act(line, [os.getpid(), *children]))
        children.insert(0, child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return codes, [file.read_text().splitlines() for file in files]


def train_and_exit(config, file, act) -> None:
    """Trains as one of two, its lines and its error in a file; never returns."""
    code = 1
    try:
        with file.open("w", buffering=1) as lines:
            train_together(config, time.time(), lambda line: (print(line, file=lines), act(line)))
        code = 0
    except HouseBrainError as error:
        file.write_text(f"{type(error).__name__}: {error}")
        code = 2
    except BaseException:
        file.write_text(traceback.format_exc())
    finally:
        os._exit(code)


@pytest.fixture(scope="module")
def together(splits, base, tmp_path_factory) -> Path:
    """An uninterrupted run of two processes."""
    folder = tmp_path_factory.mktemp("together")
    codes, lines = run_ranks(settings(splits, base, folder / "hb", gpus=2))
    assert codes == [0, 0], lines
    assert any("6 of 6" in line for line in lines[0]) and lines[1] == [], "one of them speaks"
    return folder / "hb"


def test_two_processes_train_what_one_trains(together, splits, base, tmp_path):
    alone = HouseBrainFineTuner(settings(splits, base, tmp_path / "alone"), lambda line: None).train()
    run = json.loads((together / "run.json").read_text())
    assert run["hardware"]["gpus"] == 2 and run["steps"] == alone.steps
    assert (run["tokens"], run["epochs"]) == (alone.tokens, alone.epochs)
    assert abs(run["validation_loss"] - alone.validation_loss) < 1e-5
    ours, theirs = load_file(together / WEIGHTS), load_file(tmp_path / "alone" / WEIGHTS)
    distance = sum((ours[name] - theirs[name]).square().sum() for name in theirs).sqrt()
    assert distance < 1e-4 * sum(value.square().sum() for value in theirs.values()).sqrt()


def test_stopped_by_time_and_by_a_signal_to_one_of_them_they_go_on_to_the_same_bytes(together, splits, base, tmp_path):
    config = settings(splits, base, tmp_path / "hb", gpus=2, save_steps=2)
    codes, lines = run_ranks(config.model_copy(update={"time_budget_hours": 1e-7}))
    assert codes == [0, 0] and "the time budget ended at step 1 of 6" in lines[0][-2], lines
    files = read_manifest(config.output_dir / "checkpoint-1", "checkpoint")["files"]
    assert {"rng_state_0.pth", "rng_state_1.pth", "optimizer.pt"} <= files.keys()
    with pytest.raises(CheckpointError, match="world_size was 2 and is now 1"):
        HouseBrainFineTuner(config.model_copy(update={"gpus": 1}), lambda line: None).train()

    def stop_the_other(line, children):
        if line == "saved checkpoint-2":
            os.kill(children[1], signal.SIGTERM)

    codes, lines = run_ranks(config, stop_the_other)
    assert codes == [0, 0] and "stopped from outside (SIGTERM) at step 3 of 6" in lines[0][-2], lines
    codes, lines = run_ranks(config)
    assert codes == [0, 0] and "resuming from checkpoint-3" in lines[0], lines
    assert sha256_of(config.output_dir / WEIGHTS) == sha256_of(together / WEIGHTS)


def test_in_a_leg_two_processes_train_what_one_trains_and_stopped_they_go_on_to_the_same_bytes(
    two_rounds, leg_file, base, tmp_path
):
    leg = {"dataset_path": two_rounds / "split_02.zip", "init_adapter": leg_file, "max_steps": 10}
    HouseBrainFineTuner(settings(two_rounds, base, tmp_path / "alone", **leg), lambda line: None).train()
    codes, lines = run_ranks(settings(two_rounds, base, tmp_path / "both", gpus=2, **leg))
    assert codes == [0, 0] and lines[0][0].startswith("leg 2 of 2, starts from leg_2.zip"), lines
    ours, theirs = load_file(tmp_path / "both" / WEIGHTS), load_file(tmp_path / "alone" / WEIGHTS)
    distance = sum((ours[name] - theirs[name]).square().sum() for name in theirs).sqrt()
    assert distance < 1e-4 * sum(value.square().sum() for value in theirs.values()).sqrt()
    config = settings(two_rounds, base, tmp_path / "cut", gpus=2, **leg)
    codes, lines = run_ranks(config.model_copy(update={"time_budget_hours": 1e-7}))
    assert codes == [0, 0], lines
    codes, lines = run_ranks(config)
    assert codes == [0, 0] and "resuming from checkpoint-1" in lines[0], lines
    assert sha256_of(tmp_path / "cut" / WEIGHTS) == sha256_of(tmp_path / "both" / WEIGHTS)


def test_a_write_that_fails_in_one_of_them_is_cleaned_up_and_both_train_on(
    together, splits, base, tmp_path, monkeypatch
):
    original = RowTrainer._save_rng_state

    def save(self, output_dir):
        if rank() == 1 and self.state.global_step == 2:
            raise OSError(28, "No space left on device")
        original(self, output_dir)

    monkeypatch.setattr(RowTrainer, "_save_rng_state", save)
    codes, lines = run_ranks(settings(splits, base, tmp_path / "hb", gpus=2, save_steps=2))
    assert codes == [0, 0] and any("checkpoint-2 could not be written" in line for line in lines[0]), lines
    assert "saved checkpoint-4" in lines[0] and not (tmp_path / "hb" / "checkpoint-2").exists()
    assert sha256_of(tmp_path / "hb" / WEIGHTS) == sha256_of(together / WEIGHTS)


def test_garbage_in_one_of_them_stops_both_in_the_same_step(splits, base, tmp_path, monkeypatch):
    original = RowTrainer.compute_loss

    def lose(self, *args, **kwargs):
        broken = rank() == 1 and self.state.global_step == 2
        return original(self, *args, **kwargs) * (float("nan") if broken else 1)

    monkeypatch.setattr(RowTrainer, "compute_loss", lose)
    codes, lines = run_ranks(settings(splits, base, tmp_path / "hb", gpus=2, logging_steps=1))
    assert codes == [2, 2]
    assert all(said[0].startswith("TrainingError: the loss is nan at step 3") for said in lines), lines


def test_when_nothing_more_is_learned_both_stop_at_the_step_of_one(splits, base, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "measuring_interval", lambda rows, per_step: 2)
    monkeypatch.setattr(stopping, "why_learned", lambda losses, floor, done: "learned: enough" * (len(losses) == 2))
    config = settings(splits, base, tmp_path / "hb", gpus=2, max_steps=None, epochs=10)
    codes, lines = run_ranks(config)
    assert codes == [0, 0] and "learned: enough at step 5" in lines[0][-1], lines


def test_steps_that_do_not_divide_are_said(splits, base, tmp_path):
    config = settings(splits, base, tmp_path / "hb", gpus=2, gradient_accumulation_steps=3, max_steps=1)
    codes, lines = run_ranks(config)
    assert codes == [0, 0] and "3 rows per step do not divide by 2 GPUs: it is 4" in lines[0], lines


@pytest.mark.slow
def test_the_command_starts_two_passes_a_signal_on_and_exits_0(together, splits, base, tmp_path):
    config = settings(splits, base, tmp_path / "hb", gpus=2, save_steps=2)
    command = [sys.executable, "-m", "housebrain_core.cli", "train", "--split", config.dataset_path, "--output",
               config.output_dir, "--base-model", base, "--max-steps", 6, "--gradient-accumulation-steps", 2,
               "--row-length", 512, "--learning-rate", 5e-3, "--save-steps", 2, "--gpus", 2]  # fmt: skip
    lines = []
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            lines.append(line.strip())
            if lines[-1] == "saved checkpoint-2":
                process.send_signal(signal.SIGTERM)
    assert process.returncode == 0 and lines[-1].startswith("To go on, start it again"), lines
    assert "stopped from outside (SIGTERM) at step 3 of 6" in lines[-2] or "step 4 of 6" in lines[-2]
    codes, lines = run_ranks(config)
    assert codes == [0, 0] and sha256_of(config.output_dir / WEIGHTS) == sha256_of(together / WEIGHTS)


def test_what_a_process_raises_is_raised_here(tmp_path):
    (tmp_path / "stderr").write_text("one\ntwo\n")
    assert "one\ntwo" in str(processes.read_error(tmp_path))
    (tmp_path / "error-1.json").write_text(json.dumps({"kind": "CheckpointError", "message": "another run"}))
    error = processes.read_error(tmp_path)
    assert isinstance(error, CheckpointError) and str(error) == "another run"


def fake_gpus(monkeypatch, count, visible=None):
    """A machine with so many T4s, of which CUDA_VISIBLE_DEVICES names some."""
    monkeypatch.setattr(processes, "list_gpus", lambda: [Gpu("Tesla T4", (7, 5), 15000, 15000)] * count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


def test_more_processes_than_gpus_are_refused_and_none_at_all_is_the_cpu(monkeypatch):
    fake_gpus(monkeypatch, 1)
    with pytest.raises(MachineError, match="gpus = 2, but this session can use 1"):
        processes.process_environment(2)
    fake_gpus(monkeypatch, 2, "0")
    with pytest.raises(MachineError, match="gpus = 2, but this session can use 1"):
        processes.process_environment(2)
    fake_gpus(monkeypatch, 2)
    assert "CUDA_VISIBLE_DEVICES" not in processes.process_environment(2)
    fake_gpus(monkeypatch, 4, "2,3")
    assert processes.process_environment(2)["CUDA_VISIBLE_DEVICES"] == "2,3"
    fake_gpus(monkeypatch, 0, "2,3")
    assert processes.process_environment(2)["CUDA_VISIBLE_DEVICES"] == "2,3"


@pytest.mark.parametrize(
    ("here", "visible", "gpus", "count"),
    [(0, None, "all", 1), (1, None, "all", 1), (2, None, "all", 2), (2, None, 1, 1), (4, "2,3", "all", 2),
     (4, "", "all", 1), (0, None, 2, 2), (1, None, 2, 2)],
)  # fmt: skip
def test_all_gpus_that_the_session_may_use_train_unless_a_number_is_given(
    here, visible, gpus, count, splits, base, tmp_path, monkeypatch
):
    fake_gpus(monkeypatch, here, visible)
    assert settings(splits, base, tmp_path / "hb").gpus == "all", "the default"
    assert processes.count_processes(settings(splits, base, tmp_path / "hb", gpus=gpus)) == count


def test_the_fine_tuner_itself_starts_the_processes(together, splits, base, monkeypatch):
    fake_gpus(monkeypatch, 2)
    started = []
    monkeypatch.setattr("housebrain_core.train.tuner.train_in_processes", lambda *task: started.append(task))
    config = settings(splits, base, together)
    result = HouseBrainFineTuner(config, print).train()
    assert started[0][:3] == (config, 2, print) and len(started) == 1
    assert result.finished and result.hardware.gpus == 2 and result.steps == 6


def test_a_later_session_takes_the_number_that_its_run_began_with(together, splits, base, tmp_path, monkeypatch):
    fake_gpus(monkeypatch, 1)
    assert processes.count_processes(settings(splits, base, together)) == 2, "a finished adapter"
    (tmp_path / "hb").mkdir()
    shutil.copytree(together / "checkpoint-6", tmp_path / "hb" / "checkpoint-6")
    assert processes.count_processes(settings(splits, base, tmp_path / "hb")) == 2, "a checkpoint"
    with pytest.raises(MachineError, match="A run goes on with as many as it began with"):
        HouseBrainFineTuner(settings(splits, base, tmp_path / "hb"), print).train()


@pytest.mark.parametrize("gpus", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_the_stop_button_of_a_notebook_saves_and_stops_at_the_end_of_the_step(gpus, splits, base, tmp_path):
    config = settings(splits, base, tmp_path / "hb", gpus=gpus, max_steps=500, save_steps=2)
    kernel, client = start_new_kernel()
    try:
        client.execute(
            "from housebrain_core.config import FineTuningConfig\n"
            "from housebrain_core.train.tuner import HouseBrainFineTuner\n"
            f"config = FineTuningConfig(**{config.model_dump(mode='json')!r})\n"
            "print(HouseBrainFineTuner(config).train().why_it_ended)"
        )
        printed, pressed = "", 0
        while (message := client.get_iopub_msg(timeout=240))["content"].get("execution_state") != "idle":
            content = message["content"]
            shown = content.get("data", {}).get("text/plain", "")
            printed += content.get("text", "") + "\n".join(content.get("traceback", []))
            if ("saved at step" in shown and not pressed) or ("stopping: " in printed and pressed == 1):
                pressed += 1
                kernel.interrupt_kernel()
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    assert pressed == 2 and "Traceback" not in printed
    assert printed.endswith("stopped by you\n") and "it resumes from the last checkpoint" in printed, printed
    (sealed, *_) = sorted(config.output_dir.glob("checkpoint-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    read_manifest(sealed, "checkpoint")
