"""A stand-in for kaggle.com behind the real client: only the client's network calls are replaced."""

import io
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import requests
from kagglesdk.datasets.types.dataset_enums import DatabundleVersionStatus
from kagglesdk.kernels.types.kernels_enums import KernelWorkerStatus

CANARY = "KGAT_canary0123456789"
"""The account's token; it must never be seen."""


def refusal(code: int, text: str = "") -> requests.HTTPError:
    """An error as requests raises it: its text and its address hold what must not be shown."""
    response = requests.Response()
    response.status_code = code
    response.url = f"https://api.kaggle.com/v1/x?signature={CANARY}"
    return requests.HTTPError(f"{code} for url {response.url} {text}", response=response)


class Server:
    """Keeps what it is sent; `states`, `outputs` and `failing` say how it answers."""

    def __init__(self) -> None:
        self.files: list[Path] = []
        self.requests: list = []
        self.states: dict[str, str] = {}
        """Dataset or notebook, as OWNER/SLUG -> its state."""
        self.outputs: dict[str, bytes] = {}
        """Name -> contents of a file in the notebook's output."""
        self.failing: dict[str, Exception] = {}
        """Call -> what it raises."""
        self.failure = ""
        self.answer: dict = {}
        """What is other than usual in the next answers to uploads."""
        names = ("create_dataset", "create_dataset_version", "get_dataset_status")
        self.datasets = SimpleNamespace(dataset_api_client=self._client(names))
        names = ("save_kernel", "get_kernel_session_status", "list_kernel_session_output",
                 "get_accelerator_quota_statistics")  # fmt: skip
        self.kernels = SimpleNamespace(kernels_api_client=self._client(names))

    def _client(self, names) -> SimpleNamespace:
        return SimpleNamespace(**{name: lambda request, name=name: self.call(name, request) for name in names})

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def call(self, name, request):
        if name in self.failing:
            raise self.failing[name]
        return getattr(self, name)(request)

    def create_dataset(self, request):
        self.states.setdefault(f"{request.owner_slug}/{request.slug}", "ready")
        return self._accept(request)

    def create_dataset_version(self, request):
        return self._accept(request)

    def save_kernel(self, request):
        self.states[request.slug] = "running"
        return self._accept(request)

    def _accept(self, request):
        self.requests.append(request)
        answer = {"error": "", "status": "ok", "url": "https://kaggle.com/x", "versionNumber": 1, "invalidTags": []}
        kinds = ("Dataset", "Competition", "Kernel")
        answer |= {f"invalid{kind}Sources": [] for kind in kinds}
        answer |= {f"invalid_{kind.lower()}_sources": [] for kind in kinds} | self.answer
        return SimpleNamespace(**answer)

    def get_dataset_status(self, request):
        state = self.states.get(f"{request.owner_slug}/{request.dataset_slug}")
        if state is None:
            raise refusal(404)
        return SimpleNamespace(status=DatabundleVersionStatus[state.upper()])

    def get_kernel_session_status(self, request):
        state = self.states.get(f"{request.user_name}/{request.kernel_slug}")
        if state is None:
            raise refusal(403)
        return SimpleNamespace(status=KernelWorkerStatus[state.upper()], failure_message=self.failure)

    def list_kernel_session_output(self, request):
        files = [SimpleNamespace(file_name=name, url=f"https://files/{name}") for name in self.outputs]
        return SimpleNamespace(files=files, next_page_token="", log="[]")

    def get_accelerator_quota_statistics(self, request):
        gpu = SimpleNamespace(time_used=timedelta(hours=6), total_time_allowed=timedelta(hours=30))
        return SimpleNamespace(gpu_quota=gpu, tpu_quota=None, quota_refresh_time=datetime(2026, 12, 5))

    def upload(self, path, quiet, kind, context, content_type=None):
        self.files.append(Path(path))
        return "token"

    def download(self, address, **settings):
        response = requests.Response()
        response.status_code = 200
        response.url = address
        response.request = requests.Request("GET", address).prepare()
        data = self.outputs[address.removeprefix("https://files/")]
        response.headers["Content-Length"] = str(len(data))
        response.raw = io.BytesIO(data)
        return response


def connect(client_class, monkeypatch):
    """The client of alice, with a server of its own in `server`."""
    client, server = client_class(), Server()
    client.config_values, client.server = {"username": "alice", "token": CANARY}, server
    monkeypatch.setattr(client, "build_kaggle_client", lambda: server)
    monkeypatch.setattr(client, "_upload_blob", server.upload)
    monkeypatch.setattr(requests, "get", server.download)
    return client
