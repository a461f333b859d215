"""A train notebook that trains nothing: it counts steps into a file, saves, stops and dies as training does."""

import json
from pathlib import Path

import nbformat

from housebrain_core.cloud.notebook_run import Job

TRAIN = """
import json, os, signal, time
from pathlib import Path

from housebrain_core.manifests import seal
from housebrain_core.outputs import lock_output
from housebrain_core.display.progress import TrainingState, write_state

output = Path(models_folder, name)
output.mkdir(parents=True, exist_ok=True)
asked = []
signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
with lock_output(output):
    done = output / "step"
    step = int(done.read_text()) if done.exists() else 0
    with (output / "sessions").open("a") as file:
        file.write(f"{os.getpid()} {step} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}\\n")
    while step < steps and not asked:
        step += 1
        done.write_text(str(step))
        write_state(output, TrainingState(name=name, phase="training", step=step, planned=steps, curve=[(step, 0.5)]))
        if step == dies_at and not (output / "died").exists():
            (output / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(pause)
    if asked:
        write_state(output, TrainingState(name=name, phase="stopped by you", step=step, planned=steps))
        time.sleep(60)  # cells that nobody waits for
    seal(output, "adapter", finished=True, fingerprint={"steps": steps})
"""
PARAMETERS = {"models_folder": "models", "name": "", "steps": 5, "pause": 0.01, "dies_at": 0, "error": ""}
RAISE = """
from housebrain_core import errors
if error:
    raise (getattr(errors, error, None) or RuntimeError)("what went wrong")
"""


def write_notebook(path: Path) -> Path:
    """Writes the notebook."""
    lines = [f"{name} = {value!r}" for name, value in PARAMETERS.items()]
    cells = [nbformat.v4.new_code_cell("\n".join(lines), metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(RAISE), nbformat.v4.new_code_cell(TRAIN)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


def make_job(folder: Path, split_id: int = 1, attempts: int = 3, **parameters) -> Job:
    """A run of that notebook in a project's folder."""
    name = f"hb-kaggle-{split_id:02d}"
    notebook = folder / "train.ipynb"
    if not notebook.exists():
        write_notebook(notebook)
    (folder / "runs").mkdir(exist_ok=True)
    return Job(
        name=name, split_id=split_id, project=folder, notebook=notebook, folder=folder / "runs" / name,
        output=folder / "models" / name, stop=folder / "runs" / "stop", parameters={"name": name} | parameters,
        attempts=attempts,
    )  # fmt: skip


def sessions_of(job: Job) -> list[list[str]]:
    """Process, first step and GPU of each session that trained."""
    return [line.split(" ") for line in (job.output / "sessions").read_text().splitlines()]


def is_whole(job: Job) -> bool:
    """Whether it ended as an undisturbed run does."""
    return json.loads((job.output / "manifest.json").read_text())["finished"] and int(
        (job.output / "step").read_text()
    ) == job.parameters.get("steps", PARAMETERS["steps"])
