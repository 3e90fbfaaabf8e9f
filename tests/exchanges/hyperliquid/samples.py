"""Messages of Hyperliquid for tests: built from the documented shapes with consistent figures, or read from captures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

from exchanges.events import PositionsSnapshot
from exchanges.hyperliquid import build, tables
from exchanges.hyperliquid.private import PrivateLink
from exchanges.hyperliquid.public import PublicLink
from exchanges.venue import Ask
from tests.recordings import Recording, recordings

T = TypeVar("T")

USER = "0x00000000000000000000000000000000000000aa"
OTHER = "0x00000000000000000000000000000000000000bb"


def row(coin: str, szi: str, mark: str, /, *, cross: bool = True, **changes: Any) -> dict[str, Any]:
    """Return one entry of ``assetPositions`` at 10x, worth ``szi`` at ``mark``, with 1 of profit."""
    value = Decimal(szi) * Decimal(mark)
    leverage: dict[str, Any] = {"type": "cross", "value": 10}
    if not cross:
        leverage = {"type": "isolated", "value": 10, "rawUsd": str(abs(value) / 10 - value)}
    position = {
        "coin": coin,
        "szi": szi,
        "leverage": leverage,
        "entryPx": mark,
        "positionValue": str(abs(value)),
        "unrealizedPnl": "1.0",
        "returnOnEquity": "0.1",
        "liquidationPx": None,
        "marginUsed": str(abs(value) / 10),
        "maxLeverage": 20,
        "cumFunding": {"allTime": "0.0", "sinceOpen": "0.0", "sinceChange": "0.0"},
    }
    return {"type": "oneWay", "position": position | changes}


def state(*rows: dict[str, Any], cash: str = "1000.0", time: int | None = 1_790_000_000_000) -> dict[str, Any]:
    """Return a clearinghouse state whose account value is its cash and the signed value of its cross rows."""
    value = Decimal(cash)
    for each in rows:
        position = each["position"]
        if position["leverage"]["type"] == "cross":
            sign = -1 if position["szi"].startswith("-") else 1
            value += sign * Decimal(str(position["positionValue"]))
    summary = {"accountValue": str(value), "totalNtlPos": "0.0", "totalRawUsd": cash, "totalMarginUsed": "5.0"}
    found = {
        "marginSummary": summary,
        "crossMarginSummary": summary,
        "crossMaintenanceMarginUsed": "2.5",
        "withdrawable": "900.0",
        "assetPositions": list(rows),
    }
    return found if time is None else found | {"time": time}


def frame(channel: str, data: Any) -> str:
    """Return a WebSocket frame."""
    return json.dumps({"channel": channel, "data": data})


def all_dexs(**states: dict[str, Any]) -> str:
    """Return an ``allDexsClearinghouseState`` frame of USER; the main dex is written ``main``."""
    listed = [["" if dex == "main" else dex, found] for dex, found in states.items()]
    return frame("allDexsClearinghouseState", {"user": USER, "clearinghouseStates": listed})


def spot(*balances: dict[str, Any]) -> str:
    """Return a ``spotState`` frame of USER."""
    return frame("spotState", {"user": USER, "spotState": {"balances": list(balances)}})


def meta(*coins: str, token: int = 0) -> dict[str, Any]:
    """Return one dex's meta: every coin at 20x by its implicit margin table."""
    universe = [{"name": coin, "szDecimals": 2, "maxLeverage": 20, "marginTableId": 20} for coin in coins]
    return {"universe": universe, "marginTables": [], "collateralToken": token}


def fill(coin: str, side: str, sz: str, px: str, /, *, tid: int = 7, **changes: Any) -> dict[str, Any]:
    """Return one fill as ``userFills`` has it: a taker's, who paid 0.5."""
    found = {
        "coin": coin,
        "px": px,
        "sz": sz,
        "side": side,
        "time": 1_790_000_000_000,
        "startPosition": "0.0",
        "dir": "Open Long" if side == "B" else "Open Short",
        "closedPnl": "0.0",
        "hash": "0x01",
        "oid": 5,
        "crossed": True,
        "fee": "0.5",
        "tid": tid,
        "feeToken": "USDC",
        "twapId": None,
    }
    return found | changes


