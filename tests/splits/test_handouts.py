"""What people get: a notebook with their settings, a page that says what to do, and one clear message otherwise."""

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

import build_notebooks
from housebrain_core.config import PlanConfig, SplitConfig
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.legs import Place, plan_rounds
from housebrain_core.manifests import check_files, read_manifest
from housebrain_core.splits import costs, handouts, hours
from housebrain_core.splits import notebooks as notebook_copies
from housebrain_core.splits.assignments import account_mapping, assign
from housebrain_core.splits.bundle import read_package_manifest
from housebrain_core.splits.encode import bundle_from_dataset
from housebrain_core.splits.notebooks import default_settings
from housebrain_core.splits.parts import SplitSummary, read_plan, read_splits
from housebrain_core.splits.split import split_dataset

pytestmark = pytest.mark.slow

FORBIDDEN = re.compile(r"worker|farm|\bpool|keep.?alive|cluster|distributed|bypass|unlimited", re.IGNORECASE)


def quiet(dataset: Path, output: Path, **settings) -> SplitSummary:
    config = SplitConfig(source=dataset, output=output, **{"splits": 4, "validation_samples": 4} | settings)
    return split_dataset(config, report=lambda line: None)


def handout(folder: Path, split_id: int) -> str:
    return (folder / "handouts" / f"split_{split_id:02d}.md").read_text()


def filled_in(path: Path) -> dict:
    """What differs from the notebook that everybody has, and the split, name by name."""
    copied = default_settings(json.loads(path.read_text()))
    platform = "kaggle" if "on Kaggle" in path.read_text() else "colab"
    given = default_settings(notebook_copies.read_rendered(platform))
    return {name: value for name, value in copied.items() if name == "split_id" or value != given[name]}


@pytest.fixture(scope="module")
def folder(dataset, tmp_path_factory) -> Path:
    """Four splits, two of them with an owner, trained with other settings than the defaults."""
    folder = tmp_path_factory.mktemp("people") / "splits"
    training = ["epochs=1", "base_model=Qwen/Qwen2.5-Coder-0.5B", "load_in_4bit=false", "learning_rate=0.0002"]
    quiet(dataset, folder, owner=["3=alice", "4=bob"], training=[*training, "max_steps=50"])
    return folder


def test_the_first_half_is_for_colab_and_the_second_for_kaggle():
    assert account_mapping(6) == {1: "colab", 2: "colab", 3: "colab", 4: "kaggle", 5: "kaggle", 6: "kaggle"}
    assert list(account_mapping(7).values()) == ["colab"] * 3 + ["kaggle"] * 4


@pytest.mark.parametrize(
    ("platform", "expected"),
    [(["kaggle"], "kkkk"), (["4=colab"], "cckc"), (["kaggle", "2=colab"], "kckk"), (["1=kaggle", "1=kaggle"], "kckk")],
)
def test_a_setting_changes_where_splits_are_trained(platform, expected):
    jobs = assign(SplitConfig(source=Path("."), splits=4, platform=platform)).jobs
    assert "".join(job.platform[0] for job in jobs) == expected


def test_each_split_has_its_notebook_beside_its_bundle_as_the_build_makes_it(splits, tmp_path):
    for split_id, platform in account_mapping(3).items():
        built = build_notebooks.write_copy(platform, split_id, tmp_path)
        assert (splits / built.name).read_bytes() == built.read_bytes()
    assert (splits / "split_03.zip").exists() and not list(splits.glob("kaggle"))


def test_chosen_settings_are_filled_in_where_they_differ_and_the_notebook_accepts_them(folder):
    expected = {"epochs": 1, "base_model": "Qwen/Qwen2.5-Coder-0.5B", "load_in_4bit": False, "max_steps": 50}
    configs = json.loads((folder / "training_configs.json").read_text())
    for config in configs:
        path = folder / f"train_split_{config['split_id']:02d}.ipynb"
        assert filled_in(path) == {"split_id": config["split_id"], **expected}
        assert config.items() >= {**expected, "learning_rate": 0.0002, "batch_size": 1}.items()
        nbformat.validate(nbformat.read(path, 4))
        assert path.read_bytes().isascii()
        check_settings(path)


