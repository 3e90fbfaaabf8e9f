"""What a route is: its operation as the description tells it, its checked query, and its answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.core.access import Principal, resolve
from gateway.core.protocol import Refusal
from gateway.web.state import ServerState

Handler = Callable[[Request], Awaitable[Response]]


class Param(NamedTuple):
    """A query parameter: its name, its JSON type, what it means; ``values``: all that it may be, where they are few."""

    name: str
    type: str
    text: str
    values: tuple[str, ...] = ()


ACCOUNT = Param("account", "string", "Accounts, separated by commas")
VENUE = Param("venue", "string", "Venues, separated by commas")
SYMBOL = Param("symbol", "string", "The venue's own symbols, separated by commas")


class Operation(NamedTuple):
    """A route: path, handler, summary, parameters, the answer's media type and the names of
    its possible schemas (openapi.py)."""

    path: str
    handler: Handler
    summary: str
    params: tuple[Param, ...] = ()
    media: str = "application/json"
    schemas: tuple[str, ...] = ("Object",)
    unready: bool = False  # also answers 503
    method: str = "GET"
    body: str | None = None  # the schema of what is sent along
    exported: bool = False  # also as CSV and JSON Lines, by the Accept header


class Query:
    """The parameters of one request, checked against those that the route knows."""

    def __init__(self, request: Request, known: Sequence[Param]) -> None:
        self._values = request.query_params
        self._allowed = {param.name: param.values for param in known}
        names = [param.name for param in known]
        for name in self._values:
            if name not in names:
                known_names = ", ".join(names) or "none"
                raise Refusal("bad_filter", f"{request.url.path} has no parameter {name!r}; it has {known_names}")

    def knows(self, name: str) -> bool:
        """Say whether the route has such a parameter."""
        return name in self._allowed

    def text(self, name: str) -> str | None:
        """Return a parameter as it came."""
        return self._values.get(name)

    def names(self, name: str) -> list[str] | None:
        """Return a list separated by commas; None where the parameter is absent."""
        if name not in self._values:
            return None
        found = [part for value in self._values.getlist(name) for part in value.split(",") if part]
        if not found:
            raise Refusal("bad_filter", f"{name} is empty; leave it out to get all")
        allowed = self._allowed[name]
        for value in found if allowed else ():
            if value not in allowed:
                raise Refusal("bad_filter", f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
        return found

    def integer(self, name: str, low: int, high: int) -> int | None:
        """Return a whole number within bounds; None where the parameter is absent."""
        value = self._values.get(name)
        if value is None:
            return None
        if not (value.isascii() and value.isdigit() and low <= int(value[:20]) <= high):
            raise Refusal("bad_filter", f"{name} is {value!r}; it must be a whole number from {low} to {high}")
        return int(value)


def principal_of(state: ServerState, request: Request) -> Principal:
    """Return for whom a request is made.

    Raises:
        Refusal: unauthorized.
    """
    principal = state.principal(request.headers)
    if principal is None:
        raise Refusal("unauthorized", "the request carries no token that is known here")
    return principal


def operator_of(state: ServerState, request: Request, may: str) -> Principal:
    """Return who asks for what only whoever sees every account may: ``may`` says what, for the refusal.

    Raises:
        Refusal: unauthorized.
    """
    principal = principal_of(state, request)
    if not principal.sees_everything:
        raise Refusal("unauthorized", f"only who may see every account may {may}")
    return principal


def row_of(state: ServerState, request: Request, table: str) -> str:
    """Return the id in the path.

    Raises:
        Refusal: unauthorized; not_found: no such row is there that may be seen.
    """
    id_ = str(request.path_params["id"])
    selection = resolve(state.tables, table, principal_of(state, request), state.accounts())
    if not state.tables[table].holds(id_, selection):
        raise Refusal("not_found", f"there is no row {id_!r} that you may see; /v1/{table} lists them")
    return id_


async def asked_of(state: ServerState, request: Request, kind: type[Any], what: str) -> Any:
    """Return what was sent along, as a ``kind``; ``what`` names it for the refusal.

    Raises:
        Refusal: bad_command.
    """
    try:
        return msgspec.json.decode(await body_of(state, request), type=kind)
    except msgspec.MsgspecError as bad:
        raise Refusal("bad_command", f"the body is no request of a {what}: {bad}") from None


async def body_of(state: ServerState, request: Request, code: str = "bad_command") -> bytes:
    """Return what was sent along, read no further than ``limits.max_message_bytes``.

    Raises:
        Refusal: ``code``, where it is longer.
    """
    most = state.limits.max_message_bytes
    refusal = Refusal(code, f"the body has more than {most} bytes, the most that are taken (limits.max_message_bytes)")
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated[:20]) > most:
        raise refusal
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise refusal
    return bytes(body)


def answer_json(body: object, *, status: int = 200, media: str = "application/json") -> Response:
    """Answer with JSON."""
    return Response(orjson.dumps(body), status_code=status, media_type=media)


def join_members(members: Iterable[bytes]) -> bytes:
    """Return the JSON object of members that are JSON already."""
    return b"{" + b",".join(members) + b"}"


def with_members(head: Mapping[str, object], members: Iterable[tuple[str, bytes]]) -> bytes:
    """Return the JSON object of a head that is not empty, and of members whose values are JSON already."""
    return join_members((orjson.dumps(head)[1:-1], *(orjson.dumps(name) + b":" + body for name, body in members)))


def answer_members(
    head: Mapping[str, object],
    members: Iterable[tuple[str, bytes]],
    *,
    status: int = 200,
    media: str = "application/json",
) -> Response:
    """Answer with ``with_members``."""
    return Response(with_members(head, members), status_code=status, media_type=media)