def order(coin: str, oid: int, /, **changes: Any) -> dict[str, Any]:
    """Return an order to buy 10 at 5, of which 4 are filled, as ``orderUpdates`` has it."""
    found = {"coin": coin, "side": "B", "limitPx": "5.0", "sz": "6.0", "origSz": "10.0", "oid": oid, "timestamp": 1}
    return found | changes


def update(kind: str, /, **delta: Any) -> dict[str, Any]:
    """Return one ledger update."""
    return {"time": 1_790_000_000_000, "hash": "0xab", "delta": {"type": kind, **delta}}


class Captured(NamedTuple):
    """One clearinghouse state of the real venue; ``complete``: it holds every position of the account."""

    name: str
    dex: str
    state: dict[str, Any]
    complete: bool


def captured_states() -> Iterator[Captured]:
    """Yield every clearinghouse state that was really seen on the wire, each once."""
    for source in recordings("hyperliquid", "rest-clearinghouseState", "captured"):
        for found in source.messages():
            complete = not source.note.startswith("PARTIAL") and "crossMarginSummary" in found
            yield Captured(source.path.name, _dex(found), found, complete)
    for source in recordings("hyperliquid", "ws-clearinghouseState", "captured"):
        for found in source.messages():
            data = found["data"]
            yield Captured(source.path.name, data["dex"], data["clearinghouseState"], True)
    for source in recordings("hyperliquid", "isolated-position-object", "captured"):
        # Two isolated rows of one coin, at different times: each becomes a state of its own, without account totals.
        for at, position in enumerate(source.messages()[0]):
            rows = {"assetPositions": [{"type": "oneWay", "position": position}]}
            yield Captured(f"{source.path.name}[{at}]", "", rows, False)


def _dex(found: dict[str, Any]) -> str:
    coins = [each["position"]["coin"] for each in found["assetPositions"]]
    return coins[0].partition(":")[0] if coins and ":" in coins[0] else ""


def every_message() -> Iterator[tuple[Recording, Any]]:
    """Yield every captured or documented message of the venue; files with several frames in a list give each frame."""
    for source in recordings("hyperliquid"):
        for found in source.messages():
            frames = found if isinstance(found, list) and _are_frames(found) else [found]
            for each in frames:
                yield source, each


def _are_frames(found: list[Any]) -> bool:
    return bool(found) and all(isinstance(each, dict) and "channel" in each for each in found)


def only(kind: type[T], outputs: Sequence[object]) -> list[T]:
    """Return the outputs of one kind."""
    return [each for each in outputs if isinstance(each, kind)]


def questions(outputs: Sequence[object]) -> list[dict[str, Any]]:
    """Return what the outputs ask for."""
    return [build.question(each.request) for each in only(Ask, outputs)]


def private(mode: str | None = "default", *, stream: bool = True, dexes: tuple[str, ...] | None = None) -> PrivateLink:
    """Return a link of USER, subscribed or (for verification) without a stream, that was told its mode."""
    link = PrivateLink("wss://host/ws", "main", "live", USER, dexes=dexes)
    if stream:
        link.subscribe(link.topics())
    if mode is not None:
        answer(link, "userAbstraction", mode)
    return link


def public(env: str = "live") -> PublicLink:
    """Return a subscribed public link."""
    link = PublicLink("wss://host/ws", env)
    link.subscribe(link.topics())
    return link


def answer(link: PrivateLink | PublicLink, kind: str, body: object, at: int = 50, **params: str | int) -> list[object]:
    """Give the link an answer that was asked a millisecond before."""
    user = {"user": USER} if isinstance(link, PrivateLink) and kind not in tables.PUBLIC_INFO else {}
    return [*link.answer(build.info(kind, **user, **params), json.dumps(body).encode(), at - 1, at)]


def scopes(outputs: Sequence[object]) -> dict[str, list[str]]:
    """Return the coins of each full snapshot of positions."""
    return {each.scope: [row.symbol for row in each.positions] for each in only(PositionsSnapshot, outputs)}
