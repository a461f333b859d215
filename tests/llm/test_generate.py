"""`housebrain generate`: a brief gives a design, many give a file that goes on where it was."""

import io
import json
import signal
import subprocess
import sys

import pytest

from housebrain_core import cli
from housebrain_core.config import GenerateConfig
from housebrain_core.errors import ConfigError, DataError, HouseBrainError
from housebrain_core.house.codec import DesignError
from housebrain_core.llm import generate
from housebrain_core.llm.constrained import safe_limit
from housebrain_core.llm.decoding import Answered, Batch
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.outputs import lock_output

pytest.importorskip("llguidance", reason="the extra `constrained` is not installed")


def settings(adapters, base, brief, **changes):
    values = {"model": adapters[0], "base_model": str(base), "brief": str(brief), "constrained": True, "batch_size": 2}
    return GenerateConfig(**(values | changes))


def silent(line):
    pass


@pytest.fixture
def brief_file(samples, tmp_path):
    path = tmp_path / "brief.json"
    path.write_text(json.dumps(samples[0]["input"], indent=2))
    return path


@pytest.fixture
def many(samples, tmp_path):
    path = tmp_path / "briefs.jsonl"
    path.write_text("\n".join(json.dumps(sample["input"]) for sample in samples[:5]))
    return path


def test_one_brief_gives_json_on_standard_output_and_a_drawing(adapters, base, brief_file, tmp_path, capsys):
    generate.generate_designs(settings(adapters, base, brief_file, plot=tmp_path / "out.png"))
    design = json.loads(capsys.readouterr().out)
    assert design["input"] == json.loads(brief_file.read_text()) and design["total_area"]
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_reads_a_brief_from_standard_input(adapters, base, samples, monkeypatch, capsys):
    arguments = ["generate", "--model", str(adapters[0]), "--base-model", str(base), "--constrained", "--brief", "-"]
    monkeypatch.setattr("sys.argv", ["housebrain", *arguments])
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(samples[1]["input"])))
    cli.main()
    assert json.loads(capsys.readouterr().out)["input"] == samples[1]["input"]


@pytest.mark.parametrize("text", ["", "some text"])
def test_an_instruction_beside_an_input_is_a_part_of_what_the_model_gets(text, tmp_path):
    asked = {"instruction": "Translate to French", "input": text}
    for beside in ({}, {"output": "un texte", "id": "7", "metadata": {}}):
        (tmp_path / "q.json").write_text(json.dumps(asked | beside))
        [brief], _ = generate.read_briefs(str(tmp_path / "q.json"))
        assert brief.plain == asked and brief.doubts == [generate.OTHER]


