"""Evaluation: figures by hand, the same every time, resumable, comparable in pairs, and a page that opens offline."""

import json
import re
import signal
import subprocess
import sys
from collections import Counter

import pytest

from housebrain_core.config import EvaluateConfig
from housebrain_core.errors import ConfigError
from housebrain_core.evaluate import evaluate, judging
from housebrain_core.evaluate.judging import Evaluated, judge
from housebrain_core.evaluate.report import write_report
from housebrain_core.house import codec
from housebrain_core.llm import losses
from housebrain_core.llm.decoding import Answered
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.llm.losses import Losses
from housebrain_core.outputs import lock_output


def settings(folder, adapters, splits, base, **changes):
    values = {"models": adapters[:2], "data": splits, "base_model": str(base), "samples": 5, "batch_size": 2,
              "max_new_tokens": 40, "sampled": 2, "output": folder / "evaluation.json"}  # fmt: skip
    return EvaluateConfig(**(values | changes))


def run(config):
    return evaluate.evaluate_models(config, report=lambda line: None)


def check_same(one, other) -> None:
    """All but the speed is the same, to the last bit."""
    one, other = (result.model_dump(mode="json") for result in (one, other))
    for values in (*one["models"].values(), *other["models"].values()):
        values.pop("tokens_per_second")
    assert one == other


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, adapters, splits, base):
    config = settings(tmp_path_factory.mktemp("evaluation"), adapters, splits, base)
    return config, run(config)


def test_evaluation_says_everything_per_model_and_the_references_score(evaluated):
    config, result = evaluated
    assert json.loads(config.output.read_text()) == result.model_dump(mode="json")
    assert list(result.models) == ["hb-colab-01", "hb-kaggle-02"] and result.reference.rule_score > 0.5
    for model in result.models.values():
        low, high = model.loss_interval
        assert low < model.loss_nats_per_token < high
        assert model.rates.invalid_json == 1 - model.rates.strict_parse
        assert sum(model.kinds.values()) == 5 and model.tokens_per_second > 0
    assert [(pair.first, pair.second) for pair in result.pairs] == [("hb-colab-01", "hb-kaggle-02")]
    assert set(result.reference.exactness.values()) == {1.0}
    assert len(config.output.with_suffix(".jsonl").read_text().splitlines()) == 10


def test_a_second_evaluation_gives_the_same(evaluated, tmp_path, adapters, splits, base):
    again = run(settings(tmp_path, adapters, splits, base))
    check_same(again, evaluated[1])


def test_a_killed_evaluation_goes_on_and_gives_the_same(evaluated, tmp_path, adapters, splits, base, monkeypatch):
    """Killed after each of the first writes in turn; what the journal has is not computed again."""
    config = settings(tmp_path, adapters, splits, base)
    add, calls = evaluate.Journal.add, Counter()

    def add_or_die(self, row):
        add(self, row)
        calls["all"] += 1
        if calls["all"] in (1, 4, 9, 13):
            with self.path.open("a") as file:
                file.write('\n{"key": "torn')
            raise KeyboardInterrupt

    monkeypatch.setattr(evaluate.Journal, "add", add_or_die)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            run(config)
    check_same(run(config), evaluated[1])
    assert calls["all"] <= 2 * (1 + 5 + 2) + 4  # at most the killed batches' second answers came again
    assert not config.output.with_suffix(".partial.jsonl").exists()


KILLED = """
import os, signal, sys
from housebrain_core.evaluate import evaluate
from housebrain_core.evaluate.evaluate import evaluate_models
from housebrain_core.config import EvaluateConfig

add = evaluate.Journal.add

def add_or_die(self, row):
    add(self, row)
    if len(self.rows) == 11:  # the first model's 8, the second's loss, and one batch of its answers
        os.kill(os.getpid(), signal.SIGKILL)

evaluate.Journal.add = add_or_die
evaluate_models(EvaluateConfig.model_validate_json(sys.argv[1]))
"""


