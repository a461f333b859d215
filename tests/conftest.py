"""What the tests share: generated data, a tiny base model, trained adapters, and the real data where it is at hand."""

import gc
import os
from pathlib import Path

import pytest
from outside import SHARED

from housebrain_core.errors import OFFERED
from housebrain_core.house import synthetic

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads are slower than one on models this small
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")

gc.disable()  # until the tests are collected: imports of torch and its friends leave little garbage and much to look at

ROOT = Path(__file__).parents[1]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test that needs a trained model or the real dataset as slow; `make quick` leaves them out."""
    for item in items:
        if {"base", "adapters", "shared"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Collects garbage again, and lets pytest-xdist keep tests of a group together, which share what is made once.

    xdist 3.8 appends the group to `_nodeid`, which pytest 9.2 no longer reads; without this, groups do nothing.
    """
    gc.freeze()
    gc.enable()
    for item in session.items:
        if "_nodeid" in vars(item):
            from _pytest.nodeid import coerce_node_id

            item._id = coerce_node_id(item._nodeid)


PRAGMA = "# pragma: needs GPU or platform"
"""Excludes code from coverage that no CPU outside Kaggle and Colab can run."""


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says beside the coverage how many places it leaves out."""
    if config.pluginmanager.hasplugin("_cov"):
        texts = [path.read_text(encoding="utf-8") for path in (ROOT / "housebrain_core").rglob("*.py")]
        count = sum(text.count(PRAGMA) for text in texts)
        terminalreporter.write_line(f"{count} places need a GPU or a platform and are excluded from coverage")


@pytest.fixture(autouse=True)
def no_notebook():
    """Forgets which settings a notebook offered whose check a test ran; messages depend on them."""
    yield
    OFFERED.clear()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real dataset and the real tokenizers, which is not part of the repository."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"the real dataset and tokenizers are not at {SHARED}; set HOUSEBRAIN_SHARED")
    return SHARED


@pytest.fixture(scope="session")
def samples() -> list[dict]:
    """Forty generated samples with geometry."""
    return list(synthetic.make_samples(40, seed=3))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """A generated dataset folder: 48 training and 16 validation samples."""
    folder = tmp_path_factory.mktemp("data") / "dataset"
    synthetic.write_dataset(folder, 48, 16)
    return folder


@pytest.fixture(scope="session")
def splits(dataset, tmp_path_factory) -> Path:
    """The generated dataset, cut in three."""
    from housebrain_core.config import SplitConfig
    from housebrain_core.splits.split import split_dataset

    folder = tmp_path_factory.mktemp("splits") / "housebrain_splits"
    split_dataset(SplitConfig(source=dataset, output=folder, splits=3, validation_samples=12))
    return folder


@pytest.fixture(scope="session")
def base() -> Path:
    """A tiny base model that has learned the look of JSON and little else: made in seconds, then cached.

    Its widths are at least 64, one block of NF4.
    """
    import torch

    from housebrain_core.train.tiny import QUICK, tiny_base

    torch.set_num_threads(1)
    return tiny_base(QUICK, report=lambda line: None)


@pytest.fixture(scope="session")
def adapters(splits, base, tmp_path_factory) -> list[Path]:
    """Three adapters, one per split, trained for six optimizer steps each."""
    from housebrain_core.config import FineTuningConfig
    from housebrain_core.train.tuner import HouseBrainFineTuner

    folder = tmp_path_factory.mktemp("models")
    names = ["hb-colab-01", "hb-kaggle-02", "hb-kaggle-03"]
    for number, name in enumerate(names, 1):
        config = FineTuningConfig(
            dataset_path=splits / f"split_{number:02d}.zip",
            output_dir=folder / name,
            base_model=str(base),
            max_steps=6,
            gradient_accumulation_steps=1,
            row_length=512,
            learning_rate=5e-3,
        )
        HouseBrainFineTuner(config, report=lambda line: None).train()
    return [folder / name for name in names]


@pytest.fixture(scope="session")
def two_rounds(dataset, tmp_path_factory) -> Path:
    """The generated dataset, cut in two, with a plan of two rounds."""
    from housebrain_core.config import SplitConfig
    from housebrain_core.splits.split import split_dataset

    folder = tmp_path_factory.mktemp("two_rounds") / "housebrain_splits"
    split_dataset(SplitConfig(source=dataset, output=folder, splits=2, validation_samples=12, rounds=2, common_start=0))
    return folder


@pytest.fixture(scope="session")
def leg_file(two_rounds, base, tmp_path_factory) -> Path:
    """The leg_2.zip of that plan, from what split 1 has after six steps of leg 1; its adapter lies beside it."""
    from housebrain_core.config import FineTuningConfig
    from housebrain_core.legs import Place
    from housebrain_core.splits.leg_file import write_leg_file
    from housebrain_core.splits.parts import read_plan
    from housebrain_core.train.tuner import HouseBrainFineTuner

    folder = tmp_path_factory.mktemp("leg_file")
    config = FineTuningConfig(
        dataset_path=two_rounds / "split_01.zip",
        output_dir=folder / "hb-colab-01-leg-1",
        base_model=str(base),
        max_steps=12,
        gradient_accumulation_steps=1,
        row_length=512,
        learning_rate=5e-3,
    )
    HouseBrainFineTuner(config, report=lambda line: None).train()
    plan = read_plan(two_rounds)
    assert plan
    return write_leg_file(folder, Place(plan=plan, leg=2), config.output_dir)


@pytest.fixture(scope="session")
def kaggle_class(tmp_path_factory):
    """KaggleApi of the real client, imported where it finds no credentials."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path_factory.mktemp("config")))
        for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
            patch.delenv(name, raising=False)
        import kaggle

    assert kaggle.__version__ == "2.2.5"
    return type(kaggle.api)


@pytest.fixture
def client(kaggle_class, monkeypatch):
    """Kaggle's client, logged in as alice; its `server` has what it sent."""
    from kaggle_server import connect

    return connect(kaggle_class, monkeypatch)
