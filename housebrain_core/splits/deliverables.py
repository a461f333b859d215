"""What a splits folder holds for people beside the bundles: notebooks, pages, kaggle folders, settings."""

import shlex
from pathlib import Path

from housebrain_core.manifests import to_json
from housebrain_core.splits.assignments import Assignment, Training, notebook_parameters
from housebrain_core.splits.handouts import write_handout
from housebrain_core.splits.kaggle import CLIENT, push_commands, write_folders
from housebrain_core.splits.notebooks import default_settings, fill_in, find_rendered, read_rendered

GUIDE = ("base_model", "batch_size", "gradient_accumulation_steps", "max_length", "epochs", "lora_r", "save_steps")
"""Settings that training_configs.json always has; those that were chosen are added."""
MISSING = "the train notebooks are not here; in a checkout, python build_notebooks.py makes them. Then split again."
JSON_BUNDLE = "it reads --bundle parquet only; the handouts train with `housebrain train`."


def hand_out(folder: Path, entries: list[dict], assignment: Assignment) -> list[str]:
    """Writes notebooks, pages, kaggle folders and training_configs.json for all splits.

    Args:
        folder: of the splits; the bundles lie in it.
        entries: the splits, as in split_summary.json.
        assignment: who trains what; the settings are the same for all.

    Returns:
        The files written, relative to the folder.
    """
    training = assignment.training
    names = ["training_configs.json"]
    (folder / names[0]).write_text(to_json(training_configs(entries, training)))
    platforms = {entry["platform"] for entry in entries if entry["notebook"]}
    rendered = {platform: read_rendered(platform) for platform in platforms}
    (folder / "handouts").mkdir()
    for entry in entries:
        parameters = {"split_id": entry["split_id"]}
        if entry["notebook"]:
            notebook = rendered[entry["platform"]]
            parameters = notebook_parameters(entry["split_id"], training, default_settings(notebook))
            (folder / entry["notebook"]).write_text(fill_in(notebook, parameters), encoding="utf-8")
            names.append(entry["notebook"])
        if entry["owner"]:
            names += write_folders(folder, entry)
        names.append(f"handouts/{entry['name']}.md")
        (folder / names[-1]).write_text(write_handout(entry, len(entries), training, parameters), encoding="utf-8")
    return names


def notebook_name(split_id: int, platform: str, bundle: str) -> str | None:
    """What a split's notebook will be called; None where there is none: it reads prompts and completions only."""
    return f"train_split_{split_id:02d}.ipynb" if bundle == "parquet" and find_rendered(platform) else None


def training_configs(entries: list[dict], training: Training) -> list[dict]:
    """The settings for each split, as `FineTuningConfig` takes them."""
    names = dict.fromkeys((*GUIDE, *training.chosen))
    return [
        {
            "split_id": entry["split_id"],
            "platform": entry["platform"],
            "dataset_path": entry["data"],
            "output_dir": f"models/{entry['adapter']}",
            **{name: getattr(training.settings, name) for name in names},
        }
        for entry in entries
    ]


def describe_folder(folder: Path, entries: list[dict]) -> str:
    """Where things are in a splits folder, and what to do next."""
    first = entries[0]
    ending = ".zip" if first["notebook"] else ""
    rows = [
        (first["bundle"], "the data to upload, a file for each person"),
        (first["notebook"], "the notebook that trains on it, with its settings"),
        (f"handouts/{first['name']}.md", "what that person does, click by click, and sends back"),
    ]
    lines = [
        f"{len(entries)} splits are in {folder}. For each person there are, here of split 1:",
        *(f"  {name:<24} {text}" for name, text in rows if name),
        f"Next: send them these. Put what comes back, {first['adapter']}{ending} and so on, into models/ and merge:",
        f"  housebrain merge --models models/hb-*{ending} --data {shlex.quote(str(folder))} --validate",
    ]
    if not first["notebook"]:
        lines.append("No notebook: " + (MISSING if first["data"] == first["bundle"] else JSON_BUNDLE))
    return "\n".join(lines + describe_pushes(folder, [entry for entry in entries if entry["owner"]]))


def describe_pushes(folder: Path, entries: list[dict]) -> list[str]:
    """How the owners of splits put dataset and notebook on Kaggle; what is typed can be copied as it is."""
    lines = [f"Or with {CLIENT}, signed in as the owner, who may also get the folder kaggle/split_NN alone:"]
    for entry in entries:
        lines.append(f"  # {entry['owner']}; push when the second line says ready")
        lines += [f"  {command}" for command in push_commands(entry, str(folder / "kaggle" / entry["name"]))]
    return lines if entries else []
