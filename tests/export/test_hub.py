"""An upload to a stand-in for the Hub: private, asked for, resumed, and without the token in anything it leaves."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from housebrain_core.errors import ConfigError, DataError
from housebrain_core.export.hub import push_folder
from housebrain_core.export.settings import ExportConfig
from housebrain_core.manifests import seal

CANARY = "hf_canaryCANARYcanaryCANARYcanary12"
PUSH = """
import logging, sys
from pathlib import Path
logging.basicConfig(level=logging.DEBUG)
from housebrain_core.errors import ExportError
from housebrain_core.export.hub import push_folder
from housebrain_core.export.settings import ExportConfig
folder = Path(sys.argv[1])
for flags in sys.argv[2:]:
    config = ExportConfig(model=folder, push="alice/hb", yes=True, **({"public": True} if flags == "public" else {}))
    try:
        push_folder(folder, config, print)
    except ExportError as error:
        print("ExportError:", error)
"""


class StandIn(BaseHTTPRequestHandler):
    """The Hub's HTTP interface, as far as an upload needs it."""

    def read(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, value, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_PUT(self) -> None:
        self.server.stored[self.path.rpartition("/")[2]] = self.read()
        self.server.requests.append("PUT weights")
        self.answer({})

    def do_POST(self) -> None:
        server, body = self.server, self.read()
        server.tokens.add(self.headers.get("authorization"))
        server.requests.append(self.path)
        if not self.headers.get("authorization"):
            self.answer({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            server.created.append(json.loads(body))
            self.answer({"url": f"{server.url}/alice/hb"})
        elif self.path.endswith("/preupload/main"):
            files = [
                {"path": file["path"], "shouldIgnore": False,
                 "uploadMode": "lfs" if file["path"].endswith((".safetensors", ".gguf")) else "regular"}
                for file in json.loads(body)["files"]
            ]  # fmt: skip
            self.answer({"files": files})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                file if file["oid"] in server.stored
                else file | {"actions": {"upload": {"href": f"{server.url}/lfs/{file['oid']}"}}}
                for file in json.loads(body)["objects"]
            ]  # fmt: skip
            self.answer({"transfer": "basic", "objects": objects})
        elif self.path.endswith("/commit/main") and server.refusals:
            server.refusals -= 1
            self.answer({"error": "not today"}, 403)
        elif self.path.endswith("/commit/main"):
            server.commits.append([json.loads(line) for line in body.splitlines()])
            url = f"{server.url}/alice/hb/commit/{'1' * 40}"
            self.answer({"success": True, "commitOid": "1" * 40, "commitUrl": url})
        else:
            self.answer({"errors": [], "warnings": []})

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.answer({"id": "alice/hb", "sha": "1" * 40, "siblings": [], "private": True})

    def log_message(self, *given) -> None:
        """Nothing on the terminal of the tests."""


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.stored, server.requests, server.created, server.commits, server.tokens = {}, [], [], [], set()
    server.refusals = 0
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder as an export leaves it."""
    made = tmp_path / "made"
    made.mkdir()
    (made / "README.md").write_text("---\nlicense: mit\n---\n# HouseBrain\n")
    (made / "model.safetensors").write_bytes(os.urandom(3000))
    seal(made, "model")
    (made / ".secret").write_text("stays at home")
    return made


def push(folder: Path, hub, *runs: str, token: str = CANARY) -> str:
    """What pushes print, logs at their most talkative among it; each in the same process, after the one before."""
    environment = os.environ | {
        "HF_ENDPOINT": hub.url, "HF_TOKEN": token, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_VERBOSITY": "debug", "HF_HOME": str(folder.parent / "hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", PUSH, str(folder), *runs]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout + ran.stderr


@pytest.mark.slow
def test_an_upload_that_broke_goes_on_and_no_token_is_in_anything_it_leaves(folder, hub):
    hub.refusals = 1
    said = push(folder, hub, "private", "private")
    assert "ExportError: the Hub did not take the folder: it answered 403" in said
    assert f"housebrain export --model {folder} --push alice/hb" in said
    assert hub.requests.count("PUT weights") == 1, "the second run does not send the weights again"
    assert list(hub.stored.values()) == [(folder / "model.safetensors").read_bytes()]
    (commit,) = hub.commits
    sent = {line["value"]["path"] for line in commit if line["key"] in ("file", "lfsFile")}
    assert sent == {"README.md", "model.safetensors", "manifest.json"}, "listed files only"
    assert all(repository["visibility"] == "private" for repository in hub.created)
    assert f"uploaded: {hub.url}/alice/hb" in said
    assert hub.tokens == {f"Bearer {CANARY}"}, "it was used"
    left = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert CANARY not in said and not any(CANARY.encode() in data for data in left)


@pytest.mark.slow
def test_without_a_token_it_is_said_how_to_log_in_and_nothing_is_sent(folder, hub):
    said = push(folder, hub, "private", token="")
    assert "it answered 401. Log in with: hf auth login. What was sent" in said
    assert hub.tokens == {None} and not hub.stored and not hub.commits


@pytest.mark.slow
def test_only_who_asks_for_it_makes_a_public_repository(folder, hub):
    said = push(folder, hub, "public")
    assert hub.created[0]["visibility"] == "public" and "PUBLIC: everybody sees it" in said


def test_what_will_be_uploaded_is_shown_and_without_a_yes_nothing_is(folder):
    lines, questions = [], []

    def no(question):
        questions.append(question)
        return ""

    with pytest.raises(ConfigError, match="nothing was uploaded"):
        push_folder(folder, ExportConfig(model=folder, push="alice/hb"), lines.append, ask=no)
    assert "private, if it is new" in lines[0] and "model.safetensors" in lines[0] and ".secret" not in lines[0]
    assert questions == ["Upload these 3 files to alice/hb? [y/N] "]


def test_without_a_terminal_nothing_is_uploaded_and_the_flag_is_named(folder):
    def nobody(question):
        raise EOFError

    with pytest.raises(ConfigError, match="nothing was uploaded: nobody is there to ask. With --yes nobody is asked"):
        push_folder(folder, ExportConfig(model=folder, push="alice/hb"), lambda line: None, ask=nobody)


def test_a_folder_that_is_no_whole_export_is_not_uploaded(folder, tmp_path):
    config = ExportConfig(model=folder, push="alice/hb", yes=True)
    with pytest.raises(ConfigError, match="is nothing that housebrain export made"):
        push_folder(tmp_path, config, print)
    (folder / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(DataError, match="is damaged"):
        push_folder(folder, config, print)
