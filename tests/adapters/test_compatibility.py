"""Whether adapters belong together: every reason is named, and one base model is known by its contents or commit."""

import json
import shutil
from dataclasses import replace

import pytest
from adapter_files import change_config, change_tensors, make_trained, reseal

from housebrain_core.adapters.adapter import read_adapter
from housebrain_core.adapters.compatibility import (
    base_keys,
    check_mergeable,
    describe_doubts,
    describe_leg,
    describe_start,
    newest_leg,
)
from housebrain_core.config import MergeConfig
from housebrain_core.errors import AdapterError
from housebrain_core.merge.merge import merge_adapters

COMMIT = "df3ce67c0e24480f20468b6ef2894622d69eb73b"


def test_all_reasons_are_reported_at_once(copies):
    change_config(copies[0], revision="sha256:other", base_model_name_or_path="another/base")
    shutil.rmtree(copies[2])
    shutil.copytree(copies[1], copies[2])
    with pytest.raises(AdapterError) as refused:
        check_mergeable([read_adapter(folder) for folder in copies])
    text = str(refused.value)
    for reason in ("another base model", "another revision", "the same split twice", "the same weights twice"):
        assert reason in text
    assert "another/base" in text and copies[0].name in text


def test_other_targets_are_refused(copies):
    def drop(tensors):
        return {name: value for name, value in tensors.items() if "layers.0.mlp.up_proj" not in name}

    change_tensors(copies[1], drop)
    with pytest.raises(AdapterError, match=f"{copies[1].name} adapts other modules.*up_proj"):
        check_mergeable([read_adapter(folder) for folder in copies])


def test_other_datasets_are_refused_by_name_unless_they_are_accepted(copies):
    run = json.loads((copies[2] / "run.json").read_text())
    own, run["data"]["dataset"] = run["data"]["dataset"], "f" * 64
    (copies[2] / "run.json").write_text(json.dumps(run))
    reseal(copies[2])
    with pytest.raises(AdapterError, match="--accept-mixed-data") as refused:
        merge_adapters(MergeConfig(models=copies, output=copies[0].parent / "out"), report=lambda line: None)
    for number, (folder, dataset) in enumerate(zip(copies, (own, own, "f" * 64), strict=True), 1):
        assert f"{folder.name} on split {number} of 3 of {dataset[:8]}" in str(refused.value)
    accepted = MergeConfig(models=copies, output=copies[0].parent / "out", accept_mixed_data=True)
    warnings = merge_adapters(accepted, report=lambda line: None).warnings
    assert any("trained on different datasets" in line for line in warnings)
    assert json.loads((accepted.output / "run.json").read_text())["data"]["dataset"] is None


def test_another_lora_initialisation_is_refused_unless_it_is_wanted(copies):
    run = json.loads((copies[1] / "run.json").read_text())
    run["settings"]["lora_seed"] = 7
    (copies[1] / "run.json").write_text(json.dumps(run))
    reseal(copies[1])
    read = [read_adapter(folder) for folder in copies]
    with pytest.raises(AdapterError, match=f"another lora_seed: {copies[1].name} has 7; the others have 42"):
        check_mergeable(read)
    check_mergeable(read, accept_mixed_seeds=True)


def on_base(adapter, name, revision, content):
    """The same adapter, as if it had been trained on another base model."""
    base = adapter.run.base.model_copy(update={"name": name, "revision": revision, "content": content})
    return replace(adapter, base_model=name, revision=revision, run=adapter.run.model_copy(update={"base": base}))


def test_a_base_from_the_hub_and_the_same_one_in_a_folder_belong_together(adapters):
    one, two, three = map(read_adapter, adapters)
    content = one.revision
    assert content.startswith("sha256:") and one.base_content == content
    hub = on_base(two, "some/base", COMMIT, content)
    old = on_base(three, "some/base", COMMIT, None)
    check_mergeable([one, hub, old])
    assert base_keys([one, hub, old]) == [content] * 3, "one that recorded both tells what the commit holds"
    assert base_keys([one, old]) == [content, f"some/base at {COMMIT}"]


