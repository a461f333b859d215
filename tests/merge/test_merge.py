"""Whole merges: the exact mean of the updates, at any rank, in any order of the arguments, by each strategy."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from adapter_files import make_adapter, make_trained, tensors
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from housebrain_core.config import MergeConfig
from housebrain_core.errors import ConfigError, HouseBrainError
from housebrain_core.manifests import seal
from housebrain_core.merge.merge import merge_adapters
from housebrain_core.merge.result import MergeResult

WEIGHTS = "adapter_model.safetensors"
MODULE = "base_model.model.model.layers.0.self_attn.q_proj"


def quiet(line: str) -> None:
    pass


def merge(models, output, **more) -> MergeResult:
    return merge_adapters(MergeConfig(models=models, output=output, **more), report=quiet)


def updates(folder) -> dict[str, torch.Tensor]:
    """Module -> (alpha / r) B A in float64, read without the code under test."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / WEIGHTS)
    return {
        name.replace(".lora_A.weight", ""): config["lora_alpha"]
        / config["r"]
        * (tensors[name.replace("lora_A", "lora_B")].double() @ a.double())
        for name, a in tensors.items()
        if "lora_A" in name
    }


def plain_adapter(folder, rank: int, alpha: int, seed: int, size: tuple[int, int] = (6, 5)):
    """An ordinary PEFT folder with one module."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        f"{MODULE}.lora_A.weight": torch.randn(rank, size[1], generator=generator),
        f"{MODULE}.lora_B.weight": torch.randn(size[0], rank, generator=generator),
    }
    save_file(tensors, folder / WEIGHTS)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": ["q_proj"],
              "base_model_name_or_path": "some/base"}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_different_ranks_and_alphas_merge_to_the_mean_of_the_updates(tmp_path):
    folders = [plain_adapter(tmp_path / f"{r}-{alpha}", r, alpha, r) for r, alpha in ((1, 2), (2, 16), (3, 3))]
    merge(folders, tmp_path / "out", rank="full", accept_plain=True)
    (mean,) = (sum(updates(folder)[name] for folder in folders) / 3 for name in updates(folders[0]))
    (merged,) = updates(tmp_path / "out").values()
    assert (merged - mean).abs().max() / mean.abs().max() < 1e-6
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 5, "the rank of a 6 x 5 matrix"


def test_a_rank_beyond_all_directions_gives_those_and_says_so(tmp_path):
    folders = [plain_adapter(tmp_path / f"{n}", 2, 4, n) for n in range(2)]
    lines = []
    config = MergeConfig(models=folders, output=tmp_path / "out", rank=500, accept_plain=True)
    result = merge_adapters(config, lines.append)
    assert (result.rank, result.rank_setting) == (4, 500)
    assert any(
        "rank 4: " in line and "500 were asked for, but the sum has no more directions" in line for line in lines
    )
    assert load_file(tmp_path / "out" / WEIGHTS)[f"{MODULE}.lora_A.weight"].shape == (4, 5)


def test_the_card_and_the_report_tell_how_a_merge_was_made(adapters, tmp_path):
    lines = []
    models = [*adapters[:2], adapters[0]]
    merge_adapters(MergeConfig(models=models, output=tmp_path / "out", strategy="ties", density=0.2), lines.append)
    card = (tmp_path / "out" / "README.md").read_text()
    result = json.loads((tmp_path / "out" / "merge.json").read_text())
    assert result["density"] == 0.2 and result["error_of_strategy"] > 0
    away = f"{result['error_of_strategy']:.1%} away from the exact mean of the updates"
    assert f"2 adapters, strategy ties, density 0.2, scale 1, {away}" in card and f"ties is {away}" in lines
    assert f"WARNING: {adapters[0]} is given 2 times; it counts once" in lines
    assert "WARNING: nothing of split 3 is in this merge" in lines
    merge(adapters, tmp_path / "best", strategy="best")
    assert "1 adapter of 3, strategy best, scale 1." in (tmp_path / "best" / "README.md").read_text()


def test_many_adapters_that_need_more_than_64_directions_merge_to_the_mean_by_auto(tmp_path):
    """40 adapters: their small matrices are large, so modules are worked on one by one, and auto ends at full."""
    folders = [plain_adapter(tmp_path / f"{n:02}", 8, 16, n, size=(350, 330)) for n in range(40)]
    result = merge(folders, tmp_path / "out", rank="auto", accept_plain=True)
    (mean,) = (sum(updates(folder)[name] for folder in folders) / 40 for name in updates(folders[0]))
    (merged,) = updates(tmp_path / "out").values()
    assert (merged - mean).norm() / mean.norm() < 1e-6
    assert (result.rank, result.rank_setting, result.relative_error) == (320, "auto", 0.0)


def test_full_merge_equals_the_float64_mean_of_trained_adapters(adapters, tmp_path):
    merge(adapters, tmp_path / "out", rank="full")
    one, two, three, merged = (updates(folder) for folder in [*adapters, tmp_path / "out"])
    for name, update in merged.items():
        mean = (one[name] + two[name] + three[name]) / 3
        assert (update - mean).norm() / mean.norm() < 1e-6


def test_one_adapter_merges_to_itself(adapters, tmp_path):
    merge(adapters[:1], tmp_path / "out", rank="full")
    alone, merged = updates(adapters[0]), updates(tmp_path / "out")
    assert all((merged[name] - alone[name]).norm() <= 1e-6 * alone[name].norm() for name in alone)


def test_order_of_the_arguments_does_not_matter_and_bytes_repeat(adapters, tmp_path):
    merge(adapters, tmp_path / "a")
    merge(adapters[::-1], tmp_path / "b")
    for name in (WEIGHTS, "adapter_config.json", "merge.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_peft_loads_the_merge_and_gives_the_base_plus_the_mean_of_the_updates(adapters, base, tmp_path):
    merge(adapters, tmp_path / "out", rank="full")
    ids = torch.arange(5, 45)[None]
    dense = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    every = [updates(folder) for folder in adapters]
    with torch.no_grad():
        for name in every[0]:
            module = dense.get_submodule(name.removeprefix("base_model.model."))
            module.weight += (sum(update[name] for update in every) / 3).float()
        expected = dense(ids).logits
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
        before = plain(ids).logits.clone()
        loaded = PeftModel.from_pretrained(plain, tmp_path / "out").eval()
        found = loaded(ids).logits
    assert (found - expected).abs().max() < 1e-4
    assert (before - expected).abs().max() > 0.1, "the updates change something"


def test_weighted_counts_tokens_and_best_takes_the_lowest_validation_loss(adapters, tmp_path):
    runs = [json.loads((folder / "run.json").read_text()) for folder in adapters]
    total = sum(run["tokens"] for run in runs)
    weighted = merge(adapters, tmp_path / "weighted", strategy="weighted")
    found = {entry.name: entry.weight for entry in weighted.inputs}
    expected = [pytest.approx(run["tokens"] / total) for run in runs]
    assert [found[folder.name] for folder in adapters] == expected
    merge(adapters, tmp_path / "best", strategy="best", rank="full")
    winner = min(zip(adapters, runs, strict=True), key=lambda pair: pair[1]["validation_loss"])[0]
    alone, best = updates(winner), updates(tmp_path / "best")
    assert all((best[name] - alone[name]).norm() <= 1e-6 * alone[name].norm() for name in alone)


def test_ab_average_is_measurably_not_the_average(adapters, tmp_path):
    merge(adapters, tmp_path / "exact", rank="full")
    merge(adapters, tmp_path / "apart", rank="full", strategy="ab-average")
    exact, apart = updates(tmp_path / "exact"), updates(tmp_path / "apart")
    assert max(float((exact[name] - apart[name]).norm() / exact[name].norm()) for name in exact) > 0.01


def test_validation_measures_base_adapters_and_merge(adapters, splits, base, tmp_path):
    more = {"run_validation": True, "data": splits, "base_model": str(base)}
    losses = merge(adapters, tmp_path / "out", **more).validation.losses
    assert set(losses) == {"base", "merged", *(folder.name for folder in adapters)}
    recorded = json.loads((adapters[0] / "run.json").read_text())["validation_loss"]
    assert losses[adapters[0].name] == pytest.approx(recorded, abs=1e-4)
    assert losses["merged"] < losses["base"]


def test_an_existing_output_is_kept_unless_we_wrote_it_and_may_replace_it(adapters, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(HouseBrainError):
            merge(adapters, tmp_path / "mine", overwrite=overwrite)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"
    merge(adapters, tmp_path / "out")
    with pytest.raises(ConfigError, match="--overwrite"):
        merge(adapters[:2], tmp_path / "out")
    merge(adapters[:2], tmp_path / "out", overwrite=True)
    assert len(json.loads((tmp_path / "out" / "merge.json").read_text())["inputs"]) == 2


def test_overwrite_replaces_no_trained_adapter_no_input_and_no_file_of_others(adapters, tmp_path):
    """A merge lies where it lies: only a whole folder that a merge wrote goes, and what is in it besides stays."""
    trained = shutil.copytree(adapters[0], tmp_path / "hb-colab-01")
    inputs = [trained, *adapters[1:]]
    merge(adapters, tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    merge(adapters, tmp_path / "again")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for models, output, said in (
        (inputs, trained, "one of the models"),
        (adapters[1:], trained, "not what an earlier merge wrote"),
        (adapters, tmp_path / "out", "holds notes.txt"),
        ([*adapters[:1], tmp_path / "again"], tmp_path / "again", "one of the models"),
    ):
        with pytest.raises(ConfigError, match=said):
            merge(models, output, overwrite=True)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def run_of(folder) -> dict:
    return json.loads((folder / "run.json").read_text())


def weights_of(result, folders) -> list[float]:
    """Weights in the order of the folders."""
    found = {entry.name: entry.weight for entry in result.inputs}
    return [found[folder.name] for folder in folders]


def test_given_weights_follow_the_order_of_the_models_and_are_divided_by_their_sum(adapters, tmp_path):
    result = merge(adapters[::-1], tmp_path / "out", strategy="weighted", weights=[1, 2, 5], rank="full")
    assert weights_of(result, adapters) == [pytest.approx(share / 8) for share in (5, 2, 1)]
    *every, merged = (updates(folder) for folder in [*adapters, tmp_path / "out"])
    for name, update in merged.items():
        expected = sum(share / 8 * one[name] for share, one in zip((5, 2, 1), every, strict=True))
        assert (update - expected).norm() <= 1e-6 * expected.norm()


@pytest.mark.parametrize(("by", "value"), [("samples", lambda n: n), ("validation_loss", lambda loss: 1 / loss)])
def test_weights_by_samples_and_by_inverse_validation_loss(by, value, adapters, tmp_path):
    counts = [value(run_of(folder)[by]) for folder in adapters]
    result = merge(adapters, tmp_path / "out", strategy="weighted", weigh_by=by)
    assert weights_of(result, adapters) == [pytest.approx(count / sum(counts)) for count in counts]


def test_an_excluded_adapter_is_not_in_the_merge(adapters, tmp_path):
    merge(adapters, tmp_path / "out", exclude=adapters[1:2])
    merge([adapters[0], adapters[2]], tmp_path / "two")
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == (tmp_path / "two" / WEIGHTS).read_bytes()
    with pytest.raises(ConfigError, match="nothing is left"):
        merge(adapters, tmp_path / "none", exclude=adapters)


def test_what_is_excluded_may_be_named_as_in_the_table_and_must_be_there(adapters, tmp_path):
    result = merge(adapters, tmp_path / "out", exclude=[Path(adapters[1].name)])
    assert [entry.name for entry in result.inputs] == [adapters[0].name, adapters[2].name]
    with pytest.raises(ConfigError, match="--exclude hb-typo is none of the models"):
        merge(adapters, tmp_path / "other", exclude=[Path("hb-typo")])
    with pytest.raises(ConfigError, match="nothing is left"):
        merge(adapters, tmp_path / "other", exclude=adapters)


@pytest.mark.parametrize("more", [{"strategy": "weighted", "weights": [1, 2]}, {"weights": [1, 2, 3]},
                                  {"strategy": "weighted", "weights": [0, 0, 0]}])  # fmt: skip
def test_weights_that_do_not_fit_are_refused_as_settings(more, tmp_path):
    with pytest.raises(ConfigError, match="weights: "):
        MergeConfig(models=["a", "b", "c"], **more)


def test_an_unfinished_adapter_needs_accept_unfinished(adapters, tmp_path):
    cut = shutil.copytree(adapters[0], tmp_path / "cut")
    run = run_of(cut) | {"finished": False, "why_it_ended": "time limit"}
    (cut / "run.json").write_text(json.dumps(run))
    seal(cut, "adapter")
    with pytest.raises(HouseBrainError, match="cut is not finished: time limit"):
        merge([cut, adapters[1]], tmp_path / "out")
    result = merge([cut, adapters[1]], tmp_path / "out", accept_unfinished=True)
    assert weights_of(result, [cut, adapters[1]]) == [0.5, 0.5]


def test_where_others_kept_their_base_does_not_stand_in_a_merge(tmp_path):
    models = [
        make_adapter(tmp_path / name, tensors(seed), base_model_name_or_path=f"/home/alice/{name}/our-base")
        for seed, name in enumerate("ab")
    ]
    output = tmp_path / "merged"
    merge_adapters(MergeConfig(models=models, output=output, accept_plain=True, accept_other_base_name=True))
    texts = {path.name: path.read_text() for path in output.iterdir() if path.suffix in (".json", ".md")}
    assert [name for name, text in texts.items() if "alice" in text] == []
    assert all("our-base" in texts[name] for name in ("adapter_config.json", "run.json", "README.md"))


def test_a_merge_loads_neither_torch_nor_matplotlib(tmp_path):
    """Without a validation it needs no model and draws nothing."""
    folders = [plain_adapter(tmp_path / f"{n}", 2, 4, n) for n in range(2)]
    code = (
        "import sys\nfrom pathlib import Path\nfrom housebrain_core.config import MergeConfig\n"
        "from housebrain_core.merge.merge import merge_adapters\n"
        "merge_adapters(MergeConfig(models=sys.argv[2:], output=sys.argv[1], accept_plain=True))\n"
        "assert not {'torch', 'matplotlib', 'transformers', 'pyarrow'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out"), *map(str, folders)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "out" / WEIGHTS).is_file()


def test_a_merge_of_a_leg_that_is_not_the_last_says_what_the_plan_does_next(tmp_path):
    place = {"plan": "abc", "leg": 1, "legs": 3}
    folders = [make_trained(tmp_path / f"hb-{number}", number, **place) for number in (1, 2)]
    lines = []
    merge_adapters(MergeConfig(models=folders, output=tmp_path / "out"), lines.append)
    assert lines[-2].startswith("NOT A FINISHED MODEL: this is leg 1 of 3 of a plan")
    assert "housebrain round" in lines[-2] and lines[-1].startswith("done: ")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert {name: manifest[name] for name in place} == place and manifest["parent_sha256"] is None
