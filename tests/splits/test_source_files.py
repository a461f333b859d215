"""The package's source files and their hash, which is what a notebook trusts."""

import re
import subprocess
import sys
from pathlib import Path

from housebrain_core.splits import source_files
from housebrain_core.splits.source_files import hash_source, read_source

PACKAGE = Path(source_files.__file__).parents[1]


def is_at_home(name: str) -> bool:
    """Whether no session runs a file: the command line, the demo, merge and export."""
    return name in ("cli.py", "flags.py", "demo.py") or name.startswith(("merge/", "export/"))


def test_every_file_that_a_session_can_run_is_there_and_no_test_cache_or_editors_copy(monkeypatch, tmp_path):
    command = ["git", "-C", PACKAGE, "ls-files", "--cached", "--others", "--exclude-standard", "."]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    kept = {name for name in listed if (PACKAGE / name).is_file() and not is_at_home(name)}
    assert set(read_source()) == {f"housebrain_core/{name}" for name in kept}
    assert {
        "housebrain_core/__init__.py",
        "housebrain_core/constraints.txt",
        "housebrain_core/adapters/run.md.jinja",
    } <= {*read_source()}
    for name in ("a.py", "page.html", "note.md", "a.pyc", ".hidden.py", "room/b.py", "room/.ipynb_checkpoints/b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1")
    monkeypatch.setattr(source_files.resources, "files", lambda package: tmp_path)
    assert list(read_source()) == ["housebrain_core/a.py", "housebrain_core/page.html", "housebrain_core/room/b.py"]


def test_line_ends_make_no_difference_but_every_character_and_name_does(monkeypatch, tmp_path):
    hashes = []
    for text in (b"a\nb\n", b"a\r\nb\r\n", b"a\nb"):
        (tmp_path / "one.py").write_bytes(text)
        monkeypatch.setattr(source_files.resources, "files", lambda package: tmp_path)
        hashes.append(hash_source(read_source()))
    assert hashes[0] == hashes[1] != hashes[2]
    assert len({hash_source({"a": "bc"}), hash_source({"ab": "c"}), hash_source({"a": "b", "c": ""})}) == 3
    assert hash_source({"a": "1", "b": "2"}) == hash_source({"b": "2", "a": "1"})


def test_the_hash_is_that_of_other_processes():
    code = "from housebrain_core.splits.source_files import *; print(hash_source(read_source()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hash_source(read_source())


def test_texts_are_those_of_the_files_with_line_feeds():
    files = read_source()
    assert files["housebrain_core/config.py"] == (PACKAGE / "config.py").read_text(encoding="utf-8")
    assert not [name for name, text in files.items() if "\r" in text]


def test_nothing_that_a_bundle_carries_imports_what_it_leaves_at_home():
    gone = re.compile(r"housebrain_core\.(merge|export|cli|flags|demo)\b")
    assert [name for name, text in read_source().items() if gone.search(text)] == []
