"""What Perpwire says to Aster: stream frames and REST questions, as plain data. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal
from urllib.parse import parse_qs, urlencode

import msgspec

from exchanges.aster import tables
from exchanges.venue import HttpRequest


def question(style: tables.Style, name: tables.Name, **parameters: str | int) -> HttpRequest:
    """Build a signed question."""
    kind = tables.QUESTIONS[name]
    path, query = kind.v3 if style == "v3" else kind.v1, urlencode(parameters)
    return HttpRequest(path=f"{path}?{query}" if query else path, weight=kind.weight, signed=True)


def listen(style: tables.Style, method: Literal["POST", "PUT"]) -> HttpRequest:
    """Build the question for a listen key (POST), or that for its extension (PUT)."""
    return msgspec.structs.replace(question(style, "listen"), method=method)


def asked(request: HttpRequest) -> tuple[tables.Name | None, dict[str, str]]:
    """Return which question a request is, and its parameters; None: none of ours."""
    path, _, query = request.path.partition("?")
    return tables.NAMES.get(path), {name: values[-1] for name, values in parse_qs(query).items()}


def chain(method: str, *parameters: str | int | None, host: str | None) -> HttpRequest:
    """Build a question to the chain's RPC, which answers by address and knows no key."""
    message = {"id": 1, "jsonrpc": "2.0", "method": method, "params": parameters}
    return HttpRequest(path=tables.CHAIN_PATH, method="POST", body=msgspec.json.encode(message).decode(), host=host)


def mark_topic(symbol: str) -> str:
    """Return the stream of a symbol's mark, index and funding rate: lower case, or it would be confirmed and stay silent."""
    return symbol.lower() + tables.MARK_SUFFIX


def frame(method: str, parameters: Sequence[str] | None, request_id: int) -> str:
    """Build a frame of the stream."""
    message: dict[str, object] = {"method": method, "id": request_id}
    if parameters is not None:
        message["params"] = list(parameters)
    return msgspec.json.encode(message).decode()


def ping(request_id: int) -> str:
    """Build what serves as a heartbeat: the smallest question that is answered and names no listen key."""
    return frame("GET_PROPERTY", ("combined",), request_id)


def batches(topics: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split topics into frames: ten a second are allowed, so they are few."""
    for start in range(0, len(topics), tables.TOPICS_PER_FRAME):
        yield topics[start : start + tables.TOPICS_PER_FRAME]
