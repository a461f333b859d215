"""A model on a server: the prompt of training byte for byte, several requests at a time, and faults in one sentence."""

import json
import socket
from threading import Barrier

import pytest
from stand_in_server import completion, stand_in

from housebrain_core.config import EvaluateConfig, GenerateConfig
from housebrain_core.errors import ConfigError, ServerError
from housebrain_core.evaluate.evaluate import evaluate_models
from housebrain_core.evaluate.tables import show_evaluation
from housebrain_core.house import codec
from housebrain_core.house.codec import DesignError
from housebrain_core.llm import remote
from housebrain_core.llm.constrained import answer_schema
from housebrain_core.llm.decoding import Decoding
from housebrain_core.llm.generate import generate_designs
from housebrain_core.llm.llm import HouseBrainLLM
from housebrain_core.llm.remote import ServedLLM


@pytest.fixture
def completions(samples) -> dict[str, str]:
    """Prompt -> the completion of its sample."""
    examples = map(codec.encode, samples)
    return {example.prompt: example.completion for example in examples}


@pytest.fixture
def honest(completions):
    """A server with a perfect model."""
    with stand_in(lambda body: completion(completions[body["prompt"]])) as server:
        yield server


@pytest.fixture
def brief(samples) -> dict:
    return samples[0]["input"]


def test_an_address_gives_designs_from_the_very_prompt_of_training(honest, samples):
    llm = HouseBrainLLM(honest.url)
    assert isinstance(llm, ServedLLM) and llm.name == "housebrain"
    briefs = [sample["input"] for sample in samples[:5]]
    designs = llm.generate_designs(briefs, batch_size=2, max_new_tokens=700, progress=False)
    assert [design.model_dump(exclude_unset=True) for design in designs] == [one["output"] for one in samples[:5]]
    sent = {body["prompt"]: body for body in honest.requests}
    assert set(sent) == {codec.encode(sample).prompt for sample in samples[:5]}
    expected = {"model": "housebrain", "max_tokens": 700, "temperature": 0.0, "repeat_penalty": 1.0}
    assert all(body == expected | {"prompt": prompt} for prompt, body in sent.items())


def test_requests_of_a_batch_are_on_their_way_at_the_same_time(completions, samples):
    together = Barrier(3, timeout=20)

    def answer(body):
        together.wait()
        return completion(completions[body["prompt"]])

    with stand_in(answer) as server:
        answers = HouseBrainLLM(server.url).answer([sample["input"] for sample in samples[:3]], batch_size=3)
    assert [one.text for one in answers] == [codec.encode(sample).completion for sample in samples[:3]]


def test_a_schema_is_sent_on_request_and_one_that_is_not_kept_is_said_once(honest, brief, monkeypatch):
    llm = HouseBrainLLM(honest.url)
    llm.answer([brief], constrained=True)
    schema = json.loads(answer_schema())
    assert honest.requests[-1]["structured_outputs"] == {"json": schema} == {"json": honest.requests[-1]["json_schema"]}
    with stand_in(lambda body: completion("Here is a house.")) as server:
        llm = HouseBrainLLM(server.url)
        with pytest.warns(UserWarning, match="does not keep the JSON schema") as said:
            llm.answer([brief, brief], batch_size=1, constrained=True)
    assert len(said) == 1


def test_ollama_gets_the_prompt_without_its_template_and_the_schema_as_it_takes_it(completions, brief):
    def answer(body):
        return 200, {"response": completions[body["prompt"]], "eval_count": 9, "done_reason": "stop"}, {}

    with stand_in(answer, ("housebrain:latest",), ("/api/version",)) as server:
        (answered,) = HouseBrainLLM(server.url).answer([brief], max_new_tokens=700, constrained=True)
    assert answered == (completions[codec.write_prompt(brief)], 9, True) and server.paths == ["/api/generate"]
    (body,) = server.requests
    assert body["raw"] and body["options"] == {"temperature": 0.0, "num_predict": 700, "repeat_penalty": 1.0}
    assert body["format"] == json.loads(answer_schema()) and "/v1" in server.url


def test_drawn_answers_have_a_seed_of_their_own_and_nothing_cut_off(honest, samples):
    llm = HouseBrainLLM(honest.url)
    list(llm.answer_batches([sample["input"] for sample in samples[:2]], Decoding(temperature=1.0, seed=7)))
    assert {body["seed"] for body in honest.requests} == {7 * 1_000_003, 7 * 1_000_003 + 1}
    assert all(body["temperature"] == 1 and body["top_p"] == 1 and body["top_k"] == 0 for body in honest.requests)


def test_an_answer_that_was_cut_is_truncated_even_if_it_parses(completions, brief):
    answer = completion(completions[codec.write_prompt(brief)], "length")
    with stand_in(lambda body: answer) as server, pytest.raises(DesignError) as refused:
        HouseBrainLLM(server.url).generate_design(brief)
    assert refused.value.kind == "truncated"


