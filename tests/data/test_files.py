"""Which files a dataset has, by the names that people give its parts."""

import os

import pytest

from housebrain_core.data.files import find_dataset, is_validation_part, name_below
from housebrain_core.errors import DataError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


def parts(folder) -> dict[str, list[str]]:
    return {
        part: [str(file)[len(str(folder)) + 1 :] for file in files]
        for part, files in find_dataset(folder).parts.items()
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train/b.json", "train/a.json", "val/c.json"], {"train": ["train/a.json", "train/b.json"],
                                                          "validation": ["val/c.json"]}),
        (["Training/a.json", "valid/b.json"], {"train": ["Training/a.json"], "validation": ["valid/b.json"]}),
        (["train.jsonl", "validation.jsonl.gz"], {"train": ["train.jsonl"], "validation": ["validation.jsonl.gz"]}),
        (["train-0.parquet", "train-1.parquet"], {"train": ["train-0.parquet", "train-1.parquet"]}),
        (["b.json", "a.json", "notes.md"], {"train": ["a.json", "b.json"]}),
        (["houses.jsonl", "validation.jsonl"], {"train": ["houses.jsonl"], "validation": ["validation.jsonl"]}),
        (["data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet", "data/test-0.parquet"],
         {"train": ["data/train-00000-of-00001.parquet"], "validation": ["data/validation-00000-of-00001.parquet"]}),
        (["en/train/0.parquet", "en/validation/0.parquet", "hi/train/0.parquet"],
         {"train": ["en/train/0.parquet", "hi/train/0.parquet"], "validation": ["en/validation/0.parquet"]}),
        (["houses_train.jsonl", "houses_val.jsonl"],
         {"train": ["houses_train.jsonl"], "validation": ["houses_val.jsonl"]}),
        (["night_train.json", "station.json"], {"train": ["night_train.json", "station.json"]}),
    ],
)  # fmt: skip
def test_parts_are_found_by_their_names(names, expected, tmp_path):
    assert parts(touch(tmp_path, *names)) == expected


def test_a_single_file_is_the_training_part(tmp_path):
    assert find_dataset(touch(tmp_path, "x.jsonl") / "x.jsonl").parts == {"train": [str(tmp_path / "x.jsonl")]}


@pytest.mark.parametrize(
    ("name", "problem"), [("x.pdf", "no file of .json"), ("gone", "does not exist"), ("/dev/null", "is no folder")]
)
def test_what_cannot_be_read_is_refused(name, problem, tmp_path):
    touch(tmp_path, "x.pdf")
    with pytest.raises(DataError, match=problem):
        find_dataset(tmp_path / name)
    with pytest.raises(DataError, match="holds no training samples"):
        find_dataset(touch(tmp_path, "validation/a.json") / "validation" / "..")


def test_a_validation_part_is_known_by_name_unless_it_has_one_itself(tmp_path):
    touch(tmp_path, "validation/a.json", "train/a.json", "val/train/a.json", "val/validation/a.json")
    assert is_validation_part(tmp_path / "validation")
    assert not is_validation_part(tmp_path / "train")
    assert not is_validation_part(tmp_path / "val")


def test_all_of_a_folder_is_read_or_named(tmp_path):
    touch(tmp_path, "train/a.json", "train/batch2/b.JSON", "train/batch2/c.ndjson", "train/d.json.gz", "train/notes.md",
          "train/._a.json", "batch3/e.json", "README.md")  # fmt: skip
    (tmp_path / "train" / "empty.jsonl").write_text("")
    os.mkfifo(tmp_path / "train" / "queue.json")
    found = find_dataset(tmp_path)
    assert [path[len(str(tmp_path)) + 7 :] for path in found.parts["train"]] == [
        "a.json", "batch2/b.JSON", "batch2/c.ndjson", "d.json.gz"
    ]  # fmt: skip
    assert dict(found.aside) == {
        "train/._a.json": "macOS made them",
        "train/empty.jsonl": "empty",
        "train/notes.md": "no data by their names",
        "train/queue.json": "no regular file",
        "batch3/ with 1 files": "beside the part train",
        "README.md": "no data by their names",
    }
    assert found.describe().startswith("read 4 files; left aside: README.md, train/notes.md (no data by their names); ")


