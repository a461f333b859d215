"""The page for the person who trains one split: what to upload, click and send back."""

import shlex
import textwrap

from housebrain_core.platforms import TIME_BUDGET_HOURS
from housebrain_core.splits import costs
from housebrain_core.splits.assignments import Training
from housebrain_core.splits.kaggle import CLIENT, push_commands, references, resume_command

LIMITS = {
    "kaggle": f"Kaggle gives about {costs.KAGGLE_QUOTA:.0f} hours a week",
    "colab": "free Colab often gives fewer",
}
TITLES = {"kaggle": "Kaggle", "colab": "Colab"}
RULES = """You train one of {splits} splits of a house-design dataset: one {what} that you run by hand, on your own
single account. Do not open extra accounts or switch accounts to get more free GPU time: Kaggle allows one account per
person, and Colab forbids it. There is no coordinator, queue or remote control: you get files, and send a file back."""
STEPS = {
    "kaggle": """1. On kaggle.com: Create > New Notebook, then File > Import Notebook: `{notebook}`.
2. In the panel on the right: Add Input > Upload > New Dataset: `{bundle}`. Wait until it is listed under Input.
3. In the same panel, Session options: Accelerator **GPU T4 x2**, Internet **on** (both need a phone number, verified
   once at kaggle.com/settings).
4. **Rehearse first.** Set `rehearsal = True` in the cell "1. Settings", then Run All. About five minutes: it trains 20
   steps, saves, stops, goes on, and packs. Its last output says that the rehearsal went well.
5. Set `rehearsal = False`, then Save Version > **Save & Run All**. Switch this session off with the power symbol, as it
   would count too. You can close the browser.
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
4. **Rehearse first.** Set `rehearsal = True` in the cell "1. Settings", then Runtime > Run all, and allow Drive when
   asked. About five minutes: it trains 20 steps, saves, stops, goes on, and packs. Its last output says that the
   rehearsal went well.
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
2. Rehearse first: `housebrain train --split {data} --output models/rehearsal{flags} --max-steps 20`
3. Train: `housebrain train --split {data} --output models/{adapter}{flags}`
4. {takes}
5. When it was interrupted, the same command goes on from the last checkpoint.
6. Send the folder `models/{adapter}`, without its checkpoints, to whoever gave you this page."""
FROM_THE_COMMAND_LINE = """
## Or steps 1 to 3 from the command line

In the folder `kaggle/{name}`, after `pip install {client}` and `kaggle auth login` as {owner}. The second command
says `ready` when the dataset can be used. `--no-run` only saves the notebook, so that no quota is used: go on with
step 4 at kaggle.com/code/{reference}.

{commands}

Instead of step 7, this goes on from the last checkpoint; it starts the run at once:

    {resume}
"""


def write_handout(entry: dict, splits: int, training: Training, parameters: dict) -> str:
    """The page for the person who trains one split, in Markdown.

    Args:
        entry: the split, as in split_summary.json.
        splits: how many there are.
        training: settings of all splits.
        parameters: what is filled into the notebook.
    """
    platform, alone = entry["platform"], entry["data"] == entry["bundle"]
    words = entry | {
        "archive": f"{entry['adapter']}.zip",
        "takes": describe_time(entry, training),
        "flags": "".join(f" {write_flag(name, getattr(training.settings, name))}" for name in training.chosen),
        "unpack": "" if alone else ", unpacked",
    }
    filled = ", ".join(f"`{name} = {value!r}`" for name, value in parameters.items())
    rows = [
        ("data", f"`{entry['bundle']}`, {describe_size(entry['bundle_bytes'])}, {entry['train']:,} samples"),
        ("its sha256", f"`{entry['bundle_sha256']}`"),
        ("base model", f"`{training.settings.base_model}`, downloaded by itself"),
        (
            "you send back",
            f"`{words['archive']}` and its sha256" if entry["notebook"] else f"the folder `models/{entry['adapter']}`",
        ),
    ]
    if entry["notebook"]:
        rows.insert(2, ("notebook", f"`{entry['notebook']}`; filled in, in the cell below its settings: {filled}"))
    where, what = (f" on {TITLES[platform]}", "notebook") if entry["notebook"] else ("", "command")
    text = f"# {entry['name']}: yours to train{where}\n\n"
    text += textwrap.fill(RULES.format(splits=splits, what=what), 116) + "\n\n| | |\n|---|---|\n"
    text += "".join(f"| {name} | {value} |\n" for name, value in rows)
    text += "\n" + (STEPS[platform] if entry["notebook"] else BY_COMMAND).format(**words) + "\n"
    return text + (describe_client(entry) if entry["owner"] else "")


def write_flag(name: str, value: object) -> str:
    """A setting of training as `housebrain train` takes it."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {shlex.quote(str(value))}"


def describe_client(entry: dict) -> str:
    """The part of a page for a split whose owner may use the kaggle client."""
    return FROM_THE_COMMAND_LINE.format(
        client=CLIENT,
        reference=references(entry)[1],
        commands="\n".join(f"    {command}" for command in push_commands(entry, ".")),
        resume=resume_command("."),
        **entry,
    )


def describe_time(entry: dict, training: Training) -> str:
    """How long training takes on one T4, by the arithmetic of `housebrain plan`, as lines of a list."""
    settings, platform = training.settings, entry["platform"]
    session = max(settings.time_budget_hours or TIME_BUDGET_HOURS[platform], 2 * costs.START_HOURS)
    facts = costs.BASES.get(settings.base_model)
    text = "How long it takes is not known beforehand for this base model."
    if facts:
        tokens = costs.estimate_tokens(sum(entry["characters"]))
        learned = entry["characters"][1] / sum(entry["characters"])
        rate = costs.estimate_rate(facts.shape, "t4", settings.row_length, learned)
        hours = costs.training_hours(tokens, rate, settings.epochs)
        text = (
            f"Training takes {describe_hours(hours)}, less when it stops because nothing more is learned: an estimate "
            "for one T4 by arithmetic, not a measurement."
        )
        if entry["notebook"]:
            count = costs.describe_sessions(costs.sessions(hours, session))
            text += f" That is {count} of up to {session:g} hours; {LIMITS[platform]}."
    text += " After 20 steps a line says how long it still takes."
    return textwrap.fill(text, 116, subsequent_indent="   ")


def describe_hours(hours: costs.Range) -> str:
    """A range of hours as text, in minutes where it is short."""
    if hours[1] >= 1.5:
        return f"{costs.describe(hours)} hours"
    low, high = (max(1, round(60 * value)) for value in hours)
    return f"{low} to {high} minutes" if low < high else f"about {high} min"


def describe_size(size: int) -> str:
    """Bytes as text."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"
