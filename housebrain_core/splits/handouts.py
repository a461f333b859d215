"""What a splits folder holds for people beside the bundles: notebooks, pages, kaggle folders, settings."""

import itertools
import shlex
import textwrap
from pathlib import Path
from typing import Any

from housebrain_core.data.findings import LITTLE
from housebrain_core.legs import Place, TrainingPlan
from housebrain_core.manifests import to_json
from housebrain_core.platforms import TIME_BUDGET_HOURS
from housebrain_core.splits import costs
from housebrain_core.splits.assignments import Assignment, Training, notebook_parameters
from housebrain_core.splits.kaggle import (
    CLIENT,
    leg_commands,
    name_on_kaggle,
    push_commands,
    resume_command,
    write_folders,
)
from housebrain_core.splits.notebooks import default_settings, fill_in, read_rendered
from housebrain_core.splits.parts import (
    SplitPart,
    SplitSummary,
    adapter_in_leg,
    first_adapter,
    legs_of_person,
    name_people,
)
from housebrain_core.texts import as_code, render

GUIDE = ("base_model", "batch_size", "gradient_accumulation_steps", "max_length", "epochs", "lora_r", "save_steps")
"""Settings that training_configs.json always has; those that were chosen are added."""
NO_NOTEBOOK = (
    "No notebook: the train notebooks are not here; in a checkout, python build_notebooks.py makes them. "
    "Then split again."
)
LIMITS = {
    "kaggle": f"Kaggle gives about {costs.KAGGLE_QUOTA:.0f} hours a week",
    "colab": "free Colab often gives fewer",
}


def hand_out(
    folder: Path, parts: list[SplitPart], assignment: Assignment, plan: TrainingPlan | None = None
) -> list[str]:
    """Writes notebooks, pages, kaggle folders and training_configs.json for all splits.

    Args:
        folder: of the splits; the bundles lie in it.
        parts: the splits.
        assignment: who trains what; the settings are the same for all.
        plan: in which legs; None where each split is trained once and all are merged once.

    Returns:
        The files written, relative to the folder.
    """
    names = ["training_configs.json"]
    (folder / names[0]).write_text(to_json(training_configs(parts, assignment.training, plan)))
    notebooks = {part.platform: read_rendered(part.platform) for part in parts if part.notebook}
    (folder / "handouts").mkdir()
    for part in parts:
        filled_in = {}
        if part.notebook:
            notebook = notebooks[part.platform]
            filled_in = notebook_parameters(part.split_id, assignment.training, default_settings(notebook))
            for leg, name in notebooks_of(part, plan):
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(fill_in(notebook, filled_in | leg), encoding="utf-8")
                names.append(name)
        if part.owner:
            names += write_folders(folder, part, [leg for leg in legs_of_person(part, plan) if leg.adapter])
        page = write_handout(part, len(parts), assignment.training, filled_in, plan)
        names.append(f"handouts/{part.name}.md")
        (folder / names[-1]).write_text(page, encoding="utf-8")
    return names


def notebooks_of(part: SplitPart, plan: TrainingPlan | None) -> list[tuple[dict[str, Any], str]]:
    """A split's notebooks: the settings of the leg that each is for, and its path in the splits folder.

    A notebook that is for a later leg refuses to train without the leg file. Otherwise a person who forgets to attach
    it would train the first leg again. Who has trained a leg needs no rehearsal.
    """
    legs = [leg.number for leg in legs_of_person(part, plan) if leg.adapter]
    first = {"leg": legs[0]} if legs and legs[0] > 1 else {}
    ready = {} if part.platform == "kaggle" else {"rehearsal": False}
    later = [({"leg": leg} | ready, f"leg_{leg}/{part.notebook}") for leg in legs[1:]]
    return [(first, str(part.notebook)), *later]