def test_what_is_left_aside_says_how_it_becomes_data(tmp_path):
    touch(tmp_path, "a.json", "b.tar.gz", "0.arrow", "table.xlsx", "dataset_info.json")
    assert dict(find_dataset(tmp_path).aside) == {
        "b.tar.gz": "an archive; unpack it",
        "0.arrow": "a dataset saved to disk; load_from_disk(FOLDER).to_parquet(FILE) makes data of it",
        "dataset_info.json": "about the data, for the datasets library",
        "table.xlsx": "a spreadsheet; save it as CSV",
    }


def test_a_folder_without_parts_is_read_with_its_sub_folders(tmp_path):
    touch(tmp_path, "b/2.json", "a/1.json", "0.json", ".git/x.json")
    assert parts(tmp_path) == {"train": ["0.json", "a/1.json", "b/2.json"]}
    assert find_dataset(tmp_path).aside == [(".git", "hidden")]


def test_a_file_in_a_sub_folder_is_called_with_it():
    names = ["/d/train/a.json", "/d/train/batch2/a.json", "/d/x/y/a.b.JSON", "/d/a.json", "/d/val/a.jsonl.gz"]
    assert [name_below("/d", name) for name in names] == ["a", "batch2/a", "x/y/a.b", "a", "val/a"]
    assert name_below("/d/a.jsonl", "/d/a.jsonl") == "a"


def test_a_part_that_a_name_gives_elsewhere_and_halves_of_samples_are_named(tmp_path):
    touch(tmp_path / "a", "houses_test.json", "houses.json")
    assert find_dataset(tmp_path / "a").describe() == (
        "read for training: houses_test.json, though the name says otherwise; what is for validation belongs into a "
        "folder validation, and what is for tests elsewhere"
    )
    touch(tmp_path / "b", "input/0.json", "output/0.json")
    assert (
        "input and output seem to be files of their own, such as input/0.json and"
        in find_dataset(tmp_path / "b").describe()
    )
    touch(tmp_path / "c", "train/test_1.json", "train/input_output.json", "validation/test_1.json")
    assert find_dataset(tmp_path / "c").describe() == ""


def test_links_that_lead_nowhere_or_in_circles_and_names_that_are_no_text_are_left_aside(tmp_path):
    touch(tmp_path, "a.json")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "train").symlink_to("train")
    (tmp_path / "gone.json").symlink_to("nowhere.json")
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "caf\udce9.json").write_text("{}")
    found = find_dataset(tmp_path)
    assert parts(tmp_path) == {"train": ["a.json"]}
    assert dict(found.aside) == {
        "self": "a link that leads nowhere",
        "train": "a link that leads nowhere",
        "gone.json": "a link that leads nowhere",
        "up": "a link to a folder",
        "caf\udce9.json": "bytes that are no text in the name; rename it",
    }
    (tmp_path / "d\udce9").mkdir()
    with pytest.raises(DataError, match="bytes in its name that are no text"):
        find_dataset(tmp_path / "d\udce9")


def test_parts_inside_of_others_are_none_and_splits_are_no_data(tmp_path):
    touch(tmp_path / "a", "train/a.json", "old/train/b.json", "old/validation/c.json")
    assert parts(tmp_path / "a") == {"train": ["train/a.json"]}
    assert find_dataset(tmp_path / "a").aside == [("old/ with 2 files", "beside the part train")]
    touch(tmp_path / "b", "a.json", "housebrain_splits/split_summary.json", "housebrain_splits/split_01/train/a.json")
    assert parts(tmp_path / "b") == {"train": ["a.json"]}
    assert find_dataset(tmp_path / "b").aside == [("housebrain_splits", "splits that HouseBrain wrote")]
