"""What the server answers: the page, its files, designs, and whether it is well; and whom it refuses before that."""

import asyncio
import hmac
import ipaddress
import re
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from housebrain_core.house import synthetic
from housebrain_core.house.briefs import SANITY_BRIEF, CheckedBrief, check_briefs
from housebrain_core.house.json_text import StrictJSONError, strict_json_parse
from housebrain_core.serve.desk import Desk, Refused
from housebrain_core.texts import render

BODY_LIMIT = 20_000
"""Bytes of a request; a brief has one or two thousand."""
BODY_SECONDS = 10.0
FILES = {"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
EXAMPLES = 3
"""Generated briefs beside the guide's own."""


def make_app(desk: Desk, hosts: Sequence[str], token: str | None) -> FastAPI:
    """The application.

    Args:
        desk: where briefs are answered.
        hosts: names of this machine; localhost and addresses of digits are known.
        token: what a request for a design has to bring, if anything.

    Returns:
        It answers GET /, /page.css, /page.js and /health, and POST /design.
    """
    app = FastAPI(
        docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(_check_host({"localhost", *hosts}))]
    )
    page = render("serve", "index.html", model=desk.designer.name, data=_page_data())

    @app.exception_handler(Refused)
    async def _refuse(request: Request, refused: Refused) -> JSONResponse:
        return JSONResponse(refused.values, refused.status, HEADERS | refused.headers)

    @app.exception_handler(404)
    @app.exception_handler(405)
    async def _refuse_other(request: Request, error: Any) -> JSONResponse:
        message = f"there is no {request.method} {request.url.path} here; see docs/deploy.md"
        return JSONResponse({"error": message}, error.status_code, HEADERS)

    @app.get("/")
    async def _page() -> Response:
        return Response(page, media_type="text/html; charset=utf-8", headers=HEADERS)

    @app.get("/health")
    async def _health() -> JSONResponse:
        return JSONResponse(desk.describe() | {"token": token is not None}, headers=HEADERS)

    @app.post("/design")
    async def _design(request: Request) -> JSONResponse:
        _check_token(request, token)
        brief = await _read_brief(request)
        return JSONResponse(await desk.answer(brief, request.is_disconnected), headers=HEADERS)

    for name, kind in FILES.items():
        app.add_api_route(f"/{name}", _send_file(name, kind))
    return app


def _send_file(name: str, kind: str) -> Callable[[], Response]:
    text = resources.files("housebrain_core.serve").joinpath(name).read_text(encoding="utf-8")
    return lambda: Response(text, media_type=kind, headers=HEADERS)


def _page_data() -> dict[str, Any]:
    """Examples to start from, and words to choose from."""
    briefs = [sample["input"] for sample in synthetic.make_samples(EXAMPLES, seed=0)]
    return {
        "examples": [{"name": _name_brief(brief), "brief": brief} for brief in (SANITY_BRIEF, *briefs)],
        "rooms": sorted({room["type"] for brief in briefs for room in brief["roomBreakdown"]}),
        "styles": synthetic.BRIEF["style"],
    }


def _name_brief(brief: dict[str, Any]) -> str:
    details = brief["basicDetails"]
    floors = f"{details['floors']} floor{'s' * (details['floors'] > 1)}"
    plot = f"{brief['plot']['length']:g} x {brief['plot']['width']:g} ft"
    return f"{details['style']}, {details['bedrooms']} bed, {floors}, {plot}"


def _check_host(hosts: set[str]) -> Callable[[Request], None]:
    """Refuses requests under a foreign name: some page's name that was turned to this machine (DNS rebinding)."""

    def check(request: Request) -> None:
        name = re.sub(r":\d+$", "", request.headers.get("host", "")).strip("[]").lower()
        if name not in hosts and not _is_address(name):
            raise Refused(421, f"this server does not answer to the name {name!r}; name it with --allow-host")

    return check


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _check_token(request: Request, token: str | None) -> None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(), (token or "").encode())
    if token is not None and not (scheme.lower() == "bearer" and right):
        raise Refused(401, "the access token is missing or wrong", {"WWW-Authenticate": "Bearer"})


async def _read_brief(request: Request) -> CheckedBrief:
    """The brief of a request: an object as JSON, with the brief under the key `brief`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "send JSON, as Content-Type: application/json")
    try:
        text = (await asyncio.wait_for(_read_body(request), BODY_SECONDS)).decode()
        values = strict_json_parse(text)
    except TimeoutError:
        raise Refused(408, f"the request did not come within {BODY_SECONDS:g} seconds") from None
    except (UnicodeDecodeError, StrictJSONError) as error:
        raise Refused(400, f"the request is not one JSON object: {error}") from None
    if list(values) != ["brief"]:
        message = f'send {{"brief": ...}} and nothing else; this has {", ".join(values) or "nothing"}'
        raise Refused(422, message, problems=[])
    usable, problems = check_briefs([values["brief"]])
    if problems:
        raise Refused(422, "the brief cannot be used", problems=[_split_problem(line) for line in problems])
    return usable[0]


async def _read_body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_LIMIT:
            raise Refused(413, f"a request may have {BODY_LIMIT:,} bytes", {"Connection": "close"})
    return body


def _split_problem(line: str) -> dict[str, str]:
    """A problem as `check_briefs` writes it, with the field that it is about."""
    text = line.removeprefix("brief 1: ")
    field = re.match(r"[\w.]+\w", text)
    return {"field": field[0] if field else "brief", "message": text}