def training_configs(parts: list[SplitPart], training: Training, plan: TrainingPlan | None = None) -> list[dict]:
    """The settings for each split, as `FineTuningConfig` takes them; with a plan for the first leg of its person."""
    names = dict.fromkeys((*GUIDE, *training.chosen))
    return [
        {
            "split_id": part.split_id,
            "platform": part.platform,
            "dataset_path": part.bundle,
            "output_dir": f"models/{first_adapter(part, legs_of_person(part, plan))}",
            **{name: getattr(training.settings, name) for name in names},
        }
        for part in parts
    ]


def advise(entropy: float | None, from_brief: float | None) -> str:
    """Says in a sentence, with its source, whether rounds or a relay are worth their trouble.

    Args:
        entropy: nats per sample that no model gets below.
        from_brief: nats per sample that fields of the brief tell, at least; None where that is not known.
    """
    if entropy is None or from_brief is None:
        return (
            "How much of a design follows from its brief is not known for these data: where a split trained alone ends "
            "far above the floor in its report, rounds or a relay are worth their trouble; where it comes near, one "
            "merge does."
        )
    if from_brief < LITTLE * (from_brief + entropy):
        return (
            f"There is little to be learned from the brief: its fields tell {from_brief:.1f} nats of a design, and "
            f"{entropy:.1f} nats are chance (statistics of housebrain audit). One merge does; rounds would not pay."
        )
    return (
        f"The brief tells at least {from_brief:.1f} nats of a design (statistics of housebrain audit): splits trained "
        "apart and merged once lose much of it, on the tiny networks of benchmarks/README.md. Train in rounds, "
        "which begin with a common start (--rounds 3), or where nobody hurries in a relay (--relay, or with fewer legs "
        "--relay-legs 4), which keeps most where splits are large."
    )


def describe_part(part: SplitPart, plan: TrainingPlan | None) -> str:
    """A split in a line: its samples, what is uploaded, and in which legs it is trained."""
    trained = [str(leg.number) for leg in legs_of_person(part, plan) if leg.adapter]
    legs = f", leg {', '.join(trained)} of {len(plan.legs)}" if plan else ""
    size = describe_size(part.bundle_bytes)
    return f"{part.name}: {part.train:,} samples, {size} to upload, for {part.platform}{legs}"


def describe_folder(folder: Path, summary: SplitSummary) -> str:
    """Where things are in a splits folder, and what to do next."""
    parts = summary.parts
    first = parts[0]
    ending = ".zip" if first.notebook else ""
    rows = [
        (first.bundle, "the data to upload, a file for each person"),
        (first.notebook, "the notebook that trains on it, with its settings"),
        (f"handouts/{first.name}.md", "what that person does, click by click, and sends back"),
    ]
    given = f"--models models/hb-*{ending}"
    place = shlex.quote(str(folder))
    after, command = "merge", f"merge {given} --data {place} --validate"
    if summary.plan:
        after, command = "after each leg", f"round {given} --splits {place}"
    back = adapter_in_leg(first.adapter, summary.plan and Place(plan=summary.plan, leg=1))
    lines = [
        f"{len(parts)} splits are in {folder}. For each person there are, here of split 1:",
        *(f"  {name:<24} {text}" for name, text in rows if name),
        *(describe_plan(summary.plan) if summary.plan else []),
        f"Next: send them these. Put what comes back, {back}{ending} and so on, into models/ and {after}:",
        f"  housebrain {command}",
    ]
    if not first.notebook:
        lines.append(NO_NOTEBOOK)
    return "\n".join(lines + describe_pushes(folder, summary))


def describe_plan(plan: TrainingPlan) -> list[str]:
    """Who trains in which legs, and how many of all optimizer steps those are; a line for legs of the same people."""
    lines = [f"They are trained in {len(plan.legs)} legs, each from the adapter that the one before left:"]
    numbered = list(enumerate(plan.legs, 1))
    for people, group in itertools.groupby(numbered, key=lambda leg: leg[1].people):
        legs = list(group)
        first, last = legs[0][0], legs[-1][0]
        numbers = f"leg {first}" if first == last else f"legs {first} to {last}"
        merged = ", then a merge" + " each time" * (first < last) if len(people) > 1 else ""
        share = sum(leg.share for _, leg in legs)
        lines.append(f"  {numbers:<12} {name_people(people, plan.splits)}{merged}: {share:.0%} of the training")
    return lines


