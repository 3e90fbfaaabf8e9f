"""What ``perpwire alerts list`` prints, and in which order."""

from __future__ import annotations

import json
from typing import Any

from gateway.alerting import listed, report
from tests.gateway.test_asking import answering


def alert(kind: str, state: str, severity: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "state": state, "severity": severity, "message": f"{kind} {severity}", **more}


ALERTS = {
    "a:ok": alert("adl", "resolved", "critical"),
    "b:x": alert("liquidation_distance", "firing", "critical", acknowledged=True, silenced_until=7),
    "c:x": alert("adl", "firing", "warning"),
    "d:x": alert("adl", "pending", "critical"),
    "z:x": alert("blind", "firing", "critical"),
}


async def test_the_worst_is_first_and_of_what_is_equally_bad_blindness() -> None:
    async with answering(200, json.dumps({"alerts": ALERTS})) as url:
        rows = await listed(url)
    assert list(report(rows)) == [
        "firing critical  z:x: blind critical",
        "firing critical [acknowledged, silenced]  b:x: liquidation_distance critical",
        "firing warning  c:x: adl warning",
        "pending critical  d:x: adl critical",
        "resolved critical  a:ok: adl critical",
    ]


def test_nothing_is_said_to_be_nothing() -> None:
    assert list(report([])) == ["no alerts"]
