"""What each person gets beside the bundle: a notebook with its settings filled in, and a page that says what to do."""

from pathlib import Path

from housebrain_core import costs
from housebrain_core.assignments import Assignment, Training, notebook_parameters
from housebrain_core.kaggle_folders import CLIENT, push_commands, references, resume_command, write_folders
from housebrain_core.manifests import to_json
from housebrain_core.notebook_copies import default_settings, fill_in, find_rendered, read_rendered
from housebrain_core.platforms import TIME_BUDGET_HOURS

SESSION = {"kaggle": costs.KAGGLE_SESSION, "colab": costs.COLAB_SESSION}
TITLES = {"kaggle": "Kaggle", "colab": "Colab"}
GUIDE = ("base_model", "batch_size", "gradient_accumulation_steps", "max_length", "epochs", "lora_r", "save_steps")
"""Settings that training_configs.json always has; those that were chosen are added."""
RULES = """You train one of {splits} splits of a house-design dataset: one notebook that you run by hand, on your own
single account. Do not open extra accounts or switch accounts to get more free GPU time: Kaggle allows one account per
person, and Colab forbids it. There is no coordinator, queue or remote control: you get files, and send a file back."""
STEPS = {
    "kaggle": """1. On kaggle.com: Create > New Notebook, then File > Import Notebook: `{notebook}`.
2. In the panel on the right: Add Input > Upload > New Dataset: `{bundle}`. Wait until it is listed under Input.
3. In the same panel, Session options: Accelerator **GPU T4 x2**, Internet **on** (both need a phone number, verified
   once at kaggle.com/settings).
4. **Rehearse first.** Set `rehearsal = True` in the first cell, "1. Settings", then Run All. About five minutes: it
   trains 20 steps, saves, stops, goes on, and packs. Its last output says that the rehearsal went well.
5. Set `rehearsal = False`, then Save Version > **Save & Run All**. You can close the browser.
6. {takes}
7. If the last output says that the time ended first: Add Input > Your Work > Notebooks > this notebook, then
   Save Version > Save & Run All again. It goes on from the last checkpoint.
8. When it says Done: open the version's Output tab and download `{archive}`.
9. Compare its sha256 with the one that the notebook printed: `sha256sum {archive}`, on Windows
   `certutil -hashfile {archive} SHA256`.
10. Send `{archive}` and that sha256 to whoever gave you this page.""",
    "colab": """1. On colab.research.google.com: File > Upload notebook: `{notebook}`.
2. Put `{bundle}` into a folder `housebrain` of your Google Drive, where later sessions find it too. Or click the
   folder symbol on the left and drag it into the list, in every session.
3. Runtime > Change runtime type: **T4 GPU**, Save.
4. **Rehearse first.** Set `rehearsal = True` in the first cell, "1. Settings", then Runtime > Run all, and allow
   Drive when asked. About five minutes: it trains 20 steps, saves, stops, goes on, and packs. Its last output says
   that the rehearsal went well.
5. Set `rehearsal = False`, then Runtime > Run all. Keep the tab open: free Colab ends sessions nobody looks at.
6. {takes}
7. When the session ends before that: open the notebook again another time and Runtime > Run all. It goes on from the
   last checkpoint, which is on your Drive.
8. When it says Done: folder symbol on the left, the three dots beside `{archive}`, Download.
9. Compare its sha256 with the one that the notebook printed: `sha256sum {archive}`, on Windows
   `certutil -hashfile {archive} SHA256`.
10. Send `{archive}` and that sha256 to whoever gave you this page.""",
}
BY_COMMAND = """1. Install HouseBrain on a machine with a GPU, and put `{bundle}` there{unpack}.
2. Rehearse first: `housebrain train --split {data} --output models/rehearsal --max-steps 20{flags}`
3. Train: `housebrain train --split {data} --output models/{adapter}{flags}`
4. {takes}
5. When it was interrupted, the same command goes on from the last checkpoint.
6. Send the folder `models/{adapter}`, without its checkpoints, to whoever gave you this page."""
FROM_THE_COMMAND_LINE = """
## Or steps 1 to 3 from the command line

In the folder `kaggle/{name}`, after `pip install {client}` and `kaggle auth login` as {owner}. The second command
says `ready` when the dataset can be used. `--no-run` only saves the notebook, so that no quota is used: go on with
step 4 at kaggle.com/code/{notebook}.

{commands}

Instead of step 7, this goes on from the last checkpoint; it starts the run at once:

    {resume}
"""

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
        (folder / names[-1]).write_text(describe_job(entry, len(entries), training, parameters), encoding="utf-8")
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