def check_settings(path: Path) -> None:
    """Runs a notebook's cells up to the one that checks its settings, but for the search for its bundle."""
    code = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    last = next(number for number, source in enumerate(code) if "check_settings(" in source)
    shell = InteractiveShell.instance()
    shell.user_ns["paths"] = list(path.parent.glob("split_*.zip"))
    try:
        for source in code[: last + 1]:
            if "code_sha256" not in source:
                shell.run_cell(source, store_history=True).raise_error()
    finally:
        InteractiveShell.clear_instance()


def hide_notebooks(patch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lets the package find no rendered notebooks, as where only it was copied."""
    for place in ("RENDERED", "INSTALLED"):
        patch.setattr(notebook_copies, place, tmp_path / "nowhere")


@pytest.mark.parametrize("split_id", [1, 2, 3, 4])
def test_a_handout_names_its_own_files_and_settings_and_nobody_elses(folder, split_id):
    page = handout(folder, split_id)
    platform = account_mapping(4)[split_id]
    part = read_splits(folder)[split_id - 1]
    own = [f"split_{split_id:02d}.zip", f"train_split_{split_id:02d}.ipynb", f"hb-{platform}-{split_id:02d}.zip"]
    own += [f"`split_id = {split_id}`", "`epochs = 1`", "Qwen/Qwen2.5-Coder-0.5B", part.bundle_sha256]
    assert all(name in page for name in own)
    assert set(re.findall(r"(?:split_|hb-\w+-)0\d", page)) == {f"split_0{split_id}", f"hb-{platform}-0{split_id}"}
    assert [int(n) for n in re.findall(r"^(\d+)\. ", page, re.MULTILINE)] == list(range(1, 11))
    real = {"kaggle": "Save & Run All", "colab": "rehearsal = False"}[platform]
    assert page.index("Rehearse first") < page.index(real)
    assert "estimate" in page and "sha256sum" in page
    other = {"kaggle": "colab.research.google.com", "colab": "kaggle.com"}[platform]
    assert other not in page and "{" not in page


def test_handouts_ask_for_one_account_and_promise_no_machinery(folder, dataset, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        hide_notebooks(patch, tmp_path)
        quiet(dataset, tmp_path / "without")
    pages = [path.read_text() for place in (folder, tmp_path / "without") for path in place.glob("handouts/*.md")]
    assert len(pages) == 8
    for page in pages:
        assert "your own single account" in " ".join(page.split())
        assert not FORBIDDEN.search(page)
        for sentence in re.split(r"(?<=[.:])\s", " ".join(page.split())):
            assert "accounts" not in sentence or "Do not" in sentence


def test_the_handouts_estimate_is_the_plans(folder, monkeypatch):
    monkeypatch.setattr(costs, "find_file", lambda name, file: None)  # its tokenizer may be in somebody's cache
    config = PlanConfig(splits=folder, base_model="Qwen/Qwen2.5-Coder-0.5B", epochs=1)
    estimate = hours.estimate_hours(config, report=lambda line: None)
    for split in estimate.splits:
        page = " ".join(handout(folder, int(split.name[-2:])).split())
        assert f"Training takes {handouts.describe_hours(estimate.hours(split.tokens))}, less when" in page


def test_a_page_without_a_notebook_gives_the_command_with_the_chosen_settings(dataset, tmp_path, monkeypatch):
    hide_notebooks(monkeypatch, tmp_path)
    quiet(
        dataset,
        tmp_path / "out",
        training=["load_in_4bit=false", "base_model=./my base", "lora_dropout=0.1"],
    )
    command = "housebrain train --split split_04.zip --output models/hb-kaggle-04"
    assert f"`{command} --no-load-in-4bit --base-model './my base' --lora-dropout 0.1`" in handout(tmp_path / "out", 4)


def test_the_shortest_time_budget_still_gives_a_page(dataset, tmp_path):
    quiet(dataset, tmp_path / "out", training=["time_budget_hours=0.25"])
    assert "1 session" in handout(tmp_path / "out", 1)
    assert filled_in(tmp_path / "out" / "train_split_01.ipynb") == {"split_id": 1, "time_budget_hours": 0.25}


def test_an_unknown_base_model_gets_no_estimate(dataset, tmp_path):
    quiet(dataset, tmp_path / "out", training=["base_model=somebody/model"])
    assert "not known beforehand" in handout(tmp_path / "out", 1) and "estimate" not in handout(tmp_path / "out", 1)


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        ((0.001, 0.002), "about 1 min"),
        ((0.5, 1.2), "30 to 72 minutes"),
        ((4, 9.6), "4.0 to 9.6 hours"),
        ((33, 66), "33 to 66 hours"),
    ],
)
def test_hours_read_as_a_person_would_say_them(hours, text):
    assert handouts.describe_hours(hours) == text


def test_all_bad_owners_platforms_and_settings_are_named_at_once_and_nothing_is_written(dataset, tmp_path):
    owner = ["0=xavier", "9=alice", "4=", "5=No Slug", "1=carl", "6=bob", "6=eve", "dora", "²=fay"]
    training = ["epochs=0", "epoch=3", "output_dir=x", "lora_r"]
    with pytest.raises(ConfigError) as refused:
        quiet(dataset, tmp_path / "out", splits=6, owner=owner, platform=["2=mars", "8=kaggle"], training=training)
    lines = str(refused.value).splitlines()
    for said in (
        "owner 0=xavier: there is no split 0; there are 1 to 6",
        "owner 9=alice: there is no split 9",
        "owner '4=': expected a split and the Kaggle user",
        "'No Slug' is no Kaggle user name",
        "owner 1=carl: split 1 is for Colab",
        "owner 6=eve: split 6 has bob already",
        "owner 'dora': expected",
        "owner '²=fay': expected",
        "platform 'mars'",
        "platform 8=kaggle: there is no split 8",
        "training epochs = '0'",
        "training: epoch, output_dir cannot be set here; these can: base_model, epochs,",
        "training 'lora_r': expected",
    ):
        assert sum(said in line for line in lines) == 1, said
    assert len(lines) == 14
    assert not list(tmp_path.iterdir())


def test_the_manifest_lists_every_file_and_a_changed_one_is_noticed(dataset, tmp_path):
    folder = tmp_path / "out"
    quiet(dataset, folder, owner=["3=alice"])
    manifest = read_manifest(folder, "splits")
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    trees = {name for name in files if re.match(r"split_\d\d/", name)}
    assert set(manifest["files"]) == files - trees - {"manifest.json"}
    assert {"train_split_01.ipynb", "handouts/split_04.md", "kaggle/split_03/kernel/kernel-metadata.json"} <= files
    check_files(folder, manifest)
    with (folder / "train_split_02.ipynb").open("a") as file:
        file.write(" ")
    with pytest.raises(DataError, match="train_split_02.ipynb has"):
        check_files(folder, manifest)


def test_the_same_arguments_give_the_same_bytes_of_everything(folder, dataset, tmp_path):
    again = tmp_path / "again"
    training = ["epochs=1", "base_model=Qwen/Qwen2.5-Coder-0.5B", "load_in_4bit=false", "learning_rate=0.0002"]
    quiet(dataset, again, owner=["3=alice", "4=bob"], training=[*training, "max_steps=50"])
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((folder / name).read_bytes() == (again / name).read_bytes() for name in names)


def test_the_notebook_in_a_kernel_folder_is_a_link(folder):
    copies = [folder / "kaggle" / "split_03" / name / "train_split_03.ipynb" for name in ("kernel", "kernel_resume")]
    assert all(path.samefile(folder / "train_split_03.ipynb") for path in copies)


def test_without_rendered_notebooks_the_split_goes_on_and_says_how_to_get_them(dataset, tmp_path, monkeypatch):
    hide_notebooks(monkeypatch, tmp_path)
    lines: list[str] = []
    config = SplitConfig(source=dataset, output=tmp_path / "out", splits=2)
    summary = split_dataset(config, report=lines.append)
    assert "build_notebooks.py makes them" in lines[-1]
    assert [part.notebook for part in summary.parts] == [None, None]
    assert "housebrain train --split split_02.zip --output models/hb-kaggle-02" in handout(tmp_path / "out", 2)
    with pytest.raises(ConfigError, match="the train notebook that it needs is not there"):
        quiet(dataset, tmp_path / "owned", owner=["4=alice"])


def test_what_the_split_prints_at_its_end_are_files_that_are_there(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    config = SplitConfig(source=dataset, output=Path("my splits"), splits=2, owner=["2=alice"])
    split_dataset(config, report=lines.append)
    shown = lines[-1].splitlines()
    named = [line.split()[0] for line in shown if re.match(r"  (split|train|handouts)", line)]
    assert named == ["split_01.zip", "train_split_01.ipynb", "handouts/split_01.md"]
    assert all((tmp_path / "my splits" / name).is_file() for name in named)
    pushes = [line for line in shown if "kaggle kernels push" in line]
    assert pushes == ["  kaggle kernels push -p 'my splits/kaggle/split_02/kernel' --no-run"]
    assert any("housebrain merge --models models/hb-*.zip --data 'my splits' --validate" in line for line in shown)
    assert len(shown) < 16


def legs_on(page: str) -> list[list[str]]:
    """The cells of a page's table of legs."""
    lines = page[page.index("| leg | who trains") :].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[: lines.index("")]]


