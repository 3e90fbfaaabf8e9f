"""``perpwire alerts``: what fires, and whether the channels work, through the running gateway.

Owns the questions to the gateway and the text of its answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.asking import ask

_TIMEOUT_S = 90.0  # apprise is waited for a minute


async def listed(url: str) -> list[dict[str, Any]]:
    """Return all alerts, the worst first. Raises NoAnswer."""
    rows: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = {"limit": "5000"} | ({"cursor": cursor} if cursor else {})
        answer = await ask(url, "/v1/alerts", timeout_s=_TIMEOUT_S, params=page)
        rows += [{"id": id_, **row} for id_, row in answer["alerts"].items()]
        cursor = answer.get("next_cursor", "")
        if not cursor:
            return sorted(rows, key=_rank)


async def tested(url: str, rule: str) -> dict[str, Any]:
    """Send a test of a rule and return what each channel answered. Raises NoAnswer."""
    answer = await ask(url, "/internal/alerts/test", timeout_s=_TIMEOUT_S, method="POST", json={"rule": rule})
    found: dict[str, Any] = answer["channels"]
    return found


_STATES = ("firing", "pending", "resolved")
_SEVERITIES = ("critical", "error", "warning", "info")


def _rank(row: dict[str, Any]) -> tuple[int, int, bool, str]:
    # Of what is equally bad, that nobody sees anything comes first: what else is said there may have changed since.
    return _STATES.index(row["state"]), _SEVERITIES.index(row["severity"]), row["kind"] != "blind", row["id"]


def report(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a list for humans."""
    for row in rows:
        marks = [mark for mark in ("acknowledged", "silenced_until") if row.get(mark)]
        noted = f" [{', '.join(mark.removesuffix('_until') for mark in marks)}]" if marks else ""
        yield f"{row['state']} {row['severity']}{noted}  {row['id']}: {row['message']}"
    if not rows:
        yield "no alerts"


def answers(channels: dict[str, Any]) -> Iterator[str]:
    """Yield what each channel answered for humans."""
    for name, answer in channels.items():
        yield f"{name}: {'delivered' if answer['ok'] else 'failed'}: {answer['answer']}"
    if not channels:
        yield "no channel is told of this rule: add one under `alerts.channels`, or see its `notify`"
