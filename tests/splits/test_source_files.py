"""The source that a bundle carries: every file of the package, under one hash that newlines do not change."""

import subprocess
from pathlib import Path

from housebrain_core.splits.source_files import hash_source, read_source

ROOT = Path(__file__).parents[2]


def test_every_file_of_the_package_that_git_tracks_is_in_it_and_nothing_else():
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "housebrain_core"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert set(read_source()) == {name for name in listed if (ROOT / name).is_file()}
    assert "housebrain_core/constraints.txt" in read_source()


def test_texts_are_those_of_the_files_with_line_feeds():
    files = read_source()
    assert files["housebrain_core/cli.py"] == (ROOT / "housebrain_core" / "cli.py").read_text(encoding="utf-8")
    assert not [name for name, text in files.items() if "\r" in text]


def test_the_hash_depends_on_names_and_texts_and_not_on_their_order():
    files = {"a.py": "1\n", "b.py": "2\n"}
    assert hash_source(files) == hash_source(dict(reversed(files.items())))
    others = [{"a.py": "1\n"}, {"a.py": "1\n", "c.py": "2\n"}, {"a.py": "2\n", "b.py": "1\n"}, {}]
    assert len({hash_source(one) for one in [files, *others]}) == 5


def test_the_code_is_small_beside_the_data():
    assert sum(map(len, read_source().values())) < 900_000