@pytest.fixture(scope="module")
def in_rounds(dataset, tmp_path_factory) -> Path:
    """Four splits in two rounds after a common start, the last two of them with an owner."""
    folder = tmp_path_factory.mktemp("rounds") / "splits"
    quiet(dataset, folder, rounds=2, common_start=0.1, owner=["3=alice", "4=bob"], training=["max_steps=60"])
    return folder


def test_a_page_says_what_its_person_does_in_each_leg_and_when_they_wait(in_rounds):
    first, last = handout(in_rounds, 1), handout(in_rounds, 4)
    assert legs_on(first) == [
        ["1 of 3", "split 1 alone", "train, send `hb-colab-01-leg-1.zip`"],
        ["2 of 3", "everybody", "wait for `leg_2.zip`, train, send `hb-colab-01-leg-2.zip`"],
        ["3 of 3", "everybody", "wait for `leg_3.zip`, train, send `hb-colab-01-leg-3.zip`"],
    ]
    assert legs_on(last)[0] == ["1 of 3", "split 1 alone", "wait"]
    assert "Your first leg, now:" in first and "Wait until you are sent" not in first
    assert "**Wait until you are sent `leg_2.zip`**" in last
    assert "Then the same with `leg_2.zip`, as a second dataset." in last
    for page, adapter in ((first, "hb-colab-01-leg-1"), (last, "hb-kaggle-04-leg-2")):
        assert f"10. Send `{adapter}.zip` and that sha256" in page