def test_a_process_killed_in_the_second_model_leaves_a_journal_that_gives_the_same(
    evaluated, tmp_path, adapters, splits, base, monkeypatch
):
    config = settings(tmp_path, adapters, splits, base)
    ran = subprocess.run([sys.executable, "-c", KILLED, config.model_dump_json()], capture_output=True, text=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert not config.output.exists() and config.output.with_suffix(".partial.jsonl").exists()
    added = []
    add = evaluate.Journal.add
    monkeypatch.setattr(evaluate.Journal, "add", lambda *arguments: added.append(arguments) or add(*arguments))
    check_same(run(config), evaluated[1])
    assert len(added) == 2 * (1 + 5 + 2) - 11
    assert not config.output.with_suffix(".partial.jsonl").exists()


def test_models_of_equal_weights_do_not_differ(tmp_path, adapters, splits, base):
    result = run(settings(tmp_path, [adapters[0], adapters[0]], splits, base, sampled=0))
    (pair,) = result.pairs
    assert pair.loss_difference == 0 and pair.loss_interval == (0, 0) and pair.valid_only_first == 0
    assert list(result.models) == ["hb-colab-01", "hb-colab-01 (2)"]


def test_constrained_answers_are_all_valid_and_the_page_has_their_plans(tmp_path, adapters, splits, base):
    pytest.importorskip("llguidance")
    config = settings(
        tmp_path, adapters[:1], splits, base, constrained=True, max_new_tokens="auto", samples=3, sampled=1
    )
    result = run(config)
    assert result.models["hb-colab-01"].rates.schema_valid == 1
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4 and "best design" in page and "worst design" in page


def test_the_page_needs_nothing_from_outside_and_escapes_what_a_model_wrote(evaluated, tmp_path):
    config, result = evaluated
    page = (config.output.parent / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', page)
    row = {"model": "hb-colab-01", "brief": {}, "text": '<script>alert("x")</script>', "tokens": 3, "complete": True}
    (tmp_path / "answers.jsonl").write_text(codec.dumps(row))
    page = write_report(result, tmp_path / "answers.jsonl", tmp_path / "report.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page


def test_the_floor_is_the_entropy_in_the_bundles_manifest(splits, monkeypatch):
    read = evaluate.read_bundle

    def with_entropy(path):
        bundle = read(path)
        return bundle._replace(manifest=bundle.manifest | {"entropy_nats_per_sample": 42.1})

    assert evaluate.read_training(splits)[0] is None  # too few samples to estimate it
    monkeypatch.setattr(evaluate, "read_bundle", with_entropy)
    assert evaluate.read_training(splits)[0] == 42.1


def test_the_known_floor_of_a_bundle_is_subtracted(evaluated, tmp_path, adapters, splits, base, monkeypatch):
    known = evaluate.read_training
    monkeypatch.setattr(evaluate, "read_training", lambda data: (20.0, known(data)[1]))
    model = run(settings(tmp_path, adapters[:1], splits, base, samples=1, sampled=0)).models["hb-colab-01"]
    above = model.loss_nats_per_sample - 20.0
    per_token = model.loss_nats_per_sample / model.loss_nats_per_token
    assert model.loss_above_floor == pytest.approx(above / per_token)


def test_limits_of_ones_own_judge_models_and_reference_and_are_in_the_results(
    tmp_path, adapters, splits, base, evaluated
):
    own = tmp_path / "limits.json"
    own.write_text(json.dumps({"ceiling": [20, "ft", "our office"]}))
    result = run(settings(tmp_path, adapters[:1], splits, base, samples=2, sampled=0, limits=str(own)))
    assert result.limits["ceiling"].model_dump() == {"value": 20, "unit": "ft", "source": "our office"}
    assert result.reference.rules["ceiling_height"].passed == 0
    usual = evaluated[1]
    assert usual.reference.rules["ceiling_height"].share == 1
    assert usual.limits["ceiling"].source.startswith("NBC")
    assert "our office" in (tmp_path / "report.html").read_text()


def test_a_reference_answer_is_judged_as_right(samples):
    brief, text = samples[0]["input"], codec.encode(samples[0]).completion
    judged = judge(brief, Answered(text, 300, True))
    assert judged[:5] == ("ok", True, True, True, True) and judged.design == samples[0]["output"]


@pytest.mark.parametrize(
    ("change", "complete", "kind", "flags"),
    [
        (lambda text: f"```json\n{text}\n```", True, "fenced", (False, True, False, True)),
        (lambda text: text[:-200], True, "truncated", (False, True, False, False)),
        (lambda text: text, False, "truncated", (False, True, False, False)),
        (lambda text: text.replace('"wall":', '"wall":"Brick","wall":', 1), True, "duplicate_key",
         (False, True, False, False)),
        (lambda text: text.replace('"wall":', '"walls":', 1), True, "schema", (True, True, False, False)),
        (lambda text: "no", True, "no_json", (False, False, False, False)),
        (lambda text: '{"design":{}}', True, "ok", (True, True, False, False)),
    ],
)  # fmt: skip
def test_strict_and_repaired_are_never_mixed(samples, change, complete, kind, flags):
    text = change(codec.encode(samples[0]).completion)
    assert judge(samples[0]["input"], Answered(text, 300, complete))[:5] == (kind, *flags)


def test_wilson_intervals_by_hand():
    assert losses.wilson_interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-3)
    assert losses.wilson_interval(10, 10) == pytest.approx((0.7225, 1), abs=1e-3)
    assert losses.wilson_interval(50, 100) == pytest.approx((0.4038, 0.5962), abs=1e-3)


def test_exactness_counts_a_derived_field_that_is_written_wrong(samples):
    sample = next(s for s in samples if s["output"]["climate_and_site"]["climate_zone"] == "Temperate")
    answer = json.loads(codec.encode(sample).completion)
    texts = [codec.dumps(answer | change) for change in ({}, {"cooling": "Medium"}, {"cooling": "High"})] + ["not json"]
    exact = judging.describe_exactness([sample["input"]] * 4, texts)
    assert exact["cooling"] == pytest.approx(2 / 3) and exact["total_area"] == 1


def test_mode_collapse_shows(samples):
    texts = [codec.encode(sample).completion for sample in samples]
    training = judging.count_values(texts)
    honest = judging.describe_distribution(training, training)
    assert honest.distance == 0 and honest.entropy_ratio == pytest.approx(1)
    collapsed = judging.describe_distribution(judging.count_values(texts[:1] * 40), training)
    assert collapsed.entropy_ratio == 0 and collapsed.distance > 3 * collapsed.expected_distance


def test_free_fields_are_counted_in_answers_that_are_not_whole(samples):
    text = codec.encode(samples[0]).completion
    answer = json.loads(text)
    whole, cut = judging.count_values([text]), judging.count_values([text[: text.index('"levels"')]])
    assert whole == cut and whole["doors"] == {f'"{answer["doors"]}"': 1}
    assert whole["features"].total() == whole["parking"].total() == 1


def test_pairs_by_hand(samples):
    good = judge(samples[0]["input"], Answered(codec.encode(samples[0]).completion, 9, True))
    bad = judge(samples[0]["input"], Answered("no", 9, True))
    one, other = Evaluated(Losses([1.0, 4.0], [2, 2]), [good, bad]), Evaluated(Losses([2.0, 2.0], [2, 2]), [good, good])
    (pair,) = judging.compare_models({"a": one, "b": other})
    assert pair.loss_difference == 0.25 and pair.lower_loss == 0.5  # (-1 + 2) / 4 nats per token
    assert (pair.valid_only_first, pair.valid_only_second) == (0, 1)
    assert pair.rule_pairs == 1 and pair.rule_difference == 0


def test_load_models_keeps_the_base_for_adapters_of_the_same_one(adapters, splits, base, tmp_path):
    loaded = list(evaluate.load_models(settings(tmp_path, adapters, splits, base), lambda line: None))
    assert loaded[0] is loaded[1] and isinstance(loaded[0], HouseBrainLLM) and loaded[1].name == "hb-kaggle-02"


def test_each_file_of_results_has_its_own_page(tmp_path):
    assert evaluate.report_path(tmp_path / "evaluation.json") == tmp_path / "report.html"
    assert evaluate.report_path(tmp_path / "e2.json") == tmp_path / "e2.html"


def test_quantising_a_base_that_adapters_bring_is_refused_and_writes_nothing(adapters, splits, base, tmp_path):
    with pytest.raises(ConfigError, match="load_in_4bit would do nothing"):
        run(settings(tmp_path, adapters, splits, base, load_in_4bit=True))
    assert not list(tmp_path.iterdir())


def test_a_second_evaluation_into_one_file_is_refused_and_writes_nothing(adapters, splits, base, tmp_path):
    config = settings(tmp_path, adapters, splits, base)
    with lock_output(config.output), pytest.raises(ConfigError, match=r"another process is writing .*evaluation\.json"):
        run(config)
    assert not list(tmp_path.glob("[!.]*"))
