"""The split: a partition, the same every time, with nothing half-written and nothing of the user's touched."""

import json
import math
import os
import random
import shutil
import zipfile

import pytest
from adapter_files import make_adapter

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.config import SplitConfig
from housebrain_core.data import processes
from housebrain_core.data.samples import read_samples
from housebrain_core.errors import AdapterError, ConfigError, DataError
from housebrain_core.house import codec
from housebrain_core.legs import Place
from housebrain_core.manifests import sha256_of
from housebrain_core.splits.bundle import CODEC, read_bundle
from housebrain_core.splits.encode import bundle_from_dataset, read_validation
from housebrain_core.splits.leg_file import read_start
from housebrain_core.splits.parts import SplitSummary
from housebrain_core.splits.split import split_dataset
from housebrain_core.splits.write import cut


def quiet(config: SplitConfig) -> SplitSummary:
    return split_dataset(config, report=lambda line: None)


@pytest.mark.parametrize(("count", "splits"), [(6, 6), (100, 7), (48, 3), (315, 6)])
def test_cut_is_a_partition_with_sizes_that_differ_by_at_most_one(count, splits):
    parts = [part.tolist() for part in cut(count, splits, seed=42)]
    assert sorted(sum(parts, [])) == list(range(count))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    again, other = ([part.tolist() for part in cut(count, splits, seed)] for seed in (42, 43))
    assert parts == again != other


def test_every_sample_is_in_exactly_one_bundle_and_validation_is_the_same_in_all(splits, dataset):
    bundles = [read_bundle(splits / f"split_0{number}.zip") for number in (1, 2, 3)]
    ids = sum((bundle.train.column("id").to_pylist() for bundle in bundles), [])
    assert sorted(ids) == sorted(json.loads(path.read_text())["id"] for path in (dataset / "train").iterdir())
    assert len({bundle.validation.to_pydict().__repr__() for bundle in bundles}) == 1
    assert bundles[0].validation.num_rows == 12
    tree = {path.name for number in (1, 2, 3) for path in (splits / f"split_0{number}" / "train").iterdir()}
    assert len(tree) == 48


def test_same_seed_gives_the_same_bytes_and_another_seed_another_split(dataset, splits, tmp_path):
    config = SplitConfig(source=dataset, output=tmp_path / "again", splits=3, validation_samples=12)
    quiet(config)
    quiet(config.model_copy(update={"output": tmp_path / "other", "seed": 1}))
    names = ["manifest.json", "split_summary.json", "training_configs.json", "split_01.zip", "split_03.zip"]
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (splits / name).read_bytes(), name
    assert (tmp_path / "other" / "split_01.zip").read_bytes() != (splits / "split_01.zip").read_bytes()


def test_training_configs_name_each_split_with_the_guides_settings(splits):
    configs = json.loads((splits / "training_configs.json").read_text())
    assert [c["output_dir"] for c in configs] == ["models/hb-colab-01", "models/hb-kaggle-02", "models/hb-kaggle-03"]
    guide = {"batch_size": 1, "gradient_accumulation_steps": 16, "epochs": 2, "lora_r": 8, "save_steps": 200}
    assert all(config.items() >= guide.items() for config in configs)


def test_the_tree_is_hard_links_and_the_source_is_untouched(dataset, splits):
    linked = next((splits / "split_01" / "train").iterdir())
    assert os.path.samefile(linked, dataset / "train" / linked.name)
    assert sorted(path.name for path in dataset.iterdir()) == ["train", "validation"]


def test_an_existing_folder_is_refused_and_a_users_folder_never_replaced(dataset, tmp_path):
    config = SplitConfig(source=dataset, output=tmp_path / "out", splits=2)
    quiet(config)
    with pytest.raises(ConfigError, match="--overwrite"):
        quiet(config)
    quiet(config.model_copy(update={"overwrite": True, "splits": 3}))
    assert (tmp_path / "out" / "split_03.zip").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="mine is not a whole folder that this command wrote"):
        quiet(config.model_copy(update={"output": tmp_path / "mine", "overwrite": True}))
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"


