"""Tokens and packed rows: exactly the answer and its EOS are learned, and no sample sees another."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from housebrain_core.config import FineTuningConfig
from housebrain_core.errors import DataError
from housebrain_core.splits.bundle import read_bundle
from housebrain_core.train.model import add_lora, load_base, resolve_base
from housebrain_core.train.packing import IGNORED, PackedRows, collate_row, completion_losses, pack_rows, tokenise


@pytest.fixture(scope="module")
def table(splits):
    return read_bundle(splits / "split_01.zip").train


@pytest.fixture(scope="module")
def tokenizer(base):
    return AutoTokenizer.from_pretrained(base)


def test_the_decoded_labels_are_exactly_the_answers_and_their_eos(table, tokenizer):
    rows = PackedRows(tokenise(table, tokenizer, "auto").samples, 1024)
    learned = []
    for index in range(len(rows)):
        labels = rows[index]["labels"]
        ids = labels[labels != IGNORED].tolist()
        learned += tokenizer.decode(ids).split(tokenizer.eos_token)[:-1]
        assert ids[-1] == tokenizer.eos_token_id
    assert sorted(learned) == sorted(table.column("completion").to_pylist())


def test_rows_hold_every_sample_whole_once_and_positions_restart(table, tokenizer):
    samples = tokenise(table, tokenizer, "auto").samples
    rows = PackedRows(samples, 1024)
    assert sorted(sum(rows.rows, [])) == list(range(len(samples)))
    for index, members in enumerate(rows.rows):
        positions = rows[index]["position_ids"]
        starts = (positions == 0).nonzero()[:, 0].tolist()
        assert len(starts) == len(members)
        assert len(positions) == sum(samples[i]["length"] for i in members) <= 1024
        assert torch.equal(positions[: starts[1] if len(starts) > 1 else None].diff().unique(), torch.tensor([1]))


def test_a_sample_that_does_not_fit_is_refused_and_counted_never_cut(table, tokenizer):
    lengths = tokenise(table, tokenizer, "auto").samples["length"][:]
    limit = sorted(lengths)[len(lengths) // 2]
    result = tokenise(table, tokenizer, limit)
    assert result.refused == sum(length > limit for length in lengths) > 0
    assert sorted(result.samples["length"][:]) == sorted(length for length in lengths if length <= limit)
    assert all(ids[-1] == tokenizer.eos_token_id for ids in result.samples["input_ids"][:])
    with pytest.raises(DataError, match="none of"):
        tokenise(table, tokenizer, 20)


def test_auto_length_is_the_guides_512_or_what_the_longest_sample_needs(table, tokenizer):
    result = tokenise(table, tokenizer, "auto")
    assert result.max_length == max(512, max(result.samples["length"][:]))
    assert str(result.max_length) in result.note


def test_pack_wastes_nothing_that_fits_by_hand():
    assert pack_rows([6, 4, 5, 5], 10) == [[0, 1], [2, 3]]
    assert pack_rows([12, 3], 10) == [[0], [1]]
    assert pack_rows([], 10) == []


def test_packed_logits_and_losses_equal_those_of_each_sample_alone(table, tokenizer, base):
    model = AutoModelForCausalLM.from_pretrained(base, attn_implementation="sdpa").eval()
    samples = tokenise(table, tokenizer, "auto").samples
    rows = PackedRows(samples, 1024)
    row = rows[0]
    with torch.no_grad():
        packed = model(
            input_ids=row["input_ids"][None], position_ids=row["position_ids"][None], use_cache=False
        ).logits[0]
        alone = torch.cat(
            [model(input_ids=torch.tensor([samples[i]["input_ids"]]), use_cache=False).logits[0] for i in rows.rows[0]]
        )
        losses, learned = completion_losses(model, collate_row([row]))
    assert len(rows.rows[0]) > 1
    assert (packed - alone).abs().max() < 1e-5
    by_hand = torch.nn.functional.cross_entropy(alone[learned], row["labels"][learned + 1], reduction="none")
    assert (losses - by_hand).abs().max() < 1e-5


def test_gradients_of_a_packed_step_equal_those_of_the_same_samples_unpacked(table, tokenizer, base):
    found = resolve_base(str(base))
    config = FineTuningConfig(dataset_path="x", output_dir="y", base_model=str(base))
    model = add_lora(load_base(found, True, lambda line: None), found, config).train()
    for name, weight in model.named_parameters():
        if "lora_B" in name:  # zero at the start, which would leave A without a gradient
            torch.nn.init.normal_(weight, std=0.02)
    samples = tokenise(table, tokenizer, "auto").samples
    gradients = []
    for rows in (PackedRows(samples, 2048), PackedRows(samples, 16)):
        model.zero_grad()
        for index in range(len(rows)):
            losses, _ = completion_losses(model, collate_row([rows[index]]))
            (losses.sum() / sum(rows.learned)).backward()
        gradients.append({n: w.grad.clone() for n, w in model.named_parameters() if w.requires_grad})
    assert len(rows) == len(samples) > len(PackedRows(samples, 2048)), "the second time each is a row of its own"
    for name, packed in gradients[0].items():
        alone = gradients[1][name]
        assert alone.abs().max() > 0 and (packed - alone).norm() < 1e-4 * alone.norm(), name
