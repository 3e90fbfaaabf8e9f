"""What Aster's sockets answer to a frame of the client: live subscribing, properties, and the texts of what is wrong.

Pure. Source: Aster docs "Live Subscribing/Unsubscribing to streams".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


@dataclass(frozen=True)
class Reply:
    """The answer to a frame, and what the connection is subscribed to afterwards."""

    frame: dict[str, Any]
    streams: set[str]
    combined: bool


def answer(text: str, streams: set[str], *, combined: bool) -> Reply:
    """Return the answer to one frame; an error changes nothing and never closes the connection."""
    try:
        command = json.loads(text)
    except ValueError:
        return Reply(_error(3, "Invalid JSON: expected value at line 1 column 1"), streams, combined)
    wrong = _wrong(command, text)
    if wrong is not None:
        return Reply(wrong, streams, combined)
    params, number = command.get("params", []), command["id"]
    result: Any = None
    match command["method"]:
        case "SUBSCRIBE":
            streams = {*streams, *params}
        case "UNSUBSCRIBE":
            streams = streams - set(params)
        case "LIST_SUBSCRIPTIONS":
            result = sorted(streams)
        case "SET_PROPERTY":
            combined = params[1]
        case "GET_PROPERTY":
            result = combined
    return Reply({"result": result, "id": number}, streams, combined)


def _wrong(command: Any, text: str) -> dict[str, Any] | None:
    """Return the error frame of a command that cannot be carried out."""
    at = f"at line 1 column {len(text)}"
    if not isinstance(command, dict) or "method" not in command:
        return _error(2, f"Invalid request: missing field `method` {at}")
    method, params, number = command["method"], command.get("params", []), command.get("id")
    if method not in _METHODS:
        known = ", ".join(f"`{name}`" for name in _METHODS)
        return _error(2, f"Invalid request: unknown variant {method}, expected one of {known} at line 1 column 28")
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        return _error(2, "Invalid request: request ID must be an unsigned integer")
    if not isinstance(params, list):
        return _error(2, f"Invalid request: invalid type: expected a sequence {at}")
    if method in {"SET_PROPERTY", "GET_PROPERTY"}:
        return _wrong_property(method, params)
    if any(not isinstance(name, str) for name in params):
        return _error(2, f"Invalid request: invalid type: expected a string {at}")
    return None


def _wrong_property(method: str, params: list[Any]) -> dict[str, Any] | None:
    if not params or not isinstance(params[0], str):
        return _error(2, "Invalid request: property name must be a string")
    if params[0] != "combined":
        return _error(0, "Unknown property")
    if len(params) > (2 if method == "SET_PROPERTY" else 1):
        return _error(2, "Invalid request: too many parameters")
    if method == "SET_PROPERTY" and (len(params) < 2 or not isinstance(params[1], bool)):
        return _error(1, "Invalid value type: expected Boolean")
    return None


def _error(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "msg": message}
