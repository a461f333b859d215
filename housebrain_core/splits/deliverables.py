"""What a splits folder holds for people beside the bundles: notebooks, pages, kaggle folders, settings."""

import shlex
from pathlib import Path

from housebrain_core.manifests import to_json
from housebrain_core.splits.assignments import Assignment, Training, notebook_parameters
from housebrain_core.splits.handouts import write_handout
from housebrain_core.splits.kaggle import CLIENT, push_commands, write_folders
from housebrain_core.splits.notebooks import default_settings, fill_in, read_rendered
from housebrain_core.splits.parts import SplitPart

GUIDE = ("base_model", "batch_size", "gradient_accumulation_steps", "max_length", "epochs", "lora_r", "save_steps")
"""Settings that training_configs.json always has; those that were chosen are added."""
NO_NOTEBOOK = (
    "No notebook: the train notebooks are not here; in a checkout, python build_notebooks.py makes them. "
    "Then split again."
)


def hand_out(folder: Path, parts: list[SplitPart], assignment: Assignment) -> list[str]:
    """Writes notebooks, pages, kaggle folders and training_configs.json for all splits.

    Args:
        folder: of the splits; the bundles lie in it.
        parts: the splits.
        assignment: who trains what; the settings are the same for all.

    Returns:
        The files written, relative to the folder.
    """
    names = ["training_configs.json"]
    (folder / names[0]).write_text(to_json(training_configs(parts, assignment.training)))
    notebooks = {part.platform: read_rendered(part.platform) for part in parts if part.notebook}
    (folder / "handouts").mkdir()
    for part in parts:
        filled_in = {}
        if part.notebook:
            notebook = notebooks[part.platform]
            filled_in = notebook_parameters(part.split_id, assignment.training, default_settings(notebook))
            (folder / part.notebook).write_text(fill_in(notebook, filled_in), encoding="utf-8")
            names.append(part.notebook)
        if part.owner:
            names += write_folders(folder, part)
        page = write_handout(part, len(parts), assignment.training, filled_in)
        names.append(f"handouts/{part.name}.md")
        (folder / names[-1]).write_text(page, encoding="utf-8")
    return names


def training_configs(parts: list[SplitPart], training: Training) -> list[dict]:
    """The settings for each split, as `FineTuningConfig` takes them."""
    names = dict.fromkeys((*GUIDE, *training.chosen))
    return [
        {
            "split_id": part.split_id,
            "platform": part.platform,
            "dataset_path": part.bundle,
            "output_dir": f"models/{part.adapter}",
            **{name: getattr(training.settings, name) for name in names},
        }
        for part in parts
    ]


def describe_folder(folder: Path, parts: list[SplitPart]) -> str:
    """Where things are in a splits folder, and what to do next."""
    first = parts[0]
    ending = ".zip" if first.notebook else ""
    rows = [
        (first.bundle, "the data to upload, a file for each person"),
        (first.notebook, "the notebook that trains on it, with its settings"),
        (f"handouts/{first.name}.md", "what that person does, click by click, and sends back"),
    ]
    lines = [
        f"{len(parts)} splits are in {folder}. For each person there are, here of split 1:",
        *(f"  {name:<24} {text}" for name, text in rows if name),
        f"Next: send them these. Put what comes back, {first.adapter}{ending} and so on, into models/ and merge:",
        f"  housebrain merge --models models/hb-*{ending} --data {shlex.quote(str(folder))} --validate",
    ]
    if not first.notebook:
        lines.append(NO_NOTEBOOK)
    return "\n".join(lines + describe_pushes(folder, [part for part in parts if part.owner]))


def describe_pushes(folder: Path, parts: list[SplitPart]) -> list[str]:
    """How the owners of splits put dataset and notebook on Kaggle; what is typed can be copied as it is."""
    lines = [f"Or with {CLIENT}, signed in as the owner, who may also get the folder kaggle/split_NN alone:"]
    for part in parts:
        lines.append(f"  # {part.owner}; push when the second line says ready")
        lines += [f"  {command}" for command in push_commands(part, str(folder / "kaggle" / part.name))]
    return lines if parts else []