def describe_pushes(folder: Path, summary: SplitSummary) -> list[str]:
    """How the owners of splits put dataset and notebook on Kaggle; what is typed can be copied as it is."""
    parts = [part for part in summary.parts if part.owner]
    lines = [f"Or with {CLIENT}, signed in as the owner, who may also get the folder kaggle/split_NN alone:"]
    for part in parts:
        trained = [leg for leg in legs_of_person(part, summary.plan) if leg.adapter]
        place = folder / "kaggle" / part.name
        wait = f" once {trained[0].leg_file} lies in {place}/leg;" if trained and trained[0].leg_file else ""
        lines.append(f"  # {part.owner};{wait} push when the line before it says ready")
        lines += [f"  {command}" for command in push_commands(part, str(place), trained)]
    return lines if parts else []


def write_handout(
    part: SplitPart, splits: int, training: Training, filled_in: dict[str, Any], plan: TrainingPlan | None = None
) -> str:
    """The page for the person who trains one split, in Markdown.

    Args:
        part: the split.
        splits: how many there are.
        training: settings of all splits.
        filled_in: settings that the split's notebook has filled in, by name.
        plan: the legs of all splits; None where each is trained once and all are merged once.
    """
    legs = legs_of_person(part, plan)
    trained = [leg for leg in legs if leg.adapter]
    return render(
        "splits",
        "handout.md.jinja",
        part=part,
        splits=splits,
        size=describe_size(part.bundle_bytes),
        base_model=training.settings.base_model,
        filled_in=", ".join(as_code(f"{name} = {value!r}") for name, value in filled_in.items()),
        adapter=first_adapter(part, legs),
        legs=legs,
        trained=trained,
        leg_file=trained[0].leg_file if trained else None,
        init=f" --init-adapter {trained[0].leg_file}" if trained and trained[0].leg_file else "",
        time=describe_time(part, training, plan),
        flags="".join(f" {write_flag(name, getattr(training.settings, name))}" for name in training.chosen),
        client=CLIENT,
        notebook_reference=name_on_kaggle(part, "train")[1],
        push_commands=push_commands(part, ".", trained),
        resume_command=resume_command("."),
        leg_commands=leg_commands(".", trained),
    )


def write_flag(name: str, value: object) -> str:
    """A setting of training as `housebrain train` takes it."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {shlex.quote(str(value))}"


def describe_time(part: SplitPart, training: Training, plan: TrainingPlan | None = None) -> str:
    """How long training takes on one T4, by the arithmetic of `housebrain plan`, as lines of a list."""
    loads = plan.loads(part.split_id) if plan else [1.0]
    what = ("Your longest leg" if len(loads) > 1 else "Your leg") if plan else "Training"
    settings = training.settings
    facts = costs.BASES.get(settings.base_model)
    text = "How long it takes is not known beforehand for this base model."
    if facts:
        tokens = costs.estimate_tokens(sum(part.characters))
        learned = part.characters[1] / sum(part.characters)
        rate = costs.estimate_rate(facts.shape, "t4", settings.row_length, learned)
        hours = costs.training_hours(tokens, rate, settings.epochs).times(max(loads))
        text = (
            f"{what} takes {describe_hours(hours)}, less when it stops because nothing more is learned: an estimate "
            "for one T4 by arithmetic, not a measurement."
        )
        if part.notebook:
            session = max(settings.time_budget_hours or TIME_BUDGET_HOURS[part.platform], 2 * costs.START_HOURS)
            count = costs.describe_sessions(costs.sessions(hours, session))
            text += f" That is {count} of up to {session:g} hours; {LIMITS[part.platform]}."
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
