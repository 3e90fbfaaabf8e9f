"""Captured and documented messages of the real venues as tapes: one tape a file, told to a link that is ready for it.

Owns which recording answers which question, and what of them is known to be unreadable, with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from exchanges.aster import build as aster_build
from exchanges.bybit import VENUE as BYBIT
from exchanges.bybit import build as bybit_build
from exchanges.bybit import tables as bybit_tables
from exchanges.hyperliquid import build as hyperliquid_build
from exchanges.hyperliquid.private import PrivateLink
from exchanges.okx import tables as okx_tables
from exchanges.venue import HttpRequest, Link
from tests.conformance.tape import Call, Tape
from tests.exchanges.aster import samples as aster
from tests.exchanges.bybit import samples as bybit
from tests.exchanges.hyperliquid import samples as hyperliquid
from tests.exchanges.okx import samples as okx
from tests.recordings import Recording, recordings

AT = 1_790_000_000_000
Ready = Callable[[], Link]
# What a file answers: the question, and whether a public link reads it. Files of other kinds are of no channel that is read.
Questions = Mapping[str, HttpRequest]


def tapes(venue: str) -> list[Tape]:
    """Return everything that was captured of a venue or documented by it."""
    made = {"okx": _okx, "bybit": _bybit, "hyperliquid": _hyperliquid, "aster": _aster}[venue]
    return [tape for tape in made() if tape.calls]


def _true(venue: str) -> Iterator[Recording]:
    """Yield the venue's files without those that somebody made up."""
    return (one for one in recordings(venue) if one.status != "synthetic")


def _frames(recording: Recording) -> list[str]:
    flat = [one for found in recording.messages() for one in (found if isinstance(found, list) else [found])]
    return [json.dumps(one) for one in flat]


def _tape(recording: Recording, ready: Ready, request: HttpRequest | None = None, *, public: bool = False) -> Tape:
    name = f"{recording.kind}/{recording.path.stem}"
    if request is None:
        return Tape(name, ready, [Call("receive", (frame, AT)) for frame in _frames(recording)], public=public)
    bodies = [json.dumps(found).encode() for found in recording.messages()]
    return Tape(name, ready, [Call("answer", (request, body, AT, AT + 10)) for body in bodies], public=public)


def _both(recording: Recording, request: HttpRequest | None, private: Ready, public: Ready, mine: bool) -> Tape:
    return _tape(recording, private if mine else public, request, public=not mine)


# --- OKX ------------------------------------------------------------------------------------------------------------

OKX: dict[str, str] = {
    "rest-account-positions": okx_tables.POSITIONS_PATH,
    "rest-account-balance": okx_tables.BALANCE_PATH,
    "rest-account-config": okx_tables.CONFIG_PATH,
    "rest-trade-fills": okx_tables.FILLS_PATH,
    "rest-trade-order": okx_tables.ORDER_PATH,
    "rest-trade-orders-pending": okx_tables.OPEN_ORDERS_PATH,
    "rest-public-instruments": f"{okx_tables.INSTRUMENTS_PATH}?instType=SWAP",
    "rest-public-position-tiers": f"{okx_tables.TIERS_PATH}?instType=SWAP&tdMode=cross",
    "rest-public-mark-price": f"{okx_tables.MARK_PRICE_PATH}?instType=SWAP",
}
OKX_PRIVATE = {"ws-orders", "ws-positions", "ws-liquidation-warning", "ws-login"}
OKX_PUBLIC = {"ws-mark-price", "ws-funding-rate", "ws-index-tickers", "ws-instruments"}


def _okx() -> Iterator[Tape]:
    for one in _true("okx"):
        if one.kind in OKX:
            mine = "/public/" not in OKX[one.kind]
            yield _both(one, HttpRequest(path=OKX[one.kind]), okx.private, okx.public, mine)
        elif one.kind in OKX_PRIVATE | OKX_PUBLIC:
            yield _both(one, None, okx.private, okx.public, one.kind in OKX_PRIVATE)


# --- Bybit ----------------------------------------------------------------------------------------------------------

BYBIT_PRIVATE: dict[str, HttpRequest] = {
    "rest-account-info": bybit_build.account_info(),
    "rest-position-list": bybit_build.position_list("linear:USDT"),
    "rest-wallet-balance": bybit_build.wallet_balance(),
    "rest-execution-list": bybit_build.executions("linear", AT),
    "rest-order-realtime": bybit_build.open_orders("linear:USDT"),
    "rest-order-history": bybit_build.find_order(bybit_tables.ORDER_HISTORY, "linear", "BTCUSDT", "1"),
    "rest-transaction-log": bybit_build.transactions(AT),
}
BYBIT_FRAMES = {"ws-position", "ws-wallet", "ws-execution", "ws-order", "ws-private-mixed", "ws-private-sequence"}


