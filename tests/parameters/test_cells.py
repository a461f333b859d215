"""The parameters cell as the build writes it, and what its next cell refuses."""

import ast
import subprocess
import sys

import pytest

from housebrain_core.errors import ConfigError
from housebrain_core.parameters.cells import (
    check_settings,
    find_unknown,
    form_hint,
    read_assignments,
    write_parameters_cell,
)
from housebrain_core.parameters.settings import (
    NOTEBOOKS,
    ColabTrainSettings,
    KaggleTrainSettings,
    LocalTrainSettings,
    MergeSettings,
    SplitSettings,
)


@pytest.mark.parametrize(("name", "platform"), NOTEBOOKS)
def test_a_parameters_cell_has_a_literal_and_a_comment_for_each_setting(name, platform):
    settings = NOTEBOOKS[name, platform]
    source = write_parameters_cell(settings, platform)
    given = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(source).body}
    assert given == {name: field.default for name, field in settings.model_fields.items()}
    assert all(field.description for field in settings.model_fields.values())
    text = " ".join(source.replace("\n# ", " ").split())
    assert all(" ".join(field.description.split()) in text for field in settings.model_fields.values())
    assert max(map(len, source.splitlines())) <= 120


def test_colab_gets_a_form_and_nobody_else_does():
    lines = write_parameters_cell(ColabTrainSettings, "colab").splitlines()
    assert lines[:3] == [
        "# @title 1. Settings",
        "# @markdown Your split, as its file split_NN.zip says.",
        'split_id = 1  # @param {type:"integer"}',
    ]
    assert 'rehearsal = "auto"  # @param ["\\"auto\\"", "True", "False"] {type:"raw"}' in lines
    assert 'learning_rate = 0.0002  # @param {type:"number"}' in lines
    assert 'bundle = ""  # @param {type:"string"}' in lines and 'gpus = "all"  # @param {type:"raw"}' in lines
    assert "@param" not in write_parameters_cell(KaggleTrainSettings, "kaggle")
    assert "@" not in write_parameters_cell(LocalTrainSettings, "local")


def test_each_type_has_its_hint():
    from typing import Literal

    hints = [form_hint(kind) for kind in (bool, int, float, str, int | str, list[str])]
    assert hints == [f'{{type:"{name}"}}' for name in ("boolean", "integer", "number", "string", "raw", "raw")]
    assert form_hint(Literal["a", "b"]) == '["a", "b"]'


def test_all_problems_are_told_at_once():
    given = {"split_id": "1", "rehearsal": "true", "epochs": True, "lora_r": 500, "gpus": "two", "max_steps": -1}
    with pytest.raises(ConfigError) as refused:
        check_settings(KaggleTrainSettings, given)
    first, *lines = str(refused.value).splitlines()
    assert first == "These settings cannot be used; change them and run all again:"
    assert sorted(lines) == [
        "- epochs = True: this has to be int, not bool",
        "- gpus = 'two': this has to be int, not str, or input should be 'all'",
        "- lora_r = 500: input should be less than or equal to 256",
        "- max_steps = -1: input should be greater than or equal to 1",
        "- rehearsal = 'true': this has to be bool, not str, or input should be 'auto'",
        "- split_id = '1': this has to be int, not str",
    ]
    assert refused.value._render_traceback_() == [str(refused.value)]


@pytest.mark.parametrize(
    ("settings", "given", "problem"),
    [
        (KaggleTrainSettings, {"split_id": 0}, "split_id = 0: input should be greater than or equal to 1"),
        (KaggleTrainSettings, {"split_id": 100}, "split_id = 100: input should be less than or equal to 99"),
        (LocalTrainSettings, {"epochs": 0}, "epochs = 0: input should be greater than or equal to 1"),
        (LocalTrainSettings, {"learning_rate": "0.1"}, "learning_rate = '0.1': this has to be float, not str"),
        (SplitSettings, {"max_bad": 2}, "max_bad = 2.0: input should be less than or equal to 1"),
        (MergeSettings, {"strategy": "mean"}, "strategy = 'mean': input should be 'average', 'weighted'"),
        (MergeSettings, {"rank": 0}, "rank = 0: input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_value_is_refused_with_what_it_has_to_be(settings, given, problem):
    with pytest.raises(ConfigError) as refused:
        check_settings(settings, given)
    assert f"- {problem}" in str(refused.value)


def test_right_values_are_given_back_and_other_names_of_the_notebook_do_not_matter():
    given = {"split_id": 4, "learning_rate": 1, "seed": 7, "json": None, "x": 3}
    settings = check_settings(KaggleTrainSettings, given)
    assert (settings.split_id, settings.learning_rate, settings.seed, settings.epochs) == (4, 1.0, 7, 2)


PARAMETERS = "split_id = 1\nepochs = 2"


@pytest.mark.parametrize(
    ("cells", "unknown"),
    [
        ([PARAMETERS, "import json"], []),
        (
            [PARAMETERS, "# Parameters\nsplitid = 2", "import json"],
            ["splitid: there is no such setting. Did you mean split_id?"],
        ),
        ([PARAMETERS + "\nepoch = 3", "import json"], ["epoch: there is no such setting. Did you mean epochs?"]),
        (["# Parameters\nsplitid = 2", "import json", PARAMETERS, "import json"], []),
        ([PARAMETERS, "# Parameters\nsplit_id = 2", "%matplotlib inline", "x = 3", "print(x)"], []),
    ],
)
def test_unknown_names_in_the_newest_parameters_cells_are_named_with_the_nearest_right_one(cells, unknown):
    assert find_unknown(LocalTrainSettings, cells) == unknown


def test_a_name_like_no_other_gets_the_list():
    (line,) = find_unknown(SplitSettings, ["# Parameters\nqqqq = 1"])
    assert line == f"qqqq: there is no such setting. Did you mean {', '.join(SplitSettings.model_fields)}?"


def test_only_cells_of_literals_are_parameters():
    assert read_assignments("a = 1\n# comment\nb = ['x', -2.5]") == ["a", "b"]
    for source in ("a = b", "import x", "a = 1\nprint(a)", "!ls", "a, b = 1, 2", "f(x)[0] = 1", "a = 1 +"):
        assert read_assignments(source) == []


def test_a_wrong_value_is_refused_in_every_notebook_before_torch_is_imported():
    code = (
        "import sys\n"
        "from housebrain_core.parameters.cells import check_settings\n"
        "from housebrain_core.parameters.settings import NOTEBOOKS\n"
        "for settings in NOTEBOOKS.values():\n"
        "    try:\n"
        "        check_settings(settings, {'base_model': 1, 'output': 1})\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, error)\n"
        "print(sorted(set(sys.modules) & {'torch', 'transformers', 'peft', 'pyarrow', 'numpy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("ConfigError These settings cannot be used") == len(NOTEBOOKS)
    assert done.stdout.count("this has to be str, not int") >= len(NOTEBOOKS)
    assert done.stdout.splitlines()[-1] == "[]"
