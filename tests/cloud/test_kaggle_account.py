"""What an account is asked through Kaggle's client, and how it says no; only network calls are replaced."""

import builtins

import pytest
import requests
from kaggle_server import CANARY, refusal

from housebrain_core.cloud.kaggle_account import Account, KaggleError, open_account
from housebrain_core.errors import ConfigError


@pytest.fixture
def account(client):
    lines: list[str] = []
    account = Account(client, lines.append)
    account.lines = lines
    return account


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (refusal(401), "Kaggle answers 401. Your credentials are not accepted"),
        (refusal(429), "Kaggle answers 429. Too many requests"),
        (refusal(500), "Kaggle answers 500. Try again later"),
        (requests.ConnectionError(f"https://x?token={CANARY}"), "kaggle.com cannot be reached (ConnectionError)"),
        (requests.Timeout(CANARY), "kaggle.com cannot be reached (Timeout)"),
        (requests.JSONDecodeError("no JSON", CANARY, 0), "Kaggle's answer cannot be read"),
        (ValueError(f"bad value {CANARY}"), "the client refuses it: bad value ***"),
    ],
)
def test_every_failure_is_one_sentence_without_credentials_or_addresses(account, error, said):
    account.client.server.failing["get_dataset_status"] = error
    with pytest.raises(KaggleError) as raised:
        account.dataset_state("alice/some-data")
    assert said in str(raised.value) and "the dataset alice/some-data" in str(raised.value)
    assert CANARY not in str(raised.value) and "https" not in str(raised.value)
    assert raised.value.__cause__ is None and raised.value.__suppress_context__, "no traceback shows the client's text"


def test_what_the_client_prints_becomes_lines_without_credentials(account, monkeypatch, capsys):
    def chatty(reference):
        print(f"using {CANARY}\n  7%|#      |")
        return "ready"

    monkeypatch.setattr(account.client, "dataset_status", chatty)
    assert account.dataset_state("alice/some-data") == "ready"
    assert account.lines == ["kaggle: using ***"]
    assert capsys.readouterr() == ("", "")


def test_what_does_not_exist_has_no_state(account):
    assert account.dataset_state("alice/some-data") is None
    assert account.kernel_state("alice/some-notebook") == (None, "")


def test_a_dataset_is_waited_for_until_it_is_ready(account, monkeypatch):
    states = iter([None, "blobs_received", "ready"])
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr(account, "dataset_state", lambda reference: next(states))
    account.wait_until_ready("alice/some-data")
    assert len(slept) == 2


def test_a_dataset_that_failed_is_not_waited_for(account):
    account.client.server.states["alice/some-data"] = "failed"
    with pytest.raises(KaggleError, match=r"not ready \(its state is failed\)"):
        account.wait_until_ready("alice/some-data")


def test_the_quota_is_what_kaggle_tells(account):
    assert account.describe_quota() == "GPU quota: 24.0 of 30 hours left, until Sat 05 Dec 00:00 UTC"
    account.client.server.failing["get_accelerator_quota_statistics"] = refusal(403)
    assert "does not tell" in account.describe_quota()


def test_without_credentials_it_says_how_to_log_in(kaggle_class, monkeypatch, capsys, tmp_path):
    import kaggle

    monkeypatch.setattr(kaggle, "api", kaggle_class())
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="kaggle auth login"):
        open_account()
    assert capsys.readouterr() == ("", "")


def test_without_the_client_it_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without_kaggle(name, *rest):
        if name == "kaggle":
            raise ImportError("No module named 'kaggle'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_kaggle)
    with pytest.raises(ConfigError, match="pip install kaggle"):
        open_account()
