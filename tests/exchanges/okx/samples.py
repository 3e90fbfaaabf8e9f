"""Messages of OKX for tests: built from the documented shapes with consistent figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

from exchanges.okx import VENUE, build
from exchanges.okx.link import PrivateLink
from exchanges.okx.public import PublicLink
from exchanges.venue import AccountSpec, Credentials, Heard, Output

T = TypeVar("T")

CREDENTIALS = Credentials("key-0123456789", "22582BD0CFF14C41EDBF1AB98506286D", "a passphrase")
SPEC = AccountSpec(name="main", venue="okx", credentials=CREDENTIALS)
T0 = 1_790_000_000_000


def position(inst_id: str = "BTC-USDT-SWAP", pos: str = "10", /, **changes: Any) -> dict[str, Any]:
    """Return a position row: 10 contracts of 0.01 BTC in a cross, net position, 5 USDT in profit."""
    row = {
        "instType": "SWAP",
        "instId": inst_id,
        "mgnMode": "cross",
        "posSide": "net",
        "pos": pos,
        "ccy": "USDT",
        "posCcy": "",
        "avgPx": "60000",
        "markPx": "60050",
        "upl": "5",
        "lever": "10",
        "liqPx": "",
        "margin": "",
        "imr": "600.5",
        "mmr": "24.02",
        "mgnRatio": "40.5",
        "adl": "1",
        "cTime": str(T0 - 1000),
        "uTime": str(T0),
        "pTime": str(T0 + 10),
        "tradeId": "7",
        "closeOrderAlgo": [],
    }
    return row | changes


def coin(ccy: str = "USDT", cash: str = "1000", /, **changes: Any) -> dict[str, Any]:
    """Return a currency of a futures-mode account without positions."""
    row = {
        "ccy": ccy,
        "cashBal": cash,
        "eq": cash,
        "eqUsd": cash,
        "availBal": cash,
        "availEq": cash,
        "isoEq": "0",
        "upl": "0",
        "liab": "",
        "interest": "",
        "stgyEq": "0",
        "ordFrozen": "0",
        "imr": "0",
        "mmr": "0",
        "mgnRatio": "",
        "coinUsdPrice": "0.9998",
        "uTime": str(T0),
    }
    return row | changes


def account(*coins: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return an account row of futures mode: the figures of the whole account are empty."""
    row = {"uTime": str(T0), "adjEq": "", "availEq": "", "imr": "", "mmr": "", "mgnRatio": "", "ordFroz": ""}
    return row | {"details": list(coins)} | changes


def order(**changes: Any) -> dict[str, Any]:
    """Return a live limit order of a cross, net position."""
    row = {
        "instType": "SWAP",
        "instId": "BTC-USDT-SWAP",
        "ordId": "900",
        "clOrdId": "mine",
        "side": "buy",
        "posSide": "net",
        "tdMode": "cross",
        "ccy": "USDT",
        "ordType": "limit",
        "category": "normal",
        "state": "live",
        "px": "59000",
        "sz": "10",
        "accFillSz": "0",
        "avgPx": "0",
        "reduceOnly": "false",
        "tradeId": "",
        "fillSz": "0",
        "fillPx": "",
        "fillTime": "",
        "fillPnl": "0",
        "fillFee": "0",
        "fillFeeCcy": "",
        "execType": "",
        "fee": "0",
        "feeCcy": "USDT",
        "pnl": "0",
        "cTime": str(T0 - 5),
        "uTime": str(T0),
    }
    return row | changes


def fill_row(**changes: Any) -> dict[str, Any]:
    """Return an execution of transaction details."""
    row = {
        "instType": "SWAP",
        "instId": "BTC-USDT-SWAP",
        "tradeId": "123",
        "ordId": "900",
        "billId": "700",
        "subType": "1",
        "side": "buy",
        "posSide": "net",
        "fillSz": "2",
        "fillPx": "60010.5",
        "fillPnl": "0",
        "fee": "-0.6001",
        "feeCcy": "USDT",
        "execType": "T",
        "fillTime": str(T0 + 3),
        "ts": str(T0 + 4),
    }
    return row | changes


def bill(**changes: Any) -> dict[str, Any]:
    """Return a bill of a cross position."""
    row = {
        "billId": "500",
        "type": "8",
        "subType": "173",
        "ccy": "USDT",
        "balChg": "0",
        "posBalChg": "0",
        "pnl": "",
        "sz": "10",
        "px": "60000",
        "instType": "SWAP",
        "instId": "BTC-USDT-SWAP",
        "mgnMode": "cross",
        "ordId": "",
        "ts": str(T0),
    }
    return row | changes


MULTI = {"adjEq": "990.5", "availEq": "800", "imr": "100", "mmr": "10", "mgnRatio": "95.1", "ordFroz": "1"}


def frame(
    channel: str, *rows: Any, event: str | None = "snapshot", page: int = 1, last: bool = True, **arg: Any
) -> str:
    """Return a data frame; events have no pages."""
    message: dict[str, Any] = {"arg": {"channel": channel, "uid": "1", **arg}, "data": list(rows)}
    if event is not None:
        message["eventType"] = event
    if event == "snapshot":
        message |= {"curPage": page, "lastPage": last}
    return json.dumps(message)


def positions(*rows: Any, **how: Any) -> str:
    """Return a frame of the positions channel."""
    return frame("positions", *rows, instType="ANY", **how)


def envelope(*rows: Any, **changes: Any) -> bytes:
    """Return a REST answer."""
    return json.dumps({"code": "0", "msg": "", "data": list(rows)} | changes).encode()


def only(kind: type[T], outputs: Sequence[object]) -> list[T]:
    """Return the outputs of one kind."""
    return [each for each in outputs if isinstance(each, kind)]


def said(outputs: Sequence[Output]) -> list[Output]:
    """Return the outputs without the words of the watchdog, which most frames of a watched topic bring."""
    return [each for each in outputs if not isinstance(each, Heard)]


def private(level: str | None = "2", *, subscribed: bool = True) -> PrivateLink:
    """Return a private link that has subscribed and, unless ``level`` is None, knows the account's mode."""
    link = VENUE.private_links(SPEC, VENUE.endpoints("live", None))["private"]()
    assert isinstance(link, PrivateLink)
    if subscribed:
        link.subscribe(link.topics())
    if level is not None:
        link.answer(build.config_request(), envelope({"acctLv": level}), T0, T0)
    return link


def public(env: str = "live") -> PublicLink:
    """Return a public link."""
    link = VENUE.public_links(env, VENUE.endpoints(env, None))["public"]()
    assert isinstance(link, PublicLink)
    return link


def instrument(inst_id: str = "BTC-USDT-SWAP", /, **changes: Any) -> dict[str, Any]:
    """Return a linear swap."""
    base, quote, *_ = inst_id.split("-")
    row = {
        "instType": "SWAP",
        "instId": inst_id,
        "uly": f"{base}-{quote}",
        "instFamily": f"{base}-{quote}",
        "settleCcy": quote,
        "ctVal": "0.01",
        "ctMult": "1",
        "ctValCcy": base,
        "ctType": "linear",
        "tickSz": "0.1",
        "lever": "100",
        "expTime": "",
        "state": "live",
    }
    return row | changes
