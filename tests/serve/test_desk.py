"""One design at a time, a short queue, a time limit, and never half a design."""

import asyncio
import threading

import pytest

from housebrain_core.errors import ServerError
from housebrain_core.house import codec
from housebrain_core.house.briefs import CheckedBrief, check_briefs
from housebrain_core.llm.decoding import Answered
from housebrain_core.llm.designer import Designer
from housebrain_core.serve.desk import Desk, Refused, describe_design
from housebrain_core.serve.settings import ServeConfig


class StandIn(Designer):
    """A model that says what a test wants; while `gate` is not set, it thinks."""

    name = identity = "stand-in"

    def __init__(self, *texts: str, complete: bool = True, fault: Exception | None = None) -> None:
        self.texts = list(texts)
        self.complete = complete
        self.fault = fault
        self.gate = threading.Event()
        self.gate.set()
        self.at_once = self.most = 0

    def answer_batch(self, prompts, briefs, numbers, decoding):
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.gate.wait(min(20, decoding.seconds))
        self.at_once -= 1
        if self.fault:
            raise self.fault
        text = self.texts[0] if len(self.texts) == 1 else self.texts.pop(0)
        return [Answered(text, 300, self.complete)]

    def losses(self, examples, drawn=()):
        return None


def config(**changes) -> ServeConfig:
    return ServeConfig(**{"model": "models/none", "constrained": False} | changes)


async def stays() -> bool:
    return False


async def left() -> bool:
    return True


@pytest.fixture
def brief(samples) -> CheckedBrief:
    return check_briefs([samples[0]["input"]])[0][0]


@pytest.fixture
def text(samples) -> str:
    return codec.encode(samples[0]).completion


def refusal(desk, brief, has_left=stays) -> Refused:
    with pytest.raises(Refused) as refused:
        asyncio.run(desk.answer(brief, has_left))
    return refused.value


def test_a_design_comes_with_drawing_findings_doubts_and_who_made_it(samples, brief, text):
    desk = Desk(StandIn(text), config())
    result = asyncio.run(desk.answer(brief, stays))
    assert result["design"] == samples[0]["output"] and result["model"] == "stand-in" and result["doubts"] == []
    assert result["plan_svg"].startswith("<?xml") and "bedroom" in result["plan_text"]
    assert desk.describe() == {"status": "ok", "designing": False, "waiting": 0, "seconds_each": result["seconds"]}


def test_what_breaks_a_rule_is_said_with_rule_and_kind(samples):
    sample = samples[0]
    narrow = sample["input"] | {"plot": sample["input"]["plot"] | {"length": 20.0, "width": 15.0}}
    result = describe_design(narrow, sample["output"])
    assert result["rules"]["kept"] < result["rules"]["checked"]
    assert {"rule", "kind", "text"} == set(result["findings"][0]) and result["findings"][0]["kind"] in ("hard", "soft")


def test_names_that_a_model_invents_are_no_markup_in_the_drawing():
    rooms = [{"id": "A", "type": "<script>alert(1)</script>&", "bounds": {"x": 0, "y": 0, "width": 12, "height": 10}}]
    svg = describe_design({"basicDetails": {}}, {"levels": [{"level_number": 1, "rooms": rooms}]})["plan_svg"]
    assert "<script" not in svg


@pytest.mark.parametrize(
    ("text", "complete", "kind"),
    [("Here is a house.", True, "no_json"), ('{"wall":"Brick"}', True, "schema"), ('{"wall":"Br', False, "truncated")],
)
def test_an_answer_that_is_no_design_gives_its_kind_and_the_raw_text(text, complete, kind, brief):
    refused = refusal(Desk(StandIn(text, complete=complete), config()), brief)
    assert (refused.status, refused.values["kind"], refused.values["text"]) == (502, kind, text)
    assert "design" not in refused.values and "plan_svg" not in refused.values


def test_designs_are_made_one_at_a_time_and_those_beyond_the_queue_are_told_when_to_come_back(brief, text):
    model = StandIn(text)
    desk = Desk(model, config(queue=2))

    async def five():
        model.gate.clear()
        tasks = [asyncio.create_task(desk.answer(brief, stays)) for _ in range(5)]
        await asyncio.sleep(0.05)
        busy = desk.describe()
        model.gate.set()
        return busy, await asyncio.gather(*tasks, return_exceptions=True)

    busy, results = asyncio.run(five())
    assert busy == {"status": "ok", "designing": True, "waiting": 2, "seconds_each": None}
    assert [isinstance(result, dict) for result in results] == [True, True, True, False, False]
    assert results[4].status == 429 and results[4].headers == {"Retry-After": "90"} and model.most == 1
    assert desk.inside == 0


def test_a_closed_desk_finishes_what_runs_and_tells_those_who_wait(brief, text):
    model = StandIn(text)
    desk = Desk(model, config())

    async def close_while_two():
        model.gate.clear()
        tasks = [asyncio.create_task(desk.answer(brief, stays)) for _ in range(2)]
        await asyncio.sleep(0.05)
        desk.close()
        model.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    running, waiting = asyncio.run(close_while_two())
    assert running["design"] and waiting.status == 503
    assert refusal(desk, brief).status == 503 and desk.describe()["status"] == "closing"


def test_nothing_is_designed_for_somebody_who_has_left(brief, text):
    model = StandIn(text)
    assert refusal(Desk(model, config()), brief, left).status == 499 and model.most == 0


def test_a_design_that_takes_too_long_is_a_time_out_and_a_servers_fault_is_said(brief, text):
    slow = StandIn(text, complete=False)
    slow.gate.clear()
    assert refusal(Desk(slow, config(timeout_seconds=0.05)), brief).status == 504
    silent = StandIn(fault=ServerError("no answer within 0.05 seconds"))
    silent.gate.clear()
    assert refusal(Desk(silent, config(timeout_seconds=0.05)), brief).status == 504
    refused = refusal(Desk(StandIn(fault=ServerError("it is on fire")), config()), brief)
    assert refused.status == 502 and refused.values == {"error": "it is on fire"}


def test_the_desk_goes_on_after_a_fault_of_our_own(brief, text):
    model = StandIn(text, fault=ZeroDivisionError())
    desk = Desk(model, config())
    with pytest.raises(ZeroDivisionError):
        asyncio.run(desk.answer(brief, stays))
    model.fault = None
    assert asyncio.run(desk.answer(brief, stays))["design"]
