"""What the server answers, and whom it refuses: foreign names, no token, too much, no brief."""

import asyncio
import json
import re

import httpx
import pytest
from test_desk import StandIn, config

from housebrain_core.house import codec
from housebrain_core.serve import app as app_module
from housebrain_core.serve.app import BODY_LIMIT, make_app
from housebrain_core.serve.desk import Desk

TOKEN = "a-token-of-some-length"


@pytest.fixture
def model(samples) -> StandIn:
    return StandIn(codec.encode(samples[0]).completion)


def ask(model, method, path, token=None, base="http://127.0.0.1:8000", **request):
    """One request to an application of its own."""
    app = make_app(Desk(model, config()), ["design.home"], token)

    async def send():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base) as client:
            return await client.request(method, path, **request)

    return asyncio.run(send())


def design(model, brief, **more):
    return ask(model, "POST", "/design", json={"brief": brief}, **more)


def test_a_brief_gives_design_findings_and_drawing(model, samples):
    answer = design(model, samples[0]["input"])
    assert answer.status_code == 200
    assert {"design", "findings", "plan_svg"} <= set(answer.json()) and answer.json()["design"] == samples[0]["output"]


def test_health_says_how_busy_it_is_and_whether_a_token_is_needed(model):
    expected = {"status": "ok", "designing": False, "waiting": 0, "seconds_each": None, "token": True}
    assert ask(model, "GET", "/health", token=TOKEN).json() == expected


def test_the_page_and_its_files_come_from_the_package_and_nothing_from_elsewhere(model):
    page = ask(model, "GET", "/")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert not re.search(r"https?://(?!www\.w3\.org)|style=|onclick=", page.text)
    for name in re.findall(r'(?:src|href)="(page\.\w+)"', page.text):
        assert len(ask(model, "GET", f"/{name}").text) > 1000
    data = json.loads(re.search(r'id="data">(.*?)</script>', page.text, re.DOTALL)[1])
    assert len(data["examples"]) == 4 and "bedroom" in data["rooms"] and "Modern" in data["styles"]
    for example in data["examples"]:
        assert design(model, example["brief"]).status_code == 200


def test_a_models_name_is_no_markup_in_the_page(model):
    model.name = "<img src=x>"
    assert "<img src=x>" not in ask(model, "GET", "/").text


@pytest.mark.parametrize("name", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "192.168.1.7", "DESIGN.home"])
def test_it_answers_to_addresses_and_to_the_names_that_it_knows(name, model):
    assert ask(model, "GET", "/health", headers={"Host": name}).status_code == 200


@pytest.mark.parametrize("name", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "localhost.evil"])
def test_it_does_not_answer_to_foreign_names(name, model):
    answer = ask(model, "GET", "/", headers={"Host": name})
    assert answer.status_code == 421 and "--allow-host" in answer.json()["error"]
    assert design(model, {}, headers={"Host": name}).status_code == 421 and model.most == 0


@pytest.mark.parametrize(
    "given", [None, "Bearer wrong", f"Basic {TOKEN}", "Bearer ", f"Bearer {TOKEN[:-1]}", "Bearer \xe9"]
)
def test_without_the_token_nothing_is_designed(given, model, samples):
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    answer = design(model, samples[0]["input"], token=TOKEN, headers=headers)
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer" and model.most == 0


def test_the_token_opens(model, samples):
    answer = design(model, samples[0]["input"], token=TOKEN, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200


def test_a_bad_brief_gives_every_field_and_what_is_expected(model):
    brief = {
        "basicDetails": {"totalArea": -5, "bedrooms": 2},
        "plot": {"length": "long"},
        "roomBreakdown": [{"count": 0}],
    }
    answer = design(model, brief)
    problems = {problem["field"]: problem["message"] for problem in answer.json()["problems"]}
    assert answer.status_code == 422 and model.most == 0
    assert problems["basicDetails.totalArea"] == "basicDetails.totalArea = -5 sqft: should be greater than 0"
    assert {"plot.length", "roomBreakdown.0.count", "roomBreakdown.0.type"} <= set(problems)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/design", 405)])
def test_what_is_not_there_has_an_error_like_every_other_refusal(method, path, status, model):
    answer = ask(model, method, path)
    assert answer.status_code == status and f"no {method} {path} here" in answer.json()["error"]
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("brief", [None, 5, [], "a house", {}])
def test_what_is_no_brief_at_all_is_named(brief, model):
    answer = design(model, brief)
    assert answer.status_code == 422 and answer.json()["problems"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[1]", "application/json", 400),
        (b'{"brief":{},"brief":{}}', "application/json", 400),
        (b'{"brief":NaN}', "application/json", 400),
        (b"\xff", "application/json", 400),
        (b'{"brief":' + b"[" * 9000, "application/json", 400),
        (b'{"house":{}}', "application/json", 422),
        (b'{"brief":{}}', "text/plain", 415),
        (b'{"brief":{}}', "", 415),
        (b" " * (BODY_LIMIT + 1), "application/json; charset=utf-8", 413),
    ],
)  # fmt: skip
def test_a_request_of_another_kind_is_refused_with_a_reason(body, kind, status, model):
    answer = ask(model, "POST", "/design", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status and answer.json()["error"] and model.most == 0


def test_a_request_that_does_not_come_to_its_end_is_given_up(model, monkeypatch):
    monkeypatch.setattr(app_module, "BODY_SECONDS", 0.05)

    async def never():
        yield b'{"brief"'
        await asyncio.sleep(30)

    answer = ask(model, "POST", "/design", content=never(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 408
