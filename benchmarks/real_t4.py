"""A real T4 on your own Kaggle account: does it train there, how fast, and in how much memory.

    python benchmarks/real_t4.py --owner NAME

NAME is your Kaggle user name; log in once with `kaggle auth login` (pip install kaggle six). It pushes three notebooks
one after another, each of which Kaggle ends after ten minutes at the latest, so that it uses at most half an hour of
the week's GPU quota: the rehearsal (20 steps, save, stop, resume, pack, one drawn design) with the pinned libraries,
the same with the newest, and the speed on one and on two GPUs with Qwen2.5-Coder-1.5B. Then docs/real_t4.md has what
came of it beside what `housebrain plan` predicts. Given again, it goes on: what has run is fetched, not run again.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from housebrain_core.adapters.run import Run, read_run
from housebrain_core.cloud.kaggle_account import Account, hours_left, open_account
from housebrain_core.cloud.kaggle_split import BUSY, CODE, NEVER_RAN
from housebrain_core.config import SplitConfig
from housebrain_core.errors import ConfigError, HouseBrainError, MachineError
from housebrain_core.house.synthetic import write_dataset
from housebrain_core.manifests import to_json
from housebrain_core.splits import costs
from housebrain_core.splits.kaggle import kernel_metadata
from housebrain_core.splits.notebooks import fill_in, read_rendered
from housebrain_core.splits.parts import SplitPart, read_splits
from housebrain_core.splits.split import split_dataset

BASE = "Qwen/Qwen2.5-Coder-1.5B"
SAMPLES, VALIDATION = 2_000, 40
LEARNED_SHARE = 0.5
"""Of the tokens, in the prediction; it hardly moves it."""
SECONDS = 600
"""After which Kaggle ends a notebook: three of them are half an hour."""
NEEDED_HOURS = 0.5
SPEED_STEPS = 12
POLL_SECONDS = 30
WAIT_SECONDS = 3 * 3600
"""That a notebook may wait for a GPU and run."""
REHEARSAL = "hb-kaggle-01-rehearsal"
SPEED = "speed.json"
PAGE = Path(__file__).parents[1] / "docs" / "real_t4.md"
INSTALL_NEWEST = """\
import tempfile

from housebrain_core.cloud import install, install_libraries

versions = install.installed_versions()
kept = Path(tempfile.gettempdir()) / "kept.txt"
kept.write_text("".join(f"{name}=={versions[name]}\\n" for name in install.KEPT if name in versions))
install.run_pip(platform, "install", "-q", "-c", str(kept), "--upgrade", *install.INSTALLED)
install.PINS = {name: install.installed_versions()[name] for name in install.INSTALLED}
install_libraries(platform)"""
MEASURE = f"""\
from housebrain_core.display.progress import read_state
from housebrain_core.train import HouseBrainFineTuner

speed = []
for gpus in (1, 2):
    config = settings.config(inputs, output.with_name(f"{{output.name}}-on-{{gpus}}"))
    run = HouseBrainFineTuner(config.model_copy(update={{"gpus": gpus}})).train()
    state = read_state(config.output_dir)
    speed.append({{"gpus": gpus, "memory": state.memory, "run": run.to_dict()}})
    Path("{SPEED}").write_text(json.dumps(speed))"""


@dataclass(frozen=True)
class Part:
    """One of the notebooks."""

    name: str
    settings: dict[str, Any]
    replaced: dict[str, str] = field(default_factory=dict)
    """Text that a code cell has -> the source that takes its place."""
    ends_with: str = ""
    """Text in the last code cell that is kept; all of them without one."""

    def notebook(self) -> str:
        """The Kaggle notebook as it is pushed."""
        notebook = json.loads(fill_in(read_rendered("kaggle"), {"split_id": 1, **self.settings}))
        cells = notebook["cells"]
        for cell in cells:
            for text, source in self.replaced.items():
                if cell["cell_type"] == "code" and text in "".join(cell["source"]):
                    cell["source"] = source
        if self.ends_with:
            last = next(place for place, cell in enumerate(cells) if self.ends_with in "".join(cell["source"]))
            del cells[last + 1 :]
        return to_json(notebook)


PARTS = (
    Part("pinned", {"rehearsal": True}),
    Part("newest", {"rehearsal": True}, {"install_libraries(platform)": INSTALL_NEWEST}),
    Part(
        "speed",
        {"rehearsal": False, "max_steps": SPEED_STEPS},
        {"interrupt_at_checkpoint": MEASURE},
        ends_with="speed.append",
    ),
)


def prepare(folder: Path, owner: str) -> SplitPart:
    """Generated data as one split, with the folders for the kaggle client; as they are where they are there."""
    splits = folder / "splits"
    if not splits.exists():
        write_dataset(folder / "dataset", SAMPLES, VALIDATION)
        config = SplitConfig(
            source=folder / "dataset", output=splits, splits=1, platform=["kaggle"], owner=[f"1={owner}"]
        )  # fmt: skip
        split_dataset(config, report=lambda line: None)
    return read_splits(splits)[0]


def write_kernel(folder: Path, part: Part, split: SplitPart) -> tuple[Path, str]:
    """The folder that is pushed, and the notebook's OWNER/SLUG."""
    title = f"HouseBrain T4 {part.name} {split.bundle_sha256[:6]}"
    reference = f"{split.owner}/{title.lower().replace(' ', '-')}"
    place = folder / part.name / "kernel"
    place.mkdir(parents=True, exist_ok=True)
    (place / "notebook.ipynb").write_text(part.notebook(), encoding="utf-8")
    changes = {"id": reference, "title": title, "code_file": "notebook.ipynb"}
    (place / "kernel-metadata.json").write_text(to_json(kernel_metadata(split, resume=False) | changes))
    return place, reference


