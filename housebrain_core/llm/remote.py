"""A model on a server with OpenAI's completions interface, such as vLLM, llama.cpp or Ollama: what is really served."""

import json
import os
import time
import warnings
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
from pydantic import ValidationError

from housebrain_core.errors import ConfigError, ServerError
from housebrain_core.house import codec
from housebrain_core.house.schema import Answer
from housebrain_core.llm.constrained import answer_schema
from housebrain_core.llm.decoding import Answered, Decoding, lacks_budget
from housebrain_core.llm.designer import Designer

KEY = "OPENAI_API_KEY"
"""Environment variable with the server's key, where it wants one."""
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 600.0
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before a request is sent again that the server was too busy for, unless it says how many."""
BUSY = (429, 503)
UNALTERED = {"top_p": 1.0, "top_k": 0, "min_p": 0.0}
"""For answers at temperature 1: the model's own distribution, nothing cut off (top_k and min_p are not OpenAI's)."""
NO_PENALTY = {"repeat_penalty": 1.0}
"""Ollama and the server of llama-cpp-python make repeated tokens less probable (by 1.1) unless told not to, and JSON
repeats its keys."""
SHOWN = 300
"""Characters of a server's own message that are shown."""


class ServedLLM(Designer):
    """A model on a server. It gets the very prompt of training; nothing is known of its weights or its losses.

    Ollama is asked through its own interface: its completions put the Modelfile's template around every prompt, and
    take no schema (https://docs.ollama.com/api/generate).

    Args:
        address: of the interface, such as http://localhost:11434/v1#housebrain; the model's name stands behind the #,
            and may be left out where the server has only one.
    """

    def __init__(self, address: str) -> None:
        url = _read_address(address)
        self.url = str(url.copy_with(fragment=None)).rstrip("/")
        key = os.environ.get(KEY)
        self.client = httpx.Client(headers={"Authorization": f"Bearer {key}"} if key else None)
        self.root = str(url.copy_with(raw_path=b"/", fragment=None)).rstrip("/")
        self.is_ollama = self._send(f"{self.root}/api/version", None, CONNECT_SECONDS).status_code == httpx.codes.OK
        self.model = url.fragment or self._find_model()
        self.name = self.model.rstrip("/").rpartition("/")[2]
        self._warned = False

    @property
    def identity(self) -> str:
        """See `Designer`; what the server loads under a name can change without anybody knowing."""
        return f"{self.url}#{self.model}"

    def losses(self, examples: Iterable[codec.Example], drawn: Collection[str] = ()) -> None:
        """See `Designer`: the interface gives no probabilities of a known text, its end included."""

    def answer_batch(
        self, prompts: list[str], briefs: list[dict], numbers: list[int], decoding: Decoding
    ) -> list[Answered]:
        """See `Designer`; one request for each prompt, all at the same time."""
        with ThreadPoolExecutor(len(prompts)) as threads:
            answers = list(threads.map(partial(self._answer, decoding), prompts, briefs, numbers))
        if decoding.constrained and not self._warned and not all(map(_keeps_schema, answers)):
            self._warned = True
            warnings.warn(f"{self.url} does not keep the JSON schema that it was given.", stacklevel=2)
        return answers

    def _answer(self, decoding: Decoding, prompt: str, brief: dict, number: int) -> Answered:
        schema = json.loads(answer_schema(lacks_budget(brief))) if decoding.constrained else None
        drawn = UNALTERED | {"seed": decoding.seed * 1_000_003 + number} if decoding.temperature else {}
        options = {"temperature": decoding.temperature, **NO_PENALTY, **drawn}
        body: dict[str, Any] = {"model": self.model, "prompt": prompt}
        if self.is_ollama:
            url = f"{self.root}/api/generate"
            body |= {"raw": True, "stream": False, "options": options | {"num_predict": decoding.max_new_tokens}}
            body |= {"format": schema} if schema else {}
        else:
            url = f"{self.url}/completions"
            body |= options | {"max_tokens": decoding.max_new_tokens}
            body |= {"structured_outputs": {"json": schema}, "json_schema": schema} if schema else {}  # vLLM, llama.cpp
        reply = self._ask(url, body, decoding.seconds or ANSWER_SECONDS)
        try:
            if self.is_ollama:
                return Answered(reply["response"], reply["eval_count"], reply["done_reason"] == "stop")
            choice = reply["choices"][0]
            return Answered(choice["text"], reply["usage"]["completion_tokens"], choice["finish_reason"] == "stop")
        except (KeyError, IndexError, TypeError):
            raise ServerError(f"{url} answered with other JSON: {_shorten(json.dumps(reply))}") from None

    def _find_model(self) -> str:
        """The name of the only model that the server has."""
        reply = self._ask(f"{self.url}/models", None, CONNECT_SECONDS)
        entries = reply.get("data") if isinstance(reply, dict) else None
        names = [str(entry["id"]) for entry in entries or [] if isinstance(entry, dict) and "id" in entry]
        if len(names) != 1:
            listed = f"there are {', '.join(names)}" if names else "it lists none"
            example = f"{self.url}#{names[0] if names else 'NAME'}"
            raise ConfigError(f"{self.url}: which model? {listed}. Name one behind a #, such as {example}")
        return names[0]

    def _ask(self, url: str, body: dict[str, Any] | None, seconds: float) -> Any:
        """The JSON that the server answers with; a request that it was too busy for is sent again."""
        for wait in (*WAITS, None):
            response = self._send(url, body, seconds)
            if response.status_code not in BUSY or wait is None:
                break
            asked = response.headers.get("Retry-After", "")
            time.sleep(min(float(asked), 60) if asked.isdigit() else wait)
        if response.status_code != httpx.codes.OK:
            raise ServerError(f"{url} answered {response.status_code}: {_reason(response)}")
        try:
            return response.json()
        except ValueError:
            raise ServerError(f"{url} answered with no JSON: {_shorten(response.text)}") from None

    def _send(self, url: str, body: dict[str, Any] | None, seconds: float) -> httpx.Response:
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        try:
            return self.client.request("POST" if body else "GET", url, json=body, timeout=timeout)
        except httpx.ConnectTimeout:
            problem = f"no connection within {CONNECT_SECONDS:g} seconds"
        except httpx.TimeoutException:
            problem = f"no answer within {seconds:g} seconds"
        except httpx.ConnectError as error:
            problem = f"no connection ({error}). Is the server running there?"
        except httpx.TransportError as error:
            problem = f"the answer broke off ({error})"
        raise ServerError(f"{url}: {problem}")


def _read_address(address: str) -> httpx.URL:
    """The parts of an address; ConfigError where it is none, or holds what gets into logs."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise ConfigError(f"the server's address is none: {error}") from None
    if not url.host:
        raise ConfigError(f"{address} names no server; an address is like http://localhost:8000/v1#name.")
    if url.userinfo or url.query:
        raise ConfigError(f"the address of {url.host} holds a password or a query; a key belongs into {KEY}.")
    return url.copy_with(path="/v1") if url.path in ("", "/") else url


def _reason(response: httpx.Response) -> str:
    """What a server says of a request that it does not take, and what to do."""
    try:
        values = response.json()
        error = values.get("error", values) if isinstance(values, dict) else values
        text = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    except ValueError:
        text = None
    hint = {401: f" Set {KEY}.", 403: f" Set {KEY}.", 404: " Is it an OpenAI-compatible address, and the model's name?"}
    return _shorten(str(text or response.text or response.reason_phrase)) + hint.get(response.status_code, "")


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]} ..."


def _keeps_schema(answer: Answered) -> bool:
    """Whether an answer is of the schema; one that was cut at the limit may well be on its way."""
    try:
        Answer.model_validate_json(answer.text)
    except ValidationError:
        return not answer.complete
    return True