def test_between_legs_a_person_attaches_one_file_takes_the_legs_notebook_runs_all_and_sends_one_file(in_rounds):
    page = handout(in_rounds, 4)
    between = page[page.index("## Your later legs") : page.index("## Or steps")]
    assert "When you are sent `leg_3.zip`; data and settings stay as they are" in between
    steps = re.findall(r"^\d\. (.*)$", between, re.MULTILINE)
    clicks = ("Add Input", "File > Import Notebook", "Save & Run All", "send both")
    assert all(click in step for click, step in zip(clicks, steps, strict=True))
    assert "`leg_3/train_split_04.ipynb`" in steps[1] and "would train leg 2 again" in between
    assert "rehearsal" not in between


@pytest.mark.parametrize(("split_id", "legs"), [(1, [1, 2, 3]), (4, [2, 3])])
def test_the_notebook_of_a_later_leg_names_it_and_its_checks_refuse_to_train_an_earlier_one(
    in_rounds, tmp_path, split_id, legs
):
    name = f"train_split_{split_id:02d}.ipynb"
    copies = [in_rounds / name, *(in_rounds / f"leg_{leg}" / name for leg in legs[1:])]
    assert sorted(in_rounds.rglob(name)) == sorted([*copies, *in_rounds.glob(f"kaggle/*/*/{name}")])
    given = [filled_in(copy) for copy in copies]
    assert [one.get("leg", 1) for one in given] == legs
    assert [one.get("rehearsal") for one in given[1:]] == [False if split_id == 1 else None] * len(given[1:])
    shutil.copy(in_rounds / f"split_{split_id:02d}.zip", tmp_path)
    with pytest.raises(DataError, match=rf"leg_{legs[1]}.zip is not here, and this notebook is for leg {legs[1]} of 3"):
        check_settings(Path(shutil.copy(copies[1], tmp_path)))


def test_in_a_relay_everybody_has_one_leg_and_waits_for_the_one_before(dataset, tmp_path):
    quiet(dataset, tmp_path / "out", relay=True)
    page = handout(tmp_path / "out", 3)
    assert [row[2] for row in legs_on(page)] == [
        "wait",
        "wait",
        "wait for `leg_3.zip`, train, send `hb-kaggle-03-leg-3.zip`",
        "nothing: you are done",
    ]
    assert "Your later legs" not in page and "and later those" not in page
    assert legs_on(handout(tmp_path / "out", 1))[0][2] == "train, send `hb-colab-01-leg-1.zip`"


