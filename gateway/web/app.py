"""The HTTP application: routes, the dashboard's files, problem details for every error, and the guard around all of it."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import orjson
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

from gateway.core.protocol import Refusal
from gateway.web import openapi
from gateway.web.auth import check_host, check_origin
from gateway.web.live import LiveRoutes
from gateway.web.problem import PROBLEM_JSON, problem_body
from gateway.web.rest import Rest
from gateway.web.route import Operation
from gateway.web.state import ServerState
from gateway.web.stream import PATH as STREAM_PATH

RawHeader = tuple[bytes, bytes]

# Nothing from elsewhere runs or is loaded, nothing inline but the style of the API's page, and nobody frames the pages.
SECURITY_HEADERS = {
    "content-security-policy": (
        f"default-src 'self'; style-src 'self' '{openapi.STYLE_HASH}'; object-src 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_MOST_CHECKED = 256
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]


class Guard:
    """Refuses requests for other hosts and from other sites, and adds the security headers to every answer."""

    def __init__(self, app: ASGIApp, state: ServerState, live: LiveRoutes) -> None:
        self._app, self._state, self._live = app, state, live
        self._check = functools.lru_cache(_MOST_CHECKED)(
            self._refuse
        )  # what passed passes again; a refusal is not kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _secured(message.get("headers", ()))
            await send(message)

        try:
            self._look(scope)
        except Refusal as refusal:
            await _problem_response(refusal)(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)

    def at_once(self, scope: Scope) -> tuple[list[RawHeader], bytes] | None:
        """Return headers and body of the answer (200) that ``__call__`` would give to what was asked before; None: ask it."""
        try:
            self._look(scope)
        except Refusal:
            return None
        body = self._live.again(scope)
        if body is None:
            return None
        return _secured([(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]), body

    def _look(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._check(tuple(headers.getlist("host")), headers.get("origin"))

    def _refuse(self, hosts: tuple[str, ...], origin: str | None) -> None:
        state = self._state
        host = hosts[0] if len(hosts) == 1 else None
        check_host(host, state.allowed_hosts)
        check_origin(origin, host, state.allowed_origins, state.allowed_hosts)


def _secured(given: Iterable[RawHeader]) -> list[RawHeader]:
    """Return an answer's headers with those that every answer has. Names are in lower case (ASGI)."""
    headers = [*given]
    named = {name for name, _ in headers}
    headers += [one for one in _RAW_HEADERS if one[0] not in named]  # of what an answer sets itself its own word counts
    if b"cache-control" not in named:
        # Figures are never to be stored; the dashboard's files are asked for again, by their ETag.
        headers.append((b"cache-control", b"no-cache" if b"etag" in named else b"no-store"))
    return headers


def build_app(state: ServerState) -> Guard:
    """Return the ASGI application of a server."""
    rest = Rest(state)
    operations = [*rest.operations]

    async def description(request: Request) -> Response:
        body = openapi.describe(operations, state.tables.names, state.version)
        return Response(orjson.dumps(body), media_type="application/json")

    async def docs(request: Request) -> Response:
        return HTMLResponse(openapi.page(operations, state.version))

    async def stream(request: Request) -> Response:
        raise Refusal("upgrade_required", f"{STREAM_PATH} is a WebSocket; connect to it with ws://")

    operations += [
        Operation("/openapi.json", description, "This description"),
        Operation("/docs", docs, "This description for humans", media="text/html"),
    ]
    routes: list[BaseRoute] = [
        Route(operation.path, operation.handler, methods=[operation.method]) for operation in operations
    ]
    routes.append(Route(STREAM_PATH, stream, methods=["GET"]))
    if state.static is not None:
        routes.append(Mount("/", StaticFiles(directory=state.static, html=True)))
    handlers: dict[type[Exception] | int, ExceptionHandler] = {
        Refusal: _on_refusal,
        HTTPException: _on_http,
        Exception: _on_bug,
    }
    return Guard(Starlette(routes=routes, exception_handlers=handlers), state, rest.live)


def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return _problem_response(error)


def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 405:
        refusal = Refusal("method_not_allowed", f"{path} does not take {request.method}; see Allow")
    elif error.status_code == 404:
        refusal = Refusal("not_found", f"there is nothing at {path}; see /docs for what there is")
    else:
        refusal = Refusal("bad_command", f"{path}: {error.detail}")
    response = _problem_response(refusal)
    response.headers.update(error.headers or {})
    return response


def _on_bug(request: Request, error: Exception) -> Response:
    # The server's log has the traceback; the client learns nothing of our inside.
    return _problem_response(Refusal("internal", f"{request.url.path} failed; the gateway's log says why"))


def _problem_response(refusal: Refusal) -> Response:
    headers = {"retry-after": "1"} if refusal.kind.retry else None
    return Response(problem_body(refusal), refusal.kind.status, headers, PROBLEM_JSON)
