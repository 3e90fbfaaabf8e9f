"""Captured messages as lines that ``gateway.replay`` reads, one case per recording: what a model is measured on.

Owns which recordings carry positions, and what has to be put around each (a wrapper, the contract's size, the margin tiers) so
that the real codecs read it. A folder without a manifest holds recordings of ``gateway.replay``'s own form.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tests.recordings import FOLDER, Recording, recordings

AT = 1_700_000_000_000
Evidence = Literal["measured", "published"]
# What each venue calls the figures that no model may read.
VENUE_FIGURES = ("liquidationPx", "liqPx", "mgnRatio", "liqPrice", "bustPrice", "accountMMRate", "liquidationPrice")
STATED_MAINTENANCE = ("mmr", "positionMM", "positionMMByMp")

# OKX's demo trading has contract sizes of its own: those that the captured rows imply (upl / (mark - entry) / pos).
_OKX_CONTRACTS = {
    "LTC-USDT-SWAP": ("0.001", "0.01"),
    "BTC-USDT-SWAP": ("0.001", "0.1"),
    "ETH-USDT-SWAP": ("0.1", "0.01"),
}


class Case(NamedTuple):
    """One replay: lines of one venue and one account. ``context`` is read first and holds no position."""

    venue: str
    name: str
    lines: tuple[bytes, ...]
    evidence: Evidence = "measured"
    context: tuple[bytes, ...] = ()

    def rewritten(self, fields: tuple[str, ...], factor: str | None) -> Case:
        """Return the case with those wire fields blanked (None), or multiplied by a factor."""
        lines = (json.dumps(_rewritten(json.loads(line), fields, factor)).encode() for line in self.lines)
        return self._replace(lines=tuple(lines))


def _rewritten(value: Any, fields: tuple[str, ...], factor: str | None) -> Any:
    if isinstance(value, list):
        return [_rewritten(each, fields, factor) for each in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for name, each in value.items():
        if name not in fields or each in ("", None):
            found[name] = _rewritten(each, fields, factor)
        elif factor is not None:
            found[name] = str(Decimal(str(each)) * Decimal(factor))
        elif name != "liquidationPx":  # Hyperliquid leaves a field out rather than blanking it; null says "none"
            found[name] = ""
    return found


def line(venue: str, data: Any, via: str = "rest", request: Any = None, *, public: bool = False) -> bytes:
    """Return one recorded input."""
    account = None if public else "main"
    recorded = {"at": AT, "venue": venue, "account": account, "via": via, "request": request, "data": data}
    return json.dumps(recorded).encode()


def cases(at: Path = FOLDER) -> Iterator[Case]:
    """Yield the cases of a folder: captured messages by its manifest, or every ``*.jsonl`` in the form of ``perpwire replay``."""
    if not (at / "MANIFEST.tsv").is_file():
        for path in sorted(at.rglob("*.jsonl")):
            lines = [line for line in path.read_bytes().splitlines() if line.strip()]
            for venue in sorted({json.loads(line)["venue"] for line in lines}):
                yield Case(venue, path.name, tuple(line for line in lines if json.loads(line)["venue"] == venue))
        return
    for venue, kind, read in _KINDS:
        for recording in recordings(venue, kind, "captured", at):
            yield from read(recording)


def hyperliquid_state(state: Any) -> bytes:
    """Return a clearinghouse state as the answer to a question."""
    asked = {"type": "clearinghouseState", "user": "0x" + "1" * 40, "dex": ""}
    return line("hyperliquid", state, request=asked)


def _hyperliquid(recording: Recording) -> Iterator[Case]:
    for message in recording.messages():
        state = message["data"]["clearinghouseState"] if "channel" in message else message
        yield Case("hyperliquid", recording.path.name, (hyperliquid_state(state),))


def _hyperliquid_rows(recording: Recording) -> Iterator[Case]:
    """Isolated rows that were kept without their account: each is a pool of its own."""
    for row in recording.messages()[0]:
        state = {"assetPositions": [{"type": "oneWay", "position": row}], "crossMarginSummary": {}}
        yield Case("hyperliquid", recording.path.name, (hyperliquid_state(state),))


def okx_contract(inst_id: str, size: str, tick: str, *, inverse: bool = False) -> bytes:
    """Return OKX's answer with one contract."""
    base, quote = inst_id.split("-")[:2]
    row = {
        "instType": "FUTURES" if inst_id[-1].isdigit() else "SWAP", "instId": inst_id, "instFamily": f"{base}-{quote}",
        "uly": f"{base}-{quote}", "settleCcy": base if inverse else quote, "ctVal": size, "ctMult": "1",
        "ctValCcy": quote if inverse else base, "ctType": "inverse" if inverse else "linear", "tickSz": tick, "lotSz": "1",
        "minSz": "1", "lever": "100", "state": "live", "expTime": "", "listTime": "", "ruleType": "normal", "baseCcy": "",
        "quoteCcy": "",
    }  # fmt: skip
    asked = f"/api/v5/public/instruments?instType={row['instType']}"
    return line("okx", {"code": "0", "msg": "", "data": [row]}, request=asked, public=True)