def test_without_notebooks_a_leg_is_a_command(dataset, tmp_path, monkeypatch):
    hide_notebooks(monkeypatch, tmp_path)
    quiet(dataset, tmp_path / "out", rounds=2, common_start=0, training=["epochs=9", "lora_r=4"])
    page = handout(tmp_path / "out", 2)
    command = "`housebrain train --split split_02.zip --output models/hb-colab-02-leg-"
    assert f"{command}1 --epochs 9 --lora-r 4`" in page
    assert f"{command}2 --init-adapter leg_2.zip --epochs 9 --lora-r 4`" in page
    quiet(dataset, tmp_path / "relay", relay=True, training=["epochs=9"])
    assert f"{command}2 --init-adapter leg_2.zip --epochs 9`" in handout(tmp_path / "relay", 2)


def test_the_plan_stands_in_manifest_summary_and_every_bundle(in_rounds):
    plan = read_plan(in_rounds)
    assert plan.legs == plan_rounds(4, 2, 0.1) and (plan.splits, plan.lora_r, plan.lora_alpha) == (4, 8, 16)
    written = json.loads((in_rounds / "split_summary.json").read_text())
    assert written["plan"] == plan.model_dump(mode="json") and plan.dataset == written["dataset"]
    for number in (1, 4):
        manifest = read_package_manifest(in_rounds / f"split_0{number}.zip")
        assert manifest.items() >= Place(plan=plan, leg=1).about().items()
        assert bundle_from_dataset(in_rounds / f"split_0{number}").manifest.items() >= {"leg": 1, "legs": 3}.items()
    configs = json.loads((in_rounds / "training_configs.json").read_text())
    assert [config["output_dir"] for config in configs][::3] == [
        "models/hb-colab-01-leg-1",
        "models/hb-kaggle-04-leg-2",
    ]


def test_the_same_legs_give_the_same_bytes_of_everything(in_rounds, dataset, tmp_path):
    owner = ["3=alice", "4=bob"]
    quiet(dataset, tmp_path / "again", rounds=2, common_start=0.1, owner=owner, training=["max_steps=60"])
    names = [path.relative_to(in_rounds) for path in in_rounds.rglob("*") if path.is_file()]
    assert sum(name.suffix == ".zip" for name in names) == 4 + 2, "the bundles, and those of two owners again"
    assert all((in_rounds / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in names)


def test_the_end_of_a_split_in_rounds_says_its_legs_and_names_the_round(dataset, tmp_path):
    lines: list[str] = []
    config = SplitConfig(source=dataset, output=tmp_path / "out", splits=3, rounds=3, common_start=0.1)
    split_dataset(config.model_copy(update={"training": ["max_steps=60"]}), report=lines.append)
    assert [line.rpartition(", leg ")[2] for line in lines if line.startswith("split_")] == [
        "1, 2, 3, 4 of 4",
        "2, 3, 4 of 4",
        "2, 3, 4 of 4",
    ]
    assert "  leg 1        split 1 alone: 10% of the training" in lines[-1]
    assert "  legs 2 to 4  everybody, then a merge each time: 90% of the training" in lines[-1]
    command = f"housebrain round --models models/hb-*.zip --splits {tmp_path / 'out'}"
    assert f"after each leg:\n  {command}" in lines[-1]
    assert "housebrain merge" not in lines[-1]


def test_more_legs_than_optimizer_steps_are_refused_and_nothing_is_written(dataset, tmp_path):
    with pytest.raises(ConfigError, match=r"optimizer steps in all, which are too few for 40 legs.*fewer rounds"):
        quiet(dataset, tmp_path / "out", rounds=40, common_start=0)
    assert not list(tmp_path.iterdir())
    quiet(dataset, tmp_path / "out", rounds=40, common_start=0, training=["max_steps=40"])


@pytest.mark.parametrize(
    ("entropy", "from_brief", "said"),
    [
        (42.1, 0.6, "little to be learned from the brief: its fields tell 0.6 nats of a design, and 42.1 nats are"),
        (2.0, 8.3, "The brief tells at least 8.3 nats of a design"),
        (2.0, None, "is not known for these data"),
        (None, None, "is not known for these data"),
    ],
)
def test_what_is_worth_it_is_said_in_a_sentence_with_its_source(entropy, from_brief, said):
    text = handouts.advise(entropy, from_brief)
    assert said in text
    assert ("housebrain audit" in text) == (from_brief is not None)
    assert ("One merge does" in text) == (from_brief == 0.6)
    assert ("--rounds 3" in text and "--relay" in text) == (from_brief == 8.3)