def _bybit() -> Iterator[Tape]:
    def ready() -> Link:
        link = bybit.private()
        bybit.start(link)
        return link

    for one in _true("bybit"):
        if one.kind in BYBIT_PRIVATE:
            tape = _tape(one, ready, BYBIT_PRIVATE[one.kind])
            tape.calls = [_enveloped(call) for call in tape.calls]
            yield tape
        elif one.kind in BYBIT_FRAMES:
            yield _tape(one, ready)
        elif one.kind in ("rest-instruments-info", "rest-risk-limit"):
            category = "inverse" if "inverse" in one.path.stem else "linear"
            question = bybit_build.instruments_info(category)
            if one.kind == "rest-risk-limit":
                question = bybit_build.risk_limit(category, "BTCUSDT")
            if "spot" not in one.path.stem:
                yield _tape(one, _bybit_market(category), question, public=True)
        elif one.kind == "ws-tickers" and "Spot" not in one.path.stem:
            yield _tape(one, _bybit_market("option" if "Option" in one.path.stem else "linear"), public=True)


def _bybit_market(category: str) -> Ready:
    return BYBIT.public_links("live", bybit.ENDPOINTS)[category]


def _enveloped(call: Call) -> Call:
    """Put the envelope back that some sources took away."""
    found = json.loads(call.text)
    if isinstance(found, dict) and "retCode" in found:
        return call
    return call.saying(json.dumps({"retCode": 0, "retMsg": "OK", "result": found, "retExtInfo": {}, "time": AT}))


# --- Hyperliquid ----------------------------------------------------------------------------------------------------

HYPERLIQUID_USER = {
    "rest-userFills": "userFillsByTime",
    "rest-userTwapSliceFills": "userTwapSliceFillsByTime",
    "rest-userFunding": "userFunding",
    "rest-userNonFundingLedgerUpdates": "userNonFundingLedgerUpdates",
    "rest-openOrders": "openOrders",
    "rest-frontendOpenOrders": "frontendOpenOrders",
}
HYPERLIQUID_FRAMES = {"ws-clearinghouseState", "ws-userFills", "ws-userEvents", "ws-orderUpdates", "ws-sequence"}
_USER = re.compile(r'"(?:user|liquidatedUser)":\s?"(0x[0-9a-fA-F]{40})"')


def _hyperliquid() -> Iterator[Tape]:
    for state in hyperliquid.captured_states():
        if state.complete:
            request = hyperliquid_build.info("clearinghouseState", user=hyperliquid.USER, dex=state.dex)
            body = json.dumps(state.state).encode()
            name = f"clearinghouseState/{state.name}"
            yield Tape(name, hyperliquid_private(), [Call("answer", (request, body, AT, AT + 10))])
    for one in _true("hyperliquid"):
        text = one.path.read_text()
        user = (_USER.findall(text) or [hyperliquid.USER])[0]
        if one.kind in HYPERLIQUID_USER:
            request = hyperliquid_build.info(HYPERLIQUID_USER[one.kind], user=user)
            yield _tape(one, hyperliquid_private(user), request)
        elif one.kind in HYPERLIQUID_FRAMES:
            yield _tape(one, hyperliquid_private(user))
        elif one.kind == "ws-allDexsAssetCtxs":
            yield _tape(one, hyperliquid.public, public=True)


def hyperliquid_private(user: str = hyperliquid.USER) -> Ready:
    """Return what makes a link of a user that was told its mode and the collateral of the main dex."""

    def ready() -> Link:
        link = PrivateLink("wss://host/ws", "main", "live", user.lower())
        for kind, body in (
            ("userAbstraction", "default"),
            ("allPerpMetas", [hyperliquid.meta("BTC")]),
            ("spotMeta", {"tokens": [{"name": "USDC", "index": 0}], "universe": []}),
        ):
            asked = (
                hyperliquid_build.info(kind) if kind != "userAbstraction" else hyperliquid_build.info(kind, user=user)
            )
            link.answer(asked, json.dumps(body).encode(), AT - 10, AT - 5)
        return link

    return ready


# --- Aster ----------------------------------------------------------------------------------------------------------

ASTER = {
    "rest-account": "account",
    "rest-positionRisk": "positions",
    "rest-positionSide-dual": "dual",
    "rest-userTrades": "trades",
    "rest-income": "income",
    "rest-order": "order",
}
ASTER_FRAMES = {"ws-ACCOUNT_CONFIG_UPDATE", "ws-MARGIN_CALL", "ws-ACCOUNT_UPDATE", "ws-ORDER_TRADE_UPDATE"}


def _aster() -> Iterator[Tape]:
    for name in ("aster", "binance"):  # the same family of schemas: README.md of the recordings
        for one in _true(name):
            if one.kind in ASTER:
                yield _tape(one, aster.connected, aster_question(ASTER[one.kind]))
            elif one.kind in ASTER_FRAMES:
                tape = _tape(one, aster.connected)
                tape.before = json.dumps(aster.account())
                yield tape
            elif one.kind == "ws-markPrice":
                yield _tape(one, aster.public, public=True)


def aster_question(name: Any) -> HttpRequest:
    """Return a question as Aster's links put it."""
    extra: dict[str, dict[str, str | int]] = {
        "trades": {"symbol": "BTCUSDT"},
        "income": {"startTime": AT},
        "order": {"symbol": "BTCUSDT", "orderId": "1"},
    }
    return aster_build.question("v3", name, **extra.get(name, {}))


def described(request: HttpRequest) -> str:
    """Return what a request asks, short."""
    return request.path if request.body is None else str(msgspec.json.decode(request.body))