def test_standard_input_takes_a_brief_a_sample_or_lines(samples, monkeypatch):
    for text, count, several in (
        (json.dumps(samples[0]["input"], indent=1), 1, False),
        (json.dumps(samples[0]), 1, False),
        (json.dumps(samples[0]["input"]) + "\n\n" + json.dumps(samples[1]["input"]) + "\n", 2, True),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        briefs, is_many = generate.read_briefs("-")
        assert (len(briefs), is_many) == (count, several) and briefs[0].plain == samples[0]["input"]


def test_an_answer_that_is_no_design_is_an_error_not_a_file(adapters, base, brief_file, tmp_path):
    config = settings(adapters, base, brief_file, constrained=False, max_new_tokens=5, output=tmp_path / "out.json")
    with pytest.raises(DesignError):
        generate.generate_designs(config, silent)
    assert not config.output.exists()


KILLED = """
import os, signal, sys
from housebrain_core.llm import generate
from housebrain_core.config import GenerateConfig
from housebrain_core.llm.llm import HouseBrainLLM

answer_batches = HouseBrainLLM.answer_batches

def answer_two_batches(self, *arguments):
    for number, batch in enumerate(answer_batches(self, *arguments)):
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch

HouseBrainLLM.answer_batches = answer_two_batches
generate.generate_designs(GenerateConfig.model_validate_json(sys.argv[1]))
"""


def test_a_process_killed_in_mid_run_leaves_a_file_that_a_second_run_completes_to_the_same_bytes(
    adapters, base, many, tmp_path, monkeypatch
):
    whole = settings(adapters, base, many, max_new_tokens=safe_limit(), output=tmp_path / "whole.jsonl")
    rows = generate.generate_designs(whole, silent)
    assert [row["brief"] for row in rows] == [1, 2, 3, 4, 5] and all("design" in row for row in rows)
    killed = whole.model_copy(update={"output": tmp_path / "killed.jsonl"})
    ran = subprocess.run([sys.executable, "-c", KILLED, killed.model_dump_json()], capture_output=True, text=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    with killed.output.open("a") as file:
        file.write('\n{"brief": 5, "sha256": "torn')  # as if the kill had come in the middle of a line
    asked = []
    answer = HouseBrainLLM._continue
    monkeypatch.setattr(HouseBrainLLM, "_continue", lambda self, *a: asked.append(a) or answer(self, *a))
    generate.generate_designs(killed, silent)
    assert killed.output.read_bytes() == whole.output.read_bytes()
    assert len(asked) == 1  # two of three batches were in the file


def test_answers_that_are_no_designs_are_named_in_their_lines(adapters, base, many, tmp_path):
    config = settings(adapters, base, many, constrained=False, max_new_tokens=4, output=tmp_path / "out.jsonl")
    with pytest.raises(DesignError, match="(?s)none of the 5 answers is a design; the first: truncated.*--constrained"):
        generate.generate_designs(config, silent)
    rows = [json.loads(line) for line in config.output.read_text().splitlines()]
    assert [row["error"]["kind"] for row in rows] == ["truncated"] * 5


def test_bad_briefs_are_all_reported_before_anything_is_loaded(tmp_path, adapters, base):
    path = tmp_path / "briefs.jsonl"
    path.write_text('{"basicDetails": {}}\nnot json\n{"basicDetails": {"totalArea": 0, "bedrooms": 1}}')
    with pytest.raises(DataError, match="(?s)line 2 is not JSON.*brief 1: .*totalArea.*brief 2: .*totalArea = 0 sqft"):
        generate.generate_designs(settings(adapters, "no-such-base", path, output=tmp_path / "out.jsonl"))
    with pytest.raises(DataError, match="cannot be read"):
        generate.read_briefs(str(tmp_path / "missing.json"))


def test_many_briefs_need_a_file_for_the_designs(adapters, base, many):
    with pytest.raises(ConfigError, match="--output"):
        generate.generate_designs(settings(adapters, base, many))


def test_designs_of_other_settings_stay_and_another_file_is_asked_for(adapters, base, many, tmp_path):
    config = settings(adapters, base, many, output=tmp_path / "out.jsonl")
    generate.generate_designs(config, silent)
    before = config.output.read_bytes()
    with pytest.raises(ConfigError, match="out.jsonl holds designs of another model, other briefs or other settings"):
        generate.generate_designs(config.model_copy(update={"constrained": False}), silent)
    assert config.output.read_bytes() == before
    generate.generate_designs(config, silent)
    assert config.output.read_bytes() == before, "the same settings find all done"


def test_what_the_rules_find_in_a_design_is_said(adapters, base, samples, brief_file, tmp_path):
    lines = []
    (row,) = generate.generate_designs(settings(adapters, base, brief_file, output=tmp_path / "out.json"), lines.append)
    said = [line for line in lines if line.startswith("rule ")]
    assert said == generate.describe_findings(samples[0]["input"], row["design"])[: len(said)]
    wrong = row["design"] | {"total_area": 10**9}
    assert any(
        "rule far_limit: " in line and "1e+09" in line
        for line in generate.describe_findings(samples[0]["input"], wrong)
    )
    assert f"design in {tmp_path / 'out.json'}" in lines


def test_a_setting_of_the_base_that_would_do_nothing_is_refused_before_a_model_is_loaded(
    adapters, base, brief_file, monkeypatch
):
    monkeypatch.delattr("housebrain_core.llm.generate.HouseBrainLLM")
    with pytest.raises(ConfigError, match="load_in_4bit would do nothing"):
        generate.generate_designs(settings(adapters, base, brief_file, load_in_4bit=True))
    with pytest.raises(ConfigError, match="base_model = .* would do nothing"):
        generate.generate_designs(settings([base], base, brief_file))


def test_doubts_about_a_brief_are_said_before_the_model_is_loaded(samples, tmp_path, adapters, base):
    briefs = [json.loads(json.dumps(sample["input"])) for sample in samples[:12]]
    for brief in briefs:
        brief["basicDetails"]["bedrooms"] = 19
    path = tmp_path / "briefs.jsonl"
    path.write_text("".join(json.dumps(brief) + "\n" for brief in briefs))
    lines = []
    (tmp_path / "config.json").write_text("{}")
    unusable = settings(adapters, base, path, output=tmp_path / "out.jsonl", model=tmp_path, base_model=None)
    with pytest.raises(HouseBrainError):
        generate.generate_designs(unusable, lines.append)
    assert "brief 1: basicDetails.bedrooms = 19, but roomBreakdown has" in lines[0]
    assert len(lines) == 11 and lines[-1].endswith(" doubts more")


def test_a_second_run_into_one_file_is_refused_before_a_model_is_loaded(adapters, base, many, tmp_path, monkeypatch):
    monkeypatch.delattr("housebrain_core.llm.generate.HouseBrainLLM")
    config = settings(adapters, base, many, output=tmp_path / "out.jsonl")
    with lock_output(config.output), pytest.raises(ConfigError, match=r"another process is writing .*out\.jsonl"):
        generate.generate_designs(config, silent)
    assert not config.output.exists()


class TextModel:
    """A model that answers every prompt with the same text."""

    name = identity = "text"

    def __init__(self, *args) -> None:
        pass

    def answer_batches(self, briefs, decoding, done=(), report=silent):
        yield Batch(list(range(len(briefs))), [Answered('{"design":"It is 4."}', 4, True) for _ in briefs], 0.1)


@pytest.mark.parametrize(("name", "text"), [("q.txt", "What is 2+2?\n"), ("q.json", '"What is 2+2?"')])
def test_text_in_gives_the_text_that_comes_out(name, text, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generate, "HouseBrainLLM", TextModel)
    (tmp_path / name).write_text(text)
    config = GenerateConfig(model="http://stub", brief=str(tmp_path / name))
    said = []
    generate.generate_designs(config, said.append)
    assert capsys.readouterr().out == "It is 4.\n"
    assert "it is no house brief" in said[0]
    assert generate.read_briefs(str(tmp_path / name))[0][0].plain == "What is 2+2?"
    for given in ({"plot": tmp_path / "a.png"}, {"constrained": True}):
        with pytest.raises(ConfigError, match="are for designs of houses"):
            generate.generate_designs(config.model_copy(update=given), silent)


def test_many_texts_give_a_line_each_and_a_brief_among_them_has_to_be_one(tmp_path, monkeypatch, samples):
    monkeypatch.setattr(generate, "HouseBrainLLM", TextModel)
    (tmp_path / "q.jsonl").write_text('{"input": "one"}\n"two"\n')
    config = GenerateConfig(model="http://stub", brief=str(tmp_path / "q.jsonl"), output=tmp_path / "out.jsonl")
    assert [row["design"] for row in generate.generate_designs(config, silent)] == ["It is 4."] * 2
    (tmp_path / "q.jsonl").write_text(json.dumps(samples[0]["input"]) + '\n"two"\n')
    with pytest.raises(DataError, match="brief 2"):
        generate.generate_designs(config, silent)


def test_a_design_that_is_there_stays_until_its_replacement_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "HouseBrainLLM", TextModel)
    (tmp_path / "q.txt").write_text("What is 2+2?")
    (tmp_path / "out.txt").write_text("mine")
    config = GenerateConfig(model="http://stub", brief=str(tmp_path / "q.txt"), output=tmp_path / "out.txt")
    with pytest.raises(ConfigError, match="so it stays.*--overwrite"):
        generate.generate_designs(config, silent)
    assert (tmp_path / "out.txt").read_text() == "mine"
    generate.generate_designs(config.model_copy(update={"overwrite": True}), silent)
    assert (tmp_path / "out.txt").read_text() == "It is 4.\n"


@pytest.mark.parametrize("overwrite", [False, True])
def test_briefs_and_drawings_of_a_person_are_never_replaced(overwrite, tmp_path, monkeypatch, samples):
    monkeypatch.setattr(generate, "HouseBrainLLM", TextModel)
    briefs = tmp_path / "briefs.jsonl"
    briefs.write_text("".join(json.dumps(sample["input"]) + "\n" for sample in samples[:2]))
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "design_00002.png").write_bytes(b"mine")
    config = GenerateConfig(model="http://stub", brief=str(briefs), output=briefs, overwrite=overwrite)
    with pytest.raises(ConfigError, match="that is what is read"):
        generate.generate_designs(config, silent)
    given = {"output": tmp_path / "out.jsonl", "plot": tmp_path / "plans"}
    with pytest.raises(ConfigError, match=r"design_00002.png holds something .* so it stays"):
        generate.generate_designs(config.model_copy(update=given), silent)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["briefs.jsonl", "plans"]