def _okx(recording: Recording) -> Iterator[Case]:
    tiers = [
        line(
            "okx", each.messages()[0], request=f"/api/v5/public/position-tiers?instType=SWAP&tdMode={mode}", public=True
        )
        for each in recordings("okx", "rest-public-position-tiers", "captured", _folder(recording))
        for mode in ("cross", "isolated")
    ]
    for message in recording.messages():
        known = {row["instId"] for row in message["data"]} & _OKX_CONTRACTS.keys()
        contracts = [okx_contract(name, *_OKX_CONTRACTS[name]) for name in sorted(known)]
        asked = line("okx", message, request="/api/v5/account/positions?instType=SWAP")
        yield Case("okx", recording.path.name, (asked,), context=(*contracts, *tiers))


def _bybit(recording: Recording) -> Iterator[Case]:
    lines = []
    for message in recording.messages():
        if recording.kind.startswith("ws-"):
            if "topic" in message:  # an acknowledgement of the order connection is in one sequence
                lines.append(line("bybit", message, "ws-private"))
            continue
        body = message if "retCode" in message else {"retCode": 0, "retMsg": "OK", "result": message, "time": AT}
        lines.append(line("bybit", body, request="/v5/position/list?category=linear&settleCoin=USDT&limit=200"))
    yield Case("bybit", recording.path.name, tuple(lines))


def _aster(recording: Recording) -> Iterator[Case]:
    """Aster's rows; those of Binance, whose schema and margin system they share, with the account captured seconds apart."""
    lines = [line("aster", {"multiAssetsMargin": False}, request="/fapi/v3/multiAssetsMargin")]
    for account in recordings(recording.venue, "rest-account", "captured", _folder(recording)):
        lines.append(line("aster", account.messages()[0], request="/fapi/v3/accountWithJoinMargin"))
    for rows in recording.messages():
        lines.append(line("aster", rows if isinstance(rows, list) else [rows], request="/fapi/v3/positionRisk"))
    yield Case("aster", recording.path.name, tuple(lines))


def _folder(recording: Recording) -> Path:
    return recording.path.parents[2]  # <folder>/<venue>/<kind>/<file>


_KINDS: tuple[tuple[str, str, Callable[[Recording], Iterator[Case]]], ...] = (
    ("hyperliquid", "rest-clearinghouseState", _hyperliquid),
    ("hyperliquid", "ws-clearinghouseState", _hyperliquid),
    ("hyperliquid", "isolated-position-object", _hyperliquid_rows),
    ("okx", "rest-account-positions", _okx),
    ("bybit", "rest-position-list", _bybit),
    ("bybit", "ws-position", _bybit),
    ("bybit", "ws-private-sequence", _bybit),
    ("aster", "rest-positionRisk", _aster),
    ("binance", "rest-positionRisk", _aster),
)
