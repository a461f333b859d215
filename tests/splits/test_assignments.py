"""Who trains what: the guide's mapping, what replaces it, and every problem at once."""

import pytest

from housebrain_core.config import SplitConfig
from housebrain_core.errors import ConfigError
from housebrain_core.legs import plan_relay, plan_rounds
from housebrain_core.splits.assignments import account_mapping, assign, notebook_parameters


def make(**settings):
    return assign(SplitConfig(source="data", **settings))


def test_the_first_half_is_for_colab_and_the_rest_for_kaggle():
    assert account_mapping(5) == {1: "colab", 2: "colab", 3: "kaggle", 4: "kaggle", 5: "kaggle"}
    assert [job.platform for job in make(splits=2).jobs] == ["colab", "kaggle"]
    assert account_mapping(1) == {1: "kaggle"}


def test_one_platform_for_all_and_another_for_one():
    jobs = make(splits=3, platform=["kaggle", "2=colab"], owner=["3=alice"]).jobs
    assert [job.platform for job in jobs] == ["kaggle", "colab", "kaggle"]
    assert [job.owner for job in jobs] == [None, None, "alice"]
    assert [job.name for job in jobs] == ["split_01", "split_02", "split_03"]


def test_all_problems_are_said_at_once():
    with pytest.raises(ConfigError) as error:
        make(
            splits=3,
            platform=["kaggle", "colab", "4=kaggle", "1=azure", "x=kaggle"],
            owner=["1=A B", "2=alice", "2=bob"],
            training=["epochs=0", "colour=red", "seed"],
        )
    for part in (
        "platform kaggle colab: give one for all",
        "platform 4=kaggle: there is no split 4",
        "platform 'azure': a split is trained on colab or kaggle",
        "platform 'x=kaggle': expected a platform",
        "'A B' is no Kaggle user name",
        "owner 2=bob: split 2 has alice already",
        "training epochs = '0': ",
        "colour cannot be set here; these can: ",
        "training 'seed': expected a setting and its value",
    ):
        assert part in str(error.value), part


def test_an_owner_of_a_split_for_colab_is_told_what_to_give():
    with pytest.raises(ConfigError, match="with --platform 1=kaggle it would be for Kaggle"):
        make(splits=2, owner=["1=alice"])


def test_only_settings_that_differ_from_the_notebooks_own_are_filled_in():
    training = make(training=["epochs=3", "seed=42"]).training
    assert training.settings.epochs == 3 and training.chosen == ["epochs", "seed"]
    assert notebook_parameters(4, training, {"epochs": 2, "seed": 42}) == {"split_id": 4, "epochs": 3}
    assert notebook_parameters(4, training, {"epochs": 3, "seed": 1}) == {"split_id": 4, "seed": 42}


def test_legs_are_those_that_the_settings_ask_for():
    assert make(splits=4).legs is None and make(splits=4).make_plan("hash") is None
    assert make(splits=4, rounds=3, common_start=0.1).legs == plan_rounds(4, 3, 0.1)
    assert make(splits=4, rounds=3, common_start="auto").legs == plan_rounds(4, 3, 0.25)
    assert make(splits=4, rounds=3).legs == plan_rounds(4, 3, 0.25)
    assert make(splits=4, rounds=3, common_start=0).legs == plan_rounds(4, 3)
    assert make(splits=4, relay=True).legs == plan_relay(4)
    assert make(splits=4, relay=True, relay_legs=3).legs == plan_relay(4, 3)


def test_a_plan_has_rank_and_alpha_of_the_training():
    plan = make(splits=4, rounds=2, common_start=0, training=["lora_r=4"]).make_plan("hash")
    assert (plan.splits, plan.dataset, plan.lora_r, plan.lora_alpha) == (4, "hash", 4, 16)