def test_a_busy_server_is_asked_again_after_as_long_as_it_says(completions, brief, monkeypatch):
    waits = []
    monkeypatch.setattr(remote.time, "sleep", waits.append)
    busy = [(429, {}, {"Retry-After": "3"}), (503, b"loading", {}), (429, {}, {"Retry-After": "soon"})]
    with stand_in(lambda body: busy.pop(0) if busy else completion(completions[body["prompt"]])) as server:
        HouseBrainLLM(server.url).generate_design(brief)
    assert waits == [3.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ((503, b"still loading", {}), "/completions answered 503: still loading"),
        ((401, {"error": {"message": "no such key"}}, {}), "401: no such key Set OPENAI_API_KEY"),
        ((400, {"object": "error", "message": "the context is 512 tokens"}, {}), "400: the context is 512 tokens"),
        ((404, {"detail": "Not Found"}, {}), "404: Not Found Is it an OpenAI-compatible address"),
        ((500, b"", {}), "500: Internal Server Error"),
        ((200, b"<html>a proxy's page</html>", {}), "answered with no JSON: <html>a proxy's page"),
        ((200, {"choices": []}, {}), "answered with other JSON"),
        ((200, {"choices": [{"text": "{}", "finish_reason": "stop"}]}, {}), "answered with other JSON"),
        ((200, [1], {}), "answered with other JSON"),
        ((200, b'{"choices"', {"Content-Length": "9000"}), "the answer broke off"),
        ((302, b"", {"Location": "http://elsewhere/"}), "answered 302"),
    ],
)  # fmt: skip
def test_what_a_server_does_wrong_is_one_sentence(reply, said, brief, monkeypatch):
    monkeypatch.setattr(remote, "WAITS", (0.0,))
    with stand_in(lambda body: reply) as server, pytest.raises(ServerError) as refused:
        HouseBrainLLM(server.url).generate_design(brief)
    assert said in str(refused.value) and server.url in str(refused.value) and "\n" not in str(refused.value)


def test_no_server_and_a_silent_one_are_told_apart(brief, monkeypatch):
    monkeypatch.setattr(remote, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ServerError, match="no answer within 0.3 seconds"):
            HouseBrainLLM(f"http://127.0.0.1:{port}/v1")
    with pytest.raises(ServerError, match="no connection .*Is the server running there"):
        HouseBrainLLM(f"http://127.0.0.1:{port}/v1")


def test_of_several_models_one_has_to_be_named_and_slashes_stay(brief, completions):
    with stand_in(lambda body: completion("{}"), ("one", "people/two.gguf")) as server:
        with pytest.raises(ConfigError, match=r"there are one, people/two.gguf. .*/v1#one"):
            HouseBrainLLM(server.url)
        llm = HouseBrainLLM(f"{server.url}/#people/two.gguf")
        llm.answer([brief])
    assert (llm.name, server.requests[0]["model"]) == ("two.gguf", "people/two.gguf")
    with stand_in(lambda body: completion("{}"), ()) as server, pytest.raises(ConfigError, match="lists none"):
        HouseBrainLLM(server.url)


@pytest.mark.parametrize(
    "address", ["http://", "http://me:secret@host/v1", "https://host/v1?key=secret", "http://[::1"]
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused_without_saying_it(address):
    with pytest.raises(ConfigError) as refused:
        HouseBrainLLM(address)
    assert "secret" not in str(refused.value)


def test_settings_of_base_models_do_nothing_for_a_server():
    with pytest.raises(ConfigError, match="is on a server"):
        HouseBrainLLM("http://127.0.0.1:1/v1", load_in_4bit=True)


def test_the_key_is_sent_and_never_shown(brief, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    with stand_in(lambda body: (403, {"error": "forbidden"}, {})) as server, pytest.raises(ServerError) as refused:
        HouseBrainLLM(server.url).generate_design(brief)
    assert server.keys == ["Bearer sk-very-secret"] and "sk-very" not in str(refused.value)


def test_generate_goes_on_where_it_was_with_a_server(honest, samples, tmp_path):
    briefs = tmp_path / "briefs.jsonl"
    briefs.write_text("\n".join(json.dumps(sample["input"]) for sample in samples[:3]))
    config = GenerateConfig(model=honest.url, brief=str(briefs), output=tmp_path / "out.jsonl", batch_size=2)
    rows = generate_designs(config, report=lambda line: None)
    assert [row["design"] for row in rows] == [sample["output"] for sample in samples[:3]]
    asked = len(honest.requests)
    assert generate_designs(config, report=lambda line: None) == rows and len(honest.requests) == asked


@pytest.mark.slow
def test_an_evaluation_judges_what_is_served_and_leaves_out_what_a_server_does_not_tell(splits, tmp_path, capsys):
    from housebrain_core.splits.encode import read_validation

    known = {example.prompt: example.completion for example in read_validation(splits)}
    with stand_in(lambda body: completion(known[body["prompt"]])) as server:
        output = tmp_path / "evaluation.json"
        config = EvaluateConfig(models=[server.url, f"{server.url}#housebrain"], data=splits, samples=4, output=output)
        lines: list[str] = []
        result = evaluate_models(config, lines.append)
    model = result.models["housebrain"]
    assert model.rates.schema_valid == 1 and model.same == 1 and model.kinds == {"ok": 4}
    assert (model.loss_nats_per_token, model.most_probable, result.pairs[0].loss_difference) == (None, None, None)
    assert lines[0] == "housebrain: 4 answers"
    assert {body["max_tokens"] for body in server.requests} == {max(map(len, known.values())) * 5 // 4}
    assert "served: not told</td>" in (tmp_path / "report.html").read_text() and "nan" not in output.read_text().lower()
    show_evaluation(result)
    table = capsys.readouterr().out
    assert "no loss of housebrain: a server does not tell" in table and "entropy is not known here" not in table