def test_fewer_samples_than_splits_is_refused(dataset, tmp_path):
    with pytest.raises(ConfigError, match="splits = 60"):
        quiet(SplitConfig(source=dataset, output=tmp_path / "out", splits=60))


@pytest.mark.slow
def test_the_floor_is_in_every_bundle_and_absent_where_samples_are_few(tmp_path, splits):
    """Designs of one copied field, one constant and two free ones of known entropy: ln 4 + ln 2."""
    dice = random.Random(0)
    with (tmp_path / "data.jsonl").open("w") as file:
        for number in range(3000):
            brief = {"area": dice.randrange(1000, 9000), "style": dice.choice("abc")}
            design = {"levels": [], "area": brief["area"], "wall": dice.choice("wxyz"), "ramp": dice.random() < 0.5}
            file.write(json.dumps({"id": f"s{number}", "input": brief, "output": design}) + "\n")
    quiet(SplitConfig(source=tmp_path / "data.jsonl", output=tmp_path / "out", splits=2))
    for number in (1, 2):
        manifest = read_bundle(tmp_path / "out" / f"split_0{number}.zip").manifest
        assert manifest["entropy_nats_per_sample"] == pytest.approx(math.log(8), abs=0.01)
    assert "entropy_nats_per_sample" not in read_bundle(splits / "split_01.zip").manifest


def test_a_prompt_is_the_same_bytes_in_training_evaluation_and_generation(dataset, splits):
    """Bundles hold what is trained on; evaluation reads briefs from it; generation writes prompts of briefs."""
    written = {sample["id"]: codec.write_prompt(sample["input"]) for sample in read_samples(dataset, "train")}
    for number in (1, 2, 3):
        for row in read_bundle(splits / f"split_0{number}.zip").train.to_pylist():
            assert row["prompt"] == written[row["id"]] == codec.write_prompt(codec.read_prompt(row["prompt"]))
    prompts = {example.prompt for example in read_validation(splits)}
    assert prompts <= {example.prompt for example in read_validation(dataset)}
    assert prompts <= {codec.write_prompt(sample["input"]) for sample in read_samples(dataset, "validation")}


@pytest.mark.slow
def test_other_processes_give_the_same_bytes(dataset, splits, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "FEW", 20)
    monkeypatch.setattr(processes, "CHUNK", 10)
    quiet(SplitConfig(source=dataset, output=tmp_path / "out", splits=3, validation_samples=12))
    for name in ("manifest.json", "split_02.zip"):
        assert (tmp_path / "out" / name).read_bytes() == (splits / name).read_bytes()


@pytest.mark.parametrize("key", ["format", "codec_version"])
def test_a_bundle_of_an_unknown_format_is_refused(key, splits, tmp_path):
    assert codec.VERSION == CODEC
    with zipfile.ZipFile(splits / "split_01.zip") as archive:
        archive.extractall(tmp_path)
    path = tmp_path / "split_01" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: 99}))
    with pytest.raises(DataError, match="(format|version) 99"):
        read_bundle(tmp_path / "split_01")


def test_the_counts_of_both_parts_are_said_and_where_validation_comes_from(dataset, tmp_path):
    lines = []
    split_dataset(SplitConfig(source=dataset, output=tmp_path / "whole", splits=2), report=lines.append)
    assert "48 training samples, 16 for validation, of them 16 in every bundle" in lines
    lines.clear()
    split_dataset(SplitConfig(source=dataset / "train", output=tmp_path / "part", splits=2), report=lines.append)
    (line,) = [line for line in lines if "training samples" in line]
    assert "held out by their ids, as the source has no validation part" in line


