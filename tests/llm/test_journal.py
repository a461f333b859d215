"""A journal keeps whole rows, forgets torn ones, and goes on behind them."""

import pytest

from housebrain_core.llm.journal import Journal


def key(row) -> int:
    return row["number"]


def test_rows_come_back_by_key_and_the_last_of_a_key_counts(tmp_path):
    path = tmp_path / "new" / "rows.jsonl"
    journal = Journal(path, key)
    assert journal.rows == {} and not path.exists()
    for row in ({"number": 1, "text": "é"}, {"number": 2}, {"number": 1, "text": "again"}):
        journal.add(row)
    assert Journal(path, key).rows == journal.rows == {1: {"number": 1, "text": "again"}, 2: {"number": 2}}


@pytest.mark.parametrize(
    "torn",
    [b'{"number": 3', b"{}", b"[]", b"null", b'"x"', b'{"number": 3}{', b'{"number": "\xc3', b"[" * 100_000, b"\0\0"],
)
def test_a_row_that_was_torn_or_is_none_does_not_count_and_the_next_is_whole(torn, tmp_path):
    path = tmp_path / "rows.jsonl"
    journal = Journal(path, key)
    journal.add({"number": 1})
    with path.open("ab") as file:
        file.write(b"\n" + torn)
    again = Journal(path, key)
    assert list(again.rows) == [1]
    again.add({"number": 2})
    assert list(Journal(path, key).rows) == [1, 2]