def test_other_contents_of_one_name_and_revision_are_refused(adapters):
    one, two, three = map(read_adapter, adapters)
    others = [on_base(adapter, "some/base", COMMIT, one.revision) for adapter in (two, three)]
    with pytest.raises(AdapterError, match=f"another content of it: {one.name} has sha256:other"):
        check_mergeable([on_base(one, "some/base", COMMIT, "sha256:other"), *others])
    with pytest.raises(AdapterError, match=f"another revision of it: {one.name} has {'0' * 40}"):
        check_mergeable([on_base(one, "some/base", "0" * 40, None), *others])


def test_a_base_without_revision_is_merged_and_doubted(adapters):
    one, two, three = map(read_adapter, adapters)
    known = [on_base(adapter, "some/base", COMMIT, None) for adapter in (one, two)]
    unknown = on_base(three, "some/base", None, None)
    check_mergeable([*known, unknown])
    assert describe_doubts([*known, unknown]) == [
        f"{three.name}: no revision of the base is named; the others were trained on {COMMIT}"
    ]
    assert describe_doubts(known) == []


def test_other_names_of_one_base_need_a_person_who_knows_and_contents_decide(adapters):
    one, two, three = map(read_adapter, adapters)
    mixed = [on_base(one, "some/base", COMMIT, None), on_base(two, "/home/me/base", None, None)]
    mixed.append(on_base(three, None, None, None))
    with pytest.raises(AdapterError, match="(?s)another base model.*no name.*--accept-other-base-name"):
        check_mergeable(mixed)
    check_mergeable(mixed, accept_other_base_name=True)
    assert "are taken for one base model" in describe_doubts(mixed)[0]
    others = [on_base(one, "a", COMMIT, "sha256:one"), on_base(two, "b", "0" * 40, "sha256:two")]
    with pytest.raises(AdapterError, match="another content of it"):
        check_mergeable(others, accept_other_base_name=True)


def test_the_same_file_twice_is_refused_only_where_its_split_is_known(adapters):
    adapter = read_adapter(adapters[0])
    with pytest.raises(AdapterError, match="the same weights twice"):
        check_mergeable([adapter, replace(adapter, name="again")])
    check_mergeable([replace(adapter, run=None), replace(adapter, run=None, name="again")])


def on_leg(folder, split_id: int, leg: int = 2, plan: str = "one", parent: str | None = "f" * 64):
    """A made adapter of a leg of a plan of three."""
    return read_adapter(make_trained(folder, split_id, plan=plan, leg=leg, legs=3, parent_sha256=parent))


def test_adapters_of_one_leg_that_started_from_one_adapter_belong_together(tmp_path):
    pair = [on_leg(tmp_path / f"hb-{number}", number) for number in (1, 2)]
    check_mergeable(pair)
    assert [(describe_leg(adapter), describe_start(adapter)) for adapter in pair] == [("leg 2 of 3", "ffffffff")] * 2
    fresh = read_adapter(make_trained(tmp_path / "fresh", 3))
    assert (describe_leg(fresh), describe_start(fresh)) == (None, "fresh")
    assert newest_leg([fresh, *pair]) == pair and newest_leg([fresh]) == [fresh]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"leg": 1}, "another leg: hb-3 has 1 of 3; the others have 2 of 3"),
        ({"plan": "two"}, "another plan: hb-3 has two; the others have one"),
        ({"parent": "e" * 64}, "another start: hb-3 has eeeeeeee; the others have ffffffff; .*--accept-mixed-seeds"),
        ({"parent": None}, "another start: hb-3 has fresh; the others have ffffffff"),
    ],
)
def test_other_legs_plans_and_starts_are_refused(change, said, tmp_path):
    three = [on_leg(tmp_path / f"hb-{number}", number) for number in (1, 2)] + [on_leg(tmp_path / "hb-3", 3, **change)]
    with pytest.raises(AdapterError, match=said):
        check_mergeable(three)
    if "parent" in change:
        check_mergeable(three, accept_mixed_seeds=True)