def run_part(account: Account, folder: Path, part: Part, split: SplitPart, report: Callable[[str], None]) -> str:
    """Pushes a notebook unless it has run, waits for it, and fetches what it left; how it ended."""
    place, reference = write_kernel(folder, part, split)
    state, _ = account.kernel_state(reference)
    if state in NEVER_RAN:
        report(f"{part.name}: {account.push_kernel(place, run=True, seconds=SECONDS) or CODE + reference}")
    give_up = time.monotonic() + WAIT_SECONDS
    while (state := account.kernel_state(reference)[0]) in (*BUSY, *NEVER_RAN):
        if time.monotonic() > give_up:
            raise MachineError(f"{CODE}{reference} is still {state}. Look there, and give the same command again.")
        report(f"{part.name}: {state}")
        time.sleep(POLL_SECONDS)
    failure = account.kernel_state(reference)[1]
    output = folder / part.name / "output"
    account.fetch_output(reference, output, rf"({REHEARSAL}(\.zip|/run\.json)|{SPEED}|__notebook__\.ipynb)$")
    report(f"{part.name}: {state}{f', {failure}' if failure else ''}; its output and log are in {output}")
    return f"{state}{f': {failure}' if failure else ''}"


def rows_of(folder: Path, ended: dict[str, str]) -> list[tuple[str, ...]]:
    """A line of the page for each run; for a notebook that left no record, how it ended."""
    rows = []
    for name, state in ended.items():
        output = folder / name / "output"
        record, speed = output / REHEARSAL / "run.json", output / SPEED
        runs: list[tuple[Run, Any]] = []
        if record.is_file():
            runs.append((read_run(record.read_bytes()), None))
        if speed.is_file():
            entries = json.loads(speed.read_bytes())
            runs += [(read_run(json.dumps(entry["run"]).encode()), entry["memory"]) for entry in entries]
        rows += [(name, state, *describe(run, memory)) for run, memory in runs] or [(name, state, *"-" * 6)]
    return rows


def describe(run: Run, memory: list[float] | None) -> tuple[str, ...]:
    """Device, GPUs, steps, speed, memory and versions of a run."""
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    used = f"{memory[0]:.1f} of {memory[1]:.1f}" if memory else "-"
    speed = f"{run.tokens_per_second:,.0f}" if run.tokens_per_second else "-"
    return run.hardware.device, f"{run.hardware.gpus}", f"{run.steps}", speed, used, versions


def predict() -> list[str]:
    """What `housebrain plan` says of the speed on one T4 and on two."""
    facts = costs.find_facts(BASE)
    assert facts is not None
    lines = []
    for gpu, name in (("t4", "one T4"), ("t4x2", "two T4")):
        rate = costs.estimate_rate(facts.shape, gpu, 2048, LEARNED_SHARE)
        lines.append(f"- {name}: {rate.least:,.0f} to {rate.most:,.0f} tokens a second")
    return lines


def write_page(page: Path, folder: Path, ended: dict[str, str], split: SplitPart) -> None:
    """Writes docs/real_t4.md."""
    columns = ("notebook", "ended", "device", "GPUs", "steps", "tokens/s", "GPU memory, GB", "versions")
    table = ["| " + " | ".join(row) + " |" for row in (columns, ("---",) * len(columns), *rows_of(folder, ended))]
    lines = [
        "# A real T4",
        "",
        f"`python benchmarks/real_t4.py --owner {split.owner}` on {time.strftime('%Y-%m-%d', time.gmtime())}, "
        f"{SAMPLES:,} generated samples, {BASE} in 4 bits. A rehearsal trains, saves, is stopped, resumes, packs, and "
        "draws one design.",
        "",
        *table,
        "",
        "What `housebrain plan` predicts:",
        "",
        *predict(),
        "",
        "Executed notebooks, where Kaggle lists them, and logs are in the folder `output` of each notebook.",
    ]
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


def run_all(owner: str, folder: Path, page: Path, report: Callable[[str], None] = print) -> None:
    """Runs all notebooks on an account, and writes the page.

    Raises:
        ConfigError: another user is logged in, or too little quota is left.
        MachineError: Kaggle refused something.
    """
    account = open_account(report)
    if account.user.lower() != owner.lower():
        raise ConfigError(f"you are logged in to Kaggle as {account.user}, not as {owner}")
    left = hours_left(account.ask("the quota", "quota_view"))
    report(account.describe_quota())
    if left is not None and left < NEEDED_HOURS:
        raise ConfigError(f"{left:.1f} hours of GPU quota are left, and this may need {NEEDED_HOURS}. Try next week.")
    split = prepare(folder, owner)
    place = folder / "splits" / "kaggle" / split.name / "dataset"
    reference = json.loads((place / "dataset-metadata.json").read_text())["id"]
    if account.dataset_state(reference) is None:
        account.create_dataset(place, reference)
    account.wait_until_ready(reference)
    ended = {part.name: run_part(account, folder, part, split, report) for part in PARTS}
    write_page(page, folder, ended, split)
    report(f"wrote {page}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--owner", required=True, help="your Kaggle user name")
    parser.add_argument("--folder", type=Path, default=Path("real_t4"), help="for what is pushed and what comes back")
    chosen = parser.parse_args()
    try:
        run_all(chosen.owner, chosen.folder, PAGE)
    except HouseBrainError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None


if __name__ == "__main__":
    main()
