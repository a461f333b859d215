"""Selection from end to end: a dataset that is like any other, and that the models trained on it name."""

import json
import shutil

import pytest

from housebrain_core.config import FineTuningConfig, MergeConfig, SplitConfig
from housebrain_core.data.samples import read_samples
from housebrain_core.errors import ConfigError, DataError
from housebrain_core.house import codec
from housebrain_core.house.rules import check_design
from housebrain_core.merge.merge import merge_adapters
from housebrain_core.select.select import select_samples
from housebrain_core.select.settings import SelectConfig
from housebrain_core.splits.bundle import read_bundle
from housebrain_core.splits.split import split_dataset
from housebrain_core.texts import in_markdown
from housebrain_core.train.tuner import HouseBrainFineTuner

pytestmark = pytest.mark.slow


def quiet(line: str) -> None:
    """Says nothing."""


@pytest.fixture(scope="module")
def chosen(half_broken, tmp_path_factory):
    """The folder of a selection by rule, the selection, and the lines that it reported."""
    output = tmp_path_factory.mktemp("chosen") / "chosen"
    lines: list[str] = []
    config = SelectConfig(source=half_broken, clean_rules=["room_counts"], output=output, at_least=20)
    return output, select_samples(config, lines.append), lines


def test_the_result_is_a_dataset_whose_samples_are_those_of_the_source(chosen, half_broken):
    folder, selection, _ = chosen
    source = {one["id"]: codec.dumps(one) for one in read_samples(half_broken, "train")}
    result = list(read_samples(folder, "train"))
    assert all(source[one["id"]] == codec.dumps(one) for one in result)
    assert len(result) == len({one["id"] for one in result}) == selection.chosen + selection.ordinary
    kept = [one for one in result if not check_design(one["input"], one["output"])["room_counts"]]
    assert selection.chosen <= len(kept) < len(result), "ordinary ones break it too"
    assert [one["id"] for one in result] == sorted(one["id"] for one in result), "in the source's order"


def test_the_validation_part_is_the_sources_and_nothing_of_it_is_trained_on(chosen, half_broken):
    folder, selection, _ = chosen
    validation = [codec.dumps(one) for one in read_samples(half_broken, "validation")]
    assert [codec.dumps(one) for one in read_samples(folder, "validation")] == validation
    assert selection.validation == 16
    briefs = {codec.dumps(one["input"]) for one in read_samples(half_broken, "validation")}
    assert not briefs & {codec.dumps(one["input"]) for one in read_samples(folder, "train")}


def test_counts_are_said_before_anything_is_written_and_a_dry_run_writes_nothing(chosen, half_broken, tmp_path):
    _, selection, lines = chosen
    table = next(number for number, line in enumerate(lines) if line.startswith("condition"))
    assert "Dataset in" in lines[-1] and table < len(lines) - 1 and "--init-adapter" in lines[-1]
    config = SelectConfig(
        source=half_broken, clean_rules=["room_counts"], output=tmp_path / "a", at_least=20, dry_run=True
    )
    said: list[str] = []
    dry = select_samples(config, said.append)
    assert dry.model_copy(update={"rules": selection.rules}) == selection and "dry run" in said[-1]
    assert not list(tmp_path.iterdir())


def test_the_same_settings_give_the_same_bytes_and_an_output_stays_unless_overwritten(chosen, half_broken, tmp_path):
    folder, selection, _ = chosen
    config = SelectConfig(source=half_broken, clean_rules=["room_counts"], output=tmp_path / "chosen", at_least=20)
    assert select_samples(config, quiet) == selection
    for path in folder.iterdir():
        assert (tmp_path / "chosen" / path.name).read_bytes() == path.read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        select_samples(config, quiet)
    select_samples(config.model_copy(update={"overwrite": True, "seed": 3}), quiet)
    assert (tmp_path / "chosen" / "train.jsonl").read_bytes() != (folder / "train.jsonl").read_bytes()


def test_a_selected_dataset_that_was_changed_is_refused(chosen, tmp_path):
    changed = shutil.copytree(chosen[0], tmp_path / "chosen")
    with (changed / "train.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(DataError, match=r"train\.jsonl has changed"):
        split_dataset(SplitConfig(source=changed, output=tmp_path / "splits", splits=2), quiet)


def test_split_training_and_merge_go_on_from_an_adapter_and_name_the_selection(chosen, adapters, base, tmp_path):
    folder, selection, _ = chosen
    splits = tmp_path / "splits"
    split_dataset(SplitConfig(source=folder, output=splits, splits=2, init_adapter=adapters[0]), quiet)
    assert read_bundle(splits / "split_01.zip").manifest["selection"] == selection.describe()
    models = [tmp_path / f"hb-{number}" for number in (1, 2)]
    for number, model in enumerate(models, 1):
        config = FineTuningConfig(
            dataset_path=splits / f"split_0{number}.zip", output_dir=model, base_model=str(base), max_steps=2,
            gradient_accumulation_steps=1, row_length=512,
        )  # fmt: skip
        run = HouseBrainFineTuner(config, report=quiet).train()
        assert run.data.selection == selection.describe() and run.parent_sha256
        assert in_markdown(selection.describe()) in (model / "README.md").read_text()
    merge_adapters(MergeConfig(models=models, output=tmp_path / "merged"), report=quiet)
    assert f"Data: {in_markdown(selection.describe())}." in (tmp_path / "merged" / "README.md").read_text()
    assert json.loads((tmp_path / "merged" / "merge.json").read_text())["selection"] == selection.describe()
    direct = config.model_copy(update={"dataset_path": folder, "output_dir": tmp_path / "direct"})
    assert HouseBrainFineTuner(direct, report=quiet).train().data.selection == selection.describe()
