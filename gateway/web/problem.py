"""Errors of HTTP requests as problem details (RFC 9457). Pure."""

from __future__ import annotations

import orjson

from gateway.core.protocol import Refusal

PROBLEM_JSON = "application/problem+json"


def problem(refusal: Refusal) -> dict[str, object]:
    """Return the problem object of a refusal; its ``type`` is a place on the documentation page."""
    return {
        "type": f"/docs#{refusal.code}",
        "title": refusal.kind.title,
        "status": refusal.kind.status,
        "detail": refusal.message,
        "code": refusal.code,
        "retry": refusal.kind.retry,
    }


def problem_body(refusal: Refusal) -> bytes:
    """Return the problem object as JSON."""
    return orjson.dumps(problem(refusal))