def test_a_condition_that_nothing_meets_shows_what_there_is(dataset, tmp_path):
    first = next(read_samples(dataset, "train"))
    style = first["input"]["basicDetails"]["style"]
    for where, said in (
        ("input.basicDetails.style=Martian", f'input.basicDetails.style is "{style}"'),
        ("input.basicDetails.styel=Modern", "input.basicDetails has totalArea"),
        ("input=Modern", r" \.\.\.\.$"),  # a long value that is cut says so
    ):
        with pytest.raises(DataError, match=said):
            quiet(SplitConfig(source=dataset, output=tmp_path / "out", where=[where]))


def test_the_validation_part_alone_is_read_whole(dataset, tmp_path):
    whole = read_validation(dataset)
    assert read_validation(dataset / "validation") == whole and len(whole) == 16
    whole_of_that_name = shutil.copytree(dataset, tmp_path / "val-2024")
    assert read_validation(whole_of_that_name) == whole, "a dataset with parts is one, whatever it is called"
    with pytest.raises(DataError, match="--data"):
        read_validation(dataset / "gone")


def test_a_splits_folder_is_not_taken_for_one_bundle(splits):
    with pytest.raises(DataError, match="name the bundle of one, such as .*split_01.zip"):
        bundle_from_dataset(splits)


def test_an_adapter_to_start_from_goes_into_every_bundle_and_is_named(dataset, tmp_path):
    adapter = make_adapter(tmp_path / "merged")
    weights = (adapter / "adapter_model.safetensors").read_bytes()
    config = SplitConfig(source=dataset, output=tmp_path / "out", splits=2, init_adapter=adapter)
    summary = quiet(config)
    assert summary.parent_sha256 == sha256_of(weights)
    for number in (1, 2):
        bundle = tmp_path / "out" / f"split_0{number}.zip"
        start = read_start(bundle)
        assert (start.weights, start.place, start.parent_sha256) == (weights, None, sha256_of(weights))
        assert read_bundle(bundle).manifest["parent_sha256"] == sha256_of(weights)
    quiet(config.model_copy(update={"output": tmp_path / "again"}))
    assert (tmp_path / "again/split_01.zip").read_bytes() == (tmp_path / "out/split_01.zip").read_bytes()


def test_what_is_no_adapter_to_start_from_is_refused_before_the_data_are_read(tmp_path):
    (tmp_path / "empty").mkdir()
    config = SplitConfig(source=tmp_path / "nowhere", output=tmp_path / "out", init_adapter=tmp_path / "empty")
    with pytest.raises(AdapterError, match="empty lacks adapter_config.json and adapter_model.safetensors"):
        quiet(config)
    assert not (tmp_path / "out").exists()


def test_with_legs_the_adapter_to_start_from_is_written_at_the_rank_of_the_plan_with_the_same_update(dataset, tmp_path):
    given = read_adapter(make_adapter(tmp_path / "merged"), accept_plain=True)  # rank 2, alpha 4
    config = SplitConfig(
        source=dataset, output=tmp_path / "out", splits=2, init_adapter=given.folder, relay=True,
        training=["max_steps=9", "lora_r=5"],
    )  # fmt: skip
    lines: list[str] = []
    plan = split_dataset(config, report=lines.append).plan
    assert "merged: rewritten at rank 5 and alpha 16, which keeps 100.000% of its energy" in lines
    starts = [read_start(tmp_path / "out" / f"split_0{number}.zip") for number in (1, 2)]
    assert starts[0] == starts[1]
    assert starts[0].place == Place(plan=plan, leg=1, parent_sha256=starts[0].parent_sha256)
    starts[0].write_to(tmp_path / "written")
    written = read_adapter(tmp_path / "written", accept_plain=True)
    assert written.base_model == given.base_model and set(written.scaling.values()) == {16 / 5}
    for module, shape in given.shapes.items():
        assert written.shapes[module] == shape._replace(rank=5)
        (b, a), (expected_b, expected_a) = written.factors(module), given.factors(module)
        assert b @ a == pytest.approx(expected_b @ expected_a, abs=1e-5)