def describe_job(entry: dict, splits: int, training: Training, parameters: dict) -> str:
    """The page for the person who trains one split, in Markdown."""
    platform, archive = entry["platform"], f"{entry['adapter']}.zip"
    settings = ", ".join(f"`{name} = {value!r}`" for name, value in parameters.items())
    steps = STEPS[platform] if entry["notebook"] else BY_COMMAND
    flags = "".join(f" --{name.replace('_', '-')} {getattr(training.settings, name)}" for name in training.chosen)
    unpack = "" if entry["data"] == entry["bundle"] else ", unpacked"
    page = [
        f"# {entry['name']}: yours to train on {TITLES[platform]}\n",
        RULES.format(splits=splits) + "\n",
        "| | |\n|---|---|",
        f"| data | `{entry['bundle']}`, {describe_size(entry['bundle_bytes'])}, {entry['train']:,} samples |",
        f"| its sha256 | `{entry['bundle_sha256']}` |",
        *([f"| notebook | `{entry['notebook']}`, filled in: {settings} |"] if entry["notebook"] else []),
        f"| base model | `{training.settings.base_model}`, which is downloaded by itself |",
        f"| you send back | `{archive if entry['notebook'] else 'models/' + entry['adapter']}` |\n",
        steps.format(archive=archive, flags=flags, unpack=unpack, takes=describe_time(entry, training), **entry),
    ]
    if entry["owner"]:
        page.append(
            FROM_THE_COMMAND_LINE.format(
                client=CLIENT,
                name=entry["name"],
                owner=entry["owner"],
                notebook=references(entry)[1],
                commands="\n".join(f"    {command}" for command in push_commands(entry, ".")),
                resume=resume_command("."),
            ).rstrip()
        )
    return "\n".join(page) + "\n"


def describe_time(entry: dict, training: Training) -> str:
    """How long training takes on one T4, by the arithmetic of `housebrain plan`, as one or two sentences."""
    later = "After 20 steps the notebook prints how long it still takes."
    settings = training.settings
    facts = costs.BASES.get(settings.base_model)
    if facts is None:
        return f"How long it takes is not known beforehand for this base model. {later}"
    tokens = costs.estimate_tokens(sum(entry["characters"]))
    learned = entry["characters"][1] / sum(entry["characters"])
    rate = costs.estimate_rate(facts.shape, "t4", settings.row_length, learned)
    hours = costs.training_hours(tokens, rate, settings.epochs)
    text = f"{costs.describe(hours)} hours"
    if hours[1] < 1.5:
        text = f"{costs.describe(tuple(max(1.0, 60 * value) for value in hours))} minutes"
    platform = entry["platform"]
    count = costs.describe_sessions(costs.sessions(hours, TIME_BUDGET_HOURS[platform]))
    ends = f"one session trains {TIME_BUDGET_HOURS[platform]:g} hours at most" + (
        ", often fewer on free Colab" if platform == "colab" else ""
    )
    return (
        f"Training takes {text} on a T4, {count}: an estimate by arithmetic, at most that long, not a\n"
        f"   measurement; {ends}. {later}"
    )


def describe_size(size: int) -> str:
    """Bytes as text."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"


def describe_folder(folder: Path, entries: list[dict]) -> str:
    """Where things are in a splits folder, and what to do next."""
    first = entries[0]
    notebook = [f"  {first['notebook']} ...", "its notebook, settings filled in"] if first["notebook"] else None
    rows = [
        [f"  {first['bundle']} ...", "a bundle per person, to upload"],
        *([notebook] if notebook else []),
        [f"  handouts/{first['name']}.md ...", "its page: what to upload, click and send back"],
        ["  split_summary.json, training_configs.json", "what is in each split, and its settings"],
    ]
    owned = [entry for entry in entries if entry["owner"]]
    if owned:
        rows.append([f"  kaggle/{owned[0]['name']} ...", "folders for the kaggle client"])
    files = [first["bundle"], *([first["notebook"]] if notebook else []), f"handouts/{first['name']}.md"]
    archive = "zip" if notebook else "folder"
    lines = [
        f"{len(entries)} splits are in {folder}:",
        *(f"{name:<44} {text}" for name, text in rows),
        f"Next: send each person their files; for split 1: {', '.join(files)}.",
        f"What comes back is a {archive} each, like {first['adapter']}. With all of them in models/:",
        f"  housebrain merge --models models/hb-*{'.zip' if notebook else ''} --data {folder} --validate",
    ]
    if not notebook:
        lines.append("No notebook: " + (MISSING if first["data"] == first["bundle"] else JSON_BUNDLE))
    for entry in owned:
        lines.append(f"{entry['owner']}, on {CLIENT} or newer, puts {entry['name']} on Kaggle without running it:")
        lines += [f"  {command}" for command in push_commands(entry, str(folder / "kaggle" / entry["name"]))]
    return "\n".join(lines)
